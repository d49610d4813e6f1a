"""10.2: two models on the same questions."""

import math
import random

from minimistral.lab.exercise import Exercise, Mistake


def my_comparison(a: list[bool], b: list[bool]) -> tuple[float, float, bool]:
    news = [int(x) - int(y) for x, y in zip(a, b)]
    difference = sum(news) / len(news)
    error = math.sqrt(sum((d - difference) ** 2 for d in news) / len(news)) / math.sqrt(len(news))
    return difference, error, abs(difference) > 1.96 * error


def cases(draw: random.Random) -> list[tuple]:
    """Models that mostly fail together, far enough apart for pairs, and too near for two intervals; and one pair alike."""
    found = []
    for both, only_a, only_b, neither in (
        (60, 18, 4, 38),
        (90, 3, 14, 43),
        (30, 20, 18, 52),
        (40, 9, 9, 22),
        (70, 45, 2, 3),
    ):
        both, neither = both + draw.randint(0, 5), neither + draw.randint(0, 5)
        pairs = [(True, True)] * both + [(True, False)] * only_a + [(False, True)] * only_b + [(False, False)] * neither
        draw.shuffle(pairs)
        found.append(([x for x, _ in pairs], [y for _, y in pairs]))
    return found


def _shares(a: list[bool], b: list[bool]) -> tuple[float, float, float, float]:
    p, q, n = sum(a) / len(a), sum(b) / len(b), len(a)
    return p, q, math.sqrt(p * (1 - p) / n), math.sqrt(q * (1 - q) / n)


def _unpaired(a: list[bool], b: list[bool]) -> tuple[float, float, bool]:
    p, q, of_p, of_q = _shares(a, b)
    error = math.hypot(of_p, of_q)
    return p - q, error, abs(p - q) > 1.96 * error


def _overlap(a: list[bool], b: list[bool]) -> tuple[float, float, bool]:
    p, q, of_p, of_q = _shares(a, b)
    difference, error, _ = my_comparison(a, b)
    return difference, error, abs(p - q) > 1.96 * (of_p + of_q)


def _turned(a: list[bool], b: list[bool]) -> tuple[float, float, bool]:
    difference, error, sure = my_comparison(a, b)
    return -difference, error, sure


def _counts(a: list[bool], b: list[bool]) -> tuple[float, float, bool]:
    difference, error, sure = my_comparison(a, b)
    return difference * len(a), error * len(a), sure


def _not_by_n(a: list[bool], b: list[bool]) -> tuple[float, float, bool]:
    difference, error, _ = my_comparison(a, b)
    spread = error * math.sqrt(len(a))
    return difference, spread, abs(difference) > 1.96 * spread


def _one_sided(a: list[bool], b: list[bool]) -> tuple[float, float, bool]:
    difference, error, _ = my_comparison(a, b)
    return difference, error, difference > 1.96 * error


EXERCISE = Exercise(
    id="10.2",
    title="Two models, the same questions",
    minutes=12,
    difficulty=2,
    cases=cases,
    solution=my_comparison,
    mistakes=(
        Mistake(
            "unpaired error",
            "This adds the two scores' errors as if the models had answered different questions. Subtract question by question "
            "first; the error is that of the mean of those differences.",
            wrong=_unpaired,
        ),
        Mistake(
            "overlapping intervals",
            "Difference and error are right, but the verdict asks whether two intervals overlap. They can overlap and the "
            "difference still be sure: ask whether *its* interval reaches 0.",
            wrong=_overlap,
        ),
        Mistake("b minus a", "The sign is turned: a minus b is asked for.", wrong=_turned),
        Mistake(
            "numbers of questions",
            "These are numbers of questions, not shares of them. Divide both by how many there are.",
            wrong=_counts,
        ),
        Mistake(
            "spread of one question",
            "This is the spread of the single differences. Their mean is surer by √n.",
            wrong=_not_by_n,
        ),
        Mistake(
            "only where a is better",
            "Where b is clearly better, that is a sure difference too. Look at the size, without the sign.",
            wrong=_one_sided,
        ),
    ),
    nudge="Write 1 where only a is right, −1 where only b is, 0 where they agree. Its mean? Its spread?",
    shapes="""
| name | meaning |
|---|---|
| `a`, `b` | n times True or False, the same questions in the same order |
| news | n numbers: 1, 0 or −1 |
| difference | their mean |
| error | their standard deviation ÷ √n |
| sure | whether the difference is more than 1.96 errors from 0 |
""",
    skeleton="""
def my_comparison(a, b):
    news = [int(x) - int(y) for x, y in ____]
    difference = sum(news) / ____
    spread = math.sqrt(sum((d - ____) ** 2 for d in news) / len(news))
    error = spread / ____
    return difference, error, abs(____) > 1.96 * ____
""",
    explanation="Where both are right or both wrong the difference is 0, and hard questions make no noise: they are hard for "
    "both. What is left is the mean of n numbers, and its error is their spread over √n.",
)
