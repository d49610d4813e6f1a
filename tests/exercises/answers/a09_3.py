"""09.3: repairs as people make them."""

import torch
import torch.nn.functional as F


def turn_each(x, w1, w2, w3, n_experts, e):
    hidden = len(w1) // n_experts
    rows = slice(e * hidden, (e + 1) * hidden)
    return F.linear(F.silu(F.linear(x, w1[rows])) * F.linear(x, w3[rows]), w2[rows].T)


def no_turn_needed(x, w1, w2, w3, n_experts, e):
    gate, down, up = (w.chunk(n_experts)[e] for w in (w1, w2, w3))
    return (F.silu(x @ gate.T) * (x @ up.T)) @ down


def einsum(x, w1, w2, w3, n_experts, e):
    w1, w2, w3 = (w.reshape(n_experts, -1, x.shape[1]) for w in (w1, w2, w3))
    h = F.silu(torch.einsum("nc,fc->nf", x, w1[e])) * torch.einsum("nc,fc->nf", x, w3[e])
    return torch.einsum("nf,fc->nc", h, w2[e])


RIGHT = [turn_each, no_turn_needed, einsum]


def reshaped_for_viewed(x, w1, w2, w3, n_experts, e):
    hidden = len(w1) // n_experts
    down = w2[e * hidden : (e + 1) * hidden].reshape(x.shape[1], hidden)
    gate, up = w1.chunk(n_experts)[e], w3.chunk(n_experts)[e]
    return (F.silu(x @ gate.T) * (x @ up.T)) @ down.T


def transposed_too_early(x, w1, w2, w3, n_experts, e):
    C = x.shape[-1]
    down = w2.T.contiguous().view(n_experts, C, -1)[e]
    gate, up = w1.chunk(n_experts)[e], w3.chunk(n_experts)[e]
    return (F.silu(x @ gate.T) * (x @ up.T)) @ down.T


def every_eighth_row(x, w1, w2, w3, n_experts, e):
    return (F.silu(x @ w1[e::n_experts].T) * (x @ w3[e::n_experts].T)) @ w2[e::n_experts]


def viewed_all_alike(x, w1, w2, w3, n_experts, e):
    C = x.shape[-1]
    gate, up, down = (w.view(n_experts, C, -1)[e] for w in (w1, w3, w2))
    return (F.silu(x @ gate) * (x @ up)) @ down.T


def silu_on_the_other(x, w1, w2, w3, n_experts, e):
    gate, up, down = (w.chunk(n_experts)[e] for w in (w1, w3, w2))
    return ((x @ gate.T) * F.silu(x @ up.T)) @ down


def in_the_order_of_the_names(x, w1, w2, w3, n_experts, e):
    gate, up, down = (w.chunk(n_experts)[e] for w in (w1, w2, w3))
    return (F.silu(x @ gate.T) * (x @ up.T)) @ down


WRONG = {
    "read in another shape": [reshaped_for_viewed],
    "turned before it was cut": [transposed_too_early],
    "experts interleaved": [every_eighth_row],
    "all three read in another shape": [viewed_all_alike],
    "gate and up swapped": [silu_on_the_other],
    "w2 and w3 swapped": [in_the_order_of_the_names],
}
