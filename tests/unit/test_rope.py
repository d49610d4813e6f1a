"""Rotary embedding against complex numbers, and the property that it exists for."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from minimistral.rope import rope_angles, rotate_halves, rotate_pairs


@pytest.mark.parametrize("theta", [100.0, 10_000.0, 1e6])
@pytest.mark.parametrize("head_dim", [2, 6, 128])
def test_angles_are_position_times_frequency(theta, head_dim):
    positions = torch.tensor([0, 1, 2, 77, 32_767])
    angles = rope_angles(positions, head_dim, theta)
    expected = [[p * theta ** (-2 * i / head_dim) for i in range(head_dim // 2)] for p in positions.tolist()]
    assert angles.dtype == torch.float32
    assert_close(angles, torch.tensor(expected), rtol=2e-6, atol=1e-6)


def test_positions_may_lie_between_whole_numbers_and_have_any_shape():
    positions = torch.tensor([[0.25, 1.5], [2.75, 3.0]])
    angles = rope_angles(positions, 4, 100.0)
    assert angles.shape == (2, 2, 2)
    assert_close(angles[..., 0], positions)
    assert_close(angles[..., 1], positions / 10)


def test_pairs_are_turned_like_complex_numbers():
    torch.manual_seed(0)
    x, angles = torch.randn(2, 3, 5, 8), rope_angles(torch.arange(5), 8, 50.0)
    complex_x = torch.view_as_complex(x.reshape(2, 3, 5, 4, 2))
    expected = torch.view_as_real(complex_x * torch.polar(torch.ones_like(angles), angles)).flatten(-2)
    assert_close(rotate_pairs(x, angles.cos(), angles.sin()), expected)


def test_halves_are_pairs_in_another_order():
    torch.manual_seed(0)
    x, angles = torch.randn(3, 4, 10), rope_angles(torch.arange(4), 10, 50.0)
    cos, sin = angles.cos(), angles.sin()
    order = torch.tensor([i // 2 + i % 2 * 5 for i in range(10)])  # 0, 5, 1, 6, 2, 7 … lie side by side
    turned = rotate_pairs(x[..., order], cos, sin)
    assert_close(rotate_halves(x, cos, sin)[..., order], turned)
    assert not torch.allclose(rotate_halves(x, cos, sin), rotate_pairs(x, cos, sin), atol=1e-2)


@settings(max_examples=40, deadline=None)
@given(
    i=st.integers(0, 3000),
    j=st.integers(0, 3000),
    shift=st.integers(0, 3000),
    half=st.integers(1, 9),
    seed=st.integers(0, 99),
)
def test_a_score_depends_on_the_distance_alone(i, j, shift, half, seed):
    generator = torch.Generator().manual_seed(seed)
    q, k = torch.randn(2, 2 * half, generator=generator)

    def score(m, n):
        angles = rope_angles(torch.tensor([m, n]), 2 * half, 10_000.0).double()
        turned = [rotate_pairs(x.double(), a.cos(), a.sin()).double() for x, a in zip((q, k), angles)]
        return float(turned[0] @ turned[1])

    bound = 1e-3 * (1 + float(q.norm() * k.norm()))  # the angle of position 6,000 is itself rounded to 5e-4
    assert math.isclose(score(i, j), score(i + shift, j + shift), abs_tol=bound)


def test_a_turn_keeps_lengths_and_position_zero():
    x = torch.randn(6, 12, generator=torch.Generator().manual_seed(0))
    angles = rope_angles(torch.arange(6), 12, 10_000.0)
    turned = rotate_pairs(x, angles.cos(), angles.sin())
    assert_close(turned.norm(dim=-1), x.norm(dim=-1))
    assert torch.equal(turned[0], x[0])


def test_bfloat16_is_turned_in_float32():
    x, angles = torch.randn(3, 8).bfloat16(), rope_angles(torch.tensor([255, 256, 257]), 8, 1e4)
    expected = rotate_pairs(x.float(), angles.cos(), angles.sin()).bfloat16()
    assert torch.equal(rotate_pairs(x, angles.cos(), angles.sin()), expected)
    assert len({float(a) for a in angles[:, 0]}) == 3, "neighbouring positions fell together"
