"""What is looked at before the first byte, and the command that shows it."""

import os
import re
import shutil
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from minimistral import load
from minimistral.checkpoints import preflight as module
from minimistral.checkpoints.hub import download
from minimistral.checkpoints.known_models import KNOWN_MODELS, known_model, repo_of
from minimistral.checkpoints.preflight import preflight
from minimistral.cli import app

REPO = "org/sharded"


@pytest.fixture
def look(client, tmp_path):
    def run(repo=REPO, layers=None, **changes):
        return preflight(repo, to=tmp_path / "it", layers=layers, hub=client(**changes))

    return run


def found(result, what):
    (finding,) = [f for f in result.findings if f.what == what]
    return finding


def test_all_is_well(server, look, tmp_path):
    result = look()
    assert result.is_ready and not result.is_done and result.problem is None
    whats = ["place", "hub", "licence", "token", "access", "files", "disk", "memory", "time"]
    assert [finding.what for finding in result.findings] == whats
    expected = sum(len(d) for n, d in server.models[REPO].items() if "consolidated" not in n and n != "README.md")
    assert result.n_missing == expected and result.seconds > 0
    assert found(result, "licence").found == "apache-2.0"
    assert server.commit(REPO)[:12] in found(result, "hub").found
    assert list(tmp_path.glob("*it*")) == []  # nothing is written
    assert str(result).count("\n") == 8 and "ok  disk" in str(result)


def test_what_is_here_already(look, client, tmp_path, server):
    download(REPO, to=tmp_path / "it", hub=client(), progress=False)
    server.requests.clear()
    result = look()
    assert result.is_ready and result.is_done and not server.requests
    assert look(layers=2).is_done


def test_a_part_counts_its_own_bytes(server, look, client, tmp_path):
    result = look(layers=[1, 3])
    assert "for layers 1, 3 of 4" in found(result, "files").found
    folder = download(REPO, to=tmp_path / "it", layers=[1, 3], hub=client(), progress=False)
    names = {"download.json", "model.safetensors.index.json"}  # written here
    assert result.n_missing == sum(p.stat().st_size for p in folder.iterdir() if p.name not in names)
    assert "for layer 0 of 4" in found(look(layers=1), "files").found


def test_what_an_earlier_run_left_is_not_counted(server, look, client, tmp_path):
    server.faults["cdn"] = [{"file": "model-00003-of-00004.safetensors", "cut": 20_000}]
    everything = look().n_missing
    server.faults["cdn"] = [
        {"file": "model-00003-of-00004.safetensors", "cut": 20_000 if i == 0 else 0} for i in range(9)
    ]
    with pytest.raises(ValueError):
        download(REPO, to=tmp_path / "it", hub=client(), progress=False)
    server.faults.clear()
    left = sum(p.stat().st_size for p in (tmp_path / ".it.download").iterdir() if p.name != "download.json")
    result = look()
    assert result.n_missing == everything - left and "are here" in found(result, "files").found


def test_gated_models_tell_apart_what_is_missing(server, look):
    server.gated[REPO], server.tokens = "auto", {"hf_agreed": {REPO}, "hf_other": set()}
    result = look(token=False)
    assert found(result, "token").is_fine is None and "asks for one" in found(result, "token").found
    assert not result.is_ready and "Open" in result.problem and "hf auth login" in result.problem
    result = look(token="hf_other")
    assert found(result, "token").is_fine and "has not agreed" in result.problem
    result = look(token="hf_agreed")
    assert result.is_ready and found(result, "access").is_fine


def test_a_token_that_cannot_be_sent_is_told_once_and_nobody_is_asked(server, look):
    result = look(token="hf_\u00e4")
    assert [finding.what for finding in result.findings if finding.is_fine is False] == ["token"]
    assert result.problem.startswith("token: ") and not server.requests


@pytest.mark.parametrize(
    "route, fault, text",
    [
        ("list", {"status": 503}, "answered 503"),
        ("list", {"hang": 0.5}, "sent nothing for 0.2 s"),
        ("cdn", {"status": 500}, "answered 500"),
        ("list", {"status": 429, "headers": {"RateLimit": '"api";r=0;t=287'}}, "asks to wait 287 s. Run the same"),
    ],
)
def test_a_hub_that_does_not_answer(server, look, route, fault, text):
    server.always[route] = fault
    result = look(timeout=0.2, tries=2)
    assert not result.is_ready and text in result.problem
    assert result.seconds is None


def test_disk_and_memory(look, monkeypatch):
    usage = shutil.disk_usage("/")._replace(free=10**8)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    monkeypatch.setattr(module, "available_bytes", lambda device: 1000)
    result = look()
    assert "make room" in found(result, "disk").found and result.problem.startswith("disk: 0.10 GB free")
    assert found(result, "memory").is_fine is None and "quantize='int8'" in found(result, "memory").found


def test_what_lies_in_hugging_faces_cache_is_said(server, at_home, client, look):
    from huggingface_hub import snapshot_download

    cached = snapshot_download(REPO, endpoint=server.endpoint, ignore_patterns=["consolidated*"])
    result = preflight(REPO, hub=client())
    assert found(result, "cache").found.startswith(f"{cached} has it already") and result.is_ready
    assert "cache" not in {finding.what for finding in look().findings}  # another copy is asked for


def test_a_place_that_is_taken(look, tmp_path):
    (tmp_path / "it").mkdir()
    (tmp_path / "it" / "notes.txt").touch()
    assert "already holds notes.txt" in look().problem


def test_the_known_models():
    assert len(KNOWN_MODELS) == 7 and known_model("MISTRALAI/mistral-7b-V0.1").name == "mistral-7b-v0.1"
    assert known_model("mistral-7b-v0.1").n_bytes == 14_483_464_192
    assert known_model("mistral-7b-v0.3").n_bytes == 14_496_047_104
    assert known_model("mixtral-8x7b-instruct-v0.1").n_bytes == 2 * 46_702_792_704
    assert all(
        model.repo.startswith("mistralai/") and model.repo.lower().endswith(name)
        for name, model in KNOWN_MODELS.items()
    )
    assert repo_of("some/model") == "some/model"
    for no_text in (None, 3, b"some/model", ["some/model"]):
        with pytest.raises(ValueError, match="give a hub id"):
            download(no_text)
    with pytest.raises(ValueError, match="to=3: give the folder"):
        download("some/model", to=3)


# The command


@pytest.fixture
def command(at_home):
    def run(*arguments, **options):
        return CliRunner().invoke(app, ["download", *map(str, arguments)], **options)

    return run


def test_the_command_looks_and_asks(server, command, tmp_path):
    done = command(REPO, "--to", tmp_path / "it", "--dry-run")
    assert done.exit_code == 0 and "Nothing was fetched" in done.stderr, done.output
    assert re.search(r"ok +disk", done.stdout) and not (tmp_path / "it").exists()
    done = command(REPO, "--to", tmp_path / "it")
    assert done.exit_code == 1 and "pass --yes" in done.stderr


def test_the_command_fetches(server, tmp_path):
    """As a person types it."""
    environment = os.environ | {
        "HF_ENDPOINT": server.endpoint,
        "HF_HOME": str(tmp_path / "home"),
        "OMP_NUM_THREADS": "1",
    }
    line = [
        sys.executable,
        "-m",
        "minimistral",
        "download",
        REPO,
        "--to",
        tmp_path / "it",
        "--layers",
        "0,2-3",
        "--yes",
    ]
    done = subprocess.run(line, capture_output=True, text=True, env=environment | {"HF_TOKEN": ""})
    assert done.returncode == 0, done.stderr
    assert f"load('{tmp_path / 'it'}', layers=[0, 2, 3])" in done.stderr
    assert load(tmp_path / "it", device="cpu", layers=[3])[0].config.n_layers == 1


def test_the_command_refuses_in_one_red_line(server, command):
    server.gated[REPO] = "auto"
    done = command(REPO, "--yes")
    assert done.exit_code == 1 and isinstance(done.exception, SystemExit)
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("error: access: ")
    assert "hf auth login" in line and re.search("problem +access", done.stdout)
    for arguments, text in (((REPO, "--layers", "one"), "0-3"), (("nothing",), "mistral-7b-v0.1")):
        done = command(*arguments)
        assert done.exit_code == 1 and text in done.stderr and len(done.stderr.strip().splitlines()) == 1


def test_stopping_the_command_says_how_to_go_on(command, monkeypatch):
    def stop(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("minimistral.download_command.download", stop)
    done = command(REPO, "--yes")
    assert done.exit_code == 130 and "The same command goes on" in done.stderr


def test_the_command_lists_the_known_models(command):
    done = command()
    assert done.exit_code == 0 and done.stdout.count("\n") == 7 and "14.5 GB  Apache 2.0" in done.stdout
