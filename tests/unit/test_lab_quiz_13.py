"""Chapter 13's quiz: the keys that can be computed."""

from minimistral import ModelConfig
from minimistral.lab import quizzes
from minimistral.memory import weight_bytes
from minimistral.plan import cache_bytes

REAL = ModelConfig.preset("mixtral-8x7b-v0.1")


def key(number):
    question = quizzes.questions("13")[number - 1]
    return question.options[question.key]


def test_gigabytes():
    assert key(1) == f"{weight_bytes(REAL, 'bfloat16', 'int4') / 1e9:.1f}"


def test_batch():
    assert key(2) == str(next(b for b in range(1, 99) if 8 * (1 - 0.75**b) > 7.2))


def test_luck():
    assert key(3) == f"{0.46**2 + 7 * (0.54 / 7) ** 2:.0%}".replace("%", " %")


def test_cache():
    assert key(5) == f"{cache_bytes(REAL, 'bfloat16', 32_768) / 1e9:.1f} GB"


def test_bus():
    expert = 3 * REAL.dim * REAL.hidden_dim * 4.5 / 8
    assert key(6) == f"{25e9 / (REAL.n_layers * REAL.moe.num_experts_per_tok * expert):.0f}"
