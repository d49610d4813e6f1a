"""Kneser-Ney against a slow reading of its formula, and as a distribution."""

from collections import Counter

import numpy as np
import pytest

from minimistral.ngram import KneserNey

V = 5
TEXT = np.random.default_rng(0).integers(0, V, 120) * (np.arange(120) % 3 > 0)


def slow_probability(text, history, token, n):
    """p_n by dictionaries; for shorter orders counts are of distinct tokens in front."""
    grams = Counter(tuple(text[i : i + n]) for i in range(len(text) - n + 1))
    return level(grams, tuple(history[-(n - 1) :]) if n > 1 else (), token)


def level(grams, history, token):
    n = len(history) + 1
    once, twice = (sum(count == k for count in grams.values()) for k in (1, 2))
    d = once / (once + 2 * twice) if once and twice else 0.5
    below = 1 / V if n == 1 else level(Counter(gram[1:] for gram in grams), history[1:], token)
    follow = {gram: count for gram, count in grams.items() if gram[:-1] == history}
    total = sum(follow.values())
    if not total:
        return below
    return max(grams[(*history, token)] - d, 0) / total + d * len(follow) / total * below


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_bits_are_those_of_the_formula(n):
    model, text = KneserNey(TEXT, n, V), np.array([1, 0, 2, 2, 0, 4, 4, 4, 1])
    expected = 0
    for i, token in enumerate(text):
        order = min(n, i + 1)
        if order == n:
            p = slow_probability(TEXT.tolist(), text[:i].tolist(), int(token), n)
        else:  # the first tokens: the lower orders as they are inside the model
            grams = Counter(tuple(TEXT[j : j + n].tolist()) for j in range(len(TEXT) - n + 1))
            for _ in range(n - order):
                grams = Counter(gram[1:] for gram in grams)
            p = level(grams, tuple(text[:i].tolist()), int(token))
        expected -= np.log2(p)
    assert model.bits(text) == pytest.approx(expected)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_probabilities_add_up_to_one(n):
    model = KneserNey(TEXT, n, V)
    for history in ([0, 1], [4, 4], [3, 2]):
        before = model.bits(np.array(history))
        total = sum(2 ** -(model.bits(np.array([*history, token])) - before) for token in range(V))
        assert total == pytest.approx(1)


def test_a_text_seen_before_costs_less_than_one_that_was_not():
    model = KneserNey(np.tile([0, 1, 2, 3], 50), 3, V)
    assert model.bits(np.tile([0, 1, 2, 3], 5)) < 10 < model.bits(np.tile([3, 2, 1, 0], 5))


@pytest.mark.parametrize(("text", "order", "size"), [(TEXT, 0, V), (TEXT, 9, 2048), (TEXT[:2], 3, V)])
def test_what_cannot_be_is_refused(text, order, size):
    with pytest.raises(ValueError, match=r"order|tokens"):
        KneserNey(text, order, size)
