"""Chapter 08's drawings: weights, groups and sums are those of the library's router and layer."""

import pytest
import torch
from torch import nn

from minimistral.lab import Picture
from minimistral.lab.router_pictures import draw_before_after, draw_choice, draw_dispatch, groups, shares
from minimistral.moe import MoE, choose_experts

torch.set_num_threads(1)


class Says(nn.Module):
    """An expert that says one number, whatever it reads."""

    def __init__(self, number):
        super().__init__()
        self.number = number

    def forward(self, x):
        return torch.full_like(x, self.number)


@pytest.mark.parametrize("k", [1, 2, 4])
def test_the_sum_is_what_the_layer_gives(k):
    logits, says = [2.0, 1.0, 0.0, -1.0], [1.0, -2.0, 3.0, 5.0]
    layer = MoE([Says(number) for number in says], lambda tokens: torch.tensor([logits]), k)
    picture = draw_choice(logits, says, k)
    assert isinstance(picture, Picture)
    assert f"The sum is {float(layer(torch.zeros(1, 1))):.2f}." in picture.alt
    assert picture.alt.count("weighs") == k


def test_the_groups_hold_every_choice_once():
    logits = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    ids = choose_experts(logits, 2)[1].tolist()
    found = groups(logits, 2)
    assert sum(map(len, found)) == 12
    assert all(token in found[e] for token, chosen in enumerate(ids) for e in chosen)
    alt = draw_dispatch(logits, 2).alt
    assert "4 runs" in alt and f"expert 0: tokens {', '.join(map(str, found[0]))}" in alt


def test_an_expert_that_nobody_chose_does_not_run():
    alt = draw_dispatch(torch.tensor([[3.0, 1.0, -1.0]] * 2), 1).alt
    assert "they take 1 run:" in alt and "expert 2: tokens none" in alt


def test_cut_and_divided_is_softmax_after_the_choice():
    found = shares([2, 1, 0, -1], 2)
    torch.testing.assert_close(found["cut, divided"], found["after"])
    torch.testing.assert_close(
        found["after"][:2].float(), choose_experts(torch.tensor([[2.0, 1.0, 0.0, -1.0]]), 2)[0][0]
    )
    assert found["cut"].sum() < 1 and (found["cut"][2:] == 0).all()
    assert "cut 0.88" in draw_before_after([2, 1, 0, -1]).alt


def test_more_experts_than_colours_are_refused():
    for draw in (lambda: draw_choice([0.0] * 9, [0.0] * 9), lambda: draw_dispatch(torch.zeros(2, 9), 2)):
        with pytest.raises(ValueError, match="9 experts"):
            draw()
