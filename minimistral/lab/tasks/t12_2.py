"""12.2: where a suspicious model leaves a healthy one, by its loss at each position."""

import random

import torch
from torch import Tensor

from minimistral.lab.exercise import Exercise, Mistake

MARGIN = 0.5  # bits


def breaks_at(healthy: Tensor, suspect: Tensor) -> int:
    worse = suspect - healthy > MARGIN
    fine = (~worse).nonzero()[:, 0]
    first = 0 if len(fine) == 0 else int(fine[-1]) + 1
    return first if first < len(worse) else -1


def cases(draw: random.Random) -> list[tuple]:
    def curve(n: int) -> Tensor:
        noise = torch.tensor([draw.uniform(-0.1, 0.1) for _ in range(n)])
        return 4 / (1 + torch.arange(n) / 4) + 2 + noise

    def one(n: int, at: int, *blips: int) -> tuple:
        healthy = curve(n)
        suspect = healthy + torch.tensor([draw.uniform(-0.2, 0.2) for _ in range(n)])
        suspect[at:] = healthy[at:] + torch.tensor([draw.uniform(0.7, 2.0) for _ in range(n - at)])
        before = min(at, 3)  # a little worse already, but not by so much
        suspect[at - before : at] = healthy[at - before : at] + draw.uniform(0.25, 0.4)
        for blip in blips:
            suspect[blip] = healthy[blip] + 1.5
        return healthy, suspect

    n = draw.randint(30, 40)
    sick, healthy = one(n, n), one(n, draw.randint(15, 25), 3, 9)
    return [one(n, 12), healthy, one(n, 0), sick, one(n, n, 4, n - 3), one(n, n - 1, 2)]


def _first_blip(healthy: Tensor, suspect: Tensor) -> int:
    worse = (suspect - healthy > MARGIN).nonzero()[:, 0]
    return int(worse[0]) if len(worse) else -1


def _short_prompts(healthy: Tensor, suspect: Tensor) -> int:
    worse = suspect - healthy > MARGIN
    return breaks_at(healthy[:10], suspect[:10]) if worse[:10].any() else -1


def _last_fine(healthy: Tensor, suspect: Tensor) -> int:
    found = breaks_at(healthy, suspect)
    return found - 1 if found > 0 else found


def _any_worse(healthy: Tensor, suspect: Tensor) -> int:
    return breaks_at(healthy, suspect + MARGIN)


def _wrong_sign(healthy: Tensor, suspect: Tensor) -> int:
    return breaks_at(suspect, healthy)


def _length_for_none(healthy: Tensor, suspect: Tensor) -> int:
    found = breaks_at(healthy, suspect)
    return len(healthy) if found == -1 else found


EXERCISE = Exercise(
    id="12.2",
    title="Where it breaks",
    minutes=12,
    difficulty=2,
    cases=cases,
    solution=breaks_at,
    rtol=0,
    atol=0,
    mistakes=(
        Mistake(
            "first blip",
            "A single hard word is no broken model: from your position on it must *stay* worse.",
            wrong=_first_blip,
        ),
        Mistake("short prompts", "You looked at the beginning only, and short prompts are fine.", wrong=_short_prompts),
        Mistake(
            "however little",
            "Here a position counts that is worse by a hair, and luck does that too. More than 0.5 bits are asked for.",
            wrong=_any_worse,
        ),
        Mistake("last good position", "One too early: at this position all is well still.", wrong=_last_fine),
        Mistake("wrong sign", "More bits are worse. You found where the healthy model loses.", wrong=_wrong_sign),
        Mistake("no end", "Where it never breaks, return -1: the length is no position.", wrong=_length_for_none),
    ),
    nudge="Look from the end: how far back is every position worse?",
    shapes="| name | shape |\n|---|---|\n| `healthy`, `suspect` | (T,) bits at each position |\n| result | a position, or -1 |",
    skeleton=(
        "def my_break(healthy, suspect):\n    worse = suspect - healthy > ____\n"
        "    fine = (~worse).nonzero()[:, 0]  # positions that are not worse\n"
        "    first = 0 if len(fine) == 0 else int(fine[____]) + ____\n"
        "    return first if first < len(worse) else ____"
    ),
    explanation="The position after the last one that is not worse; if that is past the end, it never breaks for good.",
)
