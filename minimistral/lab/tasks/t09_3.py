"""09.3, a bug hunt: stacked experts, of which one matrix is stored the other way round."""

import random

import torch.nn.functional as F
from torch import Tensor

from minimistral.lab.exercise import Exercise, Mistake, normal


def mended_expert(x: Tensor, w1: Tensor, w2: Tensor, w3: Tensor, n_experts: int, e: int) -> Tensor:
    C = x.shape[-1]
    gate = w1.view(n_experts, -1, C)[e]  # (F, C)
    up = w3.view(n_experts, -1, C)[e]  # (F, C)
    down = w2.view(n_experts, -1, C)[e].T  # (C, F): w2 is stored as the others are, so turn it
    return (F.silu(x @ gate.T) * (x @ up.T)) @ down.T


def given(x: Tensor, w1: Tensor, w2: Tensor, w3: Tensor, n_experts: int, e: int) -> Tensor:
    C = x.shape[-1]
    gate = w1.view(n_experts, -1, C)[e]  # (F, C)
    up = w3.view(n_experts, -1, C)[e]  # (F, C)
    down = w2.view(n_experts, C, -1)[e]  # (C, F)
    return (F.silu(x @ gate.T) * (x @ up.T)) @ down.T


def cases(draw: random.Random) -> list[tuple]:
    found = []
    for n_tokens, n_experts, C, hidden in [(3, 2, 4, 6), (4, 3, 5, 7), (2, 4, 6, 4)]:
        stacks = [normal(draw, n_experts * hidden, C) for _ in range(3)]
        found.append((normal(draw, n_tokens, C), *stacks, n_experts, draw.randrange(n_experts)))
    return found


def _swiglu(x: Tensor, gate: Tensor, up: Tensor, down: Tensor) -> Tensor:
    """gate and up (F, C), down (C, F)."""
    return (F.silu(x @ gate.T) * (x @ up.T)) @ down.T


def _split(w: Tensor, x: Tensor, n_experts: int, e: int) -> Tensor:
    return w.view(n_experts, -1, x.shape[-1])[e]


def _turned_whole(x: Tensor, w1: Tensor, w2: Tensor, w3: Tensor, n_experts: int, e: int) -> Tensor:
    down = w2.T.reshape(n_experts, x.shape[-1], -1)[e]
    return _swiglu(x, _split(w1, x, n_experts, e), _split(w3, x, n_experts, e), down)


def _interleaved(x: Tensor, w1: Tensor, w2: Tensor, w3: Tensor, n_experts: int, e: int) -> Tensor:
    gate, up, down = (w.view(-1, n_experts, x.shape[-1])[:, e] for w in (w1, w3, w2))
    return _swiglu(x, gate, up, down.T)


def _all_read_so(x: Tensor, w1: Tensor, w2: Tensor, w3: Tensor, n_experts: int, e: int) -> Tensor:
    gate, up, down = (w.view(n_experts, x.shape[-1], -1)[e].T for w in (w1, w3, w2))
    return _swiglu(x, gate, up, down.T)


def _gate_and_up(x: Tensor, w1: Tensor, w2: Tensor, w3: Tensor, n_experts: int, e: int) -> Tensor:
    return mended_expert(x, w3, w2, w1, n_experts, e)


def _w2_for_w3(x: Tensor, w1: Tensor, w2: Tensor, w3: Tensor, n_experts: int, e: int) -> Tensor:
    return mended_expert(x, w1, w3, w2, n_experts, e)


def _first_expert(x: Tensor, w1: Tensor, w2: Tensor, w3: Tensor, n_experts: int, e: int) -> Tensor:
    gate, up = _split(w1, x, n_experts, e), _split(w3, x, n_experts, e)
    return _swiglu(x, gate, up, _split(w2, x, n_experts, 0).T)


EXERCISE = Exercise(
    id="09.3",
    title="Find the bug: every shape is right",
    minutes=10,
    difficulty=2,
    cases=cases,
    solution=mended_expert,
    given=given,
    mistakes=(
        Mistake(
            "read in another shape",
            "The shape of w2 is right and its numbers are in the wrong places: `view` to (C, F) cuts the rows anew and turns "
            "nothing. Take a 2 × 3 table, look at view(3, 2) of it, and at its .T.",
            wrong=given,
        ),
        Mistake(
            "turned before it was cut",
            "The whole stack was transposed and then cut: that deals each expert parts of the others. Cut it into experts "
            "first, then turn each.",
            wrong=_turned_whole,
        ),
        Mistake(
            "experts interleaved",
            "Rows 0, E, 2E … were taken for one expert. The experts lie one after another: the first F rows are expert 0.",
            wrong=_interleaved,
        ),
        Mistake(
            "all three read in another shape",
            "Now w1 and w3 are read anew as well. They were right: (F, C) is how a linear layer stores them.",
            wrong=_all_read_so,
        ),
        Mistake(
            "gate and up swapped",
            "w2 is right now, but silu stands on w3's half. It belongs on w1's.",
            wrong=_gate_and_up,
        ),
        Mistake(
            "w2 and w3 swapped", "w2 and w3 have changed places. w2 is the one that leads back to C.", wrong=_w2_for_w3
        ),
        Mistake(
            "always expert 0",
            "w2 is turned rightly, but it is expert 0's, whichever is asked for.",
            wrong=_first_expert,
        ),
    ),
    nudge="Make a w2 for one expert, F = 3 and C = 2, with the numbers 0 to 5. Print what `view(2, 3)` makes of it, and what "
    "`.T` does. Which of the two leaves each row a row?",
    shapes="""
| name | shape as stored | what the layer needs for expert e |
|---|---|---|
| `w1`, `w3` | (E · F, C) | (F, C) |
| `w2` | (E · F, C): each expert's w2 was transposed, so that all three stacks have one shape | (C, F) |
| `x` | (N, C) | |
| result | (N, C) | |
""",
    skeleton="""
def mended_expert(x, w1, w2, w3, n_experts, e):
    C = x.shape[-1]
    gate = w1.view(n_experts, -1, C)[e]
    up = w3.view(n_experts, -1, C)[e]
    down = w2.view(n_experts, ____, ____)[e]____
    return ____
""",
    explanation="`view` never moves a number in memory; it only says where rows end. A transpose swaps the axes. Both give "
    "(C, F) here, so nothing fails, and the model writes nonsense.",
    report="The eight .pt files of Mixtral's first release are stacked so; the line that turns w2 stands in transformers' "
    "converter: https://github.com/huggingface/transformers/pull/27942. A matrix of experts turned once too often went "
    "unnoticed in Megatron-Bridge, for a model whose expert matrices are square (2026): "
    "https://github.com/NVIDIA-NeMo/Megatron-Bridge/pull/3162.",
)
