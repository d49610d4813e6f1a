"""One tensor of a file: known by its name, shape and dtype before a byte of it is read."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from minimistral.checkpoints.errors import CheckpointError, naming

# Weights come in these; integers, 8-bit floats and complex numbers mean a quantized model or another kind of file.
FLOATS = {"BF16": torch.bfloat16, "F16": torch.float16, "F32": torch.float32, "F64": torch.float64}
BLOCK = 4 * 2**20  # bytes read at a time where a tensor is not needed whole
ALLOWED = "bfloat16, float16, float32 or float64"


@dataclass(frozen=True)
class Entry:
    """Where a tensor lies, and how to read it; `read` maps it into memory where the format allows, copying nothing."""

    file: Path
    shape: tuple[int, ...]
    dtype: torch.dtype
    read: Callable[[], Tensor]
    offset: int | None = None  # where its bytes begin in the file, if they lie there one after another

    def rows(self, start: int, end: int, scratch: "Scratch") -> Tensor:
        """Of the tensor as a matrix (…, last axis) the rows from start to end, read and not mapped where the format allows.

        They hold only until the scratch is used again.
        """
        width = self.shape[-1]
        if self.offset is None:
            return self.read().reshape(-1, width)[start:end]
        n_row_bytes = width * self.dtype.itemsize
        with naming(self.file):
            stored = scratch.take((end - start) * n_row_bytes)
            left = memoryview(stored.numpy())
            with self.file.open("rb", buffering=0) as file:
                file.seek(self.offset + start * n_row_bytes)
                while left:
                    n = file.readinto(left)
                    if not n:
                        raise CheckpointError(f"{self.file}: ends within a tensor: was it cut while it was being read?")
                    left = left[n:]
        return stored.view(self.dtype).view(end - start, width)

    def blocks(self, start: int, end: int, scratch: "Scratch") -> Iterator[Tensor]:
        """The same rows, as many at a time as have BLOCK bytes."""
        step = max(1, BLOCK // (self.shape[-1] * self.dtype.itemsize))
        for first in range(start, end, step):
            yield self.rows(first, min(first + step, end), scratch)

    @property
    def n_bytes(self) -> int:
        """Bytes of the tensor's data."""
        n = self.dtype.itemsize
        for size in self.shape:
            n *= size
        return n


class Scratch:
    """Memory that is used again and again: fresh memory costs time, and leaves holes between what is kept."""

    def __init__(self):
        self._bytes = torch.empty(0, dtype=torch.uint8)

    def take(self, n_bytes: int) -> Tensor:
        """n_bytes (n_bytes,) uint8 of it; what was taken before is overwritten."""
        if n_bytes > len(self._bytes):
            self._bytes = None  # let go of the old memory first
            self._bytes = torch.empty(n_bytes, dtype=torch.uint8)
        return self._bytes[:n_bytes]
