"""Where `load` looks: bundled names, folders, and the Hugging Face cache (never the network, here)."""

import os
import sys
from pathlib import Path

import pytest
import torch

from minimistral import CheckpointError, ModelConfig, Transformer, load, save
from minimistral.checkpoints import place
from minimistral.checkpoints.place import files_worth_having

torch.set_num_threads(1)


def random_model(seed=0):
    torch.manual_seed(seed)
    sizes = dict(dim=8, n_layers=1, n_heads=2, n_kv_heads=1, head_dim=6, hidden_dim=10, vocab_size=11)
    return Transformer(ModelConfig(**sizes))


def embeddings(model):
    return model.tok_embeddings.weight.detach().cpu()


def test_bundled_names_go_first_and_are_listed(tmp_path, monkeypatch):
    save(random_model(), tmp_path / "package" / "tiny")
    (tmp_path / "package" / "only-a-tokenizer").mkdir()
    save(random_model(seed=1), tmp_path / "here" / "tiny")
    monkeypatch.setattr(place, "BUNDLED", tmp_path / "package")
    monkeypatch.chdir(tmp_path / "here")
    assert torch.equal(embeddings(load("tiny")[0]), embeddings(random_model()))
    for folder in ("./tiny", Path("tiny")):
        assert torch.equal(embeddings(load(folder)[0]), embeddings(random_model(seed=1)))
    with pytest.raises(CheckpointError, match=r"only-a-tokenizer.*there is: tiny\)"):
        load("only-a-tokenizer")


def test_what_cannot_be_a_place(monkeypatch, tmp_path):
    for name in (b"bytes", "", None, 3, []):
        with pytest.raises(ValueError, match="bundled name"):
            load(name)
    for name in ("x" * 5000, "a\0b", "../no/such/folder", "~/no-such-folder-here"):
        with pytest.raises(CheckpointError):
            load(name)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A Hugging Face cache with one model, its snapshot made of links as there; the network is an error."""
    hub = pytest.importorskip("huggingface_hub")
    from huggingface_hub import constants

    root = tmp_path / "cache" / "models--some--model"
    snapshot = root / "snapshots" / ("0" * 40)
    save(random_model(), root / "blobs", layout="hub", max_shard_size=500)
    (root / "refs").mkdir()
    (root / "refs" / "main").write_text("0" * 40)
    snapshot.mkdir(parents=True)
    for blob in (root / "blobs").iterdir():
        (snapshot / blob.name).symlink_to(os.path.relpath(blob, snapshot))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HOME", str(tmp_path))
    asked = []

    def no_network(self, model_id, **options):
        asked.append(model_id)
        raise hub.errors.OfflineModeIsEnabled("no route to host")

    monkeypatch.setattr(hub.HfApi, "model_info", no_network)
    return snapshot, asked


def test_a_cached_model_is_read_without_the_network(cache):
    _, asked = cache
    assert torch.equal(embeddings(load("some/model")[0]), embeddings(random_model()))
    assert torch.equal(embeddings(load("some/model", layers=1)[0]), embeddings(random_model()))
    assert not asked


def test_what_is_not_or_not_wholly_cached_is_asked_for_and_the_failure_is_clear(cache):
    snapshot, asked = cache
    with pytest.raises(
        CheckpointError, match="other/model: no such folder here, not in the Hugging Face cache, and:.*"
    ):
        load("other/model")
    next(snapshot.glob("model-00002*")).unlink()
    with pytest.raises(CheckpointError, match="some/model: no such.*HF_HUB_OFFLINE is set.*Unset it"):
        load("some/model")
    assert asked == ["other/model", "some/model"]


def test_without_huggingface_hub_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    for name in ("some/model", "mistral-7b-v0.1"):
        with pytest.raises(CheckpointError, match=f"{name}: no such folder.*pip install huggingface_hub"):
            load(name)


@pytest.mark.parametrize(
    "files, left_out",
    [
        (["config.json", "model.safetensors", "params.json", "consolidated.safetensors"], {"consolidated.safetensors"}),
        (["params.json", "consolidated.00.pth", "consolidated.safetensors"], {"consolidated.00.pth"}),
        (["params.json", "consolidated.00.pt", "consolidated.07.pt", "tokenizer.model"], set()),
        (
            ["config.json", "pytorch_model-00001-of-00002.bin", "model-00001-of-00002.safetensors"],
            {"pytorch_model-00001-of-00002.bin"},
        ),
        (
            ["config.json", "model.safetensors", "model-00001-of-00002.safetensors", "model.safetensors.index.json"],
            {"model-00001-of-00002.safetensors", "model.safetensors.index.json"},
        ),
        (["params.json", "model.safetensors", "consolidated.safetensors"], {"model.safetensors"}),  # it has no config
        (
            ["config.json", "tokenizer.model.v3", "README.md", "a/model.safetensors", "code.py"],
            {"README.md", "a/model.safetensors", "code.py"},
        ),
    ],
)
def test_weights_are_never_downloaded_twice(files, left_out):
    assert set(files) - set(files_worth_having(files)) == left_out
