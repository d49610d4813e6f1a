"""09.2: how often neighbours agree by luck: the null of the repeats."""

import random

import torch
from torch import Tensor

from minimistral.lab.exercise import Exercise, Mistake


def my_chance(choices: Tensor, n_experts: int) -> float:
    one_hot = torch.nn.functional.one_hot(choices, n_experts).double()  # (B, T, E)
    share = one_hot.mean(1)  # f (B, E): each text's loads add up to 1
    return float(share.square().sum(-1).mean())  # two draws of one text meet; the mean over texts


def _without_replacement(choices: Tensor, n_experts: int) -> float:
    counts = torch.nn.functional.one_hot(choices, n_experts).double().sum(1)
    T = choices.shape[1]
    return float((counts * (counts - 1)).sum(-1).mean() / (T * (T - 1)))


def cases(draw: random.Random) -> list[tuple]:
    """Texts with favourites of their own, and favourites that come in runs, so that what happened is not what luck gives."""
    found = []
    for n_texts, n_experts in [(3, 8), (4, 5), (2, 8), (1, 4)]:
        texts = []
        for b in range(n_texts):
            weights = [1 + draw.random() for _ in range(n_experts)]
            weights[(3 * b + 1) % n_experts] = 9
            drawn = draw.choices(range(n_experts), weights, k=200)
            runs = [e for e in drawn for _ in range(draw.choice((1, 2, 4)))]
            texts.append(runs[:200])
        found.append((torch.tensor(texts), n_experts))
    return found


def _even(choices: Tensor, n_experts: int) -> float:
    return 1 / n_experts


def _pooled(choices: Tensor, n_experts: int) -> float:
    return my_chance(choices.flatten()[None], n_experts)


def _observed(choices: Tensor, n_experts: int) -> float:
    return float((choices[:, 1:] == choices[:, :-1]).double().mean())


def _favourite(choices: Tensor, n_experts: int) -> float:
    return float(torch.nn.functional.one_hot(choices, n_experts).double().mean(1).amax(-1).mean())


def _mean_square(choices: Tensor, n_experts: int) -> float:
    return my_chance(choices, n_experts) / n_experts


def _sum_of_texts(choices: Tensor, n_experts: int) -> float:
    return my_chance(choices, n_experts) * len(choices)


def _root(choices: Tensor, n_experts: int) -> float:
    share = torch.nn.functional.one_hot(choices, n_experts).double().mean(1)
    return float(share.square().sum(-1).sqrt().mean())


def _loads(inputs: tuple, got: object, expected: object) -> bool:
    return isinstance(got, (Tensor, list, tuple)) and len(got) == inputs[1]


EXERCISE = Exercise(
    id="09.2",
    title="Repeats by luck",
    minutes=10,
    difficulty=2,
    cases=cases,
    solution=my_chance,
    also_right=(_without_replacement,),
    rtol=1e-4,
    atol=1e-4,
    mistakes=(
        Mistake(
            "the same whatever the load",
            "1 / E is the chance if all experts are equally busy. These are not: print each text's loads. With one expert that "
            "takes everything, how often would neighbours agree?",
            wrong=_even,
        ),
        Mistake(
            "all texts in one pot",
            "The texts were taken together. Each has favourites of its own, and neighbours always stand in one text: take the "
            "loads of each text, and then the mean over the texts.",
            wrong=_pooled,
        ),
        Mistake(
            "what happened",
            "This is the share of neighbours that do agree. Asked is what luck alone would give, if each text's choices stood "
            "in any order.",
            wrong=_observed,
        ),
        Mistake(
            "the favourite alone",
            "This is the load of the busiest expert. Neighbours can also meet at the others: add up over all experts.",
            wrong=_favourite,
        ),
        Mistake("a mean of squares", "The squares were averaged over experts. Add them up.", wrong=_mean_square),
        Mistake("texts added up", "The texts' chances were added up. Take their mean.", wrong=_sum_of_texts),
        Mistake(
            "a root", "This is the root of it. A chance of two equal draws is a sum of squares, no length.", wrong=_root
        ),
        Mistake(
            "loads, no chance",
            "These are numbers for each expert. Asked is one: how likely two tokens of a text agree, whoever it is.",
            seen=_loads,
        ),
    ),
    nudge="One text, loads ½, ¼, ⅛, ⅛. Draw a token: it has expert 0 with chance ½. Draw another. How likely do both have "
    "expert 0? And both the same expert, whichever?",
    shapes="""
| name | shape | meaning |
|---|---|---|
| `choices` | (B, T) | the first expert of each token of each text |
| f | (B, E) | each text's loads; a row adds up to 1 |
| Σ f² | (B,) | the chance that two tokens of that text agree |
| result | a number | the mean over the texts |
""",
    skeleton="""
def my_chance(choices, n_experts):
    one_hot = torch.nn.functional.one_hot(choices, n_experts).double()  # (B, T, E)
    f = one_hot.mean(____)  # (B, E)
    return float((f ** ____).sum(____).mean())
""",
    explanation="Two independent draws meet at expert e with chance f_e · f_e; at any, with Σ f². It is smallest, 1 / E, when "
    "all are equally busy, and 1 when one has everything. (Shuffling draws without putting back: n (n − 1) / T (T − 1) for "
    "each expert, which is as right, and for long texts the same.)",
)
