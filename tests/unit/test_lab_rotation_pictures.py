"""Chapter 03's explaining pictures: what they say in words is what the library computes."""

import math

import pytest
import torch

from minimistral.lab import Picture
from minimistral.lab.rotation_pictures import (
    draw_clock,
    draw_pairings,
    draw_same_distance,
    draw_score_tables,
    draw_turn,
)
from minimistral.rope import rope_angles, rotate_pairs


@pytest.mark.parametrize("pair, angle", [((2, 1), 0.5), ((1.0, 3.0), 0.25)])
def test_a_turned_pair_comes_where_the_library_turns_it(pair, angle):
    x, y = pair[0] * math.cos(angle) - pair[1] * math.sin(angle), pair[0] * math.sin(angle) + pair[1] * math.cos(angle)
    picture = draw_turn(pair, angle)
    assert isinstance(picture, Picture) and f"comes to ({x:.2f}, {y:.2f})" in picture.alt
    assert f"(1, 0) comes to ({math.cos(angle):.2f}, {math.sin(angle):.2f})" in picture.alt


def test_a_clock_has_a_hand_for_each_pair():
    alt = draw_clock(rope_angles(torch.arange(7), 4, 100.0)).alt
    assert "At position 6" in alt and "pair 0 by 6.0; pair 1 by 0.6" in alt
    assert "pair 2 by" in draw_clock(rope_angles(torch.arange(3), 6, 100.0)).alt


def scores(start):
    angle = rope_angles(start + torch.arange(6), 8, 100.0).double()
    q, k = torch.randn(2, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    turned = [rotate_pairs(x.expand(6, -1).float(), angle.cos().float(), angle.sin().float()) for x in (q, k)]
    return turned[0].double() @ turned[1].double().T


def test_tables_are_called_the_same_only_where_they_are():
    table = scores(0)
    assert "the same table at each start" in draw_score_tables({"a": table, "b": table.clone()}, (0, 9)).alt
    assert "up to 1 apart" in draw_score_tables({"a": table, "b": table + 1}, (0, 9)).alt
    uneven = torch.arange(36.0).view(6, 6)
    assert "not equal along" in draw_score_tables({"a": uneven, "b": uneven}, (0, 9)).alt
    assert "not equal" not in draw_score_tables({"a": table, "b": table}, (0, 9)).alt


def test_scores_at_one_distance_move_or_do_not():
    alt = draw_same_distance({"added": [1.0, 2.0, 0.5], "rotated": [3.0, 3.0, 3.0]}, 2).alt
    assert "added: changes from place to place" in alt and "rotated: always the same" in alt


def test_pairings_show_the_order_given():
    assert "the order 0, 2, 1, 3," in draw_pairings([0, 2, 1, 3]).alt
