"""05.1: answers as people write them; `torch` alone is at hand, as in the chapter."""

import torch


def with_tril(n_tokens, window):
    ones = torch.ones(n_tokens, n_tokens, dtype=torch.bool)
    return ones.tril() & ones.triu(-(window - 1))


def with_loops(n_tokens, window):
    mask = [[False] * n_tokens for _ in range(n_tokens)]
    for query in range(n_tokens):
        for key in range(max(0, query - window + 1), query + 1):
            mask[query][key] = True
    return mask


def as_zeros_and_ones(n_tokens, window):
    mask = torch.zeros(n_tokens, n_tokens)
    for query in range(n_tokens):
        mask[query, max(0, query + 1 - window) : query + 1] = 1
    return mask


RIGHT = [with_tril, with_loops, as_zeros_and_ones]


def tril_one_too_wide(n_tokens, window):
    ones = torch.ones(n_tokens, n_tokens, dtype=torch.bool)
    return ones.tril() & ones.triu(-window)


def tril_one_too_narrow(n_tokens, window):
    ones = torch.ones(n_tokens, n_tokens, dtype=torch.bool)
    return ones.tril() & ones.triu(-window + 2)


def strictly_lower(n_tokens, window):
    mask = torch.zeros(n_tokens, n_tokens, dtype=torch.bool)
    for query in range(n_tokens):
        mask[query, max(0, query - window) : query] = True
    return mask


def rows_are_keys(n_tokens, window):
    mask = torch.zeros(n_tokens, n_tokens, dtype=torch.bool)
    for key in range(n_tokens):
        mask[key, key : key + window] = True
    return mask


def hidden_instead_of_visible(n_tokens, window):
    return ~with_tril(n_tokens, window)


def only_causal(n_tokens, window):
    return torch.tril(torch.ones(n_tokens, n_tokens)).bool()


def a_band_on_both_sides(n_tokens, window):
    ones = torch.ones(n_tokens, n_tokens, dtype=torch.bool)
    return ones.tril(window - 1) & ones.triu(1 - window)


def minus_infinity(n_tokens, window):
    return torch.zeros(n_tokens, n_tokens).masked_fill(~with_tril(n_tokens, window), float("-inf"))


WRONG = {
    "window + 1 keys": [tril_one_too_wide],
    "window - 1 keys": [tril_one_too_narrow],
    "not itself": [strictly_lower],
    "rows and columns swapped": [rows_are_keys],
    "True and False swapped": [hidden_instead_of_visible],
    "no window": [only_causal],
    "sees the future": [a_band_on_both_sides],
    "numbers to add to the scores": [minus_infinity],
}
