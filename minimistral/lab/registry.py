"""Finds the exercises: every file in `tasks/` is one."""

from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import NamedTuple

from minimistral.lab import tasks
from minimistral.lab.exercise import Exercise


class Entry(NamedTuple):
    title: str
    chapter: str
    minutes: int
    difficulty: int


class Catalogue(dict):
    """Id to Entry, shown as a table."""

    def _repr_markdown_(self) -> str:
        rows = [
            f"| {id} | {entry.title} | {entry.minutes} | {'★' * entry.difficulty}{'☆' * (3 - entry.difficulty)} |"
            for id, entry in self.items()
        ]
        return "\n".join(["| exercise | title | minutes | difficulty |", "|---|---|---|---|", *rows])


def exercises() -> dict[str, Entry]:
    """Every exercise of the course by its id: title, chapter, minutes and difficulty (1 to 3)."""
    return Catalogue({id: Entry(e.title, e.chapter, e.minutes, e.difficulty) for id, e in all_exercises().items()})


def find(id: str) -> Exercise:
    """The exercise with this id; ValueError names those there are."""
    known = all_exercises()
    if id not in known:
        raise ValueError(f"there is no exercise {id!r}. There are: {', '.join(known)}.")
    return known[id]


@cache
def all_exercises() -> dict[str, Exercise]:
    found = [import_module(f"{tasks.__name__}.{module.name}").EXERCISE for module in iter_modules(tasks.__path__)]
    return {exercise.id: exercise for exercise in sorted(found, key=lambda exercise: exercise.id)}
