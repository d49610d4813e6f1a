"""02.2: answers as people write them."""

import torch
import torch.nn.functional as F


def with_torch(x, weight, eps):
    return F.rms_norm(x, weight.shape, weight, eps)


def with_norm(x, weight, eps):
    length = x.norm(dim=-1, keepdim=True)
    return x / torch.sqrt(length**2 / x.shape[-1] + eps) * weight


def token_by_token(x, weight, eps):
    rows = []
    for row in x:
        mean_square = sum(float(value) ** 2 for value in row) / len(row)
        rows.append(row / (mean_square + eps) ** 0.5 * weight)
    return torch.stack(rows)


RIGHT = [with_torch, with_norm, token_by_token]


def layer_norm(x, weight, eps):
    return F.layer_norm(x, weight.shape, weight, eps=eps)


def added_after_the_root(x, weight, eps):
    return weight * x / (torch.sqrt((x**2).mean(-1, keepdim=True)) + eps)


def no_eps(x, weight, eps):
    return weight * x / torch.sqrt((x**2).mean(-1, keepdim=True))


def length_one(x, weight, eps):
    return weight * x * torch.rsqrt((x * x).sum(-1, keepdim=True) + eps)


def no_root(x, weight, eps):
    return weight * (x / ((x**2).mean(dim=1, keepdim=True) + eps))


def whole_tensor(x, weight, eps):
    return weight * x * torch.rsqrt((x**2).mean() + eps)


def down_the_columns(x, weight, eps):
    return weight * x * torch.rsqrt((x**2).mean(dim=0) + eps)


def not_stretched(x, weight, eps):
    return F.rms_norm(x, weight.shape, eps=eps)


WRONG = {
    "mean subtracted": [layer_norm],
    "eps outside the root": [added_after_the_root],
    "eps forgotten": [no_eps],
    "sum for mean": [length_one],
    "root forgotten": [no_root],
    "one number for all tokens": [whole_tensor],
    "over the tokens": [down_the_columns],
    "weight forgotten": [not_stretched],
}
