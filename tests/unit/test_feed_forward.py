"""SwiGLU against its formula, in blocks and whole."""

import pytest
import torch
from torch.testing import assert_close

from minimistral import feed_forward
from minimistral.feed_forward import FeedForward


def slow_swiglu(block, x):
    gate, up = x @ block.w1.weight.T, x @ block.w3.weight.T
    return (gate / (1 + torch.exp(-gate)) * up) @ block.w2.weight.T


@pytest.mark.parametrize("shape", [(5,), (1, 5), (7, 5), (2, 3, 5), (0, 5), (2, 0, 5)])
def test_the_block_is_its_formula(shape):
    torch.manual_seed(0)
    block, x = FeedForward(5, 8), torch.randn(shape) * 3
    if len(shape) == 1:
        x = x[None]
    with torch.no_grad():
        assert_close(block(x), slow_swiglu(block, x))


def test_long_inputs_pass_in_pieces_with_the_same_result(monkeypatch):
    torch.manual_seed(0)
    block, x = FeedForward(5, 8), torch.randn(2, 11, 5)
    whole = block(x)
    monkeypatch.setattr(feed_forward, "TOKEN_BLOCK", 4)
    assert_close(block(x), whole)


def test_the_names_are_the_checkpoints():
    block = FeedForward(5, 8)
    assert {name: tuple(w.shape) for name, w in block.named_parameters()} == {
        "w1.weight": (8, 5),
        "w2.weight": (5, 8),
        "w3.weight": (8, 5),
    }
