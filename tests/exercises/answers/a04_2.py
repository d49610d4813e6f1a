"""04.2: cache bytes, as people count them."""

import torch


def with_tensors(n_layers, n_heads, n_kv_heads, head_dim, n_tokens):
    shape = (2, n_layers, n_kv_heads, n_tokens, head_dim)
    cache = torch.empty(shape, dtype=torch.bfloat16, device="meta")
    return cache.numel() * cache.element_size()


def step_by_step(n_layers, n_heads, n_kv_heads, head_dim, n_tokens):
    keys = n_tokens * n_kv_heads * head_dim
    values = keys
    return sum((keys + values) * 2 for _ in range(n_layers))


def from_mha(n_layers, n_heads, n_kv_heads, head_dim, n_tokens):
    return 4 * n_layers * n_heads * head_dim * n_tokens // (n_heads // n_kv_heads)


RIGHT = [with_tensors, step_by_step, from_mha]


def keys(n_layers, n_heads, n_kv_heads, head_dim, n_tokens):
    return torch.empty(n_layers, n_kv_heads, n_tokens, head_dim, dtype=torch.bfloat16, device="meta").nbytes


def numbers(n_layers, n_heads, n_kv_heads, head_dim, n_tokens):
    return n_tokens * head_dim * n_kv_heads * n_layers


def all_heads(n_layers, n_heads, n_kv_heads, head_dim, n_tokens):
    return 2 * 2 * n_layers * n_tokens * n_heads * head_dim


def no_layers(n_layers, n_heads, n_kv_heads, head_dim, n_tokens):
    return 2 * 2 * n_tokens * n_kv_heads * head_dim


def a_token(n_layers, n_heads, n_kv_heads, head_dim, n_tokens):
    return 2 * n_layers * n_kv_heads * head_dim * 2


def multi_query(n_layers, n_heads, n_kv_heads, head_dim, n_tokens):
    return 2 * n_layers * head_dim * n_tokens * 2


def sharing(n_layers, n_heads, n_kv_heads, head_dim, n_tokens):
    return 2 * n_layers * head_dim * n_tokens * 2 * n_heads // n_kv_heads


def in_bits(n_layers, n_heads, n_kv_heads, head_dim, n_tokens):
    return 2 * n_layers * n_kv_heads * head_dim * n_tokens * 16


def in_float32(n_layers, n_heads, n_kv_heads, head_dim, n_tokens):
    return 2 * n_layers * n_kv_heads * head_dim * n_tokens * 4


WRONG = {
    "keys only": [keys],
    "numbers, not bytes": [numbers],
    "query heads counted": [all_heads],
    "layers forgotten": [no_layers],
    "tokens forgotten": [a_token],
    "one head": [multi_query],
    "group size for heads": [sharing],
    "bits, not bytes": [in_bits],
    "four bytes a number": [in_float32],
}
