"""The step for CUDA graphs, run on a CPU: the same logits and the same ids as the plain model, and joined weights."""

import math
import re
import shutil
import sys

import pytest
import torch
from torch import nn
from torch._inductor.utils import run_and_get_code
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from minimistral import MoEConfig, generate, stream
from minimistral.fast import (
    COMPILED,
    FastDecoder,
    Norm,
    Rows,
    attend,
    choose_tokens,
    fast_generate,
    fast_stream,
    join,
    route,
)
from minimistral.generation import read
from minimistral.moe import choose_experts
from minimistral.norm import RMSNorm
from minimistral.quantize import Int4Linear, Int8Linear, quantize_
from minimistral.rope import rotate_pairs
from minimistral.sampling import Sampling

torch.set_num_threads(1)

MIXTURE = dict(moe=MoEConfig(num_experts=4, num_experts_per_tok=2))
EVEN = dict(dim=64, n_layers=2, n_heads=4, n_kv_heads=2, head_dim=16, hidden_dim=96, vocab_size=50)  # int4 wants groups


def prompts_of(lengths, vocab_size, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(vocab_size, (n,), generator=generator).tolist() for n in lengths]


def assert_same_logits(model, lengths, n_steps, max_context, **how):
    """Both read the prompts, then the same random tokens one by one."""
    B, vocab_size = len(lengths), model.config.vocab_size
    prompts, cache = prompts_of(lengths, vocab_size), model.make_cache(B, max_context)
    decoder = FastDecoder(model, B, max_context, **how)
    read(model, prompts, cache)
    read(model, prompts, decoder.cache)
    for step in torch.randint(vocab_size, (n_steps, B), generator=torch.Generator().manual_seed(2)):
        with torch.no_grad():
            expected = model(step[:, None], cache=cache)[:, 0]
        assert_close(decoder.step(step), expected, rtol=1e-4, atol=1e-4)
        assert decoder.cache.positions.tolist() == cache.positions.tolist() == cache._seen == decoder.cache._seen


@pytest.mark.parametrize("by_rows", [False, True])
@pytest.mark.parametrize("moe", [{}, MIXTURE], ids=["dense", "mixture"])
@pytest.mark.parametrize("window", [None, 1, 5, 8])
@pytest.mark.parametrize("lengths", [[3], [21], [4, 1, 17]], ids=str)
def test_logits_are_the_models_far_past_the_window(random_model, lengths, window, moe, by_rows):
    model = random_model(sliding_window=window, **moe)
    assert_same_logits(model, lengths, n_steps=30, max_context=64, by_rows=by_rows)


def test_a_batch_that_chooses_more_experts_than_there_are_runs_them_all(random_model):
    assert_same_logits(random_model(**MIXTURE), [2, 5, 3, 1, 9], n_steps=6, max_context=32)


@pytest.mark.parametrize("bits", ["int8", "int4"])
@pytest.mark.parametrize("moe", [{}, MIXTURE], ids=["dense", "mixture"])
@pytest.mark.parametrize("lengths", [[7], [2, 3, 9]], ids=str)
def test_quantized_weights_too(random_model, lengths, moe, bits):
    model = quantize_(random_model(EVEN, sliding_window=6, **moe), bits)
    for by_rows in (False, True):
        assert_same_logits(model, lengths, n_steps=15, max_context=40, by_rows=by_rows)


@pytest.mark.parametrize("bits", [None, "int8", "int4"])
def test_bfloat16_on_a_cpu_whose_kernels_reorder_int4(random_model, bits):
    model = random_model(EVEN, **MIXTURE).to(torch.bfloat16)
    if bits:
        quantize_(model, bits)
    prompt = prompts_of([6], 50)[0]
    with torch.no_grad():
        expected = model(torch.tensor([prompt]), last_only=True)[:, 0]
    for _ in range(2):  # the second decoder meets a model that has been used
        decoder = FastDecoder(model, max_context=16)
        read(model, [prompt[:-1]], decoder.cache)
        assert_close(decoder.step(torch.tensor(prompt[-1:])), expected, rtol=0.05, atol=0.05)


def test_tied_embeddings_and_a_window_beyond_the_context(random_model):
    assert_same_logits(random_model(tie_embeddings=True, sliding_window=1000), [9], n_steps=9, max_context=20)


@pytest.mark.parametrize("moe", [{}, MIXTURE], ids=["dense", "mixture"])
def test_compiled_without_a_break_and_with_the_same_logits(random_model, moe):
    model = random_model(sliding_window=5, **moe)
    torch.compiler.reset()
    for by_rows in (False, True):
        assert_same_logits(model, [4], n_steps=9, max_context=16, compile="aot_eager", by_rows=by_rows)


@pytest.mark.parametrize("kind", ["float", "int8", "int4"])
def test_products_and_matrices_of_rows_are_the_layers_output(kind):
    layers = [nn.Linear(64, n, bias=False).requires_grad_(False) for n in (8, 24)]
    if kind != "float":
        layers = [{"int8": Int8Linear, "int4": Int4Linear}[kind].from_weight(layer.weight) for layer in layers]
    x = torch.randn(3, 64)
    expected = torch.cat([layer(x) for layer in layers], dim=1)
    rows = join(layers)
    assert_close(x @ rows.dense(torch.float32).T, expected)
    assert_close(rows.products(x), expected)
    assert_close(torch.cat([layer(x) for layer in layers], dim=1), expected)  # through the views
    ids = torch.tensor([[2, 0], [3, 3], [1, 2]])
    norm = RMSNorm(64, eps=0.1).requires_grad_(False)
    norm.weight.normal_()
    normed = torch.cat([layer(norm(5 * x)) for layer in layers], dim=1)
    assert_close(rows.products(5 * x, Norm(norm.weight, norm.eps)), normed)
    assert_close(Norm(norm.weight, norm.eps)(x), norm(x))
    chosen = rows.stacked(4).chosen(ids).products(x[:, None])  # four blocks of 8 rows as if they were experts
    by_hand = [[expected[n].unflatten(0, (4, 8))[e] for e in ids[n]] for n in range(3)]
    assert_close(chosen, torch.stack([torch.stack(row) for row in by_hand]))


@pytest.mark.parametrize("few_slots", [0, 10**6], ids=["products", "sums"])
@pytest.mark.parametrize("n_slots", [1, 6, 37, 64, 96, 100, 256])  # S: with pieces of 64, 32, and of all of it
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_attention_is_softmax_over_the_filled_slots(monkeypatch, n_slots, few_slots, dtype):
    monkeypatch.setattr("minimistral.fast.FEW_SLOTS", few_slots)
    B, G, group, D = 3, 2, 3, 8
    q, kv = torch.randn(B, G * group, D).to(dtype), (3 * torch.randn(B, 2 * G, n_slots, D)).to(dtype)
    angles = torch.randn(B, 1, D // 2)
    n_filled = torch.tensor([1, n_slots, (n_slots + 1) // 2])
    filled = torch.arange(n_slots) < n_filled[:, None]
    result = attend(q, angles.cos(), angles.sin(), kv, filled)
    turned = rotate_pairs(q.double(), angles.cos(), angles.sin()).double()
    for b in range(B):
        for head in range(G * group):
            k, v = (kv[b, part + head // group, : n_filled[b]].double() for part in (0, G))
            expected = (k @ turned[b, head] / D**0.5).softmax(0) @ v
            assert_close(result[b, head * D : (head + 1) * D].double(), expected, **CLOSE[dtype])


CLOSE = {torch.float32: dict(rtol=1e-4, atol=1e-4), torch.bfloat16: dict(rtol=0.05, atol=0.1)}


@pytest.mark.parametrize("by_rows", [False, True])
@pytest.mark.parametrize("k", [1, 2, 5])
def test_experts_are_chosen_as_the_model_chooses_them(k, by_rows):
    gate, norm = nn.Linear(16, 5, bias=False).requires_grad_(False), RMSNorm(16).requires_grad_(False)
    for x in torch.randn(50, 1, 16) * 10:
        weights, ids = route(x, Norm(norm.weight, norm.eps), Rows(gate.weight), k, by_rows)
        expected_weights, expected_ids = choose_experts(gate(norm(x)), k)
        assert torch.equal(ids, expected_ids)
        assert_close(weights, expected_weights)


@pytest.mark.parametrize("bits", [None, "int8", "int4"])
def test_weights_are_views_of_the_joined_ones_and_a_second_decoder_copies_nothing(random_model, bits):
    model = random_model(EVEN, **MIXTURE)
    if bits:
        quantize_(model, bits)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    first = FastDecoder(model, max_context=8)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    name = "q" if bits else "weight"
    for layer, block in zip(first._layers, model.layers):
        for part in ("w1", "w2", "w3"):
            stacked = getattr(layer, part).weight
            for e, expert in enumerate(block.feed_forward.experts):
                own = getattr(getattr(expert, part), name)
                assert own.data_ptr() == stacked[e].data_ptr() and own.shape == stacked[e].shape
        attention = block.attention
        own = [getattr(getattr(attention, part), name) for part in ("wq", "wk", "wv")]
        assert {t.untyped_storage().data_ptr() for t in own} == {layer.wqkv.weight.untyped_storage().data_ptr()}
        assert own[1].data_ptr() == layer.wqkv.weight[64].data_ptr()
    pointers = [tensor.data_ptr() for tensor in model.state_dict().values()]
    second = FastDecoder(model, batch_size=2, max_context=8)
    assert [tensor.data_ptr() for tensor in model.state_dict().values()] == pointers
    assert second._layers[0].w1.weight.data_ptr() == first._layers[0].w1.weight.data_ptr()
    held = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in model.state_dict().values()}
    assert sum(held.values()) == sum(tensor.nbytes for tensor in before.values())  # no byte more than before


def test_layers_that_share_a_storage_with_a_gap_or_in_another_order_are_joined_anew():
    whole = torch.randn(12, 4)
    a, b = nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False)
    a.weight, b.weight = nn.Parameter(whole[:4]), nn.Parameter(whole[8:])
    for layers in ([a, b], [b, a]):
        expected = torch.cat([layer.weight for layer in layers])
        assert torch.equal(join(layers).weight, expected)


SAMPLED = dict(temperature=0.8, top_p=0.9, top_k=15, seed=3)


@pytest.mark.parametrize("how", [{}, SAMPLED, dict(temperature=1.3, seed=5)], ids=["greedy", "filtered", "drawn"])
@pytest.mark.parametrize("moe", [{}, MIXTURE], ids=["dense", "mixture"])
def test_the_same_ids_as_generate_and_stream(random_model, moe, how):
    model = random_model(sliding_window=6, **moe)
    prompts = prompts_of([5, 1, 30], 23)
    expected = generate(model, prompts, 25, **how)
    assert {len(ids) for ids in expected} != {25}, "no row ends at a stop id: take another seed"
    assert fast_generate(model, prompts, 25, **how) == expected
    assert fast_generate(model, prompts, 25, **how, stop_ids=()) == generate(model, prompts, 25, **how, stop_ids=())
    decoder = FastDecoder(model, max_context=64)
    for ids in prompts:
        decoder.reset()
        assert list(fast_stream(decoder, ids, 25, **how)) == list(stream(model, ids, 25, **how))


@pytest.mark.parametrize("window", [None, 4])
def test_a_stream_goes_on_where_the_decoder_stands_also_after_a_stop(random_model, window):
    model = random_model(sliding_window=window)
    turns = prompts_of([3, 2, 4, 1], 23, seed=4)
    cache, decoder = model.make_cache(1, 200), FastDecoder(model, max_context=200)
    for ids in turns:
        expected = list(stream(model, ids, 40, cache=cache))
        assert list(fast_stream(decoder, ids, 40)) == expected
        assert decoder.cache.position == cache.position == int(decoder.positions)
    for pause in (1, 3):  # a consumer that breaks off
        ours, theirs = fast_stream(decoder, [7], 9, stop_ids=()), stream(model, [7], 9, cache=cache, stop_ids=())
        assert [next(ours) for _ in range(pause)] == [next(theirs) for _ in range(pause)]
        assert decoder.cache.position == cache.position == int(decoder.positions)
    assert list(fast_stream(decoder, [5, 6], 9)) == list(stream(model, [5, 6], 9, cache=cache))


@pytest.mark.parametrize(
    "sampling", [Sampling(0.7), Sampling(1.0, 0.6), Sampling(2.0, 0.9, 7), Sampling(1e-3, 1.0, 99)]
)
def test_tokens_chosen_on_the_device_are_those_of_sampling(sampling):
    logits = 3 * torch.randn(200, 40, generator=torch.Generator().manual_seed(0))
    logits[:, 5] = logits[:, 6]  # ties
    generators = [torch.Generator().manual_seed(row) for row in range(200)]
    expected = [sampling.choose(row, generator) for row, generator in zip(logits, generators)]
    points = torch.stack(
        [torch.rand((), dtype=torch.float64, generator=torch.Generator().manual_seed(row)) for row in range(200)]
    )
    temperature, top_p = torch.tensor([[sampling.temperature], [sampling.top_p]], dtype=torch.float64)
    chosen = choose_tokens(logits, points, temperature, top_p, sampling.top_k, sampling.top_p < 1)
    assert chosen.tolist() == expected and len(set(expected)) > 10


class NoStream:
    """In the place of streams, events, graphs and the context managers of torch.cuda."""

    def __init__(self, *args, **kwargs):
        self.replay = None

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return None

    def elapsed_time(self, end):
        return 1.0

    def record(self, *args):
        return None

    wait_stream = synchronize = record


@pytest.mark.parametrize("window", [None, 5])
def test_recording_and_trying_a_step_leave_the_text_as_it_is(random_model, monkeypatch, window):
    """What surrounds a CUDA graph, without one: the runs before it write no slot that a later token looks at."""
    model = random_model(sliding_window=window)
    decoder, cache = FastDecoder(model, 2, 40), model.make_cache(2, 40)
    for name in ("device", "Stream", "stream", "Event", "CUDAGraph", "graph"):
        monkeypatch.setattr(torch.cuda, name, NoStream)
    monkeypatch.setattr(torch.cuda, "current_stream", NoStream)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    prompts = prompts_of([12, 7], 23)
    read(model, prompts, cache)
    read(model, prompts, decoder.cache)
    for token in (3, 4, 5):
        tokens = torch.tensor([token, token + 1])
        decoder.tokens.copy_(tokens)
        state = decoder.tokens.clone(), decoder.positions.clone()
        step = decoder._one_way((True, None, False), False)
        assert decoder._seconds(step) == 1e-3 / 20
        assert torch.equal(decoder.tokens, state[0]) and torch.equal(decoder.positions, state[1])
        seen = []
        decoder._record(
            lambda step=step, seen=seen: (seen.append(decoder.tokens.tolist() + decoder.positions.tolist()), step())
        )
        assert (
            len(seen) == 4 and seen == [state[0].tolist() + state[1].tolist()] * 4
        )  # every run begins where the first replay will
        # It ends with the recording itself, which here is a step, and on a GPU is none
        decoder.positions.copy_(state[1])
        with torch.no_grad():
            expected = model(tokens[:, None], cache=cache)[:, 0]
        assert_close(decoder.step(tokens), expected, rtol=1e-4, atol=1e-4)


def test_events_are_recorded_on_the_decoders_own_gpu_which_need_not_be_the_current_one(random_model, monkeypatch):
    decoder = FastDecoder(random_model(), max_context=8)
    decoder.device = torch.device("cuda", 1)
    asked, recorded = [], []
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device=None: asked.append(device) or "its stream")
    monkeypatch.setattr(NoStream, "record", lambda self, *args: recorded.append(args))
    monkeypatch.setattr(torch.cuda, "Event", NoStream)
    assert decoder._fetch(0)() == [0]
    decoder._seconds(lambda: None)
    assert asked == [decoder.device] * 2 and recorded == [("its stream",)] * 3


def test_only_sums_over_rows_are_tuned(random_model, monkeypatch):
    """Tuning takes seconds a kernel, so nothing else is; and what both ways share is compiled once, the same for both."""
    decoder, tuned = FastDecoder(random_model(), compile="inductor", max_context=8), {True: set(), False: set()}
    for by_rows in (True, False):
        monkeypatch.setattr(
            torch,
            "compile",
            lambda f, options, by_rows=by_rows, **how: options and tuned[by_rows].add(f.__name__),
        )
        for function in COMPILED:
            decoder._compiled(function, by_rows)
    always = {"chosen_gate_and_up", "add_chosen_down"}
    assert tuned == {True: always | {"project", "add_product", "gate_and_up", "route", "linear"}, False: always}


class Elsewhere(TorchDispatchMode):
    """Notes every operation that reads, makes or writes a tensor on the CPU."""

    def __init__(self):
        super().__init__()
        self.on_cpu = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        tensors = [part for part in tree_leaves((args, kwargs, result)) if isinstance(part, torch.Tensor)]
        if any(tensor.device.type == "cpu" for tensor in tensors):
            self.on_cpu.append(str(function))
        return result


@pytest.mark.parametrize("bits", [None, "int8", "int4"])
@pytest.mark.parametrize("moe", [{}, MIXTURE], ids=["dense", "mixture"])
def test_a_step_stays_on_its_device_and_never_asks_it_for_a_number(random_model, monkeypatch, moe, bits):
    """Neither may be in a step that is recorded. The device is meta, which has no numbers: asked for one, it raises."""
    monkeypatch.setattr("minimistral.fast._shared", lambda tensors: None)  # it compares addresses
    model = random_model(EVEN, sliding_window=5, **moe)
    if bits:
        quantize_(model, bits)
    model.to("meta")
    for batch_size in (1, 3, 5):
        for by_rows in (False, True):
            decoder = FastDecoder(model, batch_size, 16, by_rows=by_rows)
            for sampling in (Sampling(), Sampling(0.7), Sampling(0.7, 0.9, 5)):
                with Elsewhere() as elsewhere:
                    decoder._take_step(sampling)
                assert elsewhere.on_cpu == []
            assert decoder.logits.device.type == decoder.tokens.device.type == "meta"


@pytest.mark.parametrize("how", [{}, SAMPLED], ids=["greedy", "drawn"])
def test_logits_that_are_no_numbers_end_with_a_sentence(random_model, how):
    model = random_model()
    model.layers[1].attention.wk.weight[0, 0] = torch.inf
    decoder = FastDecoder(model, max_context=16)
    with pytest.raises(ValueError, match="no next token can be chosen"):
        fast_generate(model, [[1, 2]], 5, **how)
    token = iter(decoder._decode([3], Sampling(**{k: v for k, v in how.items() if k != "seed"}), [torch.Generator()]))
    assert next(token) == [3] and next(token) == [-1]


def test_what_does_not_fit_is_refused_before_anything_is_read(random_model):
    model = random_model()
    decoder = FastDecoder(model, max_context=10)
    assert decoder.cache.max_context == 256  # rounded up
    with pytest.raises(ValueError, match=r"FastDecoder\(model, max_context=257\)"):
        fast_stream(decoder, [1] * 200, 57)
    with pytest.raises(ValueError, match="batch_size=2"):
        fast_generate(decoder, [[1], [2]], 3)
    with pytest.raises(ValueError, match="one"):
        fast_stream(FastDecoder(model, 2, 8), [1])
    assert decoder.cache.position == 0
    assert fast_generate(decoder, [], 3) == [] and fast_generate(decoder, [[1]], 0) == [[]]
    assert len(fast_generate(decoder, [[1] * 200], 56, stop_ids=())[0]) == 56  # to the last slot


def test_bytes_a_step_reads(random_model):
    for changes in ({}, MIXTURE):
        model = random_model(**changes)
        decoder = FastDecoder(model, max_context=8)
        count = model.config.count_parameters()
        embeddings = model.tok_embeddings.weight.numel()
        assert decoder.nbytes_read == 4 * (count.active - embeddings) + decoder.cache.nbytes


needs_compiler = pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("g++") is None, reason="needs a C++ compiler"
)


def compiled_step(model, max_context):
    """The code of each function that a step is compiled to, and the shapes of what it writes down."""
    torch.compiler.reset()
    decoder = FastDecoder(model, compile="inductor", max_context=max_context, by_rows=True)
    cache, token = model.make_cache(1, max_context), torch.tensor([3])
    logits, codes = run_and_get_code(decoder.step, token)
    assert_close(logits, model(token[None], cache=cache)[0], rtol=1e-4, atol=1e-4)
    found = [re.findall(r"empty_strided_cpu\(\((.*?)\), ", code) for code in codes]
    return codes, [[tuple(map(int, shape.replace(",", " ").split())) for shape in shapes] for shapes in found]


@needs_compiler
def test_compiled_code_writes_down_no_weight_and_no_cache(random_model):
    """What is said of the GPU's kernels is decided above the level of devices, so a CPU's code shows it.

    Weights that are indexed or turned back into floats stay inside the sums, and caches are written in place: no buffer is
    larger than the attention's scores.
    """
    model = quantize_(random_model(EVEN, moe=MoEConfig(8, 2)), "int4")
    sizes = [math.prod(shape) for shapes in compiled_step(model, 256)[1] for shape in shapes]
    assert (
        len(sizes) > 10 and max(sizes) == 4 * 256
    )  # H · S; a cache has 2 · 256 · 16, the chosen w1 2 · 96 · 64 weights


@needs_compiler
@pytest.mark.parametrize("bits", [None, "int8", "int4"])
def test_compiled_code_waits_for_no_norm(random_model, bits):
    """The products of normalised inputs write down nothing but one number a row: the norm has become part of their loop."""
    model = random_model(EVEN)
    if bits:
        quantize_(model, bits)
    codes, shapes = compiled_step(model, 256)
    for rows in ((1, 128), (1, 96), (1, 50)):  # of wqkv, of w1 and w3, of the head
        ((code, written),) = [both for both in zip(codes, shapes) if rows in both[1]]
        assert "rsqrt" in code and set(written) - {(1, 4, 8, 2)} == {rows}  # besides the pairs that RoPE has turned
