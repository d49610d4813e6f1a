"""The feed-forward block, SwiGLU: one half of what it computes decides how much of the other half passes."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

TOKEN_BLOCK = (
    1024  # a long prompt passes in blocks: fresh memory for (T, F) at once costs more time than the arithmetic saves
)


class FeedForward(nn.Module):
    """w2(silu(w1 x) · w3 x) (Shazeer, arXiv 2002.05202, equation 6, without biases). (..., C) to (..., C)."""

    def __init__(self, dim: int, hidden_dim: int):
        super().__init__()
        self.w1 = nn.Linear(dim, hidden_dim, bias=False)  # gate
        self.w2 = nn.Linear(hidden_dim, dim, bias=False)  # down: writes to the residual stream
        self.w3 = nn.Linear(dim, hidden_dim, bias=False)  # up

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.swiglu(block) for block in x.split(TOKEN_BLOCK, dim=-2)], dim=-2)

    def swiglu(self, x: Tensor) -> Tensor:
        gate, up = F.silu(self.w1(x)), self.w3(x)  # (..., F) each
        return self.w2(gate * up)  # (..., C)
