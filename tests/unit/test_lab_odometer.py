"""What the odometer computes: angles against the library's, digits by hand, and where training has been."""

import math

import pytest
import torch

from minimistral.lab import Odometer
from minimistral.lab.lengths import ntk_theta
from minimistral.lab.tools import odometer as tool
from minimistral.rope import rope_angles


@pytest.mark.parametrize("head_dim", tool.HEAD_DIMS)
@pytest.mark.parametrize("scaling", tool.SCALINGS)
def test_the_dials_stand_where_the_library_turns_the_pairs(scaling, head_dim):
    state = tool.State(position=300, log_theta=4.0, log_length=7, scaling=scaling, factor=4, head_dim=head_dim)
    position = torch.tensor([75.0 if scaling == "interpolation" else 300.0])
    base = {"NTK": ntk_theta(1e4, 4, head_dim), "base": 4e4}.get(scaling, 1e4)
    torch.testing.assert_close(
        torch.tensor(tool.compute(state).angles), rope_angles(position, head_dim, base)[0], rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize(("theta", "length", "dials"), [
    (1e4, 2_048, 23), (1e4, 4_096, 18), (1e4, 8_192, 14), (1e4, 32_768, 4),
    (1e6, 2_048, 37), (1e6, 4_096, 33), (1e6, 8_192, 30), (1e6, 32_768, 24),
])  # fmt: skip
def test_dials_that_never_got_round(theta, length, dials):
    assert tool.compute(Odometer(0, theta, length).state).never_round == dials


def test_8192_positions_turn_the_slowest_dial_by_54_degrees():
    assert "54.2 degrees" in repr(Odometer(8_191)) and "14 of 64" in repr(Odometer(8_191))
    assert "0.6 degrees" in repr(Odometer(8_191, theta=1e6))


def brute_unseen(state):
    """Each trained position's angle, one by one: is the hand beyond the largest, where no circle was completed?"""
    position, theta = tool.scaled(state)
    found = []
    for i in range(state.head_dim // 2):
        frequency = state.theta ** (-2 * i / state.head_dim)
        trained = [n * frequency for n in range(state.length)]
        hand = math.fmod(position * theta ** (-2 * i / state.head_dim), 2 * math.pi)
        found.append(trained[-1] < 2 * math.pi and hand > max(trained) + 1e-12)
    return found


@pytest.mark.parametrize("position", [0, 1, 63, 64, 100, 252, 253, 4_000])
@pytest.mark.parametrize("scaling", tool.SCALINGS)
def test_unseen_angles_are_those_beyond_every_trained_one(scaling, position):
    state = tool.State(position, 4.0, 6, scaling, 4, 32)
    assert tool.compute(state).unseen == brute_unseen(state)


def test_inside_the_trained_length_nothing_is_new_and_interpolation_brings_all_back():
    assert not any(tool.compute(Odometer(8_191).state).unseen)
    assert sum(tool.compute(Odometer(8_192).state).unseen) == 14
    assert not any(tool.compute(Odometer(4 * 8_191, scaling="interpolation").state).unseen)
    ntk = tool.compute(Odometer(4 * 8_191, scaling="NTK").state)
    assert any(ntk.unseen) and ntk.angles[-1] == pytest.approx(ntk.trained[-1])  # only the slowest is mended


@pytest.mark.parametrize(("position", "digits"), [(0, [0, 0, 0, 0]), (759, [9, 5, 7, 0]), (1_749, [9, 4, 7, 1])])
def test_with_8_numbers_and_theta_10000_the_digits_are_decimal(position, digits):
    shown = tool.compute(tool.State(position, head_dim=8))
    assert shown.beta == pytest.approx(10) and shown.digits == pytest.approx(digits)


def test_interpolated_digits_keep_a_fraction_in_the_lowest():
    shown = tool.compute(tool.State(1_749, head_dim=8, scaling="interpolation", factor=2))
    assert shown.digits == pytest.approx([4.5, 7, 8, 0])


@pytest.mark.parametrize("head_dim", [8, 128])
def test_the_still_picture_says_what_it_shows(head_dim):
    picture = Odometer(8_192, head_dim=head_dim).picture()
    assert "Position 8,192" in picture.alt and "dials" in picture.alt and len(picture.png) <= 60_000


def test_what_cannot_be_is_refused():
    for wrong in (dict(position=-1), dict(position=10**6), dict(scaling="yarn"), dict(head_dim=7), dict(length=1_000)):
        with pytest.raises(ValueError, match="tool shows|choose from|power of two"):
            Odometer(**wrong)
