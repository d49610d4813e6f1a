"""02.1: answers as people write them."""

import math

import torch
import torch.nn.functional as F


def with_torch(x, wq, wk, wv):
    q, k, v = F.linear(x, wq), F.linear(x, wk), F.linear(x, wv)
    return F.scaled_dot_product_attention(q[None], k[None], v[None], is_causal=True)[0]


def one_query_at_a_time(x, wq, wk, wv):
    rows = []
    for i in range(len(x)):
        q, seen = wq @ x[i], x[: i + 1]
        weights = torch.softmax(seen @ wk.T @ q / math.sqrt(len(q)), dim=0)
        rows.append(weights @ (seen @ wv.T))
    return torch.stack(rows)


def with_einsum(x, wq, wk, wv):
    q, k, v = (torch.einsum("tc,dc->td", x, w) for w in (wq, wk, wv))
    scores = torch.einsum("td,sd->ts", q, k) / q.size(-1) ** 0.5
    scores = scores + torch.full_like(scores, float("-inf")).triu(1)
    powers = (scores - scores.amax(1, keepdim=True)).exp()
    return torch.einsum("ts,sd->td", powers / powers.sum(1, keepdim=True), v)


RIGHT = [with_torch, one_query_at_a_time, with_einsum]


def _qkv(x, wq, wk, wv):
    return x @ wq.T, x @ wk.T, x @ wv.T


def zeroed_afterwards(x, wq, wk, wv):
    q, k, v = _qkv(x, wq, wk, wv)
    weights = torch.softmax(q @ k.T / math.sqrt(q.shape[1]), dim=-1)
    return (weights * torch.tril(torch.ones(len(x), len(x)))) @ v


def multiplied_by_the_mask(x, wq, wk, wv):
    q, k, v = _qkv(x, wq, wk, wv)
    return torch.softmax(q @ k.T / math.sqrt(q.shape[1]) * torch.ones(len(x), len(x)).tril(), -1) @ v


def past_hidden(x, wq, wk, wv):
    q, k, v = _qkv(x, wq, wk, wv)
    scores = q @ k.T / q.shape[1] ** 0.5
    scores[torch.ones(len(x), len(x)).triu() == 0] = -torch.inf
    return scores.softmax(-1) @ v


def diagonal_hidden(x, wq, wk, wv):
    q, k, v = _qkv(x, wq, wk, wv)
    scores = q @ k.T / q.shape[1] ** 0.5
    return scores.masked_fill(torch.ones(len(x), len(x)).tril(-1) == 0, -torch.inf).softmax(-1) @ v


def rows_for_columns(x, wq, wk, wv):
    q, k, v = _qkv(x, wq, wk, wv)
    scores = (q @ k.T / q.shape[1] ** 0.5).masked_fill(torch.ones(len(x), len(x)).triu(1).bool(), -torch.inf)
    return F.softmax(scores, dim=0) @ v


def everyone_sees_all(x, wq, wk, wv):
    q, k, v = _qkv(x, wq, wk, wv)
    return F.scaled_dot_product_attention(q[None], k[None], v[None])[0]


def unscaled(x, wq, wk, wv):
    q, k, v = _qkv(x, wq, wk, wv)
    return F.scaled_dot_product_attention(q[None], k[None], v[None], is_causal=True, scale=1.0)[0]


def root_of_the_width(x, wq, wk, wv):
    q, k, v = _qkv(x, wq, wk, wv)
    return F.scaled_dot_product_attention(q[None], k[None], v[None], is_causal=True, scale=x.shape[1] ** -0.5)[0]


def divided_by_d(x, wq, wk, wv):
    q, k, v = _qkv(x, wq, wk, wv)
    return F.scaled_dot_product_attention(q[None], k[None], v[None], is_causal=True, scale=1 / q.shape[1])[0]


def mixes_the_keys(x, wq, wk, wv):
    q, k, _ = _qkv(x, wq, wk, wv)
    return F.scaled_dot_product_attention(q[None], k[None], k[None], is_causal=True)[0]


WRONG = {
    "mask after softmax": [zeroed_afterwards],
    "zero for minus infinity": [multiplied_by_the_mask],
    "the wrong triangle": [past_hidden],
    "not itself": [diagonal_hidden],
    "softmax over queries": [rows_for_columns],
    "no mask": [everyone_sees_all],
    "no scale": [unscaled],
    "root of the wrong size": [root_of_the_width],
    "no root": [divided_by_d],
    "keys handed over": [mixes_the_keys],
}
