"""Chapter 11's rounding at any bits and groups, against the library's int8 and int4 and a slow loop; its losses; its runs."""

import math

import pytest
import torch

from minimistral import ModelConfig, MoEConfig, Transformer, load
from minimistral.data import bundled_texts
from minimistral.evaluate import negative_log_likelihood
from minimistral.lab import rounding
from minimistral.lab.stored_results import paired, stored
from minimistral.lab.tasks.t11_2 import my_bytes
from minimistral.lab.tasks.t11_4 import my_scales
from minimistral.memory import weight_bytes
from minimistral.quantize import dequantize_int4, dequantize_int8, is_quantized_name, quantize_int4, quantize_int8
from minimistral.sources import DOMAINS

torch.set_num_threads(1)


@pytest.fixture
def weight():
    weight = torch.randn(6, 64, generator=torch.Generator().manual_seed(0))
    weight[2] = 0.0
    weight[3, 5] = 30.0
    return weight


def tiny(moe=None):
    torch.manual_seed(0)
    sizes = dict(dim=16, n_layers=2, n_heads=4, n_kv_heads=2, head_dim=4, hidden_dim=24, vocab_size=40)
    return Transformer(ModelConfig(**sizes, moe=moe)).requires_grad_(False)


def test_eight_bits_a_row_are_the_library_s_int8(weight):
    assert torch.equal(rounding.rounded(weight, 8, "row"), dequantize_int8(*quantize_int8(weight)))


@pytest.mark.parametrize("group", [2, 16, 64])
def test_four_bits_in_groups_are_the_library_s_int4(weight, group):
    assert torch.equal(rounding.rounded(weight, 4, group), dequantize_int4(*quantize_int4(weight, group)))


@pytest.mark.parametrize("bits", range(2, 9))
@pytest.mark.parametrize("group", [1, 8, "row", "matrix"])
def test_each_weight_goes_to_the_nearest_line_of_its_grid(weight, bits, group):
    size = {"row": 64, "matrix": weight.numel()}.get(group, group)
    found = rounding.rounded(weight, bits, group).flatten().tolist()
    flat = weight.flatten().tolist()
    largest = 2 ** (bits - 1) - 1
    for start in range(0, len(flat), size):
        part = flat[start : start + size]
        scale = max(map(abs, part)) / largest or 1.0
        lines = [code * scale for code in range(-largest, largest + 1)]
        for before, after in zip(part, found[start : start + size]):
            assert abs(after - before) <= min(abs(line - before) for line in lines) + 1e-5


def test_other_scales_are_held_within_the_grid(weight):
    half = rounding.rounded(weight, 4, 32, lambda groups, bits: rounding.largest_weight(groups, bits) / 2)
    assert float(half[3, 5]) == pytest.approx(15.0)  # 30 lies beyond code 7 of half the scale
    assert not half[2].any()


@pytest.mark.parametrize("wrong", [dict(bits=1, group=8), dict(bits=9, group=8), dict(bits=4, group=7)])
@pytest.mark.filterwarnings("error")
def test_what_cannot_be_is_refused(weight, wrong):
    with pytest.raises(ValueError, match="bits|group"):
        rounding.rounded(weight, **wrong)
    with pytest.raises(ValueError, match="group"):
        rounding.rounded(weight, 4, "column")


@pytest.mark.parametrize("moe", [None, MoEConfig(4, 2)])
def test_a_model_is_rounded_where_the_library_quantizes_and_stays_itself(moe):
    model = tiny(moe)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    rough = rounding.round_model(model, 3, 8)
    for name, value in rough.state_dict().items():
        assert torch.equal(model.state_dict()[name], before[name])
        assert torch.equal(value, before[name]) is not is_quantized_name(name), name
    assert {f"{name}.weight" for name in rounding.matrices(model)} == set(filter(is_quantized_name, before))


def test_only_the_matrices_that_are_named():
    model = tiny()
    rough = rounding.round_model(model, 3, 8, ["output"])
    changed = [name for name, value in rough.state_dict().items() if not torch.equal(value, model.state_dict()[name])]
    assert changed == ["output.weight"]


def test_token_losses_add_up_to_the_library_s(monkeypatch):
    monkeypatch.setattr(rounding, "CHUNK", 7)
    model, ids = tiny(), torch.randint(40, (30,), generator=torch.Generator().manual_seed(1)).tolist()
    losses = rounding.token_losses(model, ids)
    assert losses.shape == (29,)
    assert float(losses.sum()) == pytest.approx(negative_log_likelihood(model, ids), rel=1e-5)


def test_blocks_are_bits_a_byte(monkeypatch):
    monkeypatch.setattr(rounding, "BLOCK", 8)
    model, ids = tiny(), [torch.arange(i, i + 9).tolist() for i in (0, 9, 18)]
    blocks = rounding.block_bits(model, ids, n_bytes=60)
    nats = sum(negative_log_likelihood(model, text) for text in ids)
    assert len(blocks) == 3 and sum(blocks) / 3 == pytest.approx(nats / math.log(2) / 60, abs=1e-5)


def test_bits_a_weight_are_the_bytes_of_what_is_stored(weight):
    q, scale = quantize_int4(weight, 16, torch.bfloat16)
    assert rounding.bits_a_weight(4, 16, weight.shape) == 8 * (q.nbytes + scale.nbytes) / weight.numel()
    assert rounding.bits_a_weight(8, "row", (3, 32)) == 8.5


@pytest.mark.parametrize("name", ["mistral-7b-v0.1", "mixtral-8x7b-v0.1", "tiny-mixtral"])
def test_the_exercise_s_bytes_are_the_library_s(name):
    config = ModelConfig.preset(name)
    assert my_bytes(config, 4, 32) == weight_bytes(config, "bfloat16", "int4")


def test_the_stored_blocks_are_whole_and_say_what_the_chapter_says():
    runs = stored("quantized_losses")["runs"]
    for model in ("tiny-mistral", "tiny-mixtral"):
        for domain in DOMAINS:

            def cost(bits, group, model=model, domain=domain):
                return paired(runs, domain, dict(model=model, bits=bits, group=group), dict(model=model, bits=16))

            assert abs(cost(8, "row").mean) < 0.0005 and cost(8, "row").n >= 28
            assert cost(4, 32).mean > 10 * cost(4, 32).standard_error
            assert 0.01 < cost(4, 32).mean < cost(4, "row").mean < cost(4, "matrix").mean / 4


@pytest.mark.parametrize(
    "domain, bits, group, wanted",
    [("mathematics", 3, 32, 0.07), ("prose", 3, 32, 0.0), ("mathematics", 4, "matrix", 0.21)],
)
def test_what_the_chapter_says_of_exercise_11_4_on_two_texts(domain, bits, group, wanted):
    model, tokenizer = load("tiny-mistral", device="cpu", dtype="float32")
    ids = tokenizer.encode([d.text for d in bundled_texts(domain, held_out=True)][-1], bos=True, eos=False)[:1025]
    plain, mine = (
        rounding.token_losses(rounding.round_model(model, bits, group, scales=scales), ids)
        for scales in (rounding.largest_weight, my_scales)
    )
    assert float((plain - mine).mean()) / math.log(2) == pytest.approx(wanted, abs=0.02)
