"""04.4: repairs as people make them."""

import torch


def _order(n, width):
    one = torch.cat([torch.arange(0, width, 2), torch.arange(1, width, 2)])
    return torch.cat([one + head * width for head in range(n)])


def by_index(wq, wk, n_heads, n_kv_heads):
    width = len(wq) // n_heads
    return torch.cat([wq[_order(n_heads, width)], wk[_order(n_kv_heads, width)]])


def head_by_head(wq, wk, n_heads, n_kv_heads):
    width = len(wq) // n_heads
    heads = [*wq.split(width), *wk.split(width)]
    return torch.cat([torch.cat([head[0::2], head[1::2]]) for head in heads])


def from_the_width(wq, wk, n_heads, n_kv_heads):
    both = torch.cat([wq, wk])
    half = len(wk) // n_kv_heads // 2
    return both.unflatten(0, (-1, half, 2)).transpose(1, 2).flatten(0, 2)


RIGHT = [by_index, head_by_head, from_the_width]


def _permuted(weight, n):
    return weight.unflatten(0, (n, -1, 2)).transpose(1, 2).flatten(0, 2)


def unchanged_in_other_words(wq, wk, n_heads, n_kv_heads):
    return torch.cat([_permuted(weight, n_heads) for weight in (wq, wk)])


def few_for_both(wq, wk, n_heads, n_kv_heads):
    return torch.cat([_permuted(weight, n_kv_heads) for weight in (wq, wk)])


def swapped(wq, wk, n_heads, n_kv_heads):
    return torch.cat([_permuted(wq, n_kv_heads), _permuted(wk, n_heads)])


def group_size(wq, wk, n_heads, n_kv_heads):
    return torch.cat([_permuted(wq, n_heads), _permuted(wk, n_heads // n_kv_heads)])


def queries_only(wq, wk, n_heads, n_kv_heads):
    return torch.cat([_permuted(wq, n_heads), wk])


def other_way(wq, wk, n_heads, n_kv_heads):
    def back(weight, n):
        return weight.unflatten(0, (n, 2, -1)).transpose(1, 2).flatten(0, 2)

    return torch.cat([back(wq, n_heads), back(wk, n_kv_heads)])


def one_head(wq, wk, n_heads, n_kv_heads):
    return torch.cat([_permuted(wq, n_heads), torch.cat([wk[0::2], wk[1::2]])])


WRONG = {
    "still n_heads for wk": [unchanged_in_other_words],
    "wq cut like wk": [few_for_both],
    "counts swapped": [swapped],
    "group size for wk": [group_size],
    "wk left alone": [queries_only],
    "backwards": [other_way],
    "wk as one head": [one_head],
}
