"""`save`: what is read back is what was written, bit by bit, and a folder appears whole or not at all."""

import errno
import json
import os
import re
import subprocess
import sys

import pytest
import torch
from torch import nn

from minimistral import CheckpointError, ModelConfig, MoEConfig, Transformer, load, save
from minimistral.checkpoints import replace, shards

torch.set_num_threads(1)

SIZES = dict(dim=24, n_layers=2, n_heads=6, n_kv_heads=3, head_dim=10, hidden_dim=36, vocab_size=41)
KINDS = {
    "dense": {},
    "tied with a window": dict(tie_embeddings=True, sliding_window=7, max_position_embeddings=99),
    "mixture": dict(moe=MoEConfig(num_experts=3, num_experts_per_tok=2), rope_theta=1e6),
    "one head, one expert, tied": dict(
        n_heads=1, n_kv_heads=1, moe=MoEConfig(1, 1), tie_embeddings=True, norm_eps=1e-6
    ),
}


def random_model(seed=0, **changes):
    torch.manual_seed(seed)
    return Transformer(ModelConfig(**SIZES | changes))


def files(folder):
    return sorted(path.name for path in folder.iterdir())


def assert_same(model, other):
    assert model.config == other.config
    mine, others = model.state_dict(), other.state_dict()
    assert mine.keys() == others.keys()
    for name in mine:
        assert mine[name].dtype == others[name].dtype and torch.equal(mine[name].cpu(), others[name].cpu()), name


@pytest.mark.parametrize("max_shard_size", ["5GB", "10KB", 1])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("layout", ["native", "hub"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_round_trip_keeps_every_bit(tmp_path, kind, layout, dtype, max_shard_size):
    model = random_model(**KINDS[kind]).to(dtype)
    save(model, tmp_path / "saved", layout=layout, max_shard_size=max_shard_size)
    assert_same(load(tmp_path / "saved")[0], model)
    assert files(tmp_path) == ["saved"]
    config, stem = ("params.json", "consolidated") if layout == "native" else ("config.json", "model")
    found = files(tmp_path / "saved")
    if max_shard_size == "5GB":
        assert found == [f"{stem}.safetensors", config] if layout == "native" else [config, f"{stem}.safetensors"]
    else:
        parts = [name for name in found if re.fullmatch(rf"{stem}-\d{{5}}-of-\d{{5}}\.safetensors", name)]
        index = json.loads((tmp_path / "saved" / f"{stem}.safetensors.index.json").read_text())
        assert len(parts) > 1 and set(index["weight_map"].values()) == set(parts) and len(found) == len(parts) + 2
        assert index["metadata"]["total_size"] == sum(weight.nbytes for weight in model.state_dict().values())


def test_the_native_file_holds_the_models_own_names_and_the_hub_file_those_of_transformers(tmp_path):
    from safetensors.torch import load_file

    model = random_model()
    save(model, tmp_path / "native")
    stored = load_file(tmp_path / "native" / "consolidated.safetensors")
    assert stored.keys() == model.state_dict().keys()
    assert all(torch.equal(stored[name], weight) for name, weight in model.state_dict().items())
    save(model, tmp_path / "hub", layout="hub")
    stored = load_file(tmp_path / "hub" / "model.safetensors")
    wk = stored["model.layers.1.self_attn.k_proj.weight"]
    assert torch.equal(wk[[10, 15, 11]], model.layers[1].attention.wk.weight[[10, 11, 12]])


def test_models_in_any_state_are_saved(tmp_path):
    model = random_model()
    expected = random_model()
    model.requires_grad_(False).train()
    model.layers[0].attention.wq.weight = nn.Parameter(model.layers[0].attention.wq.weight.T.contiguous().T)
    shared = model.layers[0].feed_forward
    shared.w3.weight = shared.w1.weight  # safetensors refuses two names for one memory
    expected.layers[0].feed_forward.w3.weight = expected.layers[0].feed_forward.w1.weight
    save(model, tmp_path / "one")
    assert_same(load(tmp_path / "one")[0], expected)
    save(torch.compile(model), tmp_path / "two")
    assert_same(load(tmp_path / "two")[0], expected)


def quantized(model):
    model.layers[1].attention.wq.weight = nn.Parameter(torch.zeros(60, 24, dtype=torch.int8), requires_grad=False)


def packed(model):
    model.layers[1].attention.wq.weight = nn.Parameter(torch.zeros(60, 3))


def with_scales(model):
    model.layers[1].attention.wq.register_buffer("scales", torch.ones(60))


def without(model):
    model.layers[1].attention.wq = nn.Identity()


@pytest.mark.parametrize("change", [quantized, packed, with_scales, without])
def test_a_quantized_or_altered_model_is_refused_with_the_reason(tmp_path, change):
    model = random_model()
    change(model)
    with pytest.raises(CheckpointError, match=r"layers.1.attention.wq.*quantized or altered"):
        save(model, tmp_path / "saved")
    assert files(tmp_path) == []


@pytest.mark.parametrize(
    "bad",
    [{"layout": "gguf"}, {"layout": "auto"}]
    + [{"max_shard_size": s} for s in (0, -1, "", "5XB", "GB", True, None, "0GB")],
)
def test_arguments_that_mean_nothing_are_refused(tmp_path, bad):
    with pytest.raises(ValueError, match=f"{next(iter(bad))}="):
        save(random_model(), tmp_path / "saved", **bad)
    for path in (None, 3, b"saved", ["saved"], True):
        with pytest.raises(ValueError, match="path=.*give the folder"):
            save(random_model(), path)
    with pytest.raises(ValueError, match="give a minimistral Tokenizer"):
        save(random_model(), tmp_path / "saved", tokenizer="tokenizer.model")
    with pytest.raises(ValueError, match="give a minimistral Transformer"):
        save(nn.Linear(2, 2), tmp_path / "saved")
    with torch.device("meta"), pytest.raises(CheckpointError, match="meta"):
        save(random_model(), tmp_path / "saved")
    assert files(tmp_path) == []


@pytest.mark.parametrize("limit", [1, 3, 7, 8, 20, 10**9])
def test_shards_keep_order_and_limit(limit):
    sizes = {str(i): n for i, n in enumerate([3, 1, 8, 2, 2, 2, 9, 1])}
    runs = shards.split(sizes, limit)
    assert [name for run in runs for name in run] == list(sizes)
    assert all(len(run) == 1 or sum(sizes[name] for name in run) <= limit for run in runs)
    pairs = zip(runs, runs[1:])
    assert all(
        sum(sizes[name] for name in run) + sizes[after[0]] > limit for run, after in pairs
    )  # none needlessly many


# What is in the way


def test_what_exists_is_not_overwritten_unasked(tmp_path):
    save(random_model(), tmp_path / "saved")
    before = (tmp_path / "saved" / "consolidated.safetensors").read_bytes()
    with pytest.raises(CheckpointError, match="overwrite=True"):
        save(random_model(seed=1), tmp_path / "saved")
    assert (tmp_path / "saved" / "consolidated.safetensors").read_bytes() == before
    (tmp_path / "empty").mkdir()
    save(random_model(), tmp_path / "empty")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(CheckpointError, match="is a file"):
        save(random_model(), tmp_path / "file", overwrite=True)
    assert files(tmp_path) == ["empty", "file", "saved"]


@pytest.mark.parametrize("first, second", [("native", "hub"), ("hub", "native"), ("native", "native")])
def test_overwriting_replaces_the_checkpoint_and_nothing_else(tmp_path, first, second):
    target = tmp_path / "saved"
    save(random_model(), target, layout=first, max_shard_size="10KB")
    (target / "notes.md").write_text("mine")
    (target / "runs").mkdir()
    (target / "runs" / "log.txt").write_text("mine")
    (target / "tokenizer.json").write_text("{}")
    model, _ = load_quietly(target)  # its weights are maps of the files that go
    with torch.no_grad():
        model.norm.weight.mul_(3)
    save(model, target, layout=second, overwrite=True)
    assert_same(load_quietly(target)[0], model)
    weights = "consolidated.safetensors" if second == "native" else "model.safetensors"
    config = "params.json" if second == "native" else "config.json"
    assert files(target) == sorted([weights, config, "notes.md", "runs", "tokenizer.json"])
    assert (target / "runs" / "log.txt").read_text() == "mine"
    assert files(tmp_path) == ["saved"]


def load_quietly(path):
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return load(path)


@pytest.mark.parametrize("name", ["thesis.txt", "config.json", "model.safetensors", "params.json"])
def test_a_folder_that_is_no_checkpoint_is_left_alone(tmp_path, name):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / name).write_text("{}")
    with pytest.raises(CheckpointError, match="not a checkpoint"):
        save(random_model(), tmp_path / "mine", overwrite=True)
    assert files(tmp_path / "mine") == [name]


def test_a_link_is_followed_not_replaced(tmp_path):
    save(random_model(), tmp_path / "real")
    (tmp_path / "link").symlink_to("real")
    save(random_model(seed=1), tmp_path / "link", overwrite=True)
    assert (tmp_path / "link").is_symlink()
    assert_same(load(tmp_path / "real")[0], random_model(seed=1))


# What fails on the way

FAILURES = {
    "the disk is full": (shards, "save_file", OSError(errno.ENOSPC, "No space left on device")),
    "safetensors gives up": (shards, "save_file", RuntimeError("I/O error")),
    "the user interrupts": (shards, "save_file", KeyboardInterrupt()),
    "flushing fails": (replace, "flush", OSError(errno.EIO, "Input/output error")),
}


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("exists", [False, True])
def test_a_failed_save_leaves_everything_as_it_was(tmp_path, monkeypatch, failure, exists):
    target = tmp_path / "new" / "folders" / "saved"
    if exists:
        save(random_model(), target)
    where, name, error = FAILURES[failure]

    def fail(*_, **__):
        raise error

    monkeypatch.setattr(where, name, fail)
    with pytest.raises(KeyboardInterrupt if isinstance(error, KeyboardInterrupt) else CheckpointError) as caught:
        save(random_model(seed=1), target, overwrite=True)
    assert isinstance(error, KeyboardInterrupt) or (
        str(target) in str(caught.value) and str(error) in str(caught.value)
    )
    monkeypatch.undo()
    if exists:
        assert_same(load(target)[0], random_model())
        assert files(target.parent) == ["saved"]
    else:
        assert files(tmp_path) == []


def test_when_the_new_folder_cannot_take_its_place_the_old_one_returns(tmp_path, monkeypatch):
    target = tmp_path / "saved"
    save(random_model(), target)
    rename = type(target).rename

    def fail_once_filled(path, to):
        if ".saving-" in path.name:
            raise PermissionError(errno.EACCES, "Permission denied")
        return rename(path, to)

    monkeypatch.setattr(type(target), "rename", fail_once_filled)
    with pytest.raises(CheckpointError, match="Permission denied"):
        save(random_model(seed=1), target, overwrite=True)
    monkeypatch.undo()
    assert_same(load(target)[0], random_model())
    assert files(tmp_path) == ["saved"]


def test_too_little_room_is_said_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 1000})())
    with pytest.raises(CheckpointError, match="needs .* MB, and its disk has 0.0 MB free"):
        save(random_model(), tmp_path / "saved")
    assert files(tmp_path) == []


def test_a_parent_that_is_a_file(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(CheckpointError, match="file"):
        save(random_model(), tmp_path / "file" / "saved")
    assert files(tmp_path) == ["file"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="file size limits are POSIX's")
def test_a_write_that_the_system_cuts_short(tmp_path):
    """A limit on file sizes is what a full disk looks like to safetensors itself."""
    program = (
        "import resource, signal, sys, torch\n"
        "from minimistral import ModelConfig, Transformer, save\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"model = Transformer(ModelConfig(**{SIZES!r}))\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
        "try:\n    save(model, sys.argv[1])\n"
        "except ValueError as error:\n    print(type(error).__name__, error)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", program, tmp_path / "saved"], capture_output=True, text=True, timeout=60
    )
    assert result.stdout.startswith("CheckpointError") and "saved" in result.stdout, result
    assert files(tmp_path) == []


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")
def test_others_may_read_what_was_saved_as_the_user_usually_lets_them(tmp_path):
    (tmp_path / "usual").mkdir()
    (tmp_path / "usual" / "file").write_text("")
    save(random_model(), tmp_path / "saved")
    assert (tmp_path / "saved").stat().st_mode == (tmp_path / "usual").stat().st_mode
    for path in (tmp_path / "saved").iterdir():
        assert path.stat().st_mode == (tmp_path / "usual" / "file").stat().st_mode, path
