"""03.3: repairs as people make them."""

import torch

from minimistral.rope import rope_angles


def with_the_library(positions, head_dim, theta, dtype):
    angle = rope_angles(positions, head_dim, theta)
    return angle.cos().to(dtype), angle.sin().to(dtype)


def float32_to_the_end(positions, head_dim, theta, dtype):
    inv_freq = 1.0 / theta ** (torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim)
    angle = torch.outer(positions.float(), inv_freq)
    return angle.cos(), angle.sin()


def in_float64(positions, head_dim, theta, dtype):
    inv_freq = theta ** -(torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim)
    angle = positions.double()[:, None] * inv_freq
    return angle.cos().to(dtype), angle.sin().to(dtype)


RIGHT = [with_the_library, float32_to_the_end, in_float64]


def _frequency(head_dim, theta):
    return 1.0 / theta ** (torch.arange(0, head_dim, 2).float() / head_dim)


def positions_mended(positions, head_dim, theta, dtype):
    angle = torch.outer(positions.float(), _frequency(head_dim, theta).to(dtype).float())
    return angle.cos().to(dtype), angle.sin().to(dtype)


def frequencies_mended(positions, head_dim, theta, dtype):
    angle = torch.outer(positions.to(dtype).float(), _frequency(head_dim, theta))
    return angle.cos().to(dtype), angle.sin().to(dtype)


def rounded_before_cos(positions, head_dim, theta, dtype):
    angle = torch.outer(positions.float(), _frequency(head_dim, theta)).to(dtype)
    return angle.cos(), angle.sin()


def float_at_the_end(positions, head_dim, theta, dtype):
    angle = positions[:, None].to(dtype) * _frequency(head_dim, theta).to(dtype)
    return angle.float().cos(), angle.float().sin()


def half(positions, head_dim, theta, dtype):
    angle = positions[:, None].half() * _frequency(head_dim, theta).half()
    return angle.float().cos().to(dtype), angle.float().sin().to(dtype)


WRONG = {
    "only the positions are mended": [positions_mended],
    "only the frequencies are mended": [frequencies_mended],
    "angle rounded": [rounded_before_cos],
    "float32 too late": [float_at_the_end],
    "float16 instead": [half],
}
