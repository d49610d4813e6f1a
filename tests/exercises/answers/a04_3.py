"""04.3: repairs as people make them."""

import torch
import torch.nn.functional as F


def by_torch(q, k, v):
    return F.scaled_dot_product_attention(q[None], k[None], v[None], is_causal=True, enable_gqa=True)[0]


def head_by_head(q, k, v):
    share, T = len(q) // len(k), q.shape[1]
    out = []
    for head in range(len(q)):
        scores = q[head] @ k[head // share].T / q.shape[-1] ** 0.5
        scores = scores.masked_fill(torch.ones(T, T, dtype=torch.bool).triu(1), float("-inf"))
        out.append(scores.softmax(-1) @ v[head // share])
    return torch.stack(out)


def without_copies(q, k, v):
    grouped = q.reshape(len(k), -1, *q.shape[1:])  # (G, H/G, T, D)
    scores = torch.einsum("gntd,gsd->gnts", grouped, k) / q.shape[-1] ** 0.5
    scores = scores + torch.full(scores.shape, float("-inf")).triu(1)
    return torch.einsum("gnts,gsd->gntd", scores.softmax(-1), v).reshape(q.shape)


RIGHT = [by_torch, head_by_head, without_copies]


def _plain(q, k, v):
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)


def cards(q, k, v):
    pick = torch.arange(len(q)) % len(k)
    return _plain(q, k[pick], v[pick])


def keys(q, k, v):
    share = len(q) // len(k)
    return _plain(q, k.repeat_interleave(share, 0), v.repeat(share, 1, 1))


def values(q, k, v):
    share = len(q) // len(k)
    return _plain(q, k.repeat(share, 1, 1), v.repeat_interleave(share, 0))


def moved(q, k, v):
    share = len(q) // len(k)
    turned = q.reshape(len(k), share, *q.shape[1:]).transpose(0, 1).reshape(q.shape)
    return _plain(turned, k.repeat(share, 1, 1), v.repeat(share, 1, 1))


def everything_visible(q, k, v):
    share = len(q) // len(k)
    return F.scaled_dot_product_attention(q, k.repeat_interleave(share, 0), v.repeat_interleave(share, 0))


def unscaled(q, k, v):
    share = len(q) // len(k)
    k, v = k.repeat_interleave(share, 0), v.repeat_interleave(share, 0)
    return F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=1.0)


WRONG = {
    "still tiled": [cards],
    "only the keys mended": [keys],
    "only the values mended": [values],
    "queries moved": [moved],
    "mask lost": [everything_visible],
    "scale lost": [unscaled],
}
