"""RMSNorm against its formula in float64, and where the weight stands."""

import pytest
import torch
from torch.testing import assert_close

from minimistral.norm import RMSNorm


def slow_norm(x, weight, eps):
    rows = []
    for row in x.double().reshape(-1, x.shape[-1]):
        mean_square = sum(value * value for value in row) / len(row)
        rows.append(row / (mean_square + eps) ** 0.5 * weight.double())
    return torch.stack(rows).reshape(x.shape)


@pytest.mark.parametrize("shape", [(1,), (7,), (3, 5), (2, 3, 11)])
@pytest.mark.parametrize("eps", [1e-6, 1e-5, 0.5])
def test_norm_is_its_formula(shape, eps):
    torch.manual_seed(0)
    norm, x = RMSNorm(shape[-1], eps), torch.randn(shape)
    torch.nn.init.uniform_(norm.weight, 0.5, 2)
    assert_close(norm(x), slow_norm(x, norm.weight, eps).float())


def test_zeros_stay_zeros_and_large_numbers_stay_finite():
    norm = RMSNorm(4)
    assert torch.equal(norm(torch.zeros(2, 4)), torch.zeros(2, 4))
    assert_close(norm(torch.full((4,), 1e15)), torch.ones(4))


def test_bfloat16_squares_in_float32_and_casts_before_the_weight():
    torch.manual_seed(0)
    norm, x = RMSNorm(64).bfloat16(), torch.randn(9, 64).bfloat16() * 30
    norm.weight.data.uniform_(0.5, 2)
    wide = x.float()
    normed = (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + 1e-5)).bfloat16()
    assert torch.equal(norm(x), normed * norm.weight)
    late = (normed.float() * norm.weight.float()).bfloat16()  # multiplying in float32 rounds the same product once
    assert norm(x).dtype == torch.bfloat16 and torch.equal(norm(x), late)
    too_late = (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + 1e-5) * norm.weight.float()).bfloat16()
    assert not torch.equal(norm(x), too_late), "the weight is multiplied before the cast: logits of real models differ"
