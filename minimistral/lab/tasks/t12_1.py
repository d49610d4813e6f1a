"""12.1: the memory that a model takes: weights and cache, in GB."""

import random

from minimistral.lab.exercise import Exercise, Mistake

Sizes = tuple[int, int, int, int, int, int, int]


def memory_gb(
    n_weights: int, bits: int, n_layers: int, n_kv_heads: int, head_dim: int, window: int, context: int
) -> float:
    weights = n_weights * bits / 8
    cache = 2 * n_layers * n_kv_heads * head_dim * min(window, context) * 2
    return (weights + cache) / 1e9


def cases(draw: random.Random) -> list[Sizes]:
    def one(window: int, context: int) -> Sizes:
        layers, heads = draw.choice([16, 32, 40]), draw.choice([4, 8])
        return draw.randint(2, 60) * 10**9, draw.choice([4, 8, 16]), layers, heads, 128, window, context

    w = draw.choice([2048, 4096])
    return [(7_241_732_096, 16, 32, 8, 128, 4096, 4096), one(w, 100), one(w, 32_768), one(32_768, 32_768), one(w, w)]


def _gib(*sizes: int) -> float:
    return memory_gb(*sizes) * 1e9 / 2**30


def _no_cache(n_weights: int, bits: int, *_: int) -> float:
    return n_weights * bits / 8 / 1e9


def _half_cache(n_weights: int, bits: int, *rest: int) -> float:
    whole, weights = memory_gb(n_weights, bits, *rest), _no_cache(n_weights, bits)
    return weights + (whole - weights) / 2


def _endless(
    n_weights: int, bits: int, n_layers: int, n_kv_heads: int, head_dim: int, window: int, context: int
) -> float:
    return memory_gb(n_weights, bits, n_layers, n_kv_heads, head_dim, context, context)


def _bits_as_bytes(n_weights: int, bits: int, *rest: int) -> float:
    return memory_gb(n_weights, 8 * bits, *rest)


def _cache_in_same_bits(n_weights: int, bits: int, *rest: int) -> float:
    weights = _no_cache(n_weights, bits)
    return weights + (memory_gb(n_weights, bits, *rest) - weights) * bits / 16


EXERCISE = Exercise(
    id="12.1",
    title="How much memory",
    minutes=6,
    difficulty=1,
    cases=cases,
    solution=memory_gb,
    rtol=1e-4,
    mistakes=(
        Mistake(
            "GiB", "That is in GiB, of 2³⁰ bytes. A GB is 10⁹ bytes, and a 7B then takes 7 % more of them.", wrong=_gib
        ),
        Mistake("cache forgotten", "These are the weights alone. What grows while the model reads?", wrong=_no_cache),
        Mistake("keys only", "Your cache is half of what it is. What is kept besides the keys?", wrong=_half_cache),
        Mistake(
            "window ignored",
            "Past the window the cache stops growing: how many slots can be filled at most?",
            wrong=_endless,
        ),
        Mistake("bits taken for bytes", "Eight bits are one byte.", wrong=_bits_as_bytes),
        Mistake(
            "quantized cache",
            "Only the weights are in fewer bits. Keys and values stay 2 bytes a number.",
            wrong=_cache_in_same_bits,
        ),
    ),
    nudge="Two things lie in memory: the weights, and keys and values of the tokens that are still seen. Count bytes, then divide.",
    shapes=(
        "| name | unit |\n|---|---|\n| `n_weights` | numbers of `bits` bits |\n| `window`, `context` | tokens |\n"
        "| result | GB (10⁹ bytes) |"
    ),
    skeleton=(
        "def my_memory(n_weights, bits, n_layers, n_kv_heads, head_dim, window, context):\n"
        "    weights = n_weights * ____\n"
        "    cache = ____ * n_layers * n_kv_heads * head_dim * ____ * 2  # 2 bytes a number\n"
        "    return (weights + cache) / ____"
    ),
    explanation="bits / 8 bytes a weight; K and V, so twice, for each layer, head and slot; min(window, context) slots.",
)
