"""Whether a model fits, asked before a byte of its weights is read."""

import torch

from minimistral.checkpoints.errors import CheckpointError
from minimistral.config import ModelConfig
from minimistral.memory import GROUP, ROOM, available_bytes, bytes_needed, in_bytes, weight_bytes, whole_bytes


def check_room(
    what: str, config: ModelConfig, device: torch.device, dtype: torch.dtype, quantize: str | None, mapped: int = 0
) -> str | None:
    """CheckpointError where loading would run out of memory; a note where it would not, but every token would wait.

    mapped: bytes of the weights that stay in the file. They need no memory of their own, but where they do not fit in what
    is free, the system reads them from the disk again for every token.
    """
    free = available_bytes(device)
    needed = bytes_needed(config, dtype, quantize)
    if free is None or needed <= free:
        return None
    sizes = f"needs {in_bytes(needed, 1)}, {in_bytes(free, 1)} free{_where(device)}"
    message = f"{what}: {sizes}: {_advice(config, dtype, quantize, free)}"
    own = weight_bytes(config, dtype, quantize) - mapped if mapped else needed  # what is mapped needs no work either
    if own > free:
        raise CheckpointError(message)
    return message + " As it is, its weights will be read from the disk for every token."


def _advice(config: ModelConfig, dtype: torch.dtype, quantize: str | None, free: int) -> str:
    """What would fit, with a cache and some room, by the count of `minimistral plan`: the two must not disagree."""
    tries = [(dtype, "int8"), (dtype, "int4")] if quantize is None else [(dtype, "int4")] if quantize == "int8" else []
    if dtype.itemsize > 2:
        tries = [(torch.bfloat16, quantize), *[(torch.bfloat16, other) for _, other in tries]]
    for other_dtype, other in tries:
        if other == "int4" and any(width % GROUP for _, width in _row_lengths(config)):
            continue
        if whole_bytes(config, other_dtype, other) <= ROOM * free:
            words = [] if other_dtype == dtype else ["dtype='bfloat16'"]
            words += [] if other == quantize else [f"quantize={other!r}"]
            return f"try {', '.join(words)}."
    return "close other programs, or load some of its layers (layers=…); `minimistral plan` says what would fit."


def check_groups(config: ModelConfig) -> None:
    """ValueError where the model has a width that int4's groups do not divide."""
    for name, width in _row_lengths(config):
        if width % GROUP:
            raise ValueError(
                f"quantize='int4': {name} = {width}, and int4 wants rows of whole groups of {GROUP}. Use quantize='int8'."
            )


def _row_lengths(config: ModelConfig) -> list[tuple[str, int]]:
    return [
        ("dim", config.dim),
        ("n_heads · head_dim", config.n_heads * config.head_dim),
        ("hidden_dim", config.hidden_dim),
    ]


def _where(device: torch.device) -> str:
    return "" if device.type == "cpu" else f" on {device}"
