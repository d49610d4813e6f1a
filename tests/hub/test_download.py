"""Downloads from a hub on this machine: what comes is what is there, nothing twice, nothing half."""

import pytest
import torch

from minimistral import CheckpointError, load
from minimistral.checkpoints.hub import download, find_or_download, in_cache

REPOS = ("org/sharded", "org/native", "org/mixture")


def logits(folder, **options):
    model, _ = load(folder, device="cpu", **options)
    with torch.inference_mode():
        return model(torch.arange(30)[None])


def no_leftovers(folder):
    return [path.name for path in folder.parent.iterdir() if path.name.startswith(".")]


def original(tmp_path, repo):
    """What the hub was given, without the second copy of its weights."""
    made = tmp_path / "made" / repo.replace("/", "--")
    if (made / "config.json").exists():
        (made / "consolidated.safetensors").unlink(missing_ok=True)
    return made


@pytest.mark.parametrize("repo", REPOS)
def test_a_model_arrives_whole(server, client, tmp_path, repo):
    folder = download(repo, to=tmp_path / "got" / "it", hub=client(), progress=False)
    there = server.models[repo]
    expected = {
        name for name in there if name != "README.md" and not (repo == "org/sharded" and "consolidated" in name)
    }
    assert {path.name for path in folder.iterdir()} == expected | {"download.json"}
    assert all((folder / name).read_bytes() == there[name] for name in expected)
    assert torch.equal(logits(folder), logits(original(tmp_path, repo)))
    assert not no_leftovers(folder)


def test_shards_of_an_earlier_version_are_left_there(server, client, tmp_path):
    files = server.models["org/sharded"]
    stale = "model-00001-of-00009.safetensors"
    files[stale] = files["model-00001-of-00004.safetensors"]
    folder = download("org/sharded", to=tmp_path / "it", hub=client(), progress=False)
    assert not (folder / stale).exists() and len(list(folder.glob("*.safetensors"))) == 4


@pytest.mark.parametrize("repo", REPOS)
def test_a_part_runs_and_says_that_it_is_one(server, client, tmp_path, repo):
    folder = download(repo, to=tmp_path / "part", layers=[2], hub=client(), progress=False)
    whole = download(repo, to=tmp_path / "whole", hub=client(), progress=False)
    assert torch.equal(logits(folder, layers=[2]), logits(whole, layers=[2]))
    with pytest.raises(CheckpointError, match=r"Of its 4 layers there is 2 here: load\(…, layers=\[2\]\)"):
        load(folder)
    assert not no_leftovers(folder)


def test_what_another_program_put_into_the_cache_is_found_though_it_left_files_out(server, at_home):
    from huggingface_hub import snapshot_download

    assert in_cache("org/sharded") is None
    kinds = ["*.json", "tokenizer.model"]
    folder = snapshot_download("org/sharded", endpoint=server.endpoint, allow_patterns=kinds)
    assert in_cache("org/sharded") is None  # no weights
    snapshot_download("org/sharded", endpoint=server.endpoint, allow_patterns=[*kinds, "model-*.safetensors"])
    server.requests.clear()
    assert str(find_or_download("org/sharded")) == str(find_or_download("org/sharded", layers=1)) == folder
    load(find_or_download("org/sharded"), device="cpu")
    assert not server.requests
