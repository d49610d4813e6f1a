"""Chapter 02's explaining pictures: what they say in words is what the library computes."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from minimistral import ModelConfig, Transformer
from minimistral.lab import Picture
from minimistral.lab.block_pictures import draw_attention_shapes, draw_gate, draw_norm, draw_pairs, draw_weights
from minimistral.lab.stored_results import paired
from minimistral.norm import RMSNorm


class OneHead(nn.Module):
    def __init__(self, dim, head_dim):
        super().__init__()
        self.wq, self.wk, self.wv = (nn.Linear(dim, head_dim, bias=False) for _ in range(3))
        self.wo = nn.Linear(head_dim, dim, bias=False)


@pytest.mark.parametrize("tokens, dim, head_dim", [(11, 12, 8), (3, 20, 4)])
def test_shapes_are_those_of_the_part(tokens, dim, head_dim):
    picture = draw_attention_shapes(OneHead(dim, head_dim), torch.randn(tokens, dim))
    assert isinstance(picture, Picture)
    for words in (f"x is {tokens} by {dim}", f"v are {tokens} by {head_dim}", f"the weights {tokens} by {tokens}"):
        assert words in picture.alt


def test_the_norm_takes_the_size_away_whoever_built_it():
    alt = draw_norm(RMSNorm(4), (3, 4, 0, 0)).alt
    assert "2.5 and 25" in alt and "the same bars, of root mean square 1." in alt
    forgetful = draw_norm(lambda x: x / 5, (3, 4, 0, 0)).alt  # a norm that is none is drawn as what it does
    assert "the same bars" not in forgetful and "0.5 and 5" in forgetful


def test_a_gate_is_the_slope():
    alt = draw_gate((2.0, -3.0), 3.0).alt
    for gate in (2.0, -3.0):
        assert f"silu({gate:g}) is {F.silu(torch.tensor(gate)):.2f}" in alt
        assert f"becomes {3 * F.silu(torch.tensor(gate)):.2f}" in alt


def test_pairs_have_the_means_that_are_computed():
    runs = [dict(arm=arm, seed=seed, loss=seed + (arm == "old") / 2) for arm in ("old", "new") for seed in range(3)]
    found = paired(runs, "loss", a=dict(arm="new"), b=dict(arm="old"))
    assert "new − old: -0.500 nats" in draw_pairs({"new − old": [-0.5] * 3}, {"new − old": found}, "nats").alt


def test_areas_are_counts_of_weights():
    config = ModelConfig(dim=16, n_layers=1, n_heads=2, n_kv_heads=1, head_dim=8, hidden_dim=24, vocab_size=5)
    block = Transformer(config).layers[0]
    total = sum(p.numel() for p in block.parameters())
    share = sum(p.numel() for p in block.feed_forward.parameters()) / total
    alt = draw_weights(block).alt
    assert f"of {total:,} weights" in alt and f"the feed-forward part {100 * share:.1f} %" in alt
