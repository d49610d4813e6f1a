"""11.3: repairs as people make them."""

import torch
import torch.nn.functional as F


def with_an_axis(x, codes, largest):
    return F.linear(x, codes * (largest / 127).unsqueeze(1))


def on_the_output(x, codes, largest):
    return (x @ codes.float().T) * largest / 127


def row_by_row(x, codes, largest):
    return torch.stack([x @ row.float() * size / 127 for row, size in zip(codes, largest)], dim=1)


RIGHT = [with_an_axis, on_the_output, row_by_row]


def scaled_x(x, codes, largest):
    return (x * largest) @ codes.float().T / 127


def other_axis_added(x, codes, largest):
    return x @ (codes.float() * largest[None, :] / 127).T


def twice(x, codes, largest):
    return (x @ (codes.float() * largest / 127).T) * largest


def no_transpose(x, codes, largest):
    return x @ (codes * largest[:, None] / 127)


def only_the_transpose(x, codes, largest):
    return x @ (codes * largest / 127)


def not_divided(x, codes, largest):
    return (x @ codes.float().T) * largest


def power_of_two(x, codes, largest):
    return (x @ codes.float().T) * largest / 128


def the_largest_of_all(x, codes, largest):
    return (x @ codes.float().T) * largest.max() / 127


WRONG = {
    "scales along the columns": [scaled_x, other_axis_added],
    "scaled along both axes": [twice],
    "transposed": [no_transpose],
    "transposed, and the old bug": [only_the_transpose],
    "127 lost": [not_divided],
    "128 for 127": [power_of_two],
    "one scale for all": [the_largest_of_all],
}
