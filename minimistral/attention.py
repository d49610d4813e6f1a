"""Grouped-query attention with a sliding window: MHA where n_kv_heads = n_heads, MQA where n_kv_heads = 1."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minimistral.cache import LayerCache
from minimistral.masks import visible
from minimistral.rope import rotate_pairs

QUERY_BLOCK = 256  # queries handled at once under a window; on two CPU cores 128 to 512 cost the same, 1,024 is slower


class Attention(nn.Module):
    """Each query looks at the last `window` keys, itself included; H / G query heads share one key/value head.

    x (B, T, C), cos and sin of `rope_angles` (T, D/2) or (B, 1, T, D/2); result (B, T, C).
    Sources: Ainslie and others, arXiv 2305.13245 (grouped queries); Mistral 7B, arXiv 2310.06825, section 2 (window).
    """

    def __init__(self, dim: int, n_heads: int, n_kv_heads: int, head_dim: int, window: int | None = None):
        super().__init__()
        self.head_dim, self.window = head_dim, window
        self.wq = nn.Linear(dim, n_heads * head_dim, bias=False)
        self.wk = nn.Linear(dim, n_kv_heads * head_dim, bias=False)
        self.wv = nn.Linear(dim, n_kv_heads * head_dim, bias=False)
        self.wo = nn.Linear(n_heads * head_dim, dim, bias=False)  # writes to the residual stream

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, cache: LayerCache | None = None) -> Tensor:
        q = self.wq(x).unflatten(-1, (-1, self.head_dim)).transpose(1, 2)  # (B, H, T, D)
        k = self.wk(x).unflatten(-1, (-1, self.head_dim)).transpose(1, 2)  # (B, G, T, D)
        v = self.wv(x).unflatten(-1, (-1, self.head_dim)).transpose(1, 2)  # (B, G, T, D)
        q, k = rotate_pairs(q, cos, sin), rotate_pairs(k, cos, sin)
        if cache is None:
            mixed = banded_attention(q, k, v, self.window)
        elif cache.is_decoding:  # one token: write it, then look at every slot
            mixed = grouped_attention(q, *cache.write_one(k, v))
        else:  # a chunk: look at [cache ‖ chunk], then write; writing first would overwrite what its first tokens see
            past_k, past_v, n_empty = cache.read()
            mixed = banded_attention(q, torch.cat([past_k, k], 2), torch.cat([past_v, v], 2), self.window, n_empty)
            cache.write(k, v)
        return self.wo(mixed.transpose(1, 2).flatten(2))  # (B, T, C)


def grouped_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """softmax(q kᵀ / √D) v, where the queries that share a key head lie side by side as if they were more tokens.

    q (B, H, T, D), k and v (B, G, S, D), mask (T, S) or (B, 1, T, S), True: visible; result (B, H, T, D).
    No key is ever copied: repeating K and V to H heads would read H / G times the memory that GQA saves.
    """
    B, H, T, D = q.shape
    G = k.shape[1]
    grouped = q.reshape(B, G, H // G * T, D)
    if mask is not None:
        mask = mask.repeat(*[1] * (mask.ndim - 2), H // G, 1)  # (..., H/G·T, S): once for each query head of a group
    return F.scaled_dot_product_attention(grouped, k, v, attn_mask=mask).reshape(B, H, T, D)


def banded_attention(q: Tensor, k: Tensor, v: Tensor, window: int | None, n_empty: Tensor | None = None) -> Tensor:
    """Causal attention under a window, in blocks of queries over just the keys that a block can see.

    q (B, H, T, D), k and v (B, G, S, D): the last T keys stand at the queries' positions, the S − T before them are the
    past. n_empty (B,): how many of a row's first keys hold nothing (rows of a ragged batch). Result (B, H, T, D).
    Work and memory grow with T · (W + block), not with T · S.
    """
    T, S = q.shape[2], k.shape[2]
    if (window is None or window >= S) and S == T and n_empty is None:
        # is_causal puts the mask's corner top left: right only where queries and keys are equally many.
        return F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
    positions = torch.arange(S, device=q.device)
    blocks = []
    for start in range(S - T, S, QUERY_BLOCK):
        end = min(start + QUERY_BLOCK, S)
        first = 0 if window is None else max(0, start - window + 1)
        mask = visible(positions[start:end], positions[first:end], window)  # (block, keys)
        if n_empty is not None:
            mask = mask & (positions[first:end] >= n_empty[:, None])[:, None, None, :]  # (B, 1, block, keys)
        block_q = q[:, :, start - (S - T) : end - (S - T)]
        blocks.append(grouped_attention(block_q, k[:, :, first:end], v[:, :, first:end], mask))
    return torch.cat(blocks, dim=2)
