"""03.1: one pair, turned, as people write it."""

import math

import torch


def as_complex(x, frequency):
    z = torch.view_as_complex(x.contiguous()) * torch.exp(1j * torch.arange(len(x)) * frequency)
    return torch.view_as_real(z)


def row_by_row(x, frequency):
    rows = []
    for position, (a, b) in enumerate(x.tolist()):
        c, s = math.cos(position * frequency), math.sin(position * frequency)
        rows.append([a * c - b * s, a * s + b * c])
    return rows


def with_matrices(x, frequency):
    angle = torch.arange(len(x)) * frequency
    turn = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], dim=1).reshape(-1, 2, 2)
    return torch.einsum("tij,tj->ti", turn, x)


RIGHT = [as_complex, row_by_row, with_matrices]


def clockwise(x, frequency):
    a = torch.arange(len(x)) * frequency
    return torch.stack([x[:, 0] * a.cos() + x[:, 1] * a.sin(), -x[:, 0] * a.sin() + x[:, 1] * a.cos()], dim=1)


def from_one(x, frequency):
    a = torch.arange(1, len(x) + 1) * frequency
    return torch.stack([x[:, 0] * a.cos() - x[:, 1] * a.sin(), x[:, 0] * a.sin() + x[:, 1] * a.cos()], dim=1)


def no_position(x, frequency):
    c, s = math.cos(frequency), math.sin(frequency)
    return torch.stack([x[:, 0] * c - x[:, 1] * s, x[:, 0] * s + x[:, 1] * c], dim=1)


def overwritten(x, frequency):
    out = x.clone()
    a = torch.arange(len(x)) * frequency
    out[:, 0] = out[:, 0] * a.cos() - out[:, 1] * a.sin()
    out[:, 1] = out[:, 0] * a.sin() + out[:, 1] * a.cos()
    return out


def sine_for_cosine(x, frequency):
    a = torch.arange(len(x)) * frequency
    cos, sin = a.sin(), a.cos()
    return torch.stack([x[:, 0] * cos - x[:, 1] * sin, x[:, 0] * sin + x[:, 1] * cos], dim=1)


def in_degrees(x, frequency):
    a = torch.deg2rad(torch.arange(len(x)) * frequency)
    return torch.stack([x[:, 0] * a.cos() - x[:, 1] * a.sin(), x[:, 0] * a.sin() + x[:, 1] * a.cos()], dim=1)


def each_alone(x, frequency):
    a = torch.arange(len(x)) * frequency
    return x * torch.stack([a.cos(), a.sin()], dim=1)


WRONG = {
    "turned the other way": [clockwise],
    "positions from 1": [from_one],
    "every token by the same angle": [no_position],
    "first number overwritten": [overwritten],
    "sine and cosine swapped": [sine_for_cosine],
    "degrees": [in_degrees],
    "stretched, not turned": [each_alone],
}
