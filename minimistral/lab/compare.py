"""Whether a learner's answer is the right one: same meaning, whatever it is wrapped in."""

import torch
from torch import Tensor


def difference(got: object, expected: object, rtol: float, atol: float) -> str | None:
    """None where the answer is right, else what is wrong with it: "type", "shape", "nan" or "values".

    A list or an array of the right numbers is as good as a tensor, 0 and 1 as good as False and True.
    """
    if isinstance(expected, Tensor):
        return _tensors(got, expected, rtol, atol)
    if isinstance(expected, (tuple, list)):
        return _parts(got, expected, rtol, atol)
    if isinstance(expected, dict):
        return _tables(got, expected, rtol, atol)
    if isinstance(expected, (bool, int, float)):
        return _tensors(got, as_tensor(expected), rtol, atol)
    if type(got) is not type(expected):
        return "type"
    return None if got == expected else "values"


def _tensors(got: object, expected: Tensor | None, rtol: float, atol: float) -> str | None:
    got = as_tensor(got)
    if got is None or expected is None:
        return "type"
    if got.shape != expected.shape:
        return "shape"
    if got.is_complex() != expected.is_complex():
        return "type"
    if not got.is_complex():
        got, expected = got.to(torch.float64), expected.to(torch.float64)
    if (got.isnan() & ~expected.isnan()).any():
        return "nan"
    return None if torch.allclose(got, expected, rtol=rtol, atol=atol, equal_nan=True) else "values"


def as_tensor(value: object) -> Tensor | None:
    """A tensor of these numbers on the CPU; None where they are no numbers."""
    try:
        if type(value) is int and abs(value) >= 2**63:  # more than an int64 holds
            return torch.tensor(float(value), dtype=torch.float64)
        tensor = torch.as_tensor(value).detach()
        return (tensor if tensor.layout == torch.strided else tensor.to_dense()).cpu()
    except Exception:  # whatever a learner's function returned: text, a generator, a tensor on meta
        return None


def _parts(got: object, expected: tuple | list, rtol: float, atol: float) -> str | None:
    if isinstance(got, Tensor) and got.ndim:
        got = list(got)
    if not isinstance(got, (tuple, list)):
        return "type"
    if len(got) != len(expected):
        return "shape"
    return next((wrong for pair in zip(got, expected) if (wrong := difference(*pair, rtol, atol))), None)


def _tables(got: object, expected: dict, rtol: float, atol: float) -> str | None:
    if not isinstance(got, dict):
        return "type"
    if got.keys() != expected.keys():
        return "shape"
    return next((wrong for key in expected if (wrong := difference(got[key], expected[key], rtol, atol))), None)
