"""Chapter 02's rivals of SwiGLU: the same block with another curve, and one without a gate (arXiv 2002.05202)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minimistral.config import ModelConfig
from minimistral.feed_forward import FeedForward
from minimistral.transformer import Transformer

# F of each kind, so that all three hold 3 · 64 · 172 = 2 · 64 · 258 weights: two matrices instead of three may be wider.
HIDDEN_DIMS = {"SwiGLU": 172, "GEGLU": 172, "GELU": 258}


class Gated(nn.Module):
    """GEGLU: w2(gelu(w1 x) · w3 x). (..., C) to (..., C)."""

    def __init__(self, dim: int, hidden_dim: int):
        super().__init__()
        self.w1 = nn.Linear(dim, hidden_dim, bias=False)  # gate
        self.w2 = nn.Linear(hidden_dim, dim, bias=False)  # down
        self.w3 = nn.Linear(dim, hidden_dim, bias=False)  # up

    def forward(self, x: Tensor) -> Tensor:
        return self.w2(F.gelu(self.w1(x)) * self.w3(x))


class Plain(nn.Module):
    """The feed-forward block before gates: w2(gelu(w1 x)). (..., C) to (..., C)."""

    def __init__(self, dim: int, hidden_dim: int):
        super().__init__()
        self.w1 = nn.Linear(dim, hidden_dim, bias=False)  # up
        self.w2 = nn.Linear(hidden_dim, dim, bias=False)  # down

    def forward(self, x: Tensor) -> Tensor:
        return self.w2(F.gelu(self.w1(x)))


KINDS = {"SwiGLU": FeedForward, "GEGLU": Gated, "GELU": Plain}


def with_feed_forward(config: ModelConfig, kind: str, seed: int) -> Transformer:
    """A model of C = 64 whose feed-forward blocks are of this kind; all its other weights depend on `seed` alone."""
    if kind not in KINDS:
        raise ValueError(f"kind={kind!r}: choose from {', '.join(KINDS)}.")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Transformer(config)
        for layer in model.layers:  # after all other weights are drawn
            layer.feed_forward = KINDS[kind](config.dim, HIDDEN_DIMS[kind])
    return model
