"""Chapter 09's quiz: the keys that can be computed."""

import itertools
import random

from minimistral import ModelConfig, Transformer
from minimistral.lab import quizzes


def key(number):
    question = quizzes.questions("09")[number - 1]
    return question.options[question.key]


def test_memory_follows_the_total():
    total = ModelConfig.preset("mixtral-8x7b-v0.1").count_parameters().total
    assert key(1) == f"{total * 2 / 1e9:.0f} GB"


def test_repeats_by_luck_counted_over_all_pairs():
    choices = [0] * 4 + [1] * 2 + [2, 3]
    agree = [a == b for a, b in itertools.product(choices, repeat=2)]
    assert key(2) == f"{sum(agree) / len(agree):.0%}".replace("%", " %")


def test_experts_touched_by_four_tokens_by_drawing():
    draw = random.Random(0)
    touched = [len({e for _ in range(4) for e in draw.sample(range(8), 2)}) for _ in range(50_000)]
    assert key(3) == f"{sum(touched) / len(touched):.1f}"


def test_cache_without_a_window():
    sizes = dict(dim=8, n_layers=1, n_heads=2, n_kv_heads=1, head_dim=2, hidden_dim=4, vocab_size=5)
    caches = [
        Transformer(ModelConfig(**sizes, sliding_window=window)).make_cache(1, 32_768).nbytes
        for window in (None, 4_096)
    ]
    assert key(5) == f"{caches[0] / caches[1]:.0f}"
