"""Quantized weights against slow loops and the formula; loading them, their memory, and what is refused."""

import copy
import json
import math
import os
import subprocess
import sys
import textwrap

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from minimistral import CheckpointError, ModelConfig, MoEConfig, Transformer, generate, load, save, stream
from minimistral import quantize as q
from minimistral import quantized_products as products
from minimistral.memory import weight_bytes

torch.set_num_threads(1)
SIZES = dict(dim=64, n_layers=2, n_heads=6, n_kv_heads=3, head_dim=32, hidden_dim=96, vocab_size=80)
KINDS = ["int8", "int4"]


def model_of(seed=0, **changes) -> Transformer:
    torch.manual_seed(seed)
    return Transformer(ModelConfig(**SIZES | changes)).eval()


def slow_codes(weights: list[float], largest: int) -> tuple[list[int], float]:
    """By the definition, one number at a time; Python's round also takes halves to the even neighbour."""
    scale = max(map(abs, weights)) / largest or 1.0
    return [max(-largest, min(largest, round(w / scale))) for w in weights], scale


@pytest.mark.parametrize("shape", [(1, 2), (5, 34), (3, 64)])
def test_int8_is_what_a_loop_gives(shape):
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    codes, scale = q.quantize_int8(weight)
    assert codes.dtype == torch.int8 and scale.dtype == torch.float32 and scale.shape == shape[:1]
    for row, row_codes, row_scale in zip(weight.tolist(), codes.tolist(), scale.tolist()):
        expected, expected_scale = slow_codes(row, 127)
        assert row_codes == expected and row_scale == pytest.approx(expected_scale, rel=1e-6)
    error = (weight - q.dequantize_int8(codes, scale)).abs()
    assert (error <= 0.5001 * scale[:, None]).all()
    assert error.max() > 0 or shape == (1, 2)


def test_halves_go_to_even_codes_and_the_grid_is_symmetric():
    row = torch.tensor([[127.0, 0.5, 1.5, 2.5, -0.5, -1.5, -127.0]])
    assert q.quantize_int8(row)[0].tolist() == [[127, 0, 2, 2, 0, -2, -127]]
    assert torch.equal(q.quantize_int8(-row)[0], -q.quantize_int8(row)[0])


@pytest.mark.parametrize("group_size", [2, 16, 32, 64])
def test_int4_is_what_a_loop_gives(group_size):
    weight = torch.randn(3, 64, generator=torch.Generator().manual_seed(1))
    packed, scale = q.quantize_int4(weight, group_size)
    assert packed.dtype == torch.uint8 and packed.shape == (3, 32) and scale.shape == (3, 64 // group_size)
    for i in range(3):
        for g in range(64 // group_size):
            codes, expected = slow_codes(weight[i, g * group_size : (g + 1) * group_size].tolist(), 7)
            assert float(scale[i, g]) == pytest.approx(expected, rel=1e-6)
            for j, code in enumerate(codes):
                column = g * group_size + j
                byte = int(packed[i, column // 2])
                assert (byte >> 4 if column % 2 else byte & 15) == code + 8
    back = q.dequantize_int4(packed, scale)
    assert ((weight - back).abs() <= 0.5001 * scale.repeat_interleave(group_size, 1)).all()


def test_int4_codes_are_chosen_for_the_scale_as_it_is_stored():
    weight = torch.randn(50, 64, generator=torch.Generator().manual_seed(2))
    packed, scale = q.quantize_int4(weight, 32, torch.bfloat16)
    error = (weight - q.dequantize_int4(packed, scale)).abs()
    assert scale.dtype == torch.bfloat16 and (error <= 0.5001 * scale.float().repeat_interleave(32, 1)).all()


def test_every_code_survives_packing():
    codes = torch.arange(-8, 8).to(torch.int8).repeat(2, 2)
    assert torch.equal(q.unpack_int4(q.pack_int4(codes)), codes)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_rows_of_zeros_and_of_tiny_numbers(dtype):
    weight = torch.tensor([[0.0] * 32, [1e-45] * 32, [1.0] * 32]).to(dtype)
    codes, scale = q.quantize_int8(weight)
    assert scale[:2].tolist() == [1, 1] and not codes[:2].any() and codes[2].tolist() == [127] * 32
    packed, group_scale = q.quantize_int4(weight)
    assert group_scale[:2].flatten().tolist() == [1, 1] and not q.dequantize_int4(packed, group_scale)[:2].any()


@pytest.mark.parametrize("bad", [math.inf, -math.inf, math.nan])
@pytest.mark.parametrize("kind", KINDS)
def test_what_no_scale_can_hold_is_refused_with_its_row(kind, bad, monkeypatch):
    weight = torch.ones(40, 64)
    weight[23, 7] = bad
    for at_once in (2**18, 64 * 10):  # whole, and in parts of ten rows
        monkeypatch.setattr(q, "AT_ONCE", at_once)
        with pytest.raises(ValueError, match="row 23 holds an infinity or a NaN"):
            q.KINDS[kind].from_weight(weight)


@pytest.mark.parametrize("group_size", [0, 1, 3, 32, 48, True, 16.0])
def test_groups_that_do_not_fit(group_size):
    with pytest.raises(ValueError, match="does not divide rows of 48|Choose from"):
        q.quantize_int4(torch.ones(2, 48 + 2 * (group_size == 48)), group_size)
    with pytest.raises(ValueError, match="int8"):
        q.quantize_int4(torch.ones(2, 3), 2)


@pytest.mark.parametrize("bad", [torch.ones(3), torch.ones(2, 2, dtype=torch.int8), [[1.0]], torch.ones(2, 0)])
def test_what_is_no_matrix_of_floats(bad):
    for function in (q.quantize_int8, q.quantize_int4):
        with pytest.raises(ValueError, match="give a matrix"):
            function(bad)


TOLERANCE = {torch.float32: 2e-6, torch.float64: 2e-6, torch.float16: 4e-3, torch.bfloat16: 1.5e-2}


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("n_rows", [1, 16, 17, 32, 33, 70])
@pytest.mark.parametrize("shape", [(128, 64), (130, 32), (70, 128), (576, 64)])
@pytest.mark.parametrize("kind", KINDS)
def test_products_are_those_of_the_dequantized_weight(kind, shape, n_rows, dtype):
    generator = torch.Generator().manual_seed(3)
    module = q.KINDS[kind].from_weight(torch.randn(shape, generator=generator))
    x = torch.randn(2, n_rows, shape[1], generator=generator).to(dtype)
    expected = x.double() @ module.dequantized().double().mT
    for found in (module(x), module.slow_forward(x), module(x.transpose(0, 1)).transpose(0, 1)):
        assert found.dtype == dtype and found.shape == (2, n_rows, shape[0])
        assert (found.double() - expected).abs().max() <= TOLERANCE[dtype] * expected.abs().max()


def test_blocks_that_end_within_a_matrix(monkeypatch):
    monkeypatch.setattr(products, "INT8_BLOCK", {torch.float32: 7, torch.bfloat16: 7})
    test_products_are_those_of_the_dequantized_weight("int8", (130, 32), 17, torch.float32)
    test_products_are_those_of_the_dequantized_weight("int8", (130, 32), 17, torch.bfloat16)


@pytest.mark.parametrize("n_in", [1, 7, 24, 33, 72])
def test_rows_that_the_int8_kernel_cannot_take(n_in):
    """Torch's kernel reads 16 weights at a time without a check: other widths end the process, or give wrong numbers."""
    for n_out in (1, 6, 61, 64):
        test_products_are_those_of_the_dequantized_weight("int8", (n_out, n_in), 3, torch.bfloat16)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("first", [1, 8])
def test_activations_may_begin_anywhere_in_memory(kind, first):
    """Torch's int8 kernel loads them 32 bytes at a time, and crashes where they do not begin at a multiple of that."""
    module = q.KINDS[kind].from_weight(torch.randn(64, 96, generator=torch.Generator().manual_seed(3)))
    x = torch.randn(3 * 96 + first, generator=torch.Generator().manual_seed(4)).bfloat16()[first:].view(3, 96)
    expected = x.double() @ module.dequantized().double().mT
    assert (module(x).double() - expected).abs().max() <= TOLERANCE[torch.bfloat16] * expected.abs().max()


def test_without_kernels_products_are_right_too(monkeypatch):
    for name in ("has_int8_kernel", "has_int4_kernel", "has_amx"):
        monkeypatch.setattr(products, name, lambda: False)
    for kind in KINDS:
        test_products_are_those_of_the_dequantized_weight(kind, (128, 64), 1, torch.bfloat16)
        test_products_are_those_of_the_dequantized_weight(kind, (128, 64), 33, torch.bfloat16)


needs_kernel = pytest.mark.skipif(products.kernel_rows() is None, reason="this processor has no int4 kernel")


@needs_kernel
def test_the_kernels_order_is_left_before_anybody_can_see_it():
    module = q.Int4Linear.from_weight(torch.randn(128, 64, generator=torch.Generator().manual_seed(4)))
    codes, scale = module.q.clone(), module.scale.clone()
    x = torch.ones(1, 64, dtype=torch.bfloat16)
    for look in (
        lambda m: m.state_dict(),
        lambda m: m.to("cpu"),
        lambda m: m.dequantized(),
        lambda m: m.load_state_dict({"q": codes, "scale": scale}),
        lambda m: m(torch.ones(1, 64)),
    ):
        module(x)
        assert module.q is None and module.packed is not None
        n_bytes = sum(buffer.nbytes for buffer in module.buffers())
        assert n_bytes == codes.nbytes + 2 * scale.nbytes  # instead of them, not beside them
        assert torch.equal(copy.deepcopy(module)(x), module(x))
        look(module)
        assert torch.equal(module.q, codes) and torch.equal(module.scale, scale) and module.packed is None


@pytest.mark.parametrize("kind", KINDS)
def test_to_a_dtype_leaves_the_weights_as_they_are_and_gradients_pass(kind):
    module = q.KINDS[kind].from_weight(torch.randn(32, 64, generator=torch.Generator().manual_seed(5)))
    before = module.dequantized()
    assert torch.equal(module.half().double().dequantized(), before)
    x = torch.randn(3, 64, requires_grad=True)
    module(x).sum().backward()
    torch.testing.assert_close(x.grad, before.sum(0).expand(3, -1))
    assert module(torch.zeros(0, 64)).shape == (0, 32)
    with pytest.raises(ValueError, match="in_features = 64"), torch.no_grad():
        module(torch.zeros(2, 63))


@pytest.mark.parametrize("moe", [None, MoEConfig(3, 2)])
@pytest.mark.parametrize("kind", KINDS)
def test_a_quantized_model_computes_what_its_dequantized_weights_do(kind, moe):
    model = model_of(moe=moe)
    plain = copy.deepcopy(model)
    assert q.quantize_(model, kind) is model and not any(p.requires_grad for p in model.parameters())
    for name, module in plain.named_modules():
        quantized = model.get_submodule(name)
        if isinstance(module, nn.Linear) and not name.endswith("gate"):
            assert type(quantized) is q.KINDS[kind]
            codes = (
                q.quantize_int8(module.weight) if kind == "int8" else q.quantize_int4(module.weight, 32, torch.bfloat16)
            )
            turn_back = q.dequantize_int8 if kind == "int8" else q.dequantize_int4
            module.weight.data.copy_(turn_back(*codes))
        elif isinstance(module, (nn.Linear, nn.Embedding)):
            assert type(quantized) is type(module) and torch.equal(quantized.weight, module.weight)
    tokens = torch.arange(11)[None]
    with torch.inference_mode():
        torch.testing.assert_close(model(tokens), plain(tokens), rtol=1e-4, atol=1e-4)
    assert generate(model, [[1, 2, 3]], max_new_tokens=6) == generate(plain, [[1, 2, 3]], max_new_tokens=6)
    assert list(stream(model, [1, 2], max_new_tokens=3)) == list(stream(plain, [1, 2], max_new_tokens=3))
    n_bytes = sum(tensor.nbytes for tensor in model.state_dict().values())
    assert n_bytes == weight_bytes(model.config, "float32", kind)


def test_a_matrix_that_cannot_be_quantized_is_named():
    with pytest.raises(ValueError, match=r"layers.0.attention.wo: group_size=32 does not divide rows of 60"):
        q.quantize_(model_of(head_dim=10), "int4")
    with pytest.raises(ValueError, match="quantize='int3': choose 'int8' or 'int4'"):
        q.quantize_(model_of(), "int3")
    with pytest.raises(ValueError, match=r"choose 'int8' or 'int4'"):
        q.quantize_(model_of(), ["int8"])
    with pytest.raises(ValueError, match=r"wq is an Int8Linear already: quantize the model it was made from"):
        q.quantize_(q.quantize_(model_of(), "int8"), "int4")


@pytest.mark.parametrize("changes", [{}, {"moe": MoEConfig(3, 2)}, {"tie_embeddings": True}])
@pytest.mark.parametrize("layout", ["native", "hub"])
@pytest.mark.parametrize("kind", KINDS)
def test_loading_quantized_is_quantizing_what_was_loaded(tmp_path, kind, layout, changes):
    save(model_of(**changes).bfloat16(), tmp_path / "m", layout=layout, max_shard_size=40_000)
    for options in ({}, {"dtype": "float32"}, {"layers": [1]}):
        loaded, _ = load(tmp_path / "m", device="cpu", quantize=kind, **options)
        expected = q.quantize_(load(tmp_path / "m", device="cpu", **options)[0], kind)
        assert_same_state(loaded, expected)
        assert not loaded.training and not any(p.requires_grad for p in loaded.parameters())
        assert loaded.make_cache(1, 8).dtype == loaded.tok_embeddings.weight.dtype
        assert generate(loaded, [[1, 2]], max_new_tokens=2) == generate(expected, [[1, 2]], max_new_tokens=2)


def assert_same_state(found, expected):
    found, expected = found.state_dict(), expected.state_dict()
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype and torch.equal(found[name], tensor), name


def test_loading_quantized_from_a_pickle_and_nothing_of_the_file_stays(tmp_path):
    model = model_of().bfloat16()
    save(model, tmp_path / "m")
    torch.save(load_file(tmp_path / "m/consolidated.safetensors"), tmp_path / "m/consolidated.00.pth")
    from_file, _ = load(tmp_path / "m", device="cpu", quantize="int8")
    content = (tmp_path / "m/consolidated.safetensors").read_bytes()
    (tmp_path / "m/consolidated.safetensors").write_bytes(bytes(len(content)))
    expected = q.quantize_(model, "int8")
    assert_same_state(from_file, expected)
    (tmp_path / "m/consolidated.safetensors").unlink()
    assert_same_state(load(tmp_path / "m", device="cpu", quantize="int8")[0], expected)


def test_damage_is_named(tmp_path):
    save(model_of(), tmp_path / "m")
    path = tmp_path / "m/consolidated.safetensors"
    tensors = load_file(path)
    tensors["layers.1.feed_forward.w2.weight"][5, 3] = math.nan
    save_file(tensors, path)
    with pytest.raises(
        CheckpointError, match=r"consolidated.safetensors: tensor layers.1.feed_forward.w2.weight: row 5"
    ):
        load(tmp_path / "m", quantize="int8")
    load(tmp_path / "m")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="truncated"):
        load(tmp_path / "m", quantize="int8")
    save(model_of(hidden_dim=90), tmp_path / "odd")
    with pytest.raises(ValueError, match="hidden_dim = 90, and int4 wants rows of whole groups of 32"):
        load(tmp_path / "odd", quantize="int4")


@pytest.mark.parametrize("kind", KINDS)
def test_a_quantized_model_is_not_saved(tmp_path, kind):
    with pytest.raises(CheckpointError, match="wq.weight is quantized"):
        save(q.quantize_(model_of(), kind), tmp_path / "m")
    assert list(tmp_path.iterdir()) == []


CHILD = """
    import json, re, sys, threading, time
    import torch
    torch.set_num_threads(1)
    from minimistral import load
    folder, kind = sys.argv[1], None if sys.argv[2] == "None" else sys.argv[2]
    def private():
        with open("/proc/self/smaps_rollup") as file:
            return 1024 * int(re.search(r"^Anonymous: +([0-9]+)", file.read(), re.M)[1])
    load("tiny-mistral", device="cpu", quantize=kind)
    before, done = private(), threading.Event()
    peak = [before]
    def watch():
        while not done.wait(0.001):
            peak[0] = max(peak[0], private())
    thread = threading.Thread(target=watch); thread.start()
    model, _ = load(folder, device="cpu", quantize=kind)
    done.set(); thread.join()
    print(json.dumps({
        "peak": max(peak[0], private()) - before, "private": private() - before,
        "weights": sum(t.nbytes for t in model.state_dict().values()),
    }))
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/smaps_rollup"), reason="only Linux tells a process's own memory")
@pytest.mark.parametrize("layout, vocab_size", [("native", 2048), ("hub", 2048), ("native", 32_000)])
def test_private_memory(tmp_path, layout, vocab_size):
    """Sizes at which a matrix is to the whole as in a 7B; glibc is told to treat them as it treats the real, large ones.

    And a vocabulary that is a large part of the whole, as in small models: its two tables are never held twice.
    """
    sizes = dict(dim=512, n_layers=24, n_heads=8, n_kv_heads=2, head_dim=64, hidden_dim=1792, vocab_size=vocab_size)
    save(model_of(**sizes).bfloat16(), tmp_path / "m", layout=layout)
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": str(2**17), "OMP_NUM_THREADS": "1"}
    found = {}
    for kind in (None, "int8"):
        command = [sys.executable, "-c", textwrap.dedent(CHILD), str(tmp_path / "m"), str(kind)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
        assert done.returncode == 0, done.stderr
        found[kind] = json.loads(done.stdout)
    assert found[None]["private"] <= 0.03 * found[None]["weights"]
    assert found["int8"]["peak"] <= 1.15 * found["int8"]["weights"]
