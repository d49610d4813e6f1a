"""00.3: what a measurement lets you say about a claim."""

import random

from minimistral.lab.exercise import Exercise, Mistake


def my_verdict(claimed: float, measured: float | None, spread: float | None) -> str:
    if measured is None:
        return "cannot tell"
    return "agrees" if abs(measured - claimed) <= 2 * spread else "disagrees"


def cases(draw: random.Random) -> list[tuple]:
    claimed, spread = draw.randint(20, 80), draw.uniform(0.5, 2.0)
    apart = [0.3, -0.4, 1.5, -1.6, 3.0, -4.0, draw.uniform(6, 9), -draw.uniform(6, 9)]
    return [(claimed, claimed + steps * spread, spread) for steps in apart] + [(claimed, None, None)]


def _exact(claimed: float, measured: float | None, spread: float | None) -> str:
    return "cannot tell" if measured is None else "agrees" if measured == claimed else "disagrees"


def _one_side(claimed: float, measured: float | None, spread: float | None) -> str:
    return "cannot tell" if measured is None else "agrees" if measured - claimed <= 2 * spread else "disagrees"


def _one_spread(claimed: float, measured: float | None, spread: float | None) -> str:
    return "cannot tell" if measured is None else "agrees" if abs(measured - claimed) <= spread else "disagrees"


def _trusts(claimed: float, measured: float | None, spread: float | None) -> str:
    return "agrees" if measured is None else my_verdict(claimed, measured, spread)


def _distrusts(claimed: float, measured: float | None, spread: float | None) -> str:
    return "disagrees" if measured is None else my_verdict(claimed, measured, spread)


EXERCISE = Exercise(
    id="00.3",
    title="Which evidence would settle it?",
    minutes=6,
    difficulty=2,
    cases=cases,
    solution=my_verdict,
    mistakes=(
        Mistake(
            "exactly equal",
            "A measurement never hits a number exactly. How far apart may they be, for this spread?",
            wrong=_exact,
        ),
        Mistake(
            "one side only",
            "Too little is as far from the claim as too much: take the absolute difference.",
            wrong=_one_side,
        ),
        Mistake(
            "one spread",
            "A right claim misses by more than one spread about once in three times. The rule here is two.",
            wrong=_one_spread,
        ),
        Mistake(
            "trusts what was not measured",
            "Nothing was measured, and you say it agrees. That a source is popular is no evidence.",
            wrong=_trusts,
        ),
        Mistake(
            "doubts what was not measured",
            "Nothing was measured, and you say it disagrees. Without a measurement you can say neither.",
            wrong=_distrusts,
        ),
    ),
    nudge="Someone claims 50. You measure 51, and your measurements scatter by 1. Then again: you measure 58. Then: you "
    "measure nothing.",
    shapes="""
| name | what |
|---|---|
| `claimed` | a number |
| `measured` | a number, or None: nobody measured |
| `spread` | one standard error of the measurement, or None |
""",
    skeleton="""
def my_verdict(claimed, measured, spread):
    if measured is ____:
        return ____
    return "agrees" if abs(____) <= ____ * spread else "disagrees"
""",
    explanation="Two standard errors either way hold about 95 % of what chance does. Without a measurement the honest answer is "
    "that you cannot tell, however popular the source.",
)
