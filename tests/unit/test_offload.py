"""Offloaded experts: the LRU against a slow list, and the same logits as the plain model however few experts fit."""

import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.testing import assert_close

from minimistral import CheckpointError, MoEConfig, generate, load, save
from minimistral import offload as module
from minimistral.expert_stores import FileStore, HostStore, Range, Record
from minimistral.offload import LRU, load_offloaded, lru_hits, offload
from minimistral.quantize import quantize_

torch.set_num_threads(1)

SIZES = dict(dim=32, n_layers=3, n_heads=4, n_kv_heads=2, head_dim=8, hidden_dim=64, vocab_size=30)
N_EXPERTS = 3 * 4  # all of them


def slow_lru(keys, capacity):
    """The keys used last, newest at the end; (hits, misses, held)."""
    recent, hits = [], 0
    for key in keys:
        hits += key in recent[-capacity:]
        recent = [other for other in recent if other != key] + [key]
    return hits, len(keys) - hits, recent[-capacity:]


@pytest.mark.parametrize("capacity", [1, 2, 3, 5, 8, 20])
@pytest.mark.parametrize("seed", range(3))
def test_lru_is_the_list_of_the_last_used(capacity, seed):
    draw = random.Random(seed)
    keys = [(draw.randrange(2), min(draw.randrange(8), draw.randrange(8))) for _ in range(400)]
    held, inside = LRU(capacity), {}
    for i, key in enumerate(keys):
        slot, hit = held.use(key)
        assert hit == (inside.get(slot) == key)  # what the slot holds decides, so no two keys share one
        inside[slot] = key
        assert 0 <= slot < capacity
        assert held.keys == slow_lru(keys[: i + 1], capacity)[2]
    hits, misses, _ = slow_lru(keys, capacity)
    assert (held.hits, held.misses) == (hits, misses)
    assert held.hit_rate == hits / 400
    assert lru_hits([[key] for key in keys], capacity) == (hits, misses)


def test_steps_by_hand():
    assert lru_hits([[0, 1], [0, 2], [0, 1]], 2) == (2, 4)
    assert lru_hits([{1, 0}, {2, 0}, {1, 0}], 2) == (2, 4)  # a set goes in ascending order
    assert lru_hits([[1, 0], [2, 0], [1, 0]], 2) == (2, 4)
    assert lru_hits([], 2) == (0, 0)
    assert LRU(2).hit_rate == 0.0


@pytest.mark.parametrize("capacity", [0, -1, True, 2.0])
def test_a_capacity_that_holds_nothing_is_refused(capacity):
    with pytest.raises(ValueError, match="1 or more"):
        lru_hits([[0]], capacity)


def mixture(random_model):
    return random_model(SIZES, sliding_window=5, moe=MoEConfig(4, 2))


def expert_bytes(bits=None):
    """Of w1 and w3 (64, 32) and w2 (32, 64): floats; or codes, and scales of a row or of 32 weights, each begun at 256."""
    if bits is None:
        return 3 * 64 * 32 * 4
    return 3 * (2048 + 256) if bits == "int8" else 3 * (1024 + 256)


def logits_of(model):
    tokens = torch.randint(30, (2, 9), generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        return model(tokens)


def recorded_uses(model):
    """The (layer, expert) pairs in the order in which a plain model runs them."""
    uses = []
    for i, layer in enumerate(model.layers):
        for e, expert in enumerate(layer.feed_forward.experts):
            expert.register_forward_hook(lambda module, args, out, key=(i, e): uses.append(key))
    return uses


@pytest.fixture(scope="module")
def folder(random_model, tmp_path_factory):
    place = tmp_path_factory.mktemp("mixture") / "native"
    save(mixture(random_model), place)
    return place


@pytest.mark.parametrize("bits", [None, "int8", "int4"])
@pytest.mark.parametrize("n_slots", [1, 3, 5, N_EXPERTS, 99])
def test_the_same_logits_ids_and_hits_as_the_plain_model(random_model, n_slots, bits):
    plain, offloaded = mixture(random_model), mixture(random_model)
    if bits:
        quantize_(plain, bits)
    cache = offload(offloaded, n_slots * expert_bytes(bits) + 17, "cpu", quantize=bits)
    assert cache is offloaded.expert_cache and cache.capacity == min(n_slots, N_EXPERTS)
    assert cache.nbytes <= n_slots * expert_bytes(bits) + 17
    assert cache.record.nbytes == expert_bytes(bits)
    uses = recorded_uses(plain)
    assert torch.equal(logits_of(offloaded), logits_of(plain))
    assert generate(offloaded, [[1, 2, 3]], 12) == generate(plain, [[1, 2, 3]], 12)
    assert (cache.hits, cache.misses) == lru_hits([uses], cache.capacity)
    assert cache.keys == slow_lru(uses, cache.capacity)[2]
    assert cache.bytes_moved == cache.misses * expert_bytes(bits)
    cache.reset_counts()
    assert (cache.hits, cache.misses, cache.hit_rate) == (0, 0, 0.0)


def test_an_offloaded_model_keeps_no_expert_but_those_in_the_store(random_model):
    model = mixture(random_model)
    whole = sum(tensor.nbytes for tensor in model.state_dict().values())
    cache = offload(model, 2 * expert_bytes(), "cpu")
    rest = sum(tensor.nbytes for tensor in model.state_dict().values())
    assert whole - rest == N_EXPERTS * expert_bytes() == cache.store.nbytes
    assert not any(".experts." in name for name in model.state_dict())


@pytest.mark.parametrize("bits", [None, "int8", "int4"])
@pytest.mark.parametrize("layout", ["native", "hub"])
@pytest.mark.parametrize("where", ["memory", "disk", "a file"])
def test_loaded_from_either_layout_with_experts_anywhere(random_model, tmp_path, layout, where, bits):
    plain = mixture(random_model)
    save(plain, tmp_path / "model", layout=layout)
    if bits:
        quantize_(plain, bits)
    experts_in = tmp_path / "experts.bin" if where == "a file" else where
    if where == "disk" and bits:
        with pytest.raises(ValueError, match="Name a file"):
            load_offloaded(tmp_path / "model", 10**6, "cpu", bits, experts_in)
        return
    for prefetch in (False, True):  # the second time the file is there
        model, tokenizer = load_offloaded(
            tmp_path / "model", 3 * expert_bytes(bits), "cpu", bits, experts_in, prefetch=prefetch
        )
        assert tokenizer is None and not model.training
        assert torch.equal(logits_of(model), logits_of(plain))
        assert generate(model, [[1, 2]], 8) == generate(plain, [[1, 2]], 8)
        assert model.expert_cache.capacity == 3 and model.expert_cache.misses > 3


def test_int4_experts_stay_in_their_slots_also_where_a_cpu_reorders_them(random_model):
    def made():
        model = random_model(SIZES | dict(dim=64), moe=MoEConfig(4, 2)).to(torch.bfloat16)  # a kernel takes 64 rows
        for name, weight in model.named_parameters():
            weight.mul_(4 if ".experts." in name else 1)  # so that it matters which expert it was
        return model

    plain, offloaded, used = quantize_(made(), "int4"), made(), quantize_(made(), "int4")
    expected = logits_of(plain)
    cache = offload(offloaded, 10_000, "cpu", quantize="int4")
    assert_close(logits_of(offloaded), expected, rtol=0.05, atol=0.05)
    assert cache.capacity == 1 and cache.misses > 9
    logits_of(used)
    offload(used, 10_000, "cpu")  # in the kernel's order by now
    assert_close(logits_of(used), expected, rtol=0.05, atol=0.05)


def test_another_dtype_and_the_bundled_mixture(folder):
    model, _ = load_offloaded(folder, 10**6, "cpu", dtype="bfloat16")
    plain, _ = load(folder, "cpu", "bfloat16")
    assert_close(logits_of(model), logits_of(plain), rtol=0, atol=0)
    with pytest.raises(ValueError, match="dtype"):
        load_offloaded(folder, 10**6, "cpu", dtype="bfloat16", experts_in="disk")
    model, tokenizer = load_offloaded("tiny-mixtral", 10**6, "cpu", quantize="int8")
    assert tokenizer.vocab_size == 2048 and model.expert_cache.capacity == 10**6 // model.expert_cache.record.nbytes


@pytest.mark.parametrize("n_slots", [1, N_EXPERTS])
def test_prefetch_announces_what_the_next_gate_would_choose_and_is_not_there(folder, n_slots):
    model, _ = load_offloaded(folder, n_slots * expert_bytes(), "cpu", experts_in="disk", prefetch=True)
    announced, seen = [], []
    model.expert_cache.store.announce = announced.append
    for layer in model.layers:
        layer.feed_forward.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    with torch.no_grad():
        model(torch.arange(30)[None])  # a prompt, which brings all experts
        assert announced == [] and len(seen) == 3
        model(torch.tensor([[3]]))
    expected = []
    for i in (1, 2):
        gate = model.layers[i].feed_forward.gate
        expected += [(i, e) for e in gate(seen[3 + i - 1][0, 0]).topk(2).indices.tolist()]
    assert announced == (expected if n_slots == 1 else [])


def test_a_file_of_other_experts_is_refused_and_a_broken_write_leaves_none(random_model, folder, tmp_path, monkeypatch):
    file = tmp_path / "experts.bin"
    load_offloaded(folder, 10**6, "cpu", "int8", file)
    for changed in (dict(quantize="int4"), dict(dtype="bfloat16", quantize="int8")):
        with pytest.raises(CheckpointError, match="Delete it") as said:
            load_offloaded(folder, 10**6, "cpu", experts_in=file, **changed)
        assert str(said.value).count("experts.bin") == 1
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(ValueError, match="Delete it"):
        load_offloaded(folder, 10**6, "cpu", "int8", file)
    calls = []
    fill = Record.fill
    monkeypatch.setattr(Record, "fill", lambda *args: calls.append(1) if len(calls) < 5 else 1 / 0)
    with pytest.raises(CheckpointError, match="new.bin: cannot be written"):
        load_offloaded(folder, 10**6, "cpu", "int8", tmp_path / "new.bin")
    assert fill and sorted(path.name for path in tmp_path.iterdir()) == ["experts.bin"]


def test_a_file_cut_short_while_in_use_is_named_and_the_half_expert_never_used(folder, tmp_path):
    file = tmp_path / "experts.bin"
    model, _ = load_offloaded(folder, 2 * expert_bytes("int8"), "cpu", "int8", file)
    expected, whole = logits_of(model), file.read_bytes()
    with file.open("r+b") as opened:
        opened.truncate(4096 + 100)
    with pytest.raises(CheckpointError, match="experts.bin: ends before"):
        logits_of(model)
    assert model.expert_cache.keys == []
    with file.open("r+b") as opened:
        opened.write(whole)
    assert torch.equal(logits_of(model), expected)


def test_several_ranges_make_one_record(tmp_path):
    (tmp_path / "a").write_bytes(bytes(range(100)))
    (tmp_path / "b").write_bytes(bytes(range(100, 200)))
    record = Record((), 12)
    ranges = {(0, 0): [Range(tmp_path / "a", 10, 5, 0), Range(tmp_path / "b", 90, 6, 6)]}
    store, flat = FileStore(ranges, record, torch.device("cpu")), torch.zeros(12, dtype=torch.uint8)
    store.bring((0, 0), flat)
    assert flat.tolist() == [10, 11, 12, 13, 14, 0, 190, 191, 192, 193, 194, 195]


def test_what_cannot_be_offloaded_is_told(random_model, folder):
    with pytest.raises(ValueError, match="dense"):
        offload(random_model(SIZES), 10**6, "cpu")
    with pytest.raises(ValueError, match="give a minimistral Transformer"):
        offload("tiny-mixtral", 10**6)
    with pytest.raises(ValueError, match=f"an expert has {expert_bytes():,} bytes"):
        offload(mixture(random_model), expert_bytes() - 1, "cpu")
    with pytest.raises(ValueError, match="quantized already"):
        offload(quantize_(mixture(random_model), "int8"), 10**6, "cpu", quantize="int8")
    with pytest.raises(ValueError, match="quantize='int3'"):
        load_offloaded(folder, 10**6, "cpu", quantize="int3")
    model = random_model(SIZES | dict(head_dim=6), moe=MoEConfig(2, 1))
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    with pytest.raises(ValueError, match="n_heads · head_dim = 24"):
        offload(model, 10**6, "cpu", quantize="int4")  # attention's, which comes last: nothing is changed yet
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())
    model = mixture(random_model)
    with torch.no_grad():
        model.layers[1].feed_forward.experts[2].w3.weight[5, 0] = torch.inf
    with pytest.raises(ValueError, match=r"layers.1.feed_forward.experts.2.w1, w2 or w3: row 5 holds an infinity"):
        offload(model, 10**6, "cpu", quantize="int8")
    model = quantize_(mixture(random_model), "int4")
    expected = logits_of(model)
    offload(model, 10**6, "cpu")  # as it is
    assert torch.equal(logits_of(model), expected)


def changed(folder, to, change, file="consolidated.safetensors"):
    """A copy of a checkpoint whose tensors `change` has changed in place."""
    shutil.copytree(folder, to)
    tensors = load_file(to / file)
    change(tensors)
    save_file(tensors, to / file)
    return to


EXPERT = "layers.1.feed_forward.experts.2.w2.weight"


@pytest.mark.parametrize("bits", ["int8", "int4"])
@pytest.mark.parametrize("where", ["memory", "file"])
@pytest.mark.parametrize("name", [EXPERT, "layers.2.attention.wo.weight"])
def test_a_weight_that_no_scale_holds_is_named_as_load_names_it(folder, tmp_path, where, bits, name):
    bad = changed(folder, tmp_path / "bad", lambda tensors: tensors[name][3].fill_(torch.nan))
    with pytest.raises(CheckpointError) as said:
        load(bad, device="cpu", quantize=bits)
    assert f"consolidated.safetensors: tensor {name}: row 3 holds an infinity or a NaN" in str(said.value)
    place = "memory" if where == "memory" else tmp_path / "experts.bin"
    with pytest.raises(CheckpointError) as said_too:
        load_offloaded(bad, 10**6, "cpu", bits, place)
    assert str(said_too.value) == str(said.value)
    assert name != EXPERT or {path.name for path in tmp_path.iterdir()} == {"bad"}


def test_a_tied_model_that_holds_another_head_is_refused(random_model, tmp_path):
    save(random_model(SIZES, moe=MoEConfig(4, 2), tie_embeddings=True), tmp_path / "tied", layout="hub")

    def same_head(tensors):
        tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()

    def other_head(tensors):
        tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"] + 1

    load_offloaded(changed(tmp_path / "tied", tmp_path / "same", same_head, "model.safetensors"), 10**6, "cpu")
    other = changed(tmp_path / "tied", tmp_path / "other", other_head, "model.safetensors")
    with pytest.raises(CheckpointError, match="other/model.safetensors: tensor lm_head.weight differs"):
        load_offloaded(other, 10**6, "cpu")


def test_what_does_not_fit_is_said_before_anything_is_read(folder, monkeypatch):
    one, n_work = expert_bytes(), 64 * 2**20  # what loading is taken to need beside the weights
    stored = N_EXPERTS * one

    def loaded(free, budget=3 * one, **options):
        monkeypatch.setattr(module, "available_bytes", lambda device: free)
        return load_offloaded(folder, budget, "cpu", **options)[0]

    others = [weight.nbytes for name, weight in load(folder)[0].state_dict().items() if "experts" not in name]
    for options, needed in (
        ({}, stored + 3 * one),  # what is no expert stays in the file
        ({"experts_in": "disk"}, 3 * one),
        ({"budget": 10**9}, stored + stored),  # no more slots than experts
        ({"dtype": "bfloat16"}, stored // 2 + 3 * one + sum(others) // 2),  # in half the bytes, and none in the file
    ):
        assert loaded(needed + n_work, **options).expert_cache.capacity >= 3
        said = r"native: needs 67.* MB on the device cpu \(.*for the experts in use, .*67.* MB free.*quantize='int8'"
        with pytest.raises(CheckpointError, match=said):
            loaded(needed + n_work - 1, **options)
    assert loaded(None) is not None  # a system that does not say


def test_a_gpu_and_its_host_have_each_their_room(monkeypatch):
    gpu, gb = torch.device("cuda", 1), 10**9
    monkeypatch.setattr(module, "available_bytes", lambda place: 24 * gb if place == gpu else 30 * gb)
    module._check_room(Path("m"), gpu, stored=30 * gb, slots=20 * gb, others=4 * gb)
    with pytest.raises(CheckpointError, match=r"31.0 GB on the device cpu \(31.0 GB for all experts\), 30.0 GB free"):
        module._check_room(Path("m"), gpu, stored=31 * gb, slots=20 * gb, others=4 * gb)
    with pytest.raises(
        CheckpointError, match=r"25.0 GB on the device cuda:1 \(20.0 GB for the experts in use, 5.0 GB for"
    ):
        module._check_room(Path("m"), gpu, stored=30 * gb, slots=20 * gb, others=5 * gb)


def test_a_disk_that_is_too_small_for_packed_experts_is_told_before_they_are_written(folder, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=10_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(CheckpointError, match=r"experts.bin: needs 0.3 MB, and its disk has 0.0 MB free"):
        load_offloaded(folder, 10**6, "cpu", experts_in=tmp_path / "experts.bin")
    assert not list(tmp_path.iterdir())


def test_what_a_killed_program_left_half_packed_goes_and_what_another_packs_now_stays(folder, tmp_path):
    dead, alive, other = (tmp_path / name for name in ("it.bin.part12", "it.bin.part13", "that.bin.part14"))
    for path in (dead, alive, other):
        path.write_bytes(b"half")
    for path in (dead, other):
        os.utime(path, (0, 0))
    load_offloaded(folder, 10**6, "cpu", experts_in=tmp_path / "it.bin")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["it.bin", alive.name, other.name]


def test_places_and_budgets_that_cannot_be(folder, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match="experts.bin: cannot be written"):
        load_offloaded(folder, 10**6, "cpu", experts_in=tmp_path / "file" / "experts.bin")
    for place in (None, 3):
        with pytest.raises(ValueError, match=f"experts_in={place}: give 'memory'"):
            load_offloaded(folder, 10**6, "cpu", experts_in=place)
    for budget in (float("nan"), "8GB", True, -float("inf")):
        with pytest.raises(ValueError, match=f"budget_bytes={budget!r}: an expert has"):
            load_offloaded(folder, budget, "cpu")
    assert load_offloaded(folder, float("inf"), "cpu")[0].expert_cache.capacity == N_EXPERTS


def test_int4_says_which_width_groups_do_not_divide(random_model, tmp_path):
    for name, width in (("hidden_dim", 40), ("dim", 40)):
        save(random_model(SIZES | {name: width}, moe=MoEConfig(2, 1)), tmp_path / name)
        with pytest.raises(ValueError, match=f"quantize='int4': {name} = {width}, .*quantize='int8'"):
            load_offloaded(tmp_path / name, 10**6, "cpu", quantize="int4")


def test_a_tokenizer_of_another_model_is_noticed(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "m")
    shutil.copy(Path(load.__code__.co_filename).parents[1] / "pretrained/tiny-mixtral/tokenizer.model", tmp_path / "m")
    with pytest.warns(UserWarning, match="has 2,048 ids, and the model knows 30"):
        load_offloaded(tmp_path / "m", 10**6, "cpu")


CHILD = """
import sys, torch
from minimistral.offload import load_offloaded
torch.set_num_threads(1)
def private():
    fields = dict(line.split(":", 1) for line in open("/proc/self/status") if ":" in line)
    return int(fields["RssAnon"].split()[0]) * 1024
load_offloaded("tiny-mixtral", 10**6, "cpu")  # what every first load needs
before = private()
model, _ = load_offloaded(sys.argv[1], 4 * 3 * 256 * 1024 * 4, "cpu", experts_in=sys.argv[2])
most = 0
with torch.no_grad():
    for token in range(1, 13):
        model(torch.tensor([[token]]))
        most = max(most, private() - before)
print(most, model.expert_cache.misses)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("where", ["disk", "file"])
def test_private_memory_is_the_budget_however_large_the_file(random_model, tmp_path, where):
    sizes = dict(dim=256, n_layers=4, n_heads=4, n_kv_heads=2, head_dim=16, hidden_dim=1024, vocab_size=64)
    save(random_model(sizes, moe=MoEConfig(8, 2)), tmp_path / "model")  # experts of 3.1 MB, 101 MB in all
    experts_in = "disk" if where == "disk" else tmp_path / "experts.bin"
    if where == "file":
        load_offloaded(tmp_path / "model", 10**7, "cpu", experts_in=experts_in)  # written here
    result = subprocess.run(
        [sys.executable, "-c", CHILD, tmp_path / "model", experts_in],
        cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True,
    )  # fmt: skip
    most, misses = map(int, result.stdout.split())
    assert misses > 32 and most < 4 * 3.1e6 + 10e6  # the slots, and some room


class Slot:
    """In the place of a tensor on the second GPU."""

    is_cuda, device = True, torch.device("cuda", 1)

    def copy_(self, source, non_blocking):
        assert non_blocking


def test_a_buffer_waits_for_its_copy_on_the_gpu_that_takes_it_which_need_not_be_the_current_one(tmp_path, monkeypatch):
    path = tmp_path / "experts"
    path.write_bytes(bytes(range(12)))
    record = Record((("a", (12,), torch.uint8, 0),), 12)
    store = FileStore({(0, 0): [Range(path, 0, 12)]}, record, torch.device("cpu"))
    store._buffers, store._sent = [torch.zeros(12, dtype=torch.uint8) for _ in range(2)], [None, None]
    seen = []

    class Event:
        def record(self, stream):
            seen.append(stream)

        def synchronize(self):
            seen.append("waited")

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: f"stream of {device}")
    for _ in range(3):
        store.bring((0, 0), Slot())
    assert seen == ["stream of cuda:1", "stream of cuda:1", "waited", "stream of cuda:1"]


def test_what_cannot_be_pinned_waits_in_ordinary_memory(monkeypatch):
    record, empty, asked = Record((("a", (8,), torch.uint8, 0),), 8), torch.empty, []

    def like_a_system_that_pins_one(*shape, pin_memory=False, **how):
        asked.append(pin_memory)
        if asked.count(True) > 1 and pin_memory:
            raise RuntimeError("CUDA error: out of memory")
        return empty(*shape, **how)

    monkeypatch.setattr(torch, "empty", like_a_system_that_pins_one)
    monkeypatch.setattr("minimistral.expert_stores.SLAB_BYTES", 8)
    keys = [(0, e) for e in range(4)]
    with pytest.warns(UserWarning, match="no more than 1 of 4 experts"):
        store = HostStore(record, keys, lambda key: {"a": torch.full((8,), key[1], dtype=torch.uint8)}, pin=True)
    assert asked == [True, True, False, False, False]
    for key in keys:
        slot = torch.zeros(8, dtype=torch.uint8)
        store.bring(key, slot)
        assert slot.tolist() == [key[1]] * 8
