"""Chapter 04's drawings: what they say in words is what the library computes."""

import pytest
import torch

from minimistral.attention import Attention
from minimistral.lab.head_pictures import draw_heads, draw_moved, draw_reading_and_writing


@pytest.mark.parametrize(
    "n_kv_heads, reads", [(2, "q0 to q3 read k0 and v0; q4 to q7 read k1 and v1."), (1, "q7 read k0")]
)
def test_heads_are_those_of_the_library(n_kv_heads, reads):
    layer, alt = Attention(24, 8, n_kv_heads, 6), draw_heads(8, n_kv_heads, 6).alt
    assert reads in alt
    assert f"{layer.wq.out_features} query numbers cut into 8 heads of 6; {layer.wk.out_features} of keys" in alt


@pytest.mark.parametrize("n_kv_heads", [8, 3])
def test_heads_that_share_nothing_are_refused(n_kv_heads):
    with pytest.raises(ValueError, match="smaller divisor"):
        draw_heads(8, n_kv_heads, 6)


def test_reading_and_writing_count_their_scores():
    alt = draw_reading_and_writing(5, 3).alt
    assert "5 keys serve 15 scores" in alt and "read 6, 7, 8 keys" in alt


def test_what_a_copy_moves_is_counted_in_bytes():
    caches = {n: torch.empty(2, n, 8192, 128, device="meta") for n in (32, 8, 1)}
    copies = caches[32].nbytes
    alt = draw_moved(caches, 32).alt
    for n, cache in caches.items():
        assert f"G = {n}, grouped: {cache.nbytes / 1e6:.0f}" in alt
        assert (f"G = {n}, repeated: {(cache.nbytes + 2 * copies) / 1e6:.0f}" in alt) == (n < 32)
