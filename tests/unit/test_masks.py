"""The window's rule, spelled out pair by pair."""

import pytest
import torch

from minimistral.masks import visible, window_mask


@pytest.mark.parametrize("window", [None, 1, 2, 3, 7, 8, 100])
@pytest.mark.parametrize("n_tokens", [1, 2, 7])
def test_row_i_sees_the_last_window_keys_itself_included(n_tokens, window):
    mask = window_mask(n_tokens, window)
    for i in range(n_tokens):
        for j in range(n_tokens):
            assert bool(mask[i, j]) == (0 <= i - j < (window or n_tokens))
    assert mask.sum(-1).tolist() == [min(i + 1, window or n_tokens) for i in range(n_tokens)]


def test_positions_need_not_start_at_zero_nor_be_in_order():
    seen = visible(torch.tensor([10, 12]), torch.tensor([12, 8, 10, 11, 9]), window=3)
    assert seen.tolist() == [[False, True, True, False, True], [True, False, True, True, False]]


def test_each_row_of_a_batch_may_stand_elsewhere():
    seen = visible(torch.tensor([[3], [5]]), torch.tensor([[2, 4], [2, 4]]), window=2)
    assert seen.tolist() == [[[True, False]], [[False, True]]]


def test_nobody_sees_nothing_and_an_empty_text_has_an_empty_mask():
    assert window_mask(5, 1).equal(torch.eye(5, dtype=torch.bool))
    assert window_mask(0, 3).shape == (0, 0)
