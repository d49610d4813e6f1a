"""Chapter 06's drawings: what they say in words is what the library computes."""

import pytest
import torch

from minimistral import ModelConfig, RollingCache
from minimistral.lab.cache_pictures import draw_any_order, draw_bytes, draw_chunk, draw_three_ways


def test_three_ways_show_the_counts_they_are_given():
    alt = draw_three_ways(12, 4, {"keys, no cache": 78, "keys, full cache": 12, "keys, buffer": 12}).alt
    assert "no cache 78, full cache 12, buffer 12" in alt and "keeps all 12, the buffer the last 4" in alt


def test_any_order_gives_the_same_output():
    torch.manual_seed(0)
    query, keys, values = torch.randn(8), torch.randn(4, 8), torch.randn(4, 8)
    output = torch.nn.functional.scaled_dot_product_attention(query[None], keys, values)[0]
    begins = ", ".join(f"{value:.2f}" for value in output[:3].tolist()).replace("-", "−")
    assert draw_any_order(query, keys, values, torch.tensor([2, 0, 3, 1])).alt.count(begins) == 2


@pytest.mark.parametrize("first, n_new, window", [(3, 3, 4), (6, 3, 4), (4, 1, 4), (9, 5, 3), (6, 6, 6)])
def test_a_chunk_loses_what_a_buffer_overwrites(first, n_new, window):
    slots = {p % window: p for p in range(first)}
    needed = {p for token in range(first, first + n_new) for p in range(max(0, token - window + 1), token + 1)}
    for token in range(first, first + n_new):
        slots[token % window] = token
    lost = sorted(needed - set(slots.values()))
    assert f"still needs: {', '.join(map(str, lost)) or 'none'}." in draw_chunk(first, n_new, window).alt


def test_bytes_are_those_of_the_library():
    config = ModelConfig.preset("tiny-mistral")
    alt = draw_bytes(config, [32, 64, 128]).alt
    assert f"the rolling one still {RollingCache(config, 1, 128).nbytes / 1000:,.0f} kB" in alt
    assert "alike up to 64 tokens" in alt and "393 kB" in alt
