"""Attention against a loop over queries, heads and keys, and the fast paths against each other."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from minimistral import attention as attention_file
from minimistral.attention import Attention, banded_attention, grouped_attention
from minimistral.masks import window_mask
from minimistral.rope import rope_angles, rotate_pairs

torch.set_num_threads(1)


def slow_attention(q, k, v, window, n_empty=None):
    """The definition: query head h of row b at key index i looks at its own group's keys, one by one."""
    B, H, T, D = q.shape
    S, per_group = k.shape[2], H // k.shape[1]
    result = torch.zeros_like(q)
    for b in range(B):
        for h in range(H):
            for t in range(T):
                i = S - T + t
                first = max(0 if window is None else i - window + 1, 0 if n_empty is None else int(n_empty[b]))
                if first > i:
                    continue
                scores = [
                    float(q[b, h, t].double() @ k[b, h // per_group, j].double()) / math.sqrt(D)
                    for j in range(first, i + 1)
                ]
                weights = torch.tensor(scores, dtype=torch.float64).softmax(0)
                values = v[b, h // per_group, first : i + 1].double()
                result[b, h, t] = (weights[:, None] * values).sum(0)
    return result


@settings(max_examples=60, deadline=None)
@given(
    B=st.integers(1, 2), G=st.integers(1, 3), per_group=st.integers(1, 3), T=st.integers(1, 9), past=st.integers(0, 6),
    D=st.sampled_from([2, 4]), window=st.one_of(st.none(), st.integers(1, 12)), block=st.integers(1, 5), seed=st.integers(0, 99),
)  # fmt: skip
def test_banded_attention_is_the_loop(B, G, per_group, T, past, D, window, block, seed):
    generator = torch.Generator().manual_seed(seed)
    q = torch.randn(B, G * per_group, T, D, generator=generator)
    k, v = torch.randn(2, B, G, past + T, D, generator=generator)
    before, attention_file.QUERY_BLOCK = attention_file.QUERY_BLOCK, block
    try:
        assert_close(banded_attention(q, k, v, window), slow_attention(q, k, v, window), rtol=1e-4, atol=1e-5)
    finally:
        attention_file.QUERY_BLOCK = before


@pytest.mark.parametrize("window", [None, 1, 3, 20])
def test_rows_with_an_empty_past_never_look_at_it(window):
    torch.manual_seed(0)
    q, k, v = torch.randn(3, 4, 5, 6), torch.randn(3, 2, 9, 6), torch.randn(3, 2, 9, 6)
    n_empty = torch.tensor([0, 2, 4])
    expected = slow_attention(q, k, v, window, n_empty)
    poisoned_k, poisoned_v = k.clone(), v.clone()
    for row, n in enumerate(n_empty.tolist()):
        poisoned_k[row, :, :n], poisoned_v[row, :, :n] = 1e4, 1e4
    assert_close(banded_attention(q, poisoned_k, poisoned_v, window, n_empty), expected, rtol=1e-4, atol=1e-5)


def test_grouped_heads_are_repeated_heads():
    torch.manual_seed(0)
    q, k, v = torch.randn(2, 6, 5, 4), torch.randn(2, 3, 5, 4), torch.randn(2, 3, 5, 4)
    mask = window_mask(5, 2)
    repeated = torch.nn.functional.scaled_dot_product_attention(
        q, k.repeat_interleave(2, 1), v.repeat_interleave(2, 1), attn_mask=mask
    )
    assert_close(grouped_attention(q, k, v, mask), repeated)
    tiled = torch.nn.functional.scaled_dot_product_attention(
        q, k.repeat(1, 2, 1, 1), v.repeat(1, 2, 1, 1), attn_mask=mask
    )
    assert not torch.allclose(grouped_attention(q, k, v, mask), tiled, atol=1e-2), "tiled: another model"


@pytest.mark.parametrize("n_kv_heads", [1, 3, 6], ids=["MQA", "GQA", "MHA"])
def test_the_module_projects_turns_attends_and_projects_back(n_kv_heads):
    torch.manual_seed(0)
    attention = Attention(dim=20, n_heads=6, n_kv_heads=n_kv_heads, head_dim=4, window=3)
    x, angles = torch.randn(2, 7, 20), rope_angles(torch.arange(7), 4, 100.0)
    cos, sin = angles.cos(), angles.sin()
    with torch.no_grad():
        q, k, v = (
            (x @ linear.weight.T).reshape(2, 7, -1, 4).permute(0, 2, 1, 3)
            for linear in (attention.wq, attention.wk, attention.wv)
        )
        mixed = slow_attention(rotate_pairs(q, cos, sin), rotate_pairs(k, cos, sin), v, 3)
        expected = mixed.permute(0, 2, 1, 3).reshape(2, 7, 24) @ attention.wo.weight.T
        assert_close(attention(x, cos, sin), expected, rtol=1e-4, atol=1e-5)
    assert not any(name.endswith("bias") for name, _ in attention.named_parameters())


def test_a_long_text_under_a_window_never_makes_the_whole_mask(monkeypatch):
    seen = []
    real = attention_file.visible
    monkeypatch.setattr(attention_file, "visible", lambda q, k, w: seen.append((len(q), len(k))) or real(q, k, w))
    q = torch.randn(1, 1, 2000, 2)
    banded_attention(q, q, q, window=100)
    assert len(seen) == 8 and max(keys for _, keys in seen) <= 256 + 99
