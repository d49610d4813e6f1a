"""04.3, a bug hunt: key/value heads dealt out like cards."""

import random

import torch
from torch import Tensor

from minimistral.lab.exercise import Exercise, Mistake, normal


def mended_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    share = len(q) // len(k)
    k = k.repeat_interleave(share, 0)  # (H, T, D)
    v = v.repeat_interleave(share, 0)  # (H, T, D)
    scores = q @ k.mT / q.shape[-1] ** 0.5  # (H, T, T)
    hidden = torch.ones_like(scores, dtype=torch.bool).triu(1)
    return scores.masked_fill(hidden, float("-inf")).softmax(-1) @ v


def given(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    share = len(q) // len(k)
    k = k.repeat(share, 1, 1)  # (H, T, D)
    v = v.repeat(share, 1, 1)  # (H, T, D)
    scores = q @ k.mT / q.shape[-1] ** 0.5  # (H, T, T)
    hidden = torch.ones_like(scores, dtype=torch.bool).triu(1)
    return scores.masked_fill(hidden, float("-inf")).softmax(-1) @ v


def cases(draw: random.Random) -> list[tuple]:
    sizes = [(4, 2, 3, 4), (6, 3, 4, 2), (6, 2, draw.randint(4, 7), 6), (8, 4, 5, 4), (3, 1, 4, 4), (3, 3, 4, 4)]
    return [
        tuple(normal(draw, heads, n_tokens, width) for heads in (n_heads, n_kv_heads, n_kv_heads))
        for n_heads, n_kv_heads, n_tokens, width in sizes
    ]


def _attend(q: Tensor, k: Tensor, v: Tensor, causal: bool = True, scale: bool = True) -> Tensor:
    scores = q @ k.mT / (q.shape[-1] ** 0.5 if scale else 1)
    if causal:
        scores = scores.masked_fill(torch.ones_like(scores, dtype=torch.bool).triu(1), float("-inf"))
    return scores.softmax(-1) @ v


def _tiled(x: Tensor, q: Tensor) -> Tensor:
    return x.repeat(len(q) // len(x), 1, 1)


def _side_by_side(x: Tensor, q: Tensor) -> Tensor:
    return x.repeat_interleave(len(q) // len(x), 0)


def _keys_only(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return _attend(q, _side_by_side(k, q), _tiled(v, q))


def _values_only(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return _attend(q, _tiled(k, q), _side_by_side(v, q))


def _queries_moved(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    order = torch.arange(len(q)).reshape(len(k), -1).T.flatten()
    return _attend(q[order], _tiled(k, q), _tiled(v, q))


def _no_mask(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return _attend(q, _side_by_side(k, q), _side_by_side(v, q), causal=False)


def _no_scale(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return _attend(q, _side_by_side(k, q), _side_by_side(v, q), scale=False)


EXERCISE = Exercise(
    id="04.3",
    title="Find the bug: right for MHA, right for MQA, wrong between",
    minutes=10,
    difficulty=2,
    cases=cases,
    solution=mended_attention,
    given=given,
    mistakes=(
        Mistake(
            "still tiled",
            "The heads are still dealt out like cards: 0, 1, 0, 1. Neighbouring query heads belong to one group: 0, 0, 1, 1. "
            "Use your exercise 04.1.",
            wrong=given,
        ),
        Mistake(
            "only the keys mended",
            "Now each query head weighs tokens by its own group's keys, and mixes another group's values. Mend v too.",
            wrong=_keys_only,
        ),
        Mistake(
            "only the values mended",
            "Now the values are the right group's, but the weights come from another group's keys. Mend k too.",
            wrong=_values_only,
        ),
        Mistake(
            "queries moved",
            "Each query head now meets its own keys, but the heads come out in another order, and wo has learnt the old one. "
            "Leave q as it is, and repeat k and v otherwise.",
            wrong=_queries_moved,
        ),
        Mistake(
            "mask lost",
            "The sharing is right. But now a token looks at later ones: the mask was right.",
            wrong=_no_mask,
        ),
        Mistake("scale lost", "The sharing is right. But the scores have lost their divisor √D.", wrong=_no_scale),
    ),
    nudge="Give every key head a value of its own: v[0] all 0, v[1] all 1, and zeros for q and k. What does each of 4 query heads "
    "put out, and what should it?",
    shapes="""
| name | shape | meaning |
|---|---|---|
| `q` | (H, T, D) | query heads; heads 0 … H/G − 1 are group 0 |
| `k`, `v` as given | (G, T, D) | one head a group |
| `k`, `v` after the repeat | (H, T, D) | row h must be group h // (H/G) |
""",
    skeleton="""
def mended_attention(q, k, v):
    share = len(q) // len(k)
    k = k.____(share, ____)
    v = v.____(share, ____)
    ...  # the rest was right
""",
    explanation="`repeat` writes the row of heads over and over, so query head 1 met key head 1 and not 0. Where G = H each head "
    "is written once, and where G = 1 all are the same: both ends pass every test. "
    "Only the middle shows it: test with 1 < G < H.",
    report="ONNX's standard attention operator was defined so, with Tile: https://github.com/onnx/onnx/pull/7274 (2025) "
    "replaced it, because torch interleaves.",
)
