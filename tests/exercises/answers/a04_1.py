"""04.1: sharing key heads, as people write it."""

import torch


def one_by_one(k, n_heads):
    group = n_heads // len(k)
    return torch.stack([k[head // group] for head in range(n_heads)])


def new_axis(k, n_heads):
    n_kv_heads, n_tokens, width = k.shape
    return k[:, None].expand(n_kv_heads, n_heads // n_kv_heads, n_tokens, width).reshape(n_heads, n_tokens, width)


def by_index(k, n_heads):
    return k[torch.arange(n_heads) * len(k) // n_heads]


RIGHT = [one_by_one, new_axis, by_index]


def cards(k, n_heads):
    return torch.stack([k[head % len(k)] for head in range(n_heads)])


def axis_before(k, n_heads):
    return k[None].expand(n_heads // len(k), *k.shape).reshape(n_heads, *k.shape[1:])


def first_only(k, n_heads):
    return k[0].expand(n_heads, *k.shape[1:]).clone()


def along_tokens(k, n_heads):
    return torch.repeat_interleave(k, n_heads // len(k), 1).view(n_heads, k.shape[1], k.shape[2])


def along_numbers(k, n_heads):
    return torch.cat([k] * (n_heads // len(k)), dim=-1).reshape(n_heads, k.shape[1], k.shape[2])


def wrong_divisor(k, n_heads):
    return torch.stack([k[head // len(k)] for head in range(n_heads)])


def turned(k, n_heads):
    group = n_heads // len(k)
    return torch.stack([k[len(k) - 1 - head // group] for head in range(n_heads)])


def too_many(k, n_heads):
    return k.repeat_interleave(n_heads, 0)


WRONG = {
    "tiled": [cards, axis_before],
    "first head for all": [first_only],
    "reshape mixes tokens": [along_tokens, along_numbers],
    "divided by the number of key heads": [wrong_divisor],
    "backwards": [turned],
    "each head n_heads times": [too_many],
}
