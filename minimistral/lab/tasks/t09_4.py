"""09.4: how many experts a batch wakes up, whatever their loads."""

import random

import torch
from torch import Tensor

from minimistral.lab.exercise import Exercise, Mistake


def my_touched(p: Tensor, n_tokens: int) -> float:
    nobody = (1 - p) ** n_tokens  # (E,): the chance that not one of the tokens chooses expert e
    return float((1 - nobody).sum())


def cases(draw: random.Random) -> list[tuple]:
    """Loads that add up to k, none above 1: some even, most lopsided."""
    found = [(torch.full((8,), 0.25), draw.randint(2, 20))]
    for n_experts, k, n_tokens in [(8, 2, 1), (8, 2, draw.randint(3, 12)), (4, 1, draw.randint(2, 6)), (6, 3, 4)]:
        p = torch.full((n_experts,), 2.0)
        while p.max() > 1:  # drawn again: a chance above 1 is none
            weights = torch.tensor([0.2 + draw.random() ** 3 for _ in range(n_experts)])
            p = weights / weights.sum() * k
        found.append((p, n_tokens))
    return found


def _even(p: Tensor, n_tokens: int) -> float:
    n_experts, k = len(p), float(p.sum())
    return n_experts * (1 - (1 - k / n_experts) ** n_tokens)


def _all_different(p: Tensor, n_tokens: int) -> float:
    return min(float(p.sum()) * n_tokens, float(len(p)))


def _counted_twice(p: Tensor, n_tokens: int) -> float:
    return float(p.sum()) * n_tokens


def _idle(p: Tensor, n_tokens: int) -> float:
    return float(((1 - p) ** n_tokens).sum())


def _by_all(p: Tensor, n_tokens: int) -> float:
    return float((p**n_tokens).sum())


def _by_not_all(p: Tensor, n_tokens: int) -> float:
    return float((1 - p**n_tokens).sum())


def _share(p: Tensor, n_tokens: int) -> float:
    return my_touched(p, n_tokens) / len(p)


def _loads(inputs: tuple, got: object, expected: object) -> bool:
    return isinstance(got, (Tensor, list, tuple)) and getattr(got, "ndim", 1) > 0 and len(got) == len(inputs[0])


EXERCISE = Exercise(
    id="09.4",
    title="The experts that a batch touches",
    minutes=8,
    difficulty=2,
    cases=cases,
    solution=my_touched,
    mistakes=(
        Mistake(
            "as if the load were even",
            "This is right where all experts are equally busy, and too much where they are not: each expert has its own p.",
            wrong=_even,
        ),
        Mistake(
            "choices counted, not experts",
            "That counts choices. Two tokens that choose the same expert touch one, not two.",
            wrong=_counted_twice,
        ),
        Mistake(
            "choices counted, not experts",
            "Cut off at E, but it still counts choices: two tokens that choose the same expert touch one, not two.",
            wrong=_all_different,
        ),
        Mistake("the idle ones", "These are the experts that nobody chose. Asked are the others.", wrong=_idle),
        Mistake(
            "chosen by every token",
            "p to the power of B: that *every* token chooses the expert. One is enough.",
            wrong=_by_all,
        ),
        Mistake(
            "not chosen by every token",
            "1 − p to the power of B: that *not all* tokens choose it. The chance that none does is (1 − p) to the power of B.",
            wrong=_by_not_all,
        ),
        Mistake("a share of E", "This is the share of the experts. Asked is their number.", wrong=_share),
        Mistake(
            "a chance for each",
            "These are chances, one an expert. The expected number of experts is their sum.",
            seen=_loads,
        ),
    ),
    nudge="One expert, chosen by a token with chance ¼. How likely do two tokens both pass it by? And how likely is it then "
    "that it has to be read?",
    shapes="""
| name | shape | meaning |
|---|---|---|
| `p` | (E,) | the chance that a token chooses expert e, as one of its k: they add up to k |
| `n_tokens` | a number | B tokens, independent of each other |
| 1 − p | (E,) | that one token passes expert e by |
| result | a number | experts that at least one token chose, on average |
""",
    skeleton="""
def my_touched(p, n_tokens):
    nobody = (____) ** ____  # (E,)
    return float(____.sum())
""",
    explanation="With an even load this is 8 · (1 − (3/4)^B): 2, 3.5, 5.5, 7.2 for B = 1, 2, 4, 8. A busy expert is shared by "
    "more tokens, so that lopsided loads touch fewer. Neighbours in a text are not independent, and touch fewer still: section 5f.",
)
