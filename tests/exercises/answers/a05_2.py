"""05.2: answers as people write them."""

import math

import torch


def with_ceil(distance, window):
    return math.ceil(distance / (window - 1))


def layer_by_layer(distance, window):
    layers = reached = 0
    while reached < distance:
        layers += 1
        reached += window - 1
    return layers


def as_a_tensor(distance, window):
    return torch.ceil(torch.tensor(distance, dtype=torch.float64) / (window - 1))


RIGHT = [with_ceil, layer_by_layer, as_a_tensor]


def hop_of_a_window(distance, window):
    return math.ceil(distance / window)


def tokens_by_windows(distance, window):
    return math.ceil((distance + 1) / window)


def floor(distance, window):
    return int(distance / (window - 1))


def one_more_to_be_safe(distance, window):
    layers = 1
    while layers * (window - 1) <= distance:
        layers += 1
    return layers


def tokens_for_distance(distance, window):
    # L * (W - 1) + 1 >= distance
    return math.ceil((distance - 1) / (window - 1))


def no_rounding(distance, window):
    return distance / (window - 1)


def logarithm(distance, window):
    paths, layers = 1, 0
    while paths <= distance:
        paths, layers = paths * window, layers + 1
    return layers


WRONG = {
    "a hop of W": [hop_of_a_window, tokens_by_windows],
    "rounded down": [floor],
    "a layer too many": [one_more_to_be_safe],
    "tokens and distance mixed": [tokens_for_distance],
    "not rounded": [no_rounding],
    "grows as a power": [logarithm],
}
