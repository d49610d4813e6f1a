"""Chapter 11: the keys of its quiz and of the mixed review, computed."""

import math

import pytest
import torch

from minimistral import ModelConfig
from minimistral.lab import quizzes
from minimistral.lab.rounding import bits_a_weight, rounded
from minimistral.moe import choose_experts
from minimistral.quantize import quantize_int8


def key(chapter, number):
    question = quizzes.questions(chapter)[number - 1]
    return question.options[question.key]


def test_the_bits_of_a_weight_and_the_speed_that_they_allow():
    assert key("11", 1) == f"{bits_a_weight(3, 16, (16, 16)):g}"
    assert key("11", 5) == f"{16 / bits_a_weight(4, 32, (32, 32)):.1f}"


def test_what_a_weight_comes_back_as():
    row = torch.tensor([[2.1, -0.5, 0.8, 0.1]])
    assert float(key("11", 2).replace("−", "-")) == pytest.approx(float(rounded(row, 4, "row")[0, 1]))


def test_the_hits_of_even_routing():
    draw = torch.Generator().manual_seed(0)
    choices = torch.rand(20_000, 8, generator=draw).topk(2).indices  # (N, K)
    there = (choices[1:, :, None] == choices[:-1, None, :]).any(-1).double().mean()
    assert float(there) == pytest.approx(float(key("11", 6).split()[0]) / 100, abs=0.01)
    both = 1 - math.comb(6, 2) / math.comb(8, 2)
    assert f"{both:.0%}".replace("%", " %") in quizzes.questions("11")[5].options


def test_the_review_keys_are_what_the_library_computes():
    weights, ids = choose_experts(torch.tensor([[0.0, 2.0, -1.0, 2.0]]), 2)
    table = torch.zeros(1, 4).scatter(1, ids, weights)[0]
    assert key("11_review", 1) == ", ".join(f"{weight:g}" for weight in table.tolist())
    total = ModelConfig.preset("mixtral-8x7b-v0.1").count_parameters().total
    assert key("11_review", 3) == f"{total / 1e9:.1f} billion"
    assert key("11_review", 5) == f"{100 * math.sqrt(0.6 * 0.4 / 1000):.1f}"
    q, scale = quantize_int8(torch.randn(4096, 4096))
    assert key("11_review", 7) == f"{q.nbytes + scale.nbytes:,}"
    assert [q.returns_to for q in quizzes.questions("11_review")] == ["08", "08", "09", "09", "10", "10", "11"]
