"""Majority voting: a model answers the same question several times, and the answer given most often counts (maj@k).

Source: Wang and others, Self-consistency, arXiv 2203.11171.
"""

import math
from collections import Counter
from collections.abc import Hashable, Sequence

import numpy as np


def majority(answers: Sequence[Hashable]) -> Hashable:
    """The answer given most often; of equals, the one that came first. ValueError without answers."""
    if not len(answers):
        raise ValueError("there are no answers to count: give at least one.")
    return Counter(answers).most_common(1)[0][0]


def vote_accuracy(p: float, n_wrong: int, votes: int = 8, spread: float = 0.0) -> float:
    """The share of questions that a vote gets right, where one answer is right with probability p on average.

    n_wrong: how many different wrong answers there are, equally likely. spread: how far apart the questions are, from 0
    (each is answered right with probability p) to 1 (some always, some never): questions' probabilities have a beta
    distribution of mean p and variance spread · p · (1 − p). Ties are broken by lot. Exact, no simulation.
    """
    if not (0 <= p <= 1 and n_wrong >= 1 and 1 <= votes <= 500 and 0 <= spread <= 1):
        raise ValueError(
            f"p={p}, n_wrong={n_wrong}, votes={votes}, spread={spread}: p and spread lie from 0 to 1, n_wrong is 1 or more, "
            "votes are 1 to 500."
        )
    if spread == 1 or p in (0, 1):
        return p
    return sum(_n_right(k, votes, p, spread) * _wins(k, votes - k, n_wrong) for k in range(1, votes + 1))


def _n_right(k: int, votes: int, p: float, spread: float) -> float:
    """The probability that k of the votes are right: binomial, or beta-binomial where questions differ.

    As Pólya's urn, of the first p right: each ball drawn comes back with more of its kind, the more the wider the spread.
    """

    def drawn(share: float, times: int) -> float:  # a logarithm
        return sum(math.log(share * (1 - spread) + i * spread) for i in range(times))

    return math.exp(math.log(math.comb(votes, k)) + drawn(p, k) + drawn(1 - p, votes - k) - drawn(1, votes))


def _wins(right: int, wrong: int, n_wrong: int) -> float:
    """The probability that `right` votes for the right answer beat `wrong` votes thrown at n_wrong others.

    Poisson's trick: let each wrong answer get votes by chance, on average wrong / n_wrong, independently of the others; of
    what may happen, keep what makes `wrong` votes in all. That is the same as throwing them, and a product of one row of
    probabilities with itself, n_wrong times.
    """
    mean = wrong / n_wrong
    of_one = np.array([_poisson(j, mean) for j in range(wrong + 1)])  # [j]: that one wrong answer gets j votes
    fewer = np.where(np.arange(wrong + 1) < right, of_one, 0.0)  # ... and fewer than the right one
    total, tie = 0.0, 1.0
    for tied in range(min(n_wrong, wrong // right) + 1):  # so many wrong answers get as many votes as the right one
        if tied:
            tie *= of_one[right] * (n_wrong - tied + 1) / tied
        total += tie * _power(fewer, n_wrong - tied)[wrong - tied * right] / (1 + tied)
    return float(total) / _poisson(wrong, wrong)


def _poisson(k: int, mean: float) -> float:
    return math.exp(k * math.log(mean) - mean - math.lgamma(k + 1)) if mean else float(k == 0)


def _power(row: np.ndarray, times: int) -> np.ndarray:
    """The probabilities of the sum of `times` draws from a row of probabilities, as far as the row reaches."""
    result = np.eye(1, len(row))[0]
    while times:
        if times % 2:
            result = np.convolve(result, row)[: len(row)]
        row, times = np.convolve(row, row)[: len(row)], times // 2
    return result
