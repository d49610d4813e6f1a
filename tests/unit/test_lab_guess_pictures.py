"""Chapter 01's explaining pictures: what they say in words is what torch computes."""

import pytest
import torch
import torch.nn.functional as F

from minimistral.lab import Picture
from minimistral.lab.guess_pictures import draw_guesses, draw_merges, draw_row, draw_surprise

TABLE = torch.tensor([[0.0, 2.0, 1.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
ABC = [0, 1, 0, 2, 0, 1]


def test_merges_are_counted_as_they_stand():
    steps = {"0 merges": ["▁", "s", "e", "l", "l"], "1: ll": ["▁", "s", "e", "ll"]}
    picture = draw_merges(steps)
    assert isinstance(picture, Picture) and "5, 4 tokens" in picture.alt and picture.alt.endswith("Last: ▁ s e ll.")


@pytest.mark.parametrize("table", [TABLE, 3 * TABLE - 1])
def test_guesses_are_the_softmax_of_the_rows(table):
    p = table.softmax(1)[ABC[:-1], ABC[1:]]
    alt = draw_guesses(table, ABC, "abc").alt
    assert "each token a b a c a b" in alt and "b a c a b, had " + ", ".join(f"{x:.2f}" for x in p.tolist()) in alt


def test_the_mean_surprise_is_the_cross_entropy():
    p = TABLE.softmax(1)[ABC[:-1], ABC[1:]]
    alt = draw_surprise(p, ["a→b", "b→a", "a→c", "c→a", "a→b"]).alt
    loss = F.cross_entropy(TABLE[ABC[:-1]], torch.tensor(ABC[1:]))
    assert f"Their mean: {loss:.2f}." in alt and "a→c 1.41" in alt


def test_a_row_says_how_far_learnt_is_from_counted():
    counted, learnt = torch.tensor([0.1, 0.6, 0.3, 0.0]), torch.tensor([0.1, 0.5, 0.4, 0.0])
    alt = draw_row(counted, learnt, ["a", "b", "c", "d"], "x", most=3).alt
    assert "All start at 25.0 %; b, the first, is counted 60.0 % and learnt 50.0 %" in alt
    assert "at most 10.0 points" in alt
