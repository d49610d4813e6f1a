"""Majority voting: a model answers the same question several times, and the answer given most often counts (maj@k).

Source: Wang and others, Self-consistency, arXiv 2203.11171.
"""

import math
from collections import Counter
from collections.abc import Hashable, Iterator, Sequence


def majority(answers: Sequence[Hashable]) -> Hashable:
    """The answer given most often; of equals, the one that came first. ValueError without answers."""
    if not answers:
        raise ValueError("there are no answers to count: give at least one.")
    return Counter(answers).most_common(1)[0][0]


def vote_accuracy(p: float, n_wrong: int, votes: int = 8, spread: float = 0.0) -> float:
    """The share of questions that a vote gets right, where one answer is right with probability p on average.

    n_wrong: how many different wrong answers there are, equally likely. spread: how far apart the questions are, from 0
    (each is answered right with probability p) to 1 (some always, some never): questions' probabilities have a beta
    distribution of mean p and variance spread · p · (1 − p). Ties are broken by lot. Exact, no simulation.
    """
    if not (0 <= p <= 1 and n_wrong >= 1 and votes >= 1 and 0 <= spread <= 1):
        raise ValueError(f"p={p}, n_wrong={n_wrong}, votes={votes}, spread={spread}: p and spread lie from 0 to 1.")
    if spread == 1 or p in (0, 1):
        return p
    return sum(_n_right(k, votes, p, spread) * _wins(k, votes - k, n_wrong) for k in range(1, votes + 1))


def _n_right(k: int, votes: int, p: float, spread: float) -> float:
    """The probability that k of the votes are right: binomial, or beta-binomial where questions differ."""
    if spread == 0:
        return math.comb(votes, k) * p**k * (1 - p) ** (votes - k)
    a, b = (share * (1 / spread - 1) for share in (p, 1 - p))
    return math.comb(votes, k) * math.exp(_log_beta(a + k, b + votes - k) - _log_beta(a, b))


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def _wins(right: int, wrong: int, n_wrong: int) -> float:
    """The probability that `right` votes for the right answer beat `wrong` votes thrown at n_wrong others."""
    total = 0.0
    for counts in _partitions(wrong, wrong):
        most = max(counts, default=0)
        if len(counts) > n_wrong or right < most:
            continue
        ways = math.factorial(wrong) * math.perm(
            n_wrong, len(counts)
        )  # who votes for which, and which answers they are
        for votes in counts:
            ways //= math.factorial(votes)
        for same in Counter(counts).values():
            ways //= math.factorial(same)
        total += ways / n_wrong**wrong / (1 if right > most else 1 + counts.count(most))
    return total


def _partitions(total: int, largest: int) -> Iterator[list[int]]:
    """The ways to write a number as a sum, largest part first."""
    if total == 0:
        yield []
    for part in range(min(total, largest), 0, -1):
        for rest in _partitions(total - part, part):
            yield [part, *rest]
