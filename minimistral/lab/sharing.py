"""Chapter 04's conversion: a trained model gets fewer key/value heads, as in arXiv 2305.13245, section 2.1."""

from dataclasses import replace

import torch
from torch import Tensor

from minimistral.attention import Attention
from minimistral.transformer import Transformer

WAYS = ("mean", "first", "random")


def pool_heads(weight: Tensor, n_kv_heads: int, head_dim: int, way: str = "mean") -> Tensor:
    """wk or wv for n_kv_heads heads, made from one for more: (H·D, C) to (G·D, C).

    Neighbouring heads make one: "mean" takes their mean, "first" the first of them. "random" is the control: it forgets
    what was trained, and draws as nn.Linear does. ValueError where the heads do not divide.

    >>> pool_heads(torch.tensor([[1.0], [3.0], [10.0], [20.0]]), n_kv_heads=2, head_dim=1).flatten().tolist()
    [2.0, 15.0]
    """
    n_heads, dim = weight.shape[0] // head_dim, weight.shape[1]
    if n_heads * head_dim != weight.shape[0] or n_heads % n_kv_heads:
        raise ValueError(
            f"{weight.shape[0]} rows are not heads of {head_dim} in {n_kv_heads} equal groups. "
            f"Choose n_kv_heads among the divisors of {n_heads}."
        )
    if way not in WAYS:
        raise ValueError(f"way={way!r}: choose from {', '.join(WAYS)}.")
    if way == "random":
        return torch.empty(n_kv_heads * head_dim, dim).uniform_(-(dim**-0.5), dim**-0.5)
    groups = weight.reshape(n_kv_heads, n_heads // n_kv_heads, head_dim, dim)  # (G, H/G, D, C)
    return (groups.mean(1) if way == "mean" else groups[:, 0]).reshape(n_kv_heads * head_dim, dim)


def convert(model: Transformer, n_kv_heads: int, way: str = "mean") -> Transformer:
    """A copy of `model` with n_kv_heads key/value heads a layer; every other weight is the same."""
    weights = model.state_dict()
    for name, module in model.named_modules():
        if isinstance(module, Attention):
            for part in ("wk", "wv"):
                key = f"{name}.{part}.weight"
                weights[key] = pool_heads(weights[key], n_kv_heads, model.config.head_dim, way)
    converted = Transformer(replace(model.config, n_kv_heads=n_kv_heads))
    converted.load_state_dict(weights)
    return converted
