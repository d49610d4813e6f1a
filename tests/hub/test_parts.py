"""Parts of a model: only their bytes travel, in every layout; more layers may follow; nothing else is taken for a part."""

import json
import math
import struct
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from minimistral import CheckpointError, ModelConfig, Transformer, load, save
from minimistral.checkpoints import filling, parts
from minimistral.checkpoints.filling import read_record
from minimistral.checkpoints.hub import download, find_or_download, make_order, place_of
from minimistral.checkpoints.hub_client import Listing, RemoteFile
from minimistral.checkpoints.hub_config import write_config
from minimistral.checkpoints.match import layer_of
from minimistral.checkpoints.names import hub_pieces
from minimistral.checkpoints.preflight import preflight
from minimistral.checkpoints.shards import split

REPOS = ("org/sharded", "org/native", "org/mixture")


@pytest.fixture
def fetch(client, tmp_path):
    def run(repo="org/sharded", layers=1, to="part", **changes):
        return download(repo, to=tmp_path / to, layers=layers, hub=client(**changes), progress=False)

    return run


def logits(folder, layers):
    model, _ = load(folder, device="cpu", layers=layers)
    with torch.inference_mode():
        return model(torch.arange(30)[None])


@pytest.mark.parametrize("repo", REPOS)
@pytest.mark.parametrize("layers", [1, [3], [2, 0], 4])
def test_the_same_logits_and_only_the_bytes_of_the_part(server, fetch, tmp_path, repo, layers):
    folder = fetch(repo, layers)
    made = tmp_path / "made" / repo.replace("/", "--")
    if repo == "org/sharded":  # a second copy of the weights, never fetched
        (made / "consolidated.safetensors").unlink()
    assert torch.equal(logits(folder, layers), logits(made, layers))
    chosen = list(range(layers)) if isinstance(layers, int) else layers
    tensors = {}
    for path in made.glob("*.safetensors"):
        tensors |= load_file(path)
    wanted = {n: t for n, t in tensors.items() if layer_of(n) in (None, *chosen)}
    held = {}
    for path in folder.glob("*.safetensors"):
        held |= load_file(path)
    assert held.keys() == wanted.keys() and all(torch.equal(held[n], wanted[n]) for n in wanted)
    reads = [r for r in server.requests if r["route"] == "cdn" and r["file"].endswith(".safetensors")]
    headers = sum(r["sent"] for r in reads if r["range"] is None or r["range"].startswith("bytes=0-"))
    assert sum(r["sent"] for r in reads) - headers <= sum(t.nbytes for t in wanted.values())
    record = read_record(folder)
    assert record.layers == sorted(chosen) and record.n_layers == 4 and record.is_whole(folder)


def test_more_layers_are_added_and_none_comes_twice(server, fetch, monkeypatch):
    monkeypatch.setattr(parts, "FIRST_READ", 4096)
    fetch(layers=[1])
    server.requests.clear()
    folder = fetch(layers=[1, 3])
    names = {r["file"] for r in server.requests if r["route"] == "cdn" and (r["range"] or "").startswith("bytes=0-")}
    assert "tokenizer.model" not in {r.get("file") for r in server.requests}
    assert names  # headers alone are read again
    first_reads = server.n_sent("cdn")
    server.requests.clear()
    assert fetch(layers=[3]) == folder and not server.requests
    load(folder, device="cpu", layers=[3, 1])
    assert first_reads < 40_000  # no embeddings, no head
    with pytest.raises(CheckpointError, match=r"Of its 4 layers there are 1, 3 here.*layers=\[1, 3\]"):
        load(folder, layers=2)


def test_a_killed_run_leaves_what_was_put_on_the_disk_for_good(server, fetch, tmp_path, monkeypatch):
    """Nothing is closed properly, as when the process is killed: what was noted on the way is used, no more."""
    monkeypatch.setattr(parts, "FIRST_READ", 4096)
    monkeypatch.setattr(filling, "SAFE_EVERY", 20_000)
    file, close = "model-00001-of-00004.safetensors", filling.Growing.close
    monkeypatch.setattr(filling.Growing, "close", lambda self: self.file.close())
    server.faults["cdn"] = [{"file": file}, {"file": file, "cut": 70_000}, *[{"file": file, "cut": 0}] * 20]
    with pytest.raises(CheckpointError, match="what has come is kept"):
        fetch(layers=1)
    (note,) = (tmp_path / ".part.download").glob("*.safe")
    n_safe = int(note.read_text().split()[0])
    assert 40_000 <= n_safe <= 75_000
    monkeypatch.setattr(filling.Growing, "close", close)
    server.faults.clear()
    server.requests.clear()
    assert torch.equal(logits(fetch(layers=1), 1), logits(fetch(layers=None, to="whole"), 1))
    sent = sum(r["sent"] for r in server.requests if r.get("file") == file and r["range"] and r["route"] == "cdn")
    assert sent < 131_072 + 8192 - n_safe + 2000


def test_a_part_is_no_whole_and_a_whole_has_every_part(server, fetch):
    folder = fetch(layers=[1])
    with pytest.raises(CheckpointError, match="holds layers 1 of org/sharded, and the whole model is asked for"):
        fetch(layers=None)
    whole = fetch(layers=None, to="whole")
    server.requests.clear()
    assert fetch(layers=2, to="whole") == whole and not server.requests
    assert torch.equal(logits(whole, [1]), logits(folder, [1]))


@pytest.mark.parametrize("layers", [0, 5, [4], [1, 1], [], "1", True])
def test_layers_that_cannot_be(fetch, layers):
    with pytest.raises(ValueError, match="the model has 4 layers"):
        fetch(layers=layers)


def test_a_cut_layer_goes_on_where_it_was(server, fetch, monkeypatch):
    file = "model-00002-of-00004.safetensors"
    monkeypatch.setattr(parts, "FIRST_READ", 4096)
    server.faults["cdn"] = [{"file": file}, {"file": file, "cut": 3000}, {"file": file, "cut": 10}]
    folder = fetch(layers=1)
    assert not server.faults["cdn"]
    ranges = [r["range"] for r in server.requests if r.get("file") == file and r["route"] == "cdn"]
    starts = [int(text.removeprefix("bytes=").split("-")[0]) for text in ranges]
    assert starts[2] == starts[1] + 3000 and starts[3] == starts[2] + 10
    assert torch.equal(logits(folder, 1), logits(fetch(layers=None, to="whole"), 1))


def test_what_an_interrupted_part_left_is_used_as_far_as_it_is_known_to_be_good(server, fetch, tmp_path, monkeypatch):
    """The end of the file is spoilt between the runs, as by a power cut: its hash beside it tells."""
    file = "model-00002-of-00004.safetensors"
    monkeypatch.setattr(parts, "FIRST_READ", 4096)
    starts = []
    for spoil in (False, True):
        server.faults["cdn"] = [{"file": file}, {"file": file, "cut": 5000}, *[{"file": file, "cut": 0}] * 20]
        with pytest.raises(CheckpointError, match="what has come is kept"):
            fetch(layers=1, to=f"it{spoil}")
        (left,) = (tmp_path / f".it{spoil}.download").glob("*.part")
        data = left.read_bytes()
        left.write_bytes(data[:-9] + bytes(9) + bytes(100) if spoil else data + bytes(100))
        server.faults.clear()
        server.requests.clear()
        folder = fetch(layers=1, to=f"it{spoil}")
        assert torch.equal(logits(folder, 1), logits(fetch(layers=None, to="whole"), 1))
        ranges = [r["range"] for r in server.requests if r.get("file") == file and r["route"] == "cdn" and r["range"]]
        starts.append(int(ranges[1].removeprefix("bytes=").split("-")[0]))  # after the header's
    assert starts[0] == starts[1] + 5000


@pytest.mark.parametrize(
    "route, fault, text",
    [
        ("cdn", {"ignore_range": True}, "ignores byte ranges.*Download the whole model"),
        ("cdn", {"shift": 2}, "asked for bytes from 0 of .*the server sent 'bytes 2-"),
        ("resolve", {"etag": "1" * 64}, "has changed on the hub"),
        ("cdn", {"status": 416}, "416"),
    ],
    ids=str,
)
def test_parts_need_ranges_of_the_file_that_was_listed(server, fetch, tmp_path, monkeypatch, route, fault, text):
    monkeypatch.setattr(parts, "FIRST_READ", 1000)
    server.always[route] = fault
    with pytest.raises(CheckpointError, match=text):
        fetch()
    assert not (tmp_path / "part").exists()


def test_layers_of_two_versions_are_never_mixed(server, fetch):
    fetch(layers=[1])
    commit = server.commit("org/sharded")
    for name in [name for name in server.models["org/sharded"] if name.startswith("model-")]:
        server.models["org/sharded"][name] = server.models["org/sharded"][name][:-1] + b"\1"
    with pytest.raises(CheckpointError, match=f"has changed on the hub since.*revision='{commit}'"):
        fetch(layers=[2])


def test_layers_of_two_versions_are_never_mixed_where_the_new_ones_lie_in_unchanged_files(server, fetch, monkeypatch):
    """The file of the layer that is here changes, the files of the layer that is asked for do not."""
    files = server.models["org/sharded"]
    placed = json.loads(files["model.safetensors.index.json"])["weight_map"]
    where = {i: {file for name, file in placed.items() if layer_of(name) in (None, i)} for i in range(4)}
    here = next(i for i in range(4) for j in range(4) if where[i] - where[j])
    asked = next(j for j in range(4) if where[here] - where[j])
    fetch(layers=[here])
    for name in where[here] - where[asked]:
        files[name] = files[name][:-1] + b"\1"
    with pytest.raises(CheckpointError, match="has changed on the hub since"):
        fetch(layers=[asked])


# Files that are not what they seem


def broken(server, change):
    """The native model with another header."""
    data = server.models["org/native"]["consolidated.safetensors"]
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    text, rest = change(header, data[8 + length :])
    if isinstance(text, dict):
        text = json.dumps(text).encode()
    server.models["org/native"]["consolidated.safetensors"] = struct.pack("<Q", len(text)) + text + rest


def without(name):
    return lambda header, rest: ({k: v for k, v in header.items() if k != name}, rest)


@pytest.mark.parametrize(
    "change, text",
    [
        (lambda header, rest: (b"[]", rest), "a JSON list"),
        (lambda header, rest: (b"{", rest), "not valid JSON"),
        (lambda header, rest: (header, rest[:-2]), "ends at data byte"),
        (lambda header, rest: (header, rest + b"\0\0"), "belong to no tensor"),
        (without("layers.1.attention.wq.weight"), "overlap or leave a gap"),
    ],
)
def test_headers_are_checked_before_the_data_is_asked_for(server, fetch, change, text):
    broken(server, change)
    with pytest.raises(CheckpointError, match=f"org/native/consolidated.safetensors: .*{text}"):
        fetch("org/native")


def turned(name):
    def change(header, rest):
        header[name]["shape"].reverse()
        return header, rest

    return change


def renamed(old, new):
    return lambda header, rest: ({new if name == old else name: value for name, value in header.items()}, rest)


@pytest.mark.parametrize(
    "change, text",
    [
        (turned("layers.1.attention.wk.weight"), r"tensor layers.1.attention.wk.weight has shape \[32, 16\]; .*\[16, 32\]"),
        (turned("output.weight"), r"tensor output.weight has shape \[32, 64\]; params.json asks for \[64, 32\]"),
        (renamed("norm.weight", "final.weight"), "tensor norm.weight is missing"),
        (renamed("layers.1.attention.wo.weight", "layers.1.attention.wo.bias"), "tensor layers.1.attention.wo.weight is"),
        (renamed("layers.0.attention.wo.weight", "layers.1.attention.q_norm.weight"), "holds .layers.1.attention.q_norm"),
    ],
)  # fmt: skip
def test_what_load_would_refuse_is_refused_before_a_weight_is_asked_for(
    server, client, fetch, tmp_path, monkeypatch, change, text
):
    monkeypatch.setattr(parts, "FIRST_READ", 4096)
    broken(server, change)
    whole = tmp_path / "whole"
    whole.mkdir()
    for name, data in server.models["org/native"].items():
        (whole / name).write_bytes(data)
    with pytest.raises(CheckpointError, match=text) as said:
        load(whole, device="cpu", layers=[1])
    with pytest.raises(CheckpointError) as said_before:
        fetch("org/native", [1])
    assert str(said_before.value).replace("org/native", "") == str(said.value).replace(str(whole), "")
    found = preflight("org/native", tmp_path / "part", [1], hub=client())
    assert found.problem == f"files: {said_before.value}"
    sent = [r["range"] for r in server.requests if r.get("file") == "consolidated.safetensors" and r["route"] == "cdn"]
    assert sent and all(text.startswith("bytes=0-") for text in sent), "headers alone"
    assert not (tmp_path / "part").exists() and not (tmp_path / ".part.download").exists()


def test_a_fault_in_a_layer_that_is_not_asked_for_is_none(server, fetch):
    broken(server, turned("layers.2.attention.wk.weight"))
    assert load(fetch("org/native", [1]), device="cpu", layers=[1])[0].config.n_layers == 1


def test_a_config_of_another_model_is_refused_before_a_weight_is_asked_for(server, fetch):
    config = json.loads(server.models["org/sharded"]["config.json"])
    for field, value, text in (
        ("intermediate_size", 49, r"mlp.*has shape .*48.*config.json asks for .*49"),
        ("num_attention_heads", 8, "q_proj.weight has shape"),
    ):
        server.models["org/sharded"]["config.json"] = json.dumps(config | {field: value}).encode()
        with pytest.raises(CheckpointError, match=f"org/sharded/model-.*{text}"):
            fetch(to=field)


def test_a_file_that_is_no_safetensors_file(server, fetch):
    server.models["org/native"]["consolidated.safetensors"] = b"\xff" * 1000
    with pytest.raises(CheckpointError, match="begins like no safetensors file"):
        fetch("org/native")


def test_an_index_that_does_not_fit_its_files(server, fetch):
    index = json.loads(server.models["org/sharded"]["model.safetensors.index.json"])
    placed = index["weight_map"]
    name = "model.layers.0.mlp.up_proj.weight"
    for other, text in ((placed["lm_head.weight"], "does not"), ("model-9.safetensors", "the hub does not list")):
        changed = index | {"weight_map": placed | {name: other}}
        server.models["org/sharded"]["model.safetensors.index.json"] = json.dumps(changed).encode()
        with pytest.raises(CheckpointError, match=text):
            fetch(layers=1)
    changed = index | {"weight_map": {n: f for n, f in placed.items() if layer_of(n) != 2}}
    server.models["org/sharded"]["model.safetensors.index.json"] = json.dumps(changed).encode()
    with pytest.raises(CheckpointError):
        fetch(layers=[2])


def test_pickled_weights_have_no_parts(server, fetch):
    files = server.models["org/native"]
    files["consolidated.00.pth"] = files.pop("consolidated.safetensors")
    with pytest.raises(CheckpointError, match="has no safetensors files.*Download the whole"):
        fetch("org/native")


def test_a_config_that_cannot_be_is_told_with_the_models_name(server, fetch):
    server.models["org/native"]["params.json"] = b'{"dim": "many"}'
    with pytest.raises(CheckpointError, match="org/native/params.json: dim"):
        fetch("org/native")


def test_a_header_longer_than_the_first_read(server, fetch, monkeypatch):
    monkeypatch.setattr(parts, "FIRST_READ", 100)
    assert torch.equal(logits(fetch(), 1), logits(fetch(layers=None, to="whole"), 1))


def test_old_checkpoints_mix_dtypes_and_store_angles(server, fetch, tmp_path):
    torch.manual_seed(1)
    sizes = dict(dim=8, n_layers=2, n_heads=2, n_kv_heads=1, head_dim=6, hidden_dim=10, vocab_size=11)
    save(Transformer(ModelConfig(**sizes)), tmp_path / "old", layout="hub")
    path = tmp_path / "old" / "model.safetensors"
    tensors = load_file(path)
    for i in range(2):
        tensors[f"model.layers.{i}.self_attn.rotary_emb.inv_freq"] = torch.ones(3)
        tensors[f"model.layers.{i}.mlp.up_proj.weight"] = tensors[f"model.layers.{i}.mlp.up_proj.weight"].bfloat16()
    save_file(tensors, path)
    server.add("org/old", tmp_path / "old")
    folder = fetch("org/old", [1])
    one, other = (load(f, device="cpu", layers=[1])[0] for f in (folder, tmp_path / "old"))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


# The published sizes


class RealShapes:
    """A hub that has the headers of a published model, in shards, and none of its bytes."""

    def __init__(self, preset, n_shards, bytes_a_shard):
        config = ModelConfig.preset(preset)
        shapes = {piece.name: list(piece.shape) for piece in hub_pieces(config)}
        sizes = {name: 2 * math.prod(shape) for name, shape in shapes.items()}
        runs = split(sizes, bytes_a_shard)
        assert len(runs) == n_shards
        self.headers, self.small, files, placed = {}, {}, {}, {}
        for i, run in enumerate(runs, start=1):
            name, at, header = f"model-{i:05}-of-{n_shards:05}.safetensors", 0, {}
            for tensor in sorted(run):
                header[tensor] = {"dtype": "BF16", "shape": shapes[tensor], "data_offsets": [at, at + sizes[tensor]]}
                at += sizes[tensor]
                placed[tensor] = name
            text = json.dumps(header).encode()
            self.headers[name] = struct.pack("<Q", len(text)) + text
            files[name] = RemoteFile(name, len(self.headers[name]) + at, f"hash of {name}", None)
        self.small["config.json"] = json.dumps(write_config(config, "bfloat16", 1, 2)).encode()
        self.small["model.safetensors.index.json"] = json.dumps({"weight_map": placed}).encode()
        files |= {name: RemoteFile(name, len(data), None, f"hash of {name}") for name, data in self.small.items()}
        self.listing, self.n_read = Listing("real/shapes", "0" * 40, files, False, None), 0

    def read_small(self, listing, name):
        return self.small[name]

    def read(self, listing, file, start, end):
        assert end <= max(len(self.headers[file.name]), parts.FIRST_READ)
        self.n_read += end - start
        return self.headers[file.name][start:end]


@pytest.mark.parametrize(
    "preset, n_shards, bytes_a_shard, gigabytes",
    [
        ("mistral-7b-v0.1", 2, 9.95e9, 0.96),
        ("mistral-7b-v0.3", 3, 4.95e9, 0.97),
        ("mixtral-8x7b-v0.1", 19, 5e9, 3.43),
    ],
)
def test_logits_through_one_layer_of_the_real_models(preset, n_shards, bytes_a_shard, gigabytes):
    """Planned on headers of the real shapes: 0.96 GB of the 7B's 14.5, few requests, and the layer's weights in full."""
    hub = RealShapes(preset, n_shards, int(bytes_a_shard))
    for layers in (1, [0], [31], [15]):
        plan = parts.plan_part(hub, hub.listing, layers)
        assert round(sum(file.size for file in plan.files) / 1e9, 2) == gigabytes
        assert sum(len(file.stretches) for file in plan.files) <= 12
    config = ModelConfig.preset(preset)
    layer = config.count_parameters().total - replace(config, n_layers=31).count_parameters().total
    n_data = sum(stretch.end - stretch.start for file in plan.files for stretch in file.stretches)
    assert n_data == 2 * (config.count_parameters().total - 31 * layer)


# load


def test_load_fetches_what_is_asked_for_and_keeps_it(server, at_home):
    model, tokenizer = load("org/sharded", device="cpu", layers=1)
    assert model.config.n_layers == 1 and tokenizer.vocab_size == 2048
    server.requests.clear()
    load("org/sharded", device="cpu", layers=[0])
    assert not server.requests
    assert load("org/sharded", device="cpu")[0].config.n_layers == 4
    server.requests.clear()
    assert load("org/sharded", device="cpu", layers=[2])[0].config.n_layers == 1
    assert not server.requests
    assert find_or_download("org/sharded") == place_of("org/sharded")
    with pytest.raises(
        CheckpointError, match="org/none: no such folder here, not in the Hugging Face cache, and: there is"
    ):
        load("org/none")


def test_the_config_comes_last(client):
    for repo in REPOS:
        hub = client()
        names = [file.name for file in make_order(hub, hub.listing(repo)).files]
        assert names[-1] in ("config.json", "params.json")
        weights = [i for i, name in enumerate(names) if name.endswith(".safetensors")]
        assert all(i > max(weights) for i, name in enumerate(names) if name.endswith(".json"))
