"""The keys of chapter 03's quiz, computed."""

import math

import torch

from minimistral.lab import quizzes
from minimistral.lab.tools import odometer
from minimistral.norm import RMSNorm
from minimistral.rope import rope_angles, rotate_halves, rotate_pairs


def key(number):
    question = quizzes.questions("03")[number - 1]
    return question.options[question.key]


def turned(x, position):
    angles = rope_angles(torch.tensor([float(position)]), x.shape[-1], 10_000.0)
    return rotate_pairs(x, angles.cos(), angles.sin())


def test_the_slowest_pair_and_the_fastest_after_interpolation():
    slowest = rope_angles(torch.tensor([8_192.0]), 128, 10_000.0)[0, -1]
    assert key(1) == f"{math.degrees(slowest):.0f} degrees"
    one_step = odometer.compute(odometer.State(position=1, scaling="interpolation", factor=4)).angles[0]
    assert key(3) == f"{math.degrees(one_step):.0f} degrees"


def test_only_the_distance_counts():
    q, k = torch.randn(2, 1, 128, generator=torch.Generator().manual_seed(0))
    near, far = ((turned(q, m) * turned(k, n)).sum() for m, n in ((7, 3), (104, 100)))
    torch.testing.assert_close(near, far, rtol=1e-3, atol=1e-3)
    assert key(2).startswith("It stays the same")


def test_both_pairings_agree_at_position_0_only():
    x = torch.randn(3, 8, generator=torch.Generator().manual_seed(0))
    angles = rope_angles(torch.arange(3), 8, 100.0)
    halves, pairs = rotate_halves(x, angles.cos(), angles.sin()), rotate_pairs(x, angles.cos(), angles.sin())
    assert (halves == pairs).all(1).tolist() == [True, False, False]
    assert key(5) == "A text of one token"


def test_softmax_and_rmsnorm_forget_what_they_should():
    scores = torch.tensor([1.0, 2.0, 5.0])
    torch.testing.assert_close((scores + 7).softmax(0), scores.softmax(0))
    assert key(6) == "Nothing"
    norm, x = RMSNorm(8, 1e-5), torch.randn(1, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(turned(norm(10 * x), 5), turned(norm(x), 5), rtol=1e-3, atol=1e-3)
    assert key(7).startswith("It stays the same")
