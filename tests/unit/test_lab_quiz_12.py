"""Chapter 12's quiz: the keys that can be computed."""

import torch

from minimistral import ModelConfig, Transformer
from minimistral.lab import quizzes
from minimistral.plan import read_bytes

REAL = ModelConfig.preset("mistral-7b-v0.1")


def key(number):
    question = quizzes.questions("12")[number - 1]
    return question.options[question.key]


def test_gigabytes():
    assert key(1) == f"{2 * REAL.count_parameters().total / 1e9:.1f}"


def test_tokens_a_second():
    assert key(2) == f"{900e9 / read_bytes(REAL, 'bfloat16'):.0f}"


def test_cached_tokens():
    with torch.device("meta"):
        cache = Transformer(REAL).make_cache(1, 30_000)
    assert key(3) == f"{cache.n_slots:,}"


def test_tensors():
    with torch.device("meta"):
        assert key(6) == str(len(list(Transformer(REAL).parameters())))
