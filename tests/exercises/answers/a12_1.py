"""12.1: answers as people write them."""


def step_by_step(n_weights, bits, n_layers, n_kv_heads, head_dim, window, context):
    slots = context if context < window else window
    a_token = n_layers * n_kv_heads * head_dim * 2 * 2
    return n_weights * bits / 8e9 + slots * a_token / 1e9


def in_bits(n_weights, bits, n_layers, n_kv_heads, head_dim, window, context):
    numbers = 2 * n_layers * n_kv_heads * head_dim * min(context, window)
    return (n_weights * bits + numbers * 16) / 8 / 10**9


RIGHT = [step_by_step, in_bits]


def in_gib(n_weights, bits, n_layers, n_kv_heads, head_dim, window, context):
    return step_by_step(n_weights, bits, n_layers, n_kv_heads, head_dim, window, context) * 1e9 / 1024**3


def weights_only(n_weights, bits, n_layers, n_kv_heads, head_dim, window, context):
    return n_weights * bits / 8 / 1e9


def only_keys(n_weights, bits, n_layers, n_kv_heads, head_dim, window, context):
    return n_weights * bits / 8e9 + n_layers * n_kv_heads * head_dim * min(window, context) * 2 / 1e9


def no_window(n_weights, bits, n_layers, n_kv_heads, head_dim, window, context):
    return n_weights * bits / 8e9 + 2 * n_layers * n_kv_heads * head_dim * context * 2 / 1e9


def bits_are_bytes(n_weights, bits, n_layers, n_kv_heads, head_dim, window, context):
    return n_weights * bits / 1e9 + 4 * n_layers * n_kv_heads * head_dim * min(window, context) / 1e9


def all_quantized(n_weights, bits, n_layers, n_kv_heads, head_dim, window, context):
    return (n_weights + 2 * n_layers * n_kv_heads * head_dim * min(window, context)) * bits / 8e9


WRONG = {
    "GiB": [in_gib],
    "cache forgotten": [weights_only],
    "keys only": [only_keys],
    "window ignored": [no_window],
    "bits taken for bytes": [bits_are_bytes],
    "quantized cache": [all_quantized],
}
