"""11.1: answers as people write them."""

import torch


def with_a_loop(weight, bits):
    codes, scales = [], []
    for row in weight:
        scale = max(abs(row.max().item()), abs(row.min().item())) / (2 ** (bits - 1) - 1) or 1.0
        scales.append(scale)
        codes.append(torch.round(row / scale))
    return torch.stack(codes), torch.tensor(scales)


def in_int8(weight, bits):
    largest = (1 << (bits - 1)) - 1
    size = weight.abs().max(1, keepdim=True).values
    size[size == 0] = largest
    scale = size / largest
    return (weight / scale).round().clamp(-largest, largest).to(torch.int8), scale.squeeze(1)


RIGHT = [with_a_loop, in_int8]


def _codes(weight, scale):
    return (weight / scale[:, None]).round()


def divides_by_zero(weight, bits):
    scale = weight.abs().amax(1) / (2 ** (bits - 1) - 1)
    return _codes(weight, scale), scale


def nan_hidden_by_the_cast(weight, bits):
    scale = weight.abs().amax(1) / (2 ** (bits - 1) - 1)
    return _codes(weight, scale).nan_to_num(0).to(torch.int8), scale


def kept_the_axis(weight, bits):
    scale = (weight.abs().amax(1, keepdim=True) / (2 ** (bits - 1) - 1)).clone()
    scale[scale == 0] = 1
    return (weight / scale).round(), scale


def _safe(scale):
    return scale.masked_fill(scale == 0, 1.0)


def down_the_columns(weight, bits):
    scale = _safe(weight.abs().max(0).values / (2 ** (bits - 1) - 1))
    return torch.round(weight / scale[None]), scale


def the_matrix(weight, bits):
    scale = _safe(weight.abs().max().repeat(weight.shape[0]) / (2 ** (bits - 1) - 1))
    return _codes(weight, scale), scale


def cast_only(weight, bits):
    scale = _safe(weight.abs().amax(1) / (2 ** (bits - 1) - 1))
    return (weight / scale[:, None]).to(torch.int8), scale


def whole_division(weight, bits):
    scale = _safe(weight.abs().amax(1) / (2 ** (bits - 1) - 1))
    return weight // scale[:, None], scale


def by_128(weight, bits):
    scale = _safe(weight.abs().amax(1) / 2 ** (bits - 1))
    return _codes(weight, scale).clamp(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1), scale


def no_abs(weight, bits):
    scale = _safe(weight.max(1).values / (2 ** (bits - 1) - 1))
    return _codes(weight, scale), scale


def unsigned(weight, bits):
    scale = _safe(weight.abs().amax(1) / (2**bits - 1))
    return _codes(weight, scale), scale


def there_and_back(weight, bits):
    scale = _safe(weight.abs().amax(1) / (2 ** (bits - 1) - 1))
    return _codes(weight, scale) * scale[:, None], scale


WRONG = {
    "a row of zeros": [divides_by_zero, nan_hidden_by_the_cast],
    "scale in a column": [kept_the_axis],
    "a scale a column": [down_the_columns],
    "one scale for all": [the_matrix],
    "truncated": [cast_only],
    "rounded down": [whole_division],
    "down to -128": [by_128],
    "sign forgotten": [no_abs],
    "all codes on one side": [unsigned],
    "multiplied out again": [there_and_back],
}
