"""What is free and what a model needs, on systems that are not at hand too; and a model that does not fit is refused."""

import pytest
import torch

from minimistral import CheckpointError, ModelConfig, MoEConfig, Transformer, load, memory, save
from minimistral.checkpoints import room
from minimistral.quantize import quantize_
from minimistral.speed import prepare

GB = 10**9
SEVEN = ModelConfig.preset("mistral-7b-v0.1")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("quantize", [None, "int8", "int4"])
@pytest.mark.parametrize("changes", [{}, {"moe": MoEConfig(3, 2)}, {"tie_embeddings": True}])
def test_weight_bytes_are_those_of_a_model(dtype, quantize, changes):
    sizes = dict(dim=64, n_layers=2, n_heads=6, n_kv_heads=3, head_dim=32, hidden_dim=96, vocab_size=80)
    model = Transformer(ModelConfig(**sizes | changes)).to(getattr(torch, dtype))
    if quantize:
        quantize_(model, quantize)
    n_bytes = sum(tensor.nbytes for tensor in model.state_dict().values())
    assert (
        memory.weight_bytes(model.config, dtype, quantize)
        == n_bytes
        < memory.bytes_needed(model.config, dtype, quantize)
    )


def test_arguments():
    with pytest.raises(ValueError, match="quantize='int3'"):
        memory.weight_bytes(SEVEN, "bfloat16", "int3")
    with pytest.raises(ValueError, match="dtype='bf17'"):
        memory.weight_bytes(SEVEN, "bf17")


def test_linux_and_mac():
    assert memory._linux("MemTotal: 9 kB\nMemFree: 2 kB\nMemAvailable:    7 kB\n") == 7 * 1024
    assert memory._linux("MemTotal: 9 kB\n") is None
    vm_stat = (
        "Mach Virtual Memory Statistics: (page size of 16384 bytes)\nPages free:   10.\nPages active:  999.\n"
        "Pages inactive:  5.\nPages speculative:  1.\nPages purgeable:  2.\n"
    )
    assert memory._darwin(vm_stat) == 18 * 16384
    assert memory._darwin("nonsense") is None


@pytest.mark.parametrize("version", [1, 2])
def test_the_tightest_control_group_counts(tmp_path, version):
    if version == 2:
        own, base, limit, usage, stat = "0::/a/b\n", tmp_path, "memory.max", "memory.current", "inactive_file"
    else:
        own, base = "5:cpu:/x\n4:memory:/a/b\n", tmp_path / "memory"
        limit, usage, stat = "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"
    for folder, most, used, cached in (
        ("a/b", "max" if version == 2 else str(2**63 - 4096), 60, 0), ("a", "100", 70, 25), (".", "1000", 10, 0),
    ):  # fmt: skip
        (base / folder).mkdir(parents=True, exist_ok=True)
        (base / folder / limit).write_text(f"{most}\n")
        (base / folder / usage).write_text(f"{used}\n")
        (base / folder / "memory.stat").write_text(f"anon 1\n{stat} {cached}\n")
    (tmp_path / "own").write_text(own)
    assert memory._cgroup_available(tmp_path, tmp_path / "own") == 100 - 70 + 25
    assert memory._cgroup_available(tmp_path / "none", tmp_path / "own") is None
    assert memory._cgroup_available(tmp_path, tmp_path / "absent") is None


def test_this_machine_says_something():
    assert memory.available_bytes() is None or memory.available_bytes() > 10**8


@pytest.mark.parametrize(
    "n_bytes, two, one",
    [
        (14_483_464_192, "14.48 GB", "14.5 GB"),
        (2 * GB, "2.00 GB", "2.0 GB"),
        (960_400_000, "0.96 GB", "960.4 MB"),
        (99_900_000, "99.9 MB", "99.9 MB"),
        (270_000, "0.3 MB", "0.3 MB"),
        (0, "0.0 MB", "0.0 MB"),
    ],
)
def test_sizes_are_said_in_one_way(n_bytes, two, one):
    assert memory.in_bytes(n_bytes) == two and memory.in_bytes(float(n_bytes), digits=1) == one


def refusal(monkeypatch, free, dtype=torch.bfloat16, quantize=None, mapped=0, config=SEVEN):
    monkeypatch.setattr(room, "available_bytes", lambda device: free)
    return room.check_room("m", config, torch.device("cpu"), dtype, quantize, mapped)


def test_a_model_that_does_not_fit_is_refused_with_what_would(monkeypatch):
    assert refusal(monkeypatch, 16 * GB) is None and refusal(monkeypatch, None) is None
    for free, dtype, quantize, advice in (
        (11.2 * GB, torch.bfloat16, None, r"m: needs 14.6 GB, 11.2 GB free: try quantize='int8'"),
        (6.5 * GB, torch.bfloat16, None, r"try quantize='int4'"),
        (6.5 * GB, torch.bfloat16, "int8", r"needs 7.7 GB, 6.5 GB free: try quantize='int4'"),
        (20 * GB, torch.float32, None, r"needs 29.0 GB, 20.0 GB free: try dtype='bfloat16'\."),
        (9.5 * GB, torch.float32, None, r"try dtype='bfloat16', quantize='int8'"),
        (1 * GB, torch.bfloat16, None, r"close other programs, or load some of its layers"),
    ):
        with pytest.raises(CheckpointError, match=advice):
            refusal(monkeypatch, int(free), dtype, quantize)


def test_bench_asks_before_it_makes_random_weights(monkeypatch):
    monkeypatch.setattr(room, "available_bytes", lambda device: 11 * GB)
    for dtype, quantize, said in (
        ("bfloat16", None, "14.6 GB, 11.0 GB free: try quantize='int8'"),
        ("auto", None, "29.0 GB"),
    ):
        with pytest.raises(CheckpointError, match=f"mistral-7b-v0.1: needs {said}"):
            prepare("mistral-7b-v0.1", "cpu", dtype, quantize)
    with pytest.raises(ValueError, match="int3"):
        prepare("mistral-7b-v0.1", "cpu", quantize="int3")


def test_a_mapped_file_that_does_not_fit_is_slow_and_not_fatal(monkeypatch):
    note = refusal(monkeypatch, int(11.2 * GB), mapped=int(13.2 * GB))
    assert "try quantize='int8'" in note and "read from the disk for every token" in note


def test_load_asks_before_it_reads(monkeypatch, tmp_path):
    sizes = dict(dim=64, n_layers=1, n_heads=2, n_kv_heads=1, head_dim=32, hidden_dim=96, vocab_size=80)
    save(Transformer(ModelConfig(**sizes)), tmp_path / "m")
    monkeypatch.setattr(room, "available_bytes", lambda device: 10**5)
    with pytest.warns(UserWarning, match="read from the disk"):
        load(tmp_path / "m", device="cpu")
    for options in ({"quantize": "int8"}, {"dtype": "bfloat16"}):
        with pytest.raises(CheckpointError, match=r"m: needs .* 0.1 MB free"):
            load(tmp_path / "m", device="cpu", **options)
