"""`hint`: four steps from a nudge to the explained solution, one a call."""

import inspect
import textwrap
from dataclasses import dataclass

from minimistral.lab.exercise import Exercise
from minimistral.lab.progress import entry, record
from minimistral.lab.registry import find

RUNGS = ("a nudge", "the shapes", "a skeleton", "the solution")


@dataclass(frozen=True)
class Hint:
    """One step of the ladder, in Markdown."""

    exercise: str
    rung: int  # 1 to 4
    text: str

    def __repr__(self) -> str:
        return self.text

    def _repr_markdown_(self) -> str:
        return self.text


def hint(id: str, rung: int | None = None) -> Hint:
    """The next hint for an exercise, or a certain one: 1 a nudge, 2 the shapes, 3 a skeleton, 4 the solution explained."""
    exercise = find(id)
    if rung is None:
        rung = min(int(entry("exercises", id).get("hints", 0)) + 1, len(RUNGS))
    if isinstance(rung, bool) or rung not in range(1, len(RUNGS) + 1):
        raise ValueError(
            f"hint {rung!r} of exercise {id}: there are 1 (a nudge), 2 (shapes), 3 (skeleton), 4 (solution)."
        )
    record("exercises", id, hints=rung)
    return Hint(id, rung, _text(exercise, rung))


def _text(exercise: Exercise, rung: int) -> str:
    body = (
        exercise.nudge,
        exercise.shapes,
        f"```python\n{textwrap.dedent(exercise.skeleton).strip()}\n```",
        f"```python\n{solution_source(exercise)}\n```\n\n{exercise.explanation}",
    )[rung - 1]
    more = f'\n\nNext: `hint("{exercise.id}")` shows {RUNGS[rung]}.' if rung < len(RUNGS) else ""
    return f"**Exercise {exercise.id}, hint {rung} of {len(RUNGS)}: {RUNGS[rung - 1]}**\n\n{textwrap.dedent(body).strip()}{more}"


def solution_source(exercise: Exercise) -> str:
    return textwrap.dedent(inspect.getsource(exercise.solution)).strip()
