"""Chapter 02's quiz: its computable keys, computed."""

import math

import pytest
import torch

from minimistral.config import ModelConfig
from minimistral.lab import quizzes
from minimistral.lab.depth import last_gradient
from minimistral.norm import RMSNorm
from minimistral.transformer import Block


def key(number):
    question = quizzes.questions("02")[number - 1]
    return question.options[question.key]


def test_softmax_of_scaled_scores():
    weight = (torch.tensor([6.0, 2, 2]) / math.sqrt(4)).softmax(0)[0]
    assert key(1) == f"{weight:.2f}"


def test_the_norm_drops_the_size():
    normed = RMSNorm(4)(torch.tensor([30.0, 40, 0, 0]))
    assert key(2) == "(" + ", ".join(f"{number:.2g}" for number in normed.tolist()) + ")"


def test_the_last_gradient_of_four_times_as_many_layers():
    shallow, deep = (sum(last_gradient(n_layers, "pre", seed=seed) for seed in range(5)) / 5 for n_layers in (8, 32))
    options = [float(option) for option in quizzes.questions("02")[2].options]
    assert shallow == pytest.approx(0.3, abs=0.05)
    assert float(key(3)) == min(options, key=lambda option: abs(option - deep))


def test_the_cross_entropy_of_an_even_guess():
    loss = torch.nn.functional.cross_entropy(torch.zeros(1, 256), torch.tensor([3])) / math.log(2)
    assert key(4) == f"{loss:.0f} bits a byte"


def test_a_block_keeps_the_shape():
    config = ModelConfig(dim=4096, n_layers=32, n_heads=32, n_kv_heads=8, head_dim=128, hidden_dim=14336, vocab_size=10)
    with torch.device("meta"):
        out = Block(config)(torch.zeros(2, 10, 4096), torch.ones(10, 64), torch.zeros(10, 64))
    assert key(5) == str(tuple(out.shape))
