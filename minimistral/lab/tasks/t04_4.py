"""04.4, a bug hunt: the rows of wk permuted as if it had as many heads as wq."""

import random

import torch
from torch import Tensor

from minimistral.lab.exercise import Exercise, Mistake, normal


def mended_rows(wq: Tensor, wk: Tensor, n_heads: int, n_kv_heads: int) -> Tensor:
    def to_halves(weight, n):
        return weight.reshape(n, -1, 2, weight.shape[1]).transpose(1, 2).reshape(weight.shape)

    return torch.cat([to_halves(wq, n_heads), to_halves(wk, n_kv_heads)])


def given(wq: Tensor, wk: Tensor, n_heads: int, n_kv_heads: int) -> Tensor:
    def to_halves(weight, n):
        return weight.reshape(n, -1, 2, weight.shape[1]).transpose(1, 2).reshape(weight.shape)

    return torch.cat([to_halves(wq, n_heads), to_halves(wk, n_heads)])


def cases(draw: random.Random) -> list[tuple]:
    # n_heads // n_kv_heads differs from n_kv_heads in most of them; one is the square case where it does not
    sizes = [(2, 1, 8, 1), (6, 3, 8, 2), (8, 2, 16, 3), (12, 3, 16, draw.randint(2, 4)), (4, 2, 8, 2), (4, 4, 8, 2)]
    return [
        (normal(draw, n_heads * width, dim), normal(draw, n_kv_heads * width, dim), n_heads, n_kv_heads)
        for n_heads, n_kv_heads, width, dim in sizes
    ]


def _to_halves(weight: Tensor, n: int) -> Tensor:
    return weight.reshape(n, -1, 2, weight.shape[1]).transpose(1, 2).reshape(weight.shape)


def _to_pairs(weight: Tensor, n: int) -> Tensor:
    return weight.reshape(n, 2, -1, weight.shape[1]).transpose(1, 2).reshape(weight.shape)


def _both_few(wq: Tensor, wk: Tensor, n_heads: int, n_kv_heads: int) -> Tensor:
    return torch.cat([_to_halves(wq, n_kv_heads), _to_halves(wk, n_kv_heads)])


def _swapped(wq: Tensor, wk: Tensor, n_heads: int, n_kv_heads: int) -> Tensor:
    return torch.cat([_to_halves(wq, n_kv_heads), _to_halves(wk, n_heads)])


def _group_size(wq: Tensor, wk: Tensor, n_heads: int, n_kv_heads: int) -> Tensor:
    return torch.cat([_to_halves(wq, n_heads), _to_halves(wk, n_heads // n_kv_heads)])


def _keys_left(wq: Tensor, wk: Tensor, n_heads: int, n_kv_heads: int) -> Tensor:
    return torch.cat([_to_halves(wq, n_heads), wk])


def _backwards(wq: Tensor, wk: Tensor, n_heads: int, n_kv_heads: int) -> Tensor:
    return torch.cat([_to_pairs(wq, n_heads), _to_pairs(wk, n_kv_heads)])


def _all_at_once(wq: Tensor, wk: Tensor, n_heads: int, n_kv_heads: int) -> Tensor:
    return torch.cat([_to_halves(wq, n_heads), _to_halves(wk, 1)])


EXERCISE = Exercise(
    id="04.4",
    title="Find the bug: gibberish after the conversion",
    minutes=10,
    difficulty=3,
    cases=cases,
    solution=mended_rows,
    given=given,
    mistakes=(
        Mistake(
            "still n_heads for wk",
            "wk is still cut into n_heads pieces, so a piece is only a part of a head and its pairs end up in the wrong places. "
            "wk holds n_kv_heads heads. Print the number of rows of a piece: it must be head_dim.",
            wrong=given,
        ),
        Mistake(
            "wq cut like wk",
            "wk is right now, but wq still has n_heads heads, and it is cut into n_kv_heads larger pieces.",
            wrong=_both_few,
        ),
        Mistake(
            "counts swapped", "The two counts are swapped: wq has n_heads heads, wk has n_kv_heads.", wrong=_swapped
        ),
        Mistake(
            "group size for wk",
            "n_heads // n_kv_heads is how many query heads share one key head. For 64 and 8 heads it happens to be 8 as well, "
            "which is how llama.cpp's converter kept this mistake (https://github.com/ggml-org/llama.cpp/pull/3364).",
            wrong=_group_size,
        ),
        Mistake(
            "wk left alone",
            "wk is in its old order, and wq in the new one: query and key would be turned in different pairs.",
            wrong=_keys_left,
        ),
        Mistake(
            "backwards", "This goes from halves to pairs. The function's way is from pairs to halves.", wrong=_backwards
        ),
        Mistake(
            "wk as one head",
            "wk is permuted as if it were one large head. Each of its n_kv_heads heads is permuted by itself.",
            wrong=_all_at_once,
        ),
    ),
    nudge="How many rows does wk have? Divided into the pieces of this code, how many rows has a piece, and how many has a head?",
    shapes="""
| name | shape | heads in it |
|---|---|---|
| `wq` | (H·D, C) | H |
| `wk` | (G·D, C) | how many? |
| a piece, for `to_halves` | (D/2, 2, C) | one head: D/2 pairs of rows |
| result | (H·D + G·D, C) | wq's rows, then wk's |
""",
    skeleton="""
def mended_rows(wq, wk, n_heads, n_kv_heads):
    def to_halves(weight, n):
        ...  # this was right

    rows = [to_halves(wq, ____), to_halves(wk, ____)]
    ...
""",
    explanation="Each head is permuted by itself, so the matrix must be cut into as many pieces as it has heads: wq into n_heads, "
    "wk into n_kv_heads. With n_heads the shapes still fit, because reshape asks only that the numbers divide: "
    "nothing fails but the text.",
    report="transformers read GGUF files so: https://github.com/huggingface/transformers/pull/31788 (2024) mended the permutation, "
    'which must "consider both num_attention_heads and num_key_value_heads". A cousin, which only models other than Llama 2 '
    "70B could show: https://github.com/ggml-org/llama.cpp/pull/3364 (2023).",
)
