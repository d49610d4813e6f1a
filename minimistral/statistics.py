"""How sure a score is: standard errors of shares and of differences, by pairs and without, and the bootstrap."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

Z95 = 1.959964  # a normal variable stays within so many standard deviations of its mean 95 times in 100


def standard_error(share: float, n: int) -> float:
    """Of an accuracy on n questions: √(p (1 − p) / n), p a share from 0 to 1 (not a percentage). ValueError otherwise.

    >>> round(standard_error(0.288, 3610), 4)
    0.0075
    """
    if not 0 <= share <= 1 or n < 1:
        raise ValueError(
            f"share={share}, n={n}: a share lies from 0 to 1 (divide a percentage by 100), n is 1 or more."
        )
    return math.sqrt(share * (1 - share) / n)


def interval(share: float, n: int, z: float = Z95) -> tuple[float, float]:
    """Wilson's interval for an accuracy on n questions, which stays within 0 and 1 where p ± z · SE does not.

    Source: E. B. Wilson, Journal of the American Statistical Association 22 (1927) 209.
    """
    error = standard_error(share, n)
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(error**2 + z * z / (4 * n * n)) / (1 + z * z / n)
    return max(0.0, centre - half), min(1.0, centre + half)


def difference_error(a: float, n_a: int, b: float, n_b: int) -> float:
    """Standard error of a − b for two accuracies of which only the scores are published: √(SE² + SE²).

    It takes the two as independent. On the same questions models tend to fail together, and the pairs would give less.
    """
    return math.hypot(standard_error(a, n_a), standard_error(b, n_b))


@dataclass(frozen=True)
class Paired:
    """a − b over the same questions: only where the two differ there is news."""

    difference: float  # of the accuracies, a share
    standard_error: float
    only_a: int  # questions that only a got right
    only_b: int
    p_value: float  # of a difference as large if neither were better: see sign_test


def compare(a: Sequence[bool], b: Sequence[bool]) -> Paired:
    """Two models on the same questions, item by item right or wrong. ValueError where the lists differ in length.

    >>> compare([True, True, False, True], [True, False, False, False]).only_a
    2
    """
    if len(a) != len(b) or len(a) == 0:
        raise ValueError(
            f"{len(a)} and {len(b)} answers: give both models' answers to the same questions, in one order."
        )
    only_a = sum(bool(x) and not y for x, y in zip(a, b))
    only_b = sum(bool(y) and not x for x, y in zip(a, b))
    n = len(a)
    difference = (only_a - only_b) / n
    variance = (only_a + only_b) / n - difference**2  # each pair gives +1, 0 or −1
    return Paired(difference, math.sqrt(variance / n), only_a, only_b, sign_test(only_a, only_b))


def sign_test(wins: int, losses: int) -> float:
    """The chance of a split at least as uneven if each were a fair coin's throw: McNemar's test in its exact form.

    Two-sided; ties are left out before. Source: Q. McNemar, Psychometrika 12 (1947) 153.

    >>> round(sign_test(11, 1), 4)
    0.0063
    """
    n, fewer = wins + losses, min(wins, losses)
    tail = sum(math.comb(n, k) for k in range(fewer + 1))
    return min(1.0, 2 * tail / 2**n)


def bootstrap(
    values: Sequence[float], statistic: Callable[[np.ndarray], float] = fmean, repeats: int = 1000, seed: int = 0
) -> np.ndarray:
    """The statistic of `repeats` samples of the same size, drawn from the values with replacement, (repeats,).

    Their standard deviation estimates the statistic's standard error, whatever the statistic is. For two models on the same
    questions give it the differences, question by question. ValueError without values.
    Source: B. Efron, Annals of Statistics 7 (1979) 1.
    """
    drawn, data = np.random.default_rng(seed), np.asarray(values)
    if len(data) == 0:
        raise ValueError("there are no values to draw from: give at least one.")
    return np.array([statistic(data[drawn.integers(len(data), size=len(data))]) for _ in range(repeats)])
