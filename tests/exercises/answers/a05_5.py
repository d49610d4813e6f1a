"""05.5: settings as people find them."""

import torch


def by_trying_all(distance, most_layers):
    found = []
    for n_layers in range(1, most_layers + 1):
        for window in range(1, distance + 2):
            if n_layers * (window - 1) == distance:
                found.append((n_layers, window))
    return found


def by_paths(distance, most_layers):
    """As section 5a counts: the last row of the mask's power."""
    found, n_tokens = [], distance + 3
    for n_layers in range(1, most_layers + 1):
        for window in range(2, distance + 2):
            ones = torch.ones(n_tokens, n_tokens, dtype=torch.float64)
            paths = torch.linalg.matrix_power(ones.tril() * ones.triu(1 - window), n_layers)
            if (paths[-1] > 0).sum() == distance + 1:
                found.append((n_layers, window))
    return found


def as_a_table(distance, most_layers):
    layers = torch.arange(1, most_layers + 1)
    layers = layers[distance % layers == 0]
    return torch.stack([layers, distance // layers + 1], dim=1)


RIGHT = [by_trying_all, by_paths, as_a_table]


def the_articles_formula(distance, most_layers):
    return [(n, w) for n in range(1, most_layers + 1) for w in range(1, distance + 1) if n * w == distance]


def so_many_tokens(distance, most_layers):
    return [(n, w) for n in range(1, most_layers + 1) for w in range(1, distance + 1) if n * (w - 1) + 1 == distance]


def far_enough(distance, most_layers):
    found = []
    for n in range(1, most_layers + 1):
        window = 1
        while n * (window - 1) < distance:
            window += 1
        found.append((n, window))
    return found


def rounded_down(distance, most_layers):
    return [(n, distance // n + 1) for n in range(1, most_layers + 1)]


def window_first(distance, most_layers):
    return [(w, n) for n, w in by_trying_all(distance, most_layers)]


def one_range_too_short(distance, most_layers):
    return [(n, distance // n + 1) for n in range(1, most_layers) if distance % n == 0]


WRONG = {
    "layers times window": [the_articles_formula],
    "tokens for distance": [so_many_tokens],
    "reaches past it": [far_enough],
    "falls short": [rounded_down],
    "layers and window swapped": [window_first],
    "most_layers left out": [one_range_too_short],
}
