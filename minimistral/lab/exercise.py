"""What an exercise is made of. Each one is a small file in `tasks/`; CONTRIBUTING.md walks through an example."""

import random
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Mistake:
    """A wrong answer that people really give, and what to tell them.

    It is recognised where `wrong`, called with the same inputs, gives what the learner's function gave in every case;
    or where `seen(inputs, got, expected)` is true in some case.
    """

    name: str
    hint: str
    wrong: Callable | None = None
    seen: Callable[[tuple, object, object], bool] | None = None


@dataclass(frozen=True)
class Exercise:
    """A function to write, the inputs it is tried on, the right answer, the known mistakes and the four hints."""

    id: str  # "05.1": chapter and number
    title: str
    minutes: int
    difficulty: int  # 1 to 3
    cases: Callable[[random.Random], list[tuple]]  # argument tuples, drawn anew for each check
    solution: Callable
    mistakes: tuple[Mistake, ...]
    nudge: str  # hint 1: a question or a thing to look at
    shapes: str  # hint 2: a table of names, shapes and meanings, in Markdown
    skeleton: str  # hint 3: the code with blanks
    explanation: str  # hint 4: follows the solution's code
    also_right: tuple[Callable, ...] = ()  # where conventions differ and either is right: the other answers
    given: Callable | None = None  # of a bug hunt: the code that the chapter gives, with its bug
    report: str | None = None  # the bug that a real project shipped, shown once the exercise is solved
    seconds: float = 10.0  # for all cases together
    rtol: float = 2e-3  # wide enough for the arithmetic of GPUs; mistakes are further off
    atol: float = 2e-3

    @property
    def chapter(self) -> str:
        return self.id.split(".")[0]


def normal(draw: random.Random, *shape: int) -> Tensor:
    """Standard normal numbers, float32, in the given shape."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(draw.randrange(2**31)))
