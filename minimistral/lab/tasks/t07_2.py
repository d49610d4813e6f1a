"""07.2: top-p, also called nucleus sampling."""

import random

import torch
from torch import Tensor

from minimistral.lab.exercise import Exercise, Mistake, normal


def my_top_p(probabilities: Tensor, top_p: float) -> Tensor:
    mass, ids = probabilities.sort(descending=True)
    before = mass.cumsum(0) - mass  # what stands before each piece: the one that crosses top_p stays
    kept = probabilities.clone()
    kept[ids[before >= top_p]] = 0.0
    return kept / kept.sum()


def cases(draw: random.Random) -> list[tuple]:
    order = list(range(5))
    draw.shuffle(order)
    known = torch.tensor([0.4, 0.25, 0.2, 0.1, 0.05])[order]
    found = [(known, 0.5), (known, 0.75), (known, 0.92), (known, 0.1)]
    for _ in range(3):
        found.append(((2 * normal(draw, draw.randint(6, 12))).softmax(0), draw.choice((0.6, 0.8, 0.9))))
    return found


def _sorted(probabilities: Tensor, top_p: float) -> tuple[Tensor, Tensor]:
    return probabilities.sort(descending=True)


def _drops_crossing(probabilities: Tensor, top_p: float) -> Tensor:
    mass, ids = _sorted(probabilities, top_p)
    removed = mass.cumsum(0) > top_p
    removed[0] = False
    kept = probabilities.clone()
    kept[ids[removed]] = 0.0
    return kept / kept.sum()


def _drops_crossing_and_first(probabilities: Tensor, top_p: float) -> Tensor:
    mass, ids = _sorted(probabilities, top_p)
    kept = probabilities.clone()
    kept[ids[mass.cumsum(0) > top_p]] = 0.0
    return kept / kept.sum()


def _not_renormalised(probabilities: Tensor, top_p: float) -> Tensor:
    kept = my_top_p(probabilities, top_p)
    return torch.where(kept > 0, probabilities, 0.0)


def _unsorted(probabilities: Tensor, top_p: float) -> Tensor:
    before = probabilities.cumsum(0) - probabilities
    kept = torch.where(before < top_p, probabilities, 0.0)
    return kept / kept.sum()


def _order_lost(probabilities: Tensor, top_p: float) -> Tensor:
    return my_top_p(_sorted(probabilities, top_p)[0], top_p)


def _smallest_first(probabilities: Tensor, top_p: float) -> Tensor:
    mass, ids = probabilities.sort()
    kept = probabilities.clone()
    kept[ids[mass.cumsum(0) - mass >= top_p]] = 0.0
    return kept / kept.sum()


def _softmax_again(probabilities: Tensor, top_p: float) -> Tensor:
    kept = my_top_p(probabilities, top_p)
    return torch.where(kept > 0, probabilities, float("-inf")).softmax(0)


CROSSING = (
    "The piece that crosses top_p is gone. Top-p keeps the *smallest set that reaches* it, so that piece belongs to the set. "
    "Ask for the mass *before* each piece: cumsum minus the piece itself."
)
EXERCISE = Exercise(
    id="07.2",
    title="Top-p",
    minutes=10,
    difficulty=2,
    cases=cases,
    solution=my_top_p,
    mistakes=(
        Mistake("drops the piece that crosses", CROSSING, wrong=_drops_crossing),
        Mistake(
            "drops the piece that crosses",
            CROSSING + " At top_p = 0.1 yours keeps nothing, and divides by 0.",
            wrong=_drops_crossing_and_first,
            seen=lambda inputs, got, right: isinstance(got, Tensor) and bool(got.isnan().any()),
        ),
        Mistake(
            "does not add up to 1",
            "The right pieces, but their probabilities no longer add up to 1: divide by their sum.",
            wrong=_not_renormalised,
        ),
        Mistake(
            "order of the ids",
            "The likeliest are to be kept, not the first: sort by probability, largest first, before you add up.",
            wrong=_unsorted,
        ),
        Mistake(
            "sorted result",
            "The result must stand in the old order, or piece 0 gets another piece's probability. Use the ids that sort returns.",
            wrong=_order_lost,
        ),
        Mistake("smallest first", "Yours begins with the unlikeliest piece: descending=True.", wrong=_smallest_first),
        Mistake(
            "softmax of probabilities",
            "These were probabilities already. A second softmax flattens them: divide by their sum instead.",
            wrong=_softmax_again,
        ),
    ),
    nudge="On paper, for 0.4, 0.25, 0.2, 0.1, 0.05 and top_p = 0.5: which pieces are kept? Is 0.4 enough?",
    shapes="""
| name | shape |
|---|---|
| `probabilities` | (V,), adding up to 1 |
| `mass`, `ids` of `.sort(descending=True)` | (V,) each |
| result | (V,), adding up to 1, in the old order |
""",
    skeleton="""
def my_top_p(probabilities, top_p):
    mass, ids = probabilities.sort(descending=True)
    before = mass.cumsum(0) - ____
    kept = probabilities.clone()
    kept[ids[before ____ top_p]] = ____
    return kept / ____
""",
    explanation="Sort, add up, and keep a piece where the mass before it has not yet reached top_p: so the one that crosses stays, "
    "and the likeliest always does.",
    report="A book's companion code dropped the piece that crosses: https://github.com/rasbt/reasoning-from-scratch/issues/164",
)
