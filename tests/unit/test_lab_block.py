"""Chapter 02's stacks, rivals of SwiGLU, and tools, against slow versions."""

import math

import pytest
import torch
import torch.nn.functional as F

from minimistral.config import ModelConfig
from minimistral.lab import BlockXray, KeyDial
from minimistral.lab.depth import N_TEXTS, N_TOKENS, NORMS, VOCAB, Layer, Stack, last_gradient, xray
from minimistral.lab.gates import HIDDEN_DIMS, KINDS, with_feed_forward
from minimistral.lab.tools import block_xray, key_dial


def slow_rms(x):
    return x / (x.pow(2).mean(-1, keepdim=True) + 1e-5).sqrt()


def slow_part(layer, name, x):
    if name == "feed_forward":
        return F.gelu(x @ layer.w1.weight.T) @ layer.w2.weight.T
    q, k, v = (x @ w.weight.T for w in (layer.wq, layer.wk, layer.wv))
    scores = q @ k.mT / math.sqrt(x.shape[-1])
    hidden = torch.ones(x.shape[1], x.shape[1]).triu(1) == 1
    return scores.masked_fill(hidden, -torch.inf).softmax(-1) @ v @ layer.wo.weight.T


@pytest.mark.parametrize("norm", NORMS)
def test_a_layer_is_its_formula(norm):
    torch.manual_seed(0)
    layer, x = Layer(10, norm), 3 * torch.randn(2, 7, 10)
    expected = x
    for name in ("attention", "feed_forward"):
        if norm == "pre":
            expected = expected + slow_part(layer, name, slow_rms(expected))
        elif norm == "post":
            expected = slow_rms(expected + slow_part(layer, name, expected))
        else:
            expected = expected + slow_part(layer, name, expected)
    torch.testing.assert_close(layer(x), expected)


def test_a_stack_takes_three_kinds_of_norm_only():
    with pytest.raises(ValueError, match="sandwich"):
        Stack(2, "sandwich", 8)


def test_the_gradient_is_the_change_of_the_loss():
    """By a finite difference in float64, along the gradient of the last w2."""
    n_layers, norm, dim = 3, "pre", 8
    torch.manual_seed(4)
    stack = Stack(n_layers, norm, dim)
    tokens, targets = torch.randint(VOCAB, (2, N_TEXTS, N_TOKENS))
    stack.double()
    weight = stack.layers[-1].w2.weight

    def loss():
        return F.cross_entropy(stack(tokens)[0].flatten(0, 1), targets.flatten())

    gradient = torch.autograd.grad(loss(), weight)[0]
    step = 1e-5 * gradient / gradient.norm()
    with torch.no_grad():
        weight += step
        above = loss()
        weight -= 2 * step
        below = loss()
    slope = (above - below).item() / 2e-5
    assert last_gradient(n_layers, norm, dim, seed=4) == pytest.approx(slope, rel=1e-4)


def test_the_x_ray_sees_what_the_theory_says():
    pre, post, none = (xray(16, norm) for norm in ("pre", "post", "none"))
    assert all(len(seen["size"]) == 17 and len(seen["gradient"]) == 16 for seen in (pre, post, none))
    assert post["size"][1:] == pytest.approx([1.0] * 16, abs=1e-3)
    linear = 1 + 16 * (pre["size"][8] ** 2 - 1) / 8  # the square grows by equal amounts
    assert pre["size"][-1] ** 2 == pytest.approx(linear, rel=0.2)
    assert none["size"][-1] > 500 and none["gradient"][-1] > 1000


def test_the_x_ray_leaves_the_random_numbers_alone():
    torch.manual_seed(1)
    first = torch.rand(1)
    torch.manual_seed(1)
    xray(2, "pre", 8)
    assert torch.equal(torch.rand(1), first)


def test_rivals_have_equally_many_weights_and_share_the_others():
    config = ModelConfig(dim=64, n_layers=2, n_heads=4, n_kv_heads=4, head_dim=16, hidden_dim=172, vocab_size=256)
    models = {kind: with_feed_forward(config, kind, seed=3) for kind in KINDS}
    assert {sum(p.numel() for p in model.parameters()) for model in models.values()} == {131_904}
    for model in models.values():
        for name, weight in models["SwiGLU"].named_parameters():
            if "feed_forward" not in name:
                assert torch.equal(weight, model.get_parameter(name)), name
    x = torch.randn(5, 64)
    geglu, gelu = models["GEGLU"].layers[0].feed_forward, models["GELU"].layers[0].feed_forward
    gate = x @ geglu.w1.weight.T
    gate = gate * (1 + torch.erf(gate / math.sqrt(2))) / 2
    torch.testing.assert_close(geglu(x), (gate * (x @ geglu.w3.weight.T)) @ geglu.w2.weight.T)
    torch.testing.assert_close(gelu(x), F.gelu(x @ gelu.w1.weight.T) @ gelu.w2.weight.T)
    assert gelu.w1.weight.shape == (HIDDEN_DIMS["GELU"], 64)
    with pytest.raises(ValueError, match="ReLU"):
        with_feed_forward(config, "ReLU", seed=0)


def test_the_x_ray_tool_answers_what_it_draws():
    tool = BlockXray("post", 5, 16)
    answer = tool.answer(tool.start())
    assert answer["size"] == pytest.approx(xray(5, "post", 16)["size"], rel=1e-3)
    assert len(answer["gradient"]) == 5
    picture = tool.picture()
    assert "5 layers, norm after each sum" in picture.alt and picture.alt == repr(tool)
    assert BlockXray(n_layers=1).picture().alt.startswith("1 layer, ")


@pytest.mark.parametrize("wrong", [dict(norm="mid"), dict(n_layers=0), dict(n_layers=33), dict(dim=48)])
def test_the_x_ray_refuses_what_it_cannot_show(wrong):
    with pytest.raises(ValueError, match="the tool shows"):
        block_xray.State(**wrong)


def test_the_dial_is_softmax_over_four_keys():
    scores, weights = key_dial.compute(key_dial.State(angle=0, length=3.0))
    assert scores[key_dial.MOVED] == pytest.approx(6 / math.sqrt(2))
    powers = [math.exp(score) for score in scores]
    assert weights == pytest.approx([power / sum(powers) for power in powers], rel=1e-5)


def test_a_hidden_key_has_no_weight_and_a_key_across_has_some():
    scores, weights = key_dial.compute(key_dial.State(hidden=True))
    assert scores[key_dial.MOVED] == -math.inf and weights[key_dial.MOVED] == 0
    assert sum(weights) == pytest.approx(1)
    scores, weights = key_dial.compute(key_dial.State(angle=90))
    assert scores[key_dial.MOVED] == pytest.approx(0, abs=1e-6) and weights[key_dial.MOVED] > 0.1
    assert "hidden" in KeyDial(hidden=True).picture().alt
    with pytest.raises(ValueError, match="length"):
        key_dial.State(length=5)
