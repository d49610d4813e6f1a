"""RMSNorm: each token's vector is scaled to a mean square of one, then stretched by a learnt weight."""

import torch
from torch import Tensor, nn


class RMSNorm(nn.Module):
    """x / sqrt(mean(x²) + eps) · weight, over the last axis (Zhang and Sennrich, arXiv 1910.07467, equation 4).

    x (..., C), any floating dtype; the result has the same shape and dtype.
    """

    def __init__(self, dim: int, eps: float = 1e-5):
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        # In float32: squares of bfloat16 lose the small entries. Cast back *before* the weight, as the checkpoints expect.
        wide = x.float()
        normed = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self.eps)  # (..., C)
        return self.weight * normed.to(x.dtype)
