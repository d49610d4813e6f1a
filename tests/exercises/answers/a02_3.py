"""02.3: repairs as people make them."""

import torch
import torch.nn.functional as F


def with_torch(q, k, v):
    return F.scaled_dot_product_attention(q[None], k[None], v[None], is_causal=True)[0]


def one_query_at_a_time(q, k, v):
    rows = [(k[: i + 1] @ q[i] / q.shape[-1] ** 0.5).softmax(0) @ v[: i + 1] for i in range(len(q))]
    return torch.stack(rows)


RIGHT = [with_torch, one_query_at_a_time]


def _attend(q, k, v):
    return F.scaled_dot_product_attention(q[None], k[None], v[None], is_causal=True)[0]


def unchanged_in_other_words(q, k, v):
    return _attend(q, k, k)


def mixes_queries(q, k, v):
    return _attend(q, k, q)


def values_twice(q, k, v):
    return _attend(q, v, v)


def swapped(q, k, v):
    return _attend(q, v, k)


def values_for_queries(q, k, v):
    return _attend(v, k, v)


def turned(q, k, v):
    eye = torch.eye(len(q))
    weights = F.scaled_dot_product_attention(q[None], k[None], eye[None], is_causal=True)[0]
    return weights.T @ v


WRONG = {
    "keys handed over": [unchanged_in_other_words],
    "queries handed over": [mixes_queries],
    "scores from the values": [values_twice],
    "keys and values swapped": [swapped],
    "values ask": [values_for_queries],
    "weights turned": [turned],
}
