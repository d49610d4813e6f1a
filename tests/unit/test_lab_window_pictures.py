"""Chapter 05's drawings: what they say in words is what the library computes."""

import pytest
import torch

from minimistral import attention
from minimistral.lab.reach import reachable
from minimistral.lab.window_pictures import draw_band, draw_hops, draw_slots_and_masks, draw_two_comparisons
from minimistral.masks import window_mask


@pytest.mark.parametrize("window", [1, 3, 6])
def test_two_comparisons_make_the_librarys_mask(window):
    sums = ", ".join(str(n) for n in window_mask(6, window).sum(1).tolist())
    assert f"with {sums} keys a row" in draw_two_comparisons(6, window).alt


@pytest.mark.parametrize("n_tokens, window", [(600, 100), (256, 300), (257, 1)])
def test_the_band_computes_what_the_library_computes(n_tokens, window, monkeypatch):
    masks, real = [], attention.grouped_attention
    monkeypatch.setattr(attention, "grouped_attention", lambda q, k, v, mask: masks.append(mask) or real(q, k, v, mask))
    past = torch.randn(3, 1, 1, n_tokens, 2)
    attention.banded_attention(*past, window, n_empty=torch.zeros(1, dtype=torch.int64))
    computed = sum(mask.shape[-2] * mask.shape[-1] for mask in masks)
    alt = draw_band(n_tokens, window).alt
    assert f"{int(window_mask(n_tokens, window).sum()):,} scores count" in alt
    assert f"in {len(masks)} blocks, {computed:,}." in alt


@pytest.mark.parametrize("n_layers, window", [(4, 4), (2, 3)])
def test_hops_end_where_the_reach_does(n_layers, window):
    reach = int(reachable(n_layers, window, 17)[16].sum()) - 1
    recall = torch.arange(17).div(100)
    alt = draw_hops(recall, n_layers, window, 1 / 16).alt
    assert f"reach {reach} back: {reach / 100:.2f} there" in alt and "a guess is 0.0625" in alt


@pytest.mark.parametrize("window, query, gone", [(4, 4, "0"), (4, 7, "3"), (4, 3, "nothing more"), (2, 9, "7")])
def test_a_buffer_of_w_slots_has_lost_the_key_before_the_window(window, query, gone):
    assert draw_slots_and_masks(window, query).alt.endswith(f"one of {window + 1} also {gone}.")
