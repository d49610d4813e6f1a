"""03.2: a whole head, as people write it, in either pairing."""

import torch


def as_complex(x, theta):
    T, D = x.shape
    frequency = 1.0 / theta ** (torch.arange(0, D, 2).float() / D)
    turn = torch.polar(torch.ones(T, D // 2), torch.outer(torch.arange(T).float(), frequency))
    return torch.view_as_real(torch.view_as_complex(x.reshape(T, D // 2, 2)) * turn).reshape(T, D)


def rotate_half(x, theta):
    T, D = x.shape
    inv_freq = 1.0 / theta ** (torch.arange(0, D, 2).float() / D)
    angle = torch.cat([torch.outer(torch.arange(T).float(), inv_freq)] * 2, dim=-1)
    return x * angle.cos() + torch.cat([-x[:, D // 2 :], x[:, : D // 2]], dim=-1) * angle.sin()


def pair_by_pair(x, theta):
    out, D = x.clone(), x.shape[1]
    for t in range(len(x)):
        for i in range(D // 2):
            a = torch.tensor(t * theta ** (-2 * i / D))
            out[t, 2 * i] = x[t, 2 * i] * a.cos() - x[t, 2 * i + 1] * a.sin()
            out[t, 2 * i + 1] = x[t, 2 * i] * a.sin() + x[t, 2 * i + 1] * a.cos()
    return out


RIGHT = [as_complex, rotate_half, pair_by_pair]


def _neighbours(x, angle):
    out = torch.empty_like(x)
    out[:, 0::2] = x[:, 0::2] * angle.cos() - x[:, 1::2] * angle.sin()
    out[:, 1::2] = x[:, 0::2] * angle.sin() + x[:, 1::2] * angle.cos()
    return out


def _half(x, angle):
    a, b = x.chunk(2, dim=1)
    return torch.cat([a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()], dim=1)


def exponent_by_pair(x, theta):
    D = x.shape[1]
    return _neighbours(x, torch.outer(torch.arange(len(x)).float(), theta ** (-torch.arange(D // 2) / D)))


def exponent_by_pair_halves(x, theta):
    D = x.shape[1]
    return _half(x, torch.outer(torch.arange(len(x)).float(), theta ** (-torch.arange(D // 2) / D)))


def positive_exponent(x, theta):
    D = x.shape[1]
    return _half(x, torch.outer(torch.arange(len(x)).float(), theta ** (torch.arange(0, D, 2) / D)))


def single(x, theta):
    return _neighbours(x, torch.arange(len(x))[:, None].expand(-1, x.shape[1] // 2))


def ten_thousand(x, theta):
    return as_complex(x, 10_000.0)


def from_one(x, theta):
    D = x.shape[1]
    return _half(x, torch.outer(torch.arange(1, len(x) + 1).float(), theta ** (-torch.arange(0, D, 2) / D)))


def clockwise(x, theta):
    D = x.shape[1]
    return _neighbours(x, -torch.outer(torch.arange(len(x)).float(), theta ** (-torch.arange(0, D, 2) / D)))


def half_with_repeated_angles(x, theta):
    T, D = x.shape
    angle = torch.outer(torch.arange(T).float(), theta ** (-torch.arange(0, D, 2) / D)).repeat_interleave(2, dim=1)
    return x * angle.cos() + torch.cat([-x[:, D // 2 :], x[:, : D // 2]], dim=-1) * angle.sin()


def pairs_put_back_as_halves(x, theta):
    D = x.shape[1]
    turned = _neighbours(x, torch.outer(torch.arange(len(x)).float(), theta ** (-torch.arange(0, D, 2) / D)))
    return torch.cat([turned[:, 0::2], turned[:, 1::2]], dim=1)


WRONG = {
    "exponent i/D": [exponent_by_pair, exponent_by_pair_halves],
    "frequencies grow": [positive_exponent],
    "one frequency for all": [single],
    "theta ignored": [ten_thousand],
    "positions from 1": [from_one],
    "turned the other way": [clockwise],
    "angles of the other pairing": [half_with_repeated_angles],
    "taken as neighbours, put back as halves": [pairs_put_back_as_halves],
}
