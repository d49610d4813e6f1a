"""05.2: answers as people write them."""

import torch


def layer_by_layer(n_layers, window):
    tokens = 1
    for _ in range(n_layers):
        tokens += window - 1
    return tokens


def multiplied_out(n_layers, window):
    return n_layers * window - n_layers + 1


def as_a_tensor(n_layers, window):
    return torch.tensor(n_layers) * (window - 1) + 1


RIGHT = [layer_by_layer, multiplied_out, as_a_tensor]


def product(n_layers, window):
    return sum(window for _ in range(n_layers))


def power(n_layers, window):
    tokens = 1
    for _ in range(n_layers):
        tokens *= window
    return tokens


def farthest(n_layers, window):
    return n_layers * window - n_layers


def first_layer_forgotten(n_layers, window):
    return 1 + sum(window - 1 for _ in range(1, n_layers))


def overlap_once(n_layers, window):
    return n_layers * window - 1


WRONG = {
    "layers times window": [product, lambda n_layers, window: n_layers * window + 1],
    "grows as a power": [power],
    "distance, not tokens": [farthest],
    "one layer forgotten": [first_layer_forgotten],
    "overlap taken off once": [overlap_once],
}
