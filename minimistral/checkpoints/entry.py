"""One tensor of a file: known by its name, shape and dtype before a byte of it is read."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

# Weights come in these; integers, 8-bit floats and complex numbers mean a quantized model or another kind of file.
FLOATS = {"BF16": torch.bfloat16, "F16": torch.float16, "F32": torch.float32, "F64": torch.float64}
ALLOWED = "bfloat16, float16, float32 or float64"


@dataclass(frozen=True)
class Entry:
    """Where a tensor lies, and how to read it; `read` maps it into memory where the format allows, copying nothing."""

    file: Path
    shape: tuple[int, ...]
    dtype: torch.dtype
    read: Callable[[], Tensor]

    @property
    def n_bytes(self) -> int:
        """Bytes of the tensor's data."""
        n = self.dtype.itemsize
        for size in self.shape:
            n *= size
        return n
