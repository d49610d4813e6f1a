"""Says in a few lines what was given, what came out and what was expected."""

import inspect
from collections.abc import Callable

import torch
from torch import Tensor

from minimistral.lab.compare import as_tensor

SHOWN_ROWS, SHOWN_COLUMNS = 9, 12


def given(function: Callable, inputs: tuple) -> str:
    """`n_tokens = 6, window = 3`, with the names of the function's parameters."""
    names = list(inspect.signature(function).parameters)
    return ", ".join(f"{name} = {short(value)}" for name, value in zip(names, inputs))


def short(value: object) -> str:
    """A value on one line."""
    if isinstance(value, Tensor):
        if value.numel() <= 8 and value.ndim <= 1:
            return f"tensor({_numbers(value)})"
        return f"a tensor of shape {tuple(value.shape)}, {str(value.dtype).removeprefix('torch.')}"
    try:
        text = repr(value)
    except Exception:  # a class of the learner's own
        text = f"an object of type {type(value).__name__}"
    return text if len(text) <= 70 else text[:67] + "…"


def shown(value: object) -> str:
    """A value as a learner reads it: small tables in full, large ones by their shape."""
    tensor = as_tensor(value) if isinstance(value, Tensor) else None
    if tensor is not None and tensor.ndim == 1 and len(tensor) <= SHOWN_COLUMNS:
        return "  " + _numbers(tensor)
    if tensor is None or tensor.ndim != 2 or tensor.shape[0] > SHOWN_ROWS or tensor.shape[1] > SHOWN_COLUMNS:
        return "  " + short(value)
    return "\n".join("  " + _numbers(row) for row in tensor)


def where_it_differs(got: object, expected: object) -> str:
    """The first largest difference between two tensors of one shape, with its index; empty where that says nothing."""
    got = as_tensor(got)
    if not isinstance(expected, Tensor) or got is None or got.shape != expected.shape or expected.ndim == 0:
        return ""
    if expected.dtype == torch.bool or got.is_complex() or expected.is_complex() or expected.numel() == 0:
        return ""
    gap = (got.double() - expected.double()).abs()
    index = tuple(int(i) for i in torch.unravel_index(gap.argmax(), gap.shape))
    return (
        f"furthest off at index {list(index)}: {got[index].item():.4g}, where {expected[index].item():.4g} was expected"
    )


def is_text(value: object) -> bool:
    """A string, or a list or tuple of nothing else."""
    if isinstance(value, (list, tuple)):
        return bool(value) and all(map(is_text, value))
    return isinstance(value, str)


def only_one_is_infinite(got: object, expected: object) -> bool:
    got, expected = as_tensor(got), as_tensor(expected)
    if got is None or expected is None:
        return False
    return bool(got.isinf().any()) and not expected.isinf().any()


def _numbers(values: Tensor) -> str:
    if values.dtype == torch.bool:
        return " ".join("1" if value else "0" for value in values.flatten().tolist())
    return " ".join(f"{value:.4g}" for value in values.flatten().tolist())  # flatten: a single number has no axis
