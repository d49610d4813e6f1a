"""02.4, a bug hunt: an epsilon that the config gives and the code does not read."""

import random

import torch
from torch import Tensor

from minimistral.lab.exercise import Exercise, Mistake, normal


def mended_norm(x: Tensor, weight: Tensor, config: dict) -> Tensor:
    eps = config["text_config"]["rms_norm_eps"]
    return weight * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps)


def given(x: Tensor, weight: Tensor, config: dict) -> Tensor:
    eps = config.get("rms_norm_eps", 1e-6)
    return weight * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps)


def cases(draw: random.Random) -> list[tuple]:
    """Small activations, where the epsilon shows; the two parts of the model have an epsilon each."""
    found = []
    for eps in (1e-5, 1e-5, draw.choice([3e-5, 1e-4])):
        config = {
            "model_type": "mistral3",
            "text_config": {"hidden_size": 6, "rms_norm_eps": eps},
            "vision_config": {"hidden_size": 4, "rms_norm_eps": 4e-6},
        }
        found.append((1e-3 * (normal(draw, draw.randint(2, 4), 6) + 1), normal(draw, 6) + 2, config))
    return found


def _norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    return weight * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps)


def _hard_coded(x: Tensor, weight: Tensor, config: dict) -> Tensor:
    return _norm(x, weight, 1e-5)


def _vision(x: Tensor, weight: Tensor, config: dict) -> Tensor:
    return _norm(x, weight, config["vision_config"]["rms_norm_eps"])


def _none(x: Tensor, weight: Tensor, config: dict) -> Tensor:
    return _norm(x, weight, 0.0)


def _outside(x: Tensor, weight: Tensor, config: dict) -> Tensor:
    return weight * x / (x.pow(2).mean(-1, keepdim=True).sqrt() + config["text_config"]["rms_norm_eps"])


def _largest(x: Tensor, weight: Tensor, config: dict) -> Tensor:
    return _norm(x, weight, config["text_config"]["rms_norm_eps"] + config["vision_config"]["rms_norm_eps"])


EXERCISE = Exercise(
    id="02.4",
    title="Find the bug: an epsilon from the wrong place",
    minutes=8,
    difficulty=2,
    cases=cases,
    solution=mended_norm,
    given=given,
    mistakes=(
        Mistake(
            "still the default",
            "It still divides with 1e-6. Print the `eps` that it uses, and the config: where does that number stand, and at which "
            "level does the code look?",
            wrong=given,
        ),
        Mistake(
            "hard-coded",
            "Right for this model, wrong for the next: another config gives another epsilon. Read it from the config.",
            wrong=_hard_coded,
        ),
        Mistake(
            "the image part's epsilon",
            "That is the epsilon of the part that reads images. This norm stands in the part that reads text.",
            wrong=_vision,
        ),
        Mistake("no epsilon", "Now there is none. Where the activations are small, it counts.", wrong=_none),
        Mistake(
            "outside the root",
            "It is read from the right place now, but it belongs inside the root, with the mean square.",
            wrong=_outside,
        ),
        Mistake("two epsilons", "You added both epsilons. Each part of the model has its own.", wrong=_largest),
    ),
    nudge="`config.get(name, default)` never fails. Which of the two does it give here?",
    shapes="""
| name | what |
|---|---|
| `x` | (T, C), entries of about 0.001, so mean squares of about 0.000001 |
| `weight` | (C,) |
| `config` | a dictionary of dictionaries: `config["text_config"]` is the language model's |
""",
    skeleton="""
def mended_norm(x, weight, config):
    eps = config[____][____]      # the rest was right
    ...
""",
    explanation="`get` with a default hides a key that stands one level deeper. A missing number of a trained model should be an "
    "error, not a guess: config[...] without a default says so at once.",
    report="huggingface/transformers#38025 (2025): a norm of Mistral 3 was built without the text config's epsilon, and used its "
    "own default of 1e-6. In meta-llama/llama#771 (2023) the config itself said 1e-6 where 1e-5 was meant.",
)
