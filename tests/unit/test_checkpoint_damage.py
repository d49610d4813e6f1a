"""Damaged, contradictory and hostile checkpoints: each a CheckpointError that names the file, and the tensor at fault."""

import json
import os
import pickle
import random
import struct
import warnings
import zipfile
from collections import OrderedDict

import pytest
import torch
from safetensors.torch import save_file

from minimistral import CheckpointError, ModelConfig, MoEConfig, Transformer, load

torch.set_num_threads(1)

SIZES = dict(dim=8, n_layers=2, n_heads=2, n_kv_heads=1, head_dim=6, hidden_dim=10, vocab_size=11)
PARAMS = {**SIZES, "norm_eps": 1e-5, "rope_theta": 1e4}
FILE = "consolidated.safetensors"
WQ = "layers.0.attention.wq.weight"


def weights(**changes):
    torch.manual_seed(0)
    return dict(Transformer(ModelConfig(**SIZES | changes)).state_dict())


@pytest.fixture
def folder(tmp_path):
    """A native checkpoint that loads."""
    (tmp_path / "params.json").write_text(json.dumps(PARAMS))
    save_file(weights(), tmp_path / FILE)
    load(tmp_path)
    return tmp_path


def refused(folder, *words):
    with pytest.raises(CheckpointError) as caught:
        load(folder)
    message = str(caught.value)
    for word in words:
        assert word in message, message
    return message


# What the config asks for, and what is there


def test_a_missing_tensor(folder):
    stored = weights()
    del stored[WQ]
    save_file(stored, folder / FILE)
    refused(folder, FILE, WQ, "missing")


def test_a_tensor_too_many(folder):
    save_file(weights() | {"layers.0.attention.wq.bias": torch.zeros(12)}, folder / FILE)
    refused(folder, FILE, "layers.0.attention.wq.bias")


@pytest.mark.parametrize("shape", [(8, 12), (12, 9), (12, 8, 1), (96,), ()])
def test_a_wrong_shape(folder, shape):
    save_file(weights() | {WQ: torch.zeros(shape)}, folder / FILE)
    refused(folder, FILE, WQ, "[12, 8]")


@pytest.mark.parametrize(
    "dtype", [torch.int8, torch.int64, torch.bool, torch.float8_e4m3fn, torch.complex64, torch.uint8]
)
@pytest.mark.parametrize("file", [FILE, "consolidated.00.pth"])
def test_a_dtype_that_is_no_weights(folder, dtype, file):
    (folder / FILE).unlink()
    stored = weights() | {WQ: torch.zeros(12, 8, dtype=dtype)}
    try:
        save_file(stored, folder / file) if file == FILE else torch.save(stored, folder / file)
    except KeyError:
        pytest.skip("this safetensors cannot write complex numbers")
    message = refused(folder, file)
    assert WQ in message or "UInt8" in message or "Float8" in message


@pytest.mark.parametrize(
    "change",
    [
        {"dim": 10**7},
        {"n_layers": 10**7},
        {"vocab_size": 10**7},
        {"hidden_dim": 10**7},
        {"n_heads": 10**7},
        {"head_dim": 10**7},
        {"moe": {"num_experts": 10**7, "num_experts_per_tok": 2}},
        {"n_layers": 3},
        {"n_layers": 1},
        {"tied_embeddings": True},
        {"dim": 10**12},
    ],
    ids=str,
)
def test_a_config_of_another_size_costs_neither_time_nor_memory(folder, change):
    (folder / "params.json").write_text(json.dumps(PARAMS | change))
    refused(folder, str(folder))


@pytest.mark.parametrize("experts", [10**7, 3])
def test_stacked_experts_of_another_number(folder, experts):
    stored = {name: weight for name, weight in weights().items() if "feed_forward" not in name}
    for i in range(2):
        stored[f"layers.{i}.block_sparse_moe.gate.weight"] = torch.zeros(2, 8)
        stored |= {f"layers.{i}.block_sparse_moe.{w}": torch.zeros(20, 8) for w in ("w1", "w2", "w3")}
    save_file(stored, folder / FILE)
    (folder / "params.json").write_text(json.dumps(PARAMS | {"moe": {"num_experts": 2, "num_experts_per_tok": 1}}))
    load(folder)
    (folder / "params.json").write_text(
        json.dumps(PARAMS | {"moe": {"num_experts": experts, "num_experts_per_tok": 1}})
    )
    refused(folder, FILE, "layers.0.block_sparse_moe.gate.weight")


def test_a_dense_config_over_the_weights_of_a_mixture(folder):
    save_file(weights(moe=MoEConfig(2, 1)), folder / FILE)
    refused(folder, FILE, "layers.0.feed_forward.w1.weight")


def test_weights_that_are_not_numbers_still_load(folder):
    save_file(weights() | {WQ: torch.full((12, 8), torch.nan)}, folder / FILE)
    assert load(folder)[0].layers[0].attention.wq.weight.isnan().all()


# safetensors files


def with_header(header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def one(dtype="F32", shape=(2,), offsets=(0, 8), **more):
    return {"x": {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets), **more}}


@pytest.mark.parametrize(
    "content, reason",
    [
        (b"", "empty"),
        (b"\x08", "truncated"),
        (struct.pack("<Q", 50) + b"{}", "truncated"),
        (struct.pack("<Q", 2**63) + b"{}", "header"),
        (struct.pack("<Q", 2**30) + b"{}", "header"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:aa\nsize 5\n", "git-lfs"),
        (b"\n<!doctype html><title>Sign in</title>", "web page"),
        (b"PK\x03\x04" + bytes(100), "safetensors"),
        (with_header(b"[]"), "list"),
        (with_header(b"{" * 5), "JSON"),
        (with_header(b"[" * 100_000), "nested"),
        (with_header(b'{"x": 1, "x": 2}'), "twice"),
        (with_header(b"\xff{}"), "UTF-8"),
        (with_header({"x": 3}), "'x'"),
        (with_header({"x": {"dtype": "F32"}}), "'x'"),
        (with_header(one(dtype="F3"), bytes(8)), "'x'"),
        (with_header(one(dtype=["F32"]), bytes(8)), "'x'"),
        (with_header(one(shape=(-2,)), bytes(8)), "'x'"),
        (with_header(one(shape=(2.0,)), bytes(8)), "'x'"),
        (with_header(one(shape=(True, 2)), bytes(8)), "'x'"),
        (with_header(one(shape=(10**18, 10**18)), bytes(8)), "'x'"),
        (with_header(one(shape=(1,) * 100 + (2,)), bytes(8)), "'x'"),
        (with_header(one(offsets=(0, 4)), bytes(8)), "'x'"),
        (with_header(one(offsets=(8, 0)), bytes(8)), "'x'"),
        (with_header(one(offsets=(-8, 0)), bytes(8)), "'x'"),
        (with_header(one(offsets=(0, 8, 16)), bytes(8)), "'x'"),
        (with_header(one(), bytes(7)), "truncated"),
        (with_header(one(), bytes(9)), "belong to no tensor"),
        (with_header(one(offsets=(8, 16)), bytes(16)), "gap"),
        (with_header({"x": one()["x"], "y": one(offsets=(4, 12))["x"]}, bytes(12)), "overlap"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_safetensors_file_that_cannot_be(folder, content, reason):
    (folder / FILE).write_bytes(content)
    refused(folder, FILE, reason)


@pytest.mark.parametrize("kept", [0, 4, 8, 100, -1, -1000])
def test_a_truncated_safetensors_file(folder, kept):
    content = (folder / FILE).read_bytes()
    (folder / FILE).write_bytes(content[:kept])
    refused(folder, FILE)


# Pickles


class Attack:
    def __reduce__(self):
        return os.mkdir, ("attacked",)


class Greedy:
    def __reduce__(self):
        return bytearray, (10**11,)


@pytest.fixture
def pickled(folder):
    (folder / FILE).unlink()
    torch.save(weights(), folder / "consolidated.00.pth")
    load(folder)
    return folder


@pytest.mark.filterwarnings("ignore:Detected pickle protocol 4")
@pytest.mark.parametrize("attack", [Attack(), Greedy(), {"layers": Attack()}, OrderedDict(x=Attack())])
@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("legacy", [False, True])
def test_a_pickle_that_wants_to_run_code_never_does(pickled, monkeypatch, attack, protocol, legacy):
    monkeypatch.chdir(pickled)
    torch.save(
        weights() | {"norm.weight": attack},
        "consolidated.00.pth",
        pickle_protocol=protocol,
        _use_new_zipfile_serialization=not legacy,
    )
    refused(pickled, "consolidated.00.pth", *[] if legacy else ["run code"])
    assert not os.path.exists("attacked")
    with pytest.raises(Exception):  # noqa: B017 the file does bite
        torch.load("consolidated.00.pth", weights_only=True)


def test_a_bare_pickle_is_refused_unread(pickled, monkeypatch):
    monkeypatch.chdir(pickled)
    (pickled / "consolidated.00.pth").write_bytes(pickle.dumps(Attack()))
    refused(pickled, "consolidated.00.pth", "not what torch.save writes")
    assert not os.path.exists("attacked")


@pytest.mark.parametrize(
    "table, word",
    [
        ([torch.zeros(2)], "list"),
        ({}, "dict"),
        (torch.zeros(3), "Tensor"),
        ({"model": {WQ: torch.zeros(12, 8)}}, "'model'"),
        ({3: torch.zeros(2)}, "tensor 3"),
        ({"epoch": 3}, "'epoch'"),
        ({WQ: torch.zeros(1, 1).expand(12, 8)}, WQ),
        ({WQ: torch.zeros(12, 8).to_sparse()}, "run code"),
    ],
    ids=str,
)
def test_a_pickle_of_something_else(pickled, table, word):
    torch.save(table, pickled / "consolidated.00.pth")
    refused(pickled, "consolidated.00.pth", word)


def test_tensors_stored_with_strides_are_read_as_they_are(pickled):
    stored = weights()
    torch.save(stored | {WQ: stored[WQ].T.contiguous().T}, pickled / "consolidated.00.pth")
    wq = load(pickled, device="cpu")[0].layers[0].attention.wq.weight
    assert torch.equal(wq, stored[WQ]) and wq.is_contiguous()


@pytest.mark.parametrize("kept", [0, 3, 200, -1, -1000])
def test_a_truncated_pickle(pickled, kept):
    path = pickled / "consolidated.00.pth"
    path.write_bytes(path.read_bytes()[:kept])
    refused(pickled, "consolidated.00.pth")


def test_a_zip_bomb(pickled):
    path = pickled / "consolidated.00.pth"
    with zipfile.ZipFile(path) as old:
        members = {member: old.read(member) for member in old.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for member, content in members.items():
            new.writestr(member, content if member.endswith("pkl") else bytes(10**6))
    assert path.stat().st_size < 10**6
    refused(pickled, "consolidated.00.pth", "compressed")


# Indexes and folders


@pytest.fixture
def sharded(folder):
    """The same weights in two shards with an index; returns the folder, and a function that rewrites the index."""
    stored = weights()
    (folder / FILE).unlink()
    placed = {name: f"consolidated-0000{1 + at % 2}-of-00002.safetensors" for at, name in enumerate(stored)}
    for file in set(placed.values()):
        save_file({name: weight for name, weight in stored.items() if placed[name] == file}, folder / file)
    total = sum(weight.nbytes for weight in stored.values())

    def write_index(changes=(), metadata=None, **whole):
        index = {
            "metadata": {"total_size": total} if metadata is None else metadata,
            "weight_map": placed | dict(changes),
        }
        (folder / f"{FILE}.index.json").write_text(json.dumps(index | whole))

    write_index()
    load(folder)
    return folder, write_index


@pytest.mark.parametrize(
    "file",
    [
        "/etc/hostname",
        "../consolidated.safetensors",
        "..",
        ".",
        "",
        "a/b.safetensors",
        "a\\b",
        "C:x",
        "a\0b",
        3,
        None,
        ["a"],
        {},
    ],
)
def test_an_index_that_points_outside_the_folder(sharded, file):
    folder, write_index = sharded
    save_file(weights(), folder.parent / FILE)
    write_index({WQ: file})
    refused(folder, f"{FILE}.index.json", WQ, "Nothing outside the folder is read")


@pytest.mark.parametrize(
    "changes, words",
    [
        (
            {"changes": {WQ: "consolidated-00003-of-00002.safetensors"}},
            ["consolidated-00003-of-00002", "not in the folder"],
        ),
        ({"changes": {"layers.9.x": "consolidated-00001-of-00002.safetensors"}}, ["layers.9.x", "does not hold it"]),
        ({"changes": {WQ: "consolidated-00002-of-00002.safetensors"}}, [WQ, "does not hold it"]),
        ({"changes": {WQ: "params.json"}}, ["params.json"]),
        ({"metadata": {"total_size": 5}}, ["total_size is 5"]),
        ({"metadata": {"total_size": "many"}}, ["'many'"]),
        ({"metadata": []}, []),
        ({"metadata": 3}, ["metadata"]),
        ({"weight_map": []}, ["weight_map"]),
        ({"weight_map": {}}, ["weight_map"]),
        ({"weight_map": None}, ["weight_map"]),
    ],
    ids=str,
)
def test_an_index_that_disagrees_with_the_files(sharded, changes, words):
    folder, write_index = sharded
    write_index(**changes)
    if words:
        refused(folder, *words)
    else:
        load(folder)  # an empty list says as little as none


def test_a_tensor_that_its_index_does_not_name(sharded):
    folder, write_index = sharded
    names = [name for name in weights() if name != WQ]
    index = json.loads((folder / f"{FILE}.index.json").read_text())
    write_index(weight_map={name: index["weight_map"][name] for name in names})
    refused(folder, WQ, "does not name")


@pytest.mark.parametrize("with_index", [True, False])
def test_a_tensor_in_two_files(sharded, with_index):
    folder, _ = sharded
    first, second = (folder / f"consolidated-0000{n}-of-00002.safetensors" for n in (1, 2))
    stored = weights()
    names = json.loads((folder / f"{FILE}.index.json").read_text())["weight_map"]
    save_file({name: stored[name] for name in names if names[name] == second.name or name == WQ}, second)
    save_file({name: stored[name] for name in names if names[name] == first.name or name == WQ}, first)
    if not with_index:
        (folder / f"{FILE}.index.json").unlink()
    refused(folder, WQ, first.name, second.name)


def test_shards_may_be_links_as_in_the_hubs_cache(sharded):
    folder, _ = sharded
    for path in list(folder.glob("*.safetensors")):
        path.rename(folder.parent / f"blob-{path.name}")
        path.symlink_to(folder.parent / f"blob-{path.name}")
    load(folder)
    (folder.parent / "blob-consolidated-00002-of-00002.safetensors").unlink()
    refused(folder, "consolidated-00002-of-00002.safetensors")


def test_a_numbered_shard_that_is_missing(sharded):
    folder, _ = sharded
    (folder / f"{FILE}.index.json").unlink()
    (folder / "consolidated-00002-of-00002.safetensors").unlink()
    refused(folder, "number 2 is missing")


def test_a_folder_without_a_checkpoint_says_what_it_lacks(tmp_path):
    refused(tmp_path, str(tmp_path), "params.json", "config.json", "no files")
    (tmp_path / "params.json").write_text(json.dumps(PARAMS))
    refused(tmp_path, "no complete checkpoint", "The folder has params.json")
    (tmp_path / FILE).mkdir()
    refused(tmp_path, "no complete checkpoint")
    (tmp_path / "adapter_config.json").write_text("{}")
    refused(tmp_path, "adapter")


def test_names_that_lead_nowhere(tmp_path, folder):
    for name in (tmp_path / "absent", "no-such-model", str(folder / FILE)):
        with pytest.raises(CheckpointError, match=str(getattr(name, "name", name))):
            load(name)
    for name in ("", 3, None):
        with pytest.raises(ValueError, match="bundled name"):
            load(name)


@pytest.mark.parametrize("seed", range(3))
def test_random_damage_raises_nothing_else(folder, seed):
    """Bytes changed at random, mostly in headers: a load ends well or in a CheckpointError."""
    torch.save(weights(), folder / "pickle")
    damage, outcomes = random.Random(seed), []
    for name in ("params.json", FILE, "consolidated.00.pth"):
        good = (folder / ("pickle" if name.endswith("pth") else name)).read_bytes()
        (folder / FILE).rename(folder / "aside") if name.endswith("pth") else None
        for _ in range(60):
            bad = bytearray(good)
            for _ in range(damage.choice([1, 1, 3])):
                bad[damage.randrange(min(len(bad), damage.choice([16, 200, len(bad)])))] = damage.randrange(256)
            (folder / name).write_bytes(bad)
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    load(folder)
                outcomes.append("loaded")
            except CheckpointError as error:
                assert name in str(error) or FILE in str(error), error
                outcomes.append("refused")
        (folder / name).write_bytes(good)
    assert outcomes.count("refused") > 60 and "loaded" in outcomes
