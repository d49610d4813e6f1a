"""10.1: the interval of a published score."""

import math
import random

from minimistral.lab.exercise import Exercise, Mistake


def my_interval(percent: float, n: int) -> tuple[float, float]:
    p = percent / 100
    half = 1.96 * 100 * math.sqrt(p * (1 - p) / n)
    return percent - half, percent + half


def cases(draw: random.Random) -> list[tuple]:
    return [
        (50.0, 100),
        (round(draw.uniform(25, 35), 1), 164),
        (round(draw.uniform(60, 90), 1), draw.randint(1000, 4000)),
        (round(draw.uniform(5, 20), 1), draw.randint(400, 900)),
    ]


def _around(percent: float, half: float) -> tuple[float, float]:
    return percent - half, percent + half


def _share_of_percent(percent: float, n: int) -> tuple[float, float]:
    p = percent / 100
    return _around(percent, 1.96 * math.sqrt(p * (1 - p) / n))


def _in_shares(percent: float, n: int) -> tuple[float, float]:
    p = percent / 100
    return _around(p, 1.96 * math.sqrt(p * (1 - p) / n))


def _of_the_sum(percent: float, n: int) -> tuple[float, float]:
    p = percent / 100
    return _around(percent, 1.96 * math.sqrt(n * p * (1 - p)))


def _no_root(percent: float, n: int) -> tuple[float, float]:
    p = percent / 100
    return _around(percent, 1.96 * 100 * p * (1 - p) / n)


def _one_error(percent: float, n: int) -> tuple[float, float]:
    p = percent / 100
    return _around(percent, 100 * math.sqrt(p * (1 - p) / n))


def _of_one_question(percent: float, n: int) -> tuple[float, float]:
    p = percent / 100
    return _around(percent, 1.96 * 100 * math.sqrt(p * (1 - p)))


def _worst_case(percent: float, n: int) -> tuple[float, float]:
    return _around(percent, 1.96 * 100 * math.sqrt(0.25 / n))


EXERCISE = Exercise(
    id="10.1",
    title="How sure is a score?",
    minutes=8,
    difficulty=1,
    cases=cases,
    solution=my_interval,
    mistakes=(
        Mistake(
            "percent for share",
            "The middle is in percent, but the half width is still a share: a hundred times too narrow. Multiply it by 100.",
            wrong=_share_of_percent,
        ),
        Mistake(
            "in shares",
            "The width is right, but the ends are shares. Percent goes in, so percent should come out.",
            wrong=_in_shares,
        ),
        Mistake(
            "error of the sum",
            "√(n p (1 − p)) is the error of the *number* of right answers: it grows with n. For their share divide by n.",
            wrong=_of_the_sum,
        ),
        Mistake(
            "no root",
            "p (1 − p) / n is the variance, the square of the standard error. Take the root.",
            wrong=_no_root,
        ),
        Mistake(
            "one standard error",
            "This reaches one standard error to each side: two times in three. For 95 times in 100 take 1.96 of them.",
            wrong=_one_error,
        ),
        Mistake(
            "of a single question",
            "n does not count here. This is the spread of one question; a mean of n of them is √n times surer.",
            wrong=_of_one_question,
        ),
        Mistake(
            "p taken as a half",
            "This is the width for a score of 50 %, the widest there is. Use the score that was given.",
            wrong=_worst_case,
        ),
    ),
    nudge="100 questions, 50 % right: p is 0.5. What is √(0.5 · 0.5 / 100), in points? How far do 1.96 of them reach?",
    shapes="""
| name | meaning |
|---|---|
| `percent` | the score, from 0 to 100 |
| `p` | the same as a share, from 0 to 1 |
| √(p (1 − p) / n) | one standard error, a share |
| result | (low, high), in percent |
""",
    skeleton="""
def my_interval(percent, n):
    p = percent / ____
    half = 1.96 * ____ * math.sqrt(____ / n)
    return percent - ____, percent + ____
""",
    explanation="The formula speaks in shares, the table in percent: divide once on the way in, multiply once on the way out. "
    "1.96 standard errors to each side hold the true score about 95 times in 100, if the questions are a random sample of what you "
    "care about.",
)
