"""Rotary position embedding: queries and keys are turned by an angle that grows with their position."""

import torch
from torch import Tensor


def rope_angles(positions: Tensor, head_dim: int, theta: float) -> Tensor:
    """The angle of every pair of numbers at every position: position · theta^(-2i/D) for pair i.

    positions (...), whole or fractional (position interpolation needs fractions); result (..., D/2), float32, in radians.
    Source: Su and others, arXiv 2104.09864, section 3.2.2.

    >>> rope_angles(torch.tensor([0, 1, 2]), head_dim=4, theta=100.0)
    tensor([[0.0000, 0.0000],
            [1.0000, 0.1000],
            [2.0000, 0.2000]])
    """
    # float32 whatever the model's dtype: bfloat16 cannot tell position 257 from 256.
    pair = torch.arange(0, head_dim, 2, device=positions.device, dtype=torch.float32)  # 0, 2, 4 … (D/2,)
    frequencies = 1.0 / theta ** (pair / head_dim)  # (D/2,)
    return positions[..., None].float() * frequencies  # (..., D/2)


def rotate_pairs(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn the neighbouring pairs (x0, x1), (x2, x3), … each by its own angle: the layout of native checkpoints.

    x (..., D); cos and sin (..., D/2), float32, broadcast against x. The arithmetic is float32, the result has x's dtype.
    """
    even, odd = x[..., 0::2].float(), x[..., 1::2].float()  # (..., D/2) each
    turned = torch.stack([even * cos - odd * sin, even * sin + odd * cos], dim=-1)  # (..., D/2, 2)
    return turned.flatten(-2).to(x.dtype)  # (..., D)


def rotate_halves(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn the pairs (x0, x[D/2]), (x1, x[D/2 + 1]), …: the layout of hub checkpoints. Shapes as in `rotate_pairs`.

    The same model as with `rotate_pairs` once the rows of wq and wk are permuted, and nonsense without
    (`minimistral.checkpoints` permutes them).
    """
    first, second = x.float().chunk(2, dim=-1)  # (..., D/2) each
    return torch.cat([first * cos - second * sin, first * sin + second * cos], dim=-1).to(x.dtype)  # (..., D)
