"""05.3: repairs as people make them."""

import torch
import torch.nn.functional as F


def with_torch(q, k, v, window):
    ones = torch.ones(len(q), len(q), dtype=torch.bool)
    mask = ones.tril() & ones.triu(1 - window)
    return F.scaled_dot_product_attention(q[None], k[None], v[None], attn_mask=mask)[0]


def one_query_at_a_time(q, k, v, window):
    rows = []
    for i in range(len(q)):
        seen = slice(max(0, i - window + 1), i + 1)
        rows.append((q[i] @ k[seen].T / q.shape[-1] ** 0.5).softmax(0) @ v[seen])
    return torch.stack(rows)


RIGHT = [with_torch, one_query_at_a_time]


def _loop(q, k, v, keys_of, axis=0, scale=True):
    rows = []
    for i in range(len(q)):
        seen = keys_of(i)
        scores = k[seen] @ q[i] / (q.shape[-1] ** 0.5 if scale else 1)
        rows.append(scores.softmax(axis) @ v[seen])
    return torch.stack(rows)


def unchanged_in_other_words(q, k, v, window):
    return _loop(q, k, v, lambda i: slice(max(0, i - window), i + 1))


def too_far(q, k, v, window):
    return _loop(q, k, v, lambda i: slice(max(0, i - max(window - 2, 0)), i + 1))


def future_open(q, k, v, window):
    return _loop(q, k, v, lambda i: slice(max(0, i - window + 1), None))


def no_scale(q, k, v, window):
    return _loop(q, k, v, lambda i: slice(max(0, i - window + 1), i + 1), scale=False)


def zeroed_afterwards(q, k, v, window):
    weights = torch.softmax(q @ k.T / q.shape[-1] ** 0.5, dim=1)
    ones = torch.ones(len(q), len(q))
    return (weights * ones.tril() * ones.triu(1 - window)) @ v


def over_queries(q, k, v, window):
    ones = torch.ones(len(q), len(q), dtype=torch.bool)
    scores = (q @ k.T / q.shape[-1] ** 0.5).masked_fill(~(ones.tril() & ones.triu(1 - window)), float("-inf"))
    return torch.softmax(scores, dim=0) @ v


WRONG = {
    "still window + 1 keys": [unchanged_in_other_words],
    "window - 1 keys": [too_far],
    "sees the future": [future_open],
    "scale lost": [no_scale],
    "mask after softmax": [zeroed_afterwards],
    "softmax over queries": [over_queries],
}
