"""07.1: one layer, put together in the right order."""

import random
from collections.abc import Callable

import torch
from torch import Tensor

from minimistral.lab.exercise import Exercise, Mistake, normal


class Part:
    """A named stand-in for a module: x (T, C) to (T, C), simple enough that every order gives other numbers."""

    def __init__(self, name: str, function: Callable[[Tensor], Tensor]):
        self.name, self.function = name, function

    def __call__(self, x: Tensor) -> Tensor:
        return self.function(x)

    def __deepcopy__(self, memo: dict) -> "Part":
        return self  # nothing in it changes; a copy would look like a changed input

    def __repr__(self) -> str:
        return self.name


def my_block(
    x: Tensor, attention: Callable, feed_forward: Callable, attention_norm: Callable, ffn_norm: Callable
) -> Tensor:
    h = x + attention(attention_norm(x))  # (T, C)
    return h + feed_forward(ffn_norm(h))


def cases(draw: random.Random) -> list[tuple]:
    found = []
    for n_tokens, dim in ((3, 4), (5, 6), (1, 3)):
        x, turn = normal(draw, n_tokens, dim), normal(draw, dim, dim)
        scales = [0.5 + normal(draw, dim).abs() for _ in range(2)]
        found.append(
            (
                x,
                Part("attention", lambda y: y.cumsum(0) / torch.arange(1, len(y) + 1)[:, None] + 0.3),
                Part("feed_forward", lambda y, turn=turn: torch.tanh(y @ turn) - 0.2),
                Part("attention_norm", lambda y, s=scales[0]: y / (y.pow(2).mean(-1, keepdim=True) + 1e-5).sqrt() * s),
                Part("ffn_norm", lambda y, s=scales[1]: y / (y.pow(2).mean(-1, keepdim=True) + 1e-5).sqrt() * s),
            )
        )
    return found


def _one_norm(x, attention, feed_forward, attention_norm, ffn_norm):
    h = x + attention(attention_norm(x))
    return h + feed_forward(attention_norm(h))


def _post_norm(x, attention, feed_forward, attention_norm, ffn_norm):
    h = attention_norm(x + attention(x))
    return ffn_norm(h + feed_forward(h))


def _normed_residual(x, attention, feed_forward, attention_norm, ffn_norm):
    y = attention_norm(x)
    h = y + attention(y)
    z = ffn_norm(h)
    return z + feed_forward(z)


def _side_by_side(x, attention, feed_forward, attention_norm, ffn_norm):
    return x + attention(attention_norm(x)) + feed_forward(ffn_norm(x))


def _no_residual(x, attention, feed_forward, attention_norm, ffn_norm):
    return feed_forward(ffn_norm(attention(attention_norm(x))))


def _forgets_h(x, attention, feed_forward, attention_norm, ffn_norm):
    h = x + attention(attention_norm(x))
    return x + feed_forward(ffn_norm(h))


def _no_second_norm(x, attention, feed_forward, attention_norm, ffn_norm):
    h = x + attention(attention_norm(x))
    return h + feed_forward(h)


def _other_way_round(x, attention, feed_forward, attention_norm, ffn_norm):
    h = x + feed_forward(ffn_norm(x))
    return h + attention(attention_norm(h))


EXERCISE = Exercise(
    id="07.1",
    title="Put one layer in order",
    minutes=6,
    difficulty=1,
    cases=cases,
    solution=my_block,
    mistakes=(
        Mistake(
            "one norm for both",
            "Each half has a norm of its own, with weights of its own: ffn_norm before the feed-forward block.",
            wrong=_one_norm,
        ),
        Mistake(
            "norm after the sum",
            "This is post-norm, the order of 2017. Mistral norms what goes *into* attention, and adds to x untouched.",
            wrong=_post_norm,
        ),
        Mistake(
            "residual from the normed",
            "What is added is the normed x. The residual path carries x itself, past the norm as well: x + attention(norm(x)).",
            wrong=_normed_residual,
        ),
        Mistake(
            "side by side",
            "The feed-forward block reads x here. It comes after attention: it reads h, with what attention brought in.",
            wrong=_side_by_side,
        ),
        Mistake("no residual", "Nothing goes past the parts. Each half *adds* to what came in.", wrong=_no_residual),
        Mistake(
            "second sum from x",
            "The second half adds to h, not to x: otherwise what attention brought in is lost.",
            wrong=_forgets_h,
        ),
        Mistake(
            "second norm left out",
            "The feed-forward block reads h without a norm. Which of the five arguments is not used?",
            wrong=_no_second_norm,
        ),
        Mistake("halves swapped", "Attention comes first, then the feed-forward block.", wrong=_other_way_round),
    ),
    nudge="Two halves of the same form. What does each read, and to what does it add?",
    shapes="""
| name | shape |
|---|---|
| `x`, and everything else | (T, C) |
| each part | a function from (T, C) to (T, C) |
""",
    skeleton="""
def my_block(x, attention, feed_forward, attention_norm, ffn_norm):
    h = x + attention(____(x))
    return ____ + feed_forward(____(____))
""",
    explanation="Pre-norm: each half reads a normed copy and adds its result to the untouched stream, so that a path leads from "
    "the embedding to the head through nothing but sums.",
)
