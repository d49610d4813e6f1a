"""07.3: a loss that learns the piece after next."""

import random

import torch
import torch.nn.functional as F
from torch import Tensor

from minimistral.lab.exercise import Exercise, Mistake, normal


def mended_loss(logits: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


def given(logits: Tensor, targets: Tensor) -> Tensor:
    logits = logits[:, :-1]
    targets = targets[:, 1:]
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


def cases(draw: random.Random) -> list[tuple]:
    found = []
    for _ in range(4):
        B, T, V = draw.randint(2, 4), draw.randint(4, 8), draw.randint(5, 11)
        targets = torch.tensor([[draw.randrange(V) for _ in range(T)] for _ in range(B)])
        found.append((2 * normal(draw, B, T, V), targets))
    return found


def _other_way(logits: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(logits[:, 1:].flatten(0, 1), targets[:, :-1].flatten())


def _cut_only(logits: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(logits[:, :-1].flatten(0, 1), targets[:, :-1].flatten())


def _cut_first(logits: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(logits[:, 1:].flatten(0, 1), targets[:, 1:].flatten())


def _sum(logits: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum")


def _last_only(logits: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(logits[:, -1], targets[:, -1])


def _softmax_twice(logits: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(logits.softmax(-1).flatten(0, 1), targets.flatten())


LEFT_OUT = "Aligned now, but a position is left out: T positions have T targets, and each of them teaches something."
EXERCISE = Exercise(
    id="07.3",
    title="Find the bug: the piece after next",
    minutes=10,
    difficulty=2,
    cases=cases,
    solution=mended_loss,
    given=given,
    mistakes=(
        Mistake(
            "shifted twice",
            "Still two apart. In the batch, targets[i] is already the piece after inputs[i]; this code moves it once more. "
            "Write one row down: inputs T o b e, targets o b e. — which logits belong to the b?",
            wrong=given,
        ),
        Mistake(
            "shifted back",
            "Now the model is asked for the piece that it has just read: it only has to copy. Nothing needs to move.",
            wrong=_other_way,
        ),
        Mistake("a position left out", LEFT_OUT, wrong=_cut_only),
        Mistake("a position left out", LEFT_OUT, wrong=_cut_first),
        Mistake(
            "sum, not mean",
            "This grows with the batch, and so would the steps. Take the mean, which cross_entropy does by itself.",
            wrong=_sum,
        ),
        Mistake(
            "last position only",
            "Only the last position is judged. All T of them predict something, and all are trained at once.",
            wrong=_last_only,
        ),
        Mistake("softmax twice", "cross_entropy takes logits and does the softmax itself.", wrong=_softmax_twice),
    ),
    nudge="Write down one row of the batch: under each input the piece that the model should name there. Then read the two lines "
    "that begin with `logits =` and `targets =`.",
    shapes="""
| name | shape |
|---|---|
| `logits` | (B, T, V): for each input its guess |
| `targets` | (B, T): for each input the piece that really came next |
| result | one number |
""",
    skeleton="""
def mended_loss(logits, targets):
    return F.cross_entropy(logits.flatten(____, ____), targets.____())
""",
    explanation="The batch was cut so that inputs and targets already stand one apart. A second shift trains the model on the "
    "piece after next: the loss falls, only not as far, and the text limps.",
    report="transformers' JetMoE trained on next-next tokens: https://github.com/huggingface/transformers/pull/37830",
)
