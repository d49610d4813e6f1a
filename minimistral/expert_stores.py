"""Where offloaded experts wait: in host memory, pinned for a GPU, or in files that are read and never mapped.

An expert is moved as one run of bytes, laid out by its `Record`. A file is read into buffers that are there already, and
the system is told to forget its pages again: memory stays bounded, however large the file.
"""

import contextlib
import copy
import glob
import json
import os
import shutil
import time
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor, nn

from minimistral.checkpoints.bar import loading_bar
from minimistral.checkpoints.errors import CheckpointError, naming
from minimistral.checkpoints.filling import existing
from minimistral.memory import in_bytes

Key = tuple[int, int]  # (layer, expert)
ALIGNED = 256  # every tensor of a record begins at a multiple of this, as GPU kernels like it
PAGE = 4096  # records in a packed file begin at multiples of this
ABANDONED = 3600  # seconds in which a file that is being packed has grown, or nobody packs it any more
SLAB_BYTES = 2**30  # pinned memory is handed out in powers of two: many experts share one piece, so that little is lost


@dataclass(frozen=True)
class Record:
    """How the tensors of one expert lie in a run of bytes: (name, shape, dtype, first byte) of each, and the bytes in all."""

    parts: tuple[tuple[str, tuple[int, ...], torch.dtype, int], ...]
    nbytes: int

    @classmethod
    def of(cls, expert: nn.Module) -> "Record":
        parts, at = [], 0
        for name, tensor in expert.state_dict().items():
            parts.append((name, tuple(tensor.shape), tensor.dtype, at))
            at = -(-(at + tensor.nbytes) // ALIGNED) * ALIGNED
        return cls(tuple(parts), at)

    def views(self, flat: Tensor) -> dict[str, Tensor]:
        """The tensors that lie in flat (nbytes,) uint8."""
        return {
            name: flat[at : at + dtype.itemsize * torch.Size(shape).numel()].view(dtype).view(shape)
            for name, shape, dtype, at in self.parts
        }

    def fill(self, flat: Tensor, tensors: dict[str, Tensor]) -> None:
        for name, view in self.views(flat).items():
            view.copy_(tensors[name])

    def module(self, template: nn.Module, flat: Tensor) -> nn.Module:
        """An expert like the template (on meta), whose weights are those in flat, also after flat is written anew."""
        module = copy.deepcopy(template)
        module.load_state_dict(self.views(flat), assign=True)
        return module

    def describe(self) -> list:
        return [[name, list(shape), str(dtype), at] for name, shape, dtype, at in self.parts]


class HostStore:
    """All experts in host memory; pinned, a copy to the GPU neither waits nor passes another buffer.

    A system may pin less than it has (the Linux in Windows does): what is left is not pinned, and a warning says so.
    """

    def __init__(self, record: Record, keys: Iterable[Key], read: Callable[[Key], dict[str, Tensor]], pin: bool):
        self._flat: dict[Key, Tensor] = {}
        keys = list(keys)
        per_slab = max(1, SLAB_BYTES // record.nbytes)
        bar = loading_bar(total=len(keys), desc="experts", unit="expert")
        for start in range(0, len(keys), per_slab):
            here = keys[start : start + per_slab]
            try:
                slab = torch.empty(len(here), record.nbytes, dtype=torch.uint8, pin_memory=pin)
            except RuntimeError:
                if not pin:
                    raise
                pin = False
                warnings.warn(
                    f"this system pins no more than {start} of {len(keys)} experts in memory; the others are copied to the "
                    "GPU more slowly.",
                    stacklevel=2,
                )
                slab = torch.empty(len(here), record.nbytes, dtype=torch.uint8)
            for key, flat in zip(here, slab):
                record.fill(flat, read(key))
                self._flat[key] = flat
                bar.update()
        bar.close()

    def bring(self, key: Key, slot: Tensor) -> None:
        """Write the expert into slot (nbytes,) uint8, on any device."""
        slot.copy_(self._flat[key], non_blocking=True)

    def announce(self, key: Key) -> None:
        """This expert may be wanted soon. Nothing to do here."""

    @property
    def nbytes(self) -> int:
        """Bytes of host memory held."""
        return sum(flat.nbytes for flat in self._flat.values())


@dataclass(frozen=True)
class Range:
    """Bytes of a file that belong into a record, from its byte `at` on."""

    path: Path
    start: int
    nbytes: int
    at: int = 0


class FileStore:
    """All experts in files, each as one or more ranges. Read, not mapped; pages are given back at once."""

    def __init__(self, ranges: dict[Key, list[Range]], record: Record, device: torch.device):
        self._ranges = ranges
        self._files: dict[Path, BinaryIO] = {}
        for path in {part.path for parts in ranges.values() for part in parts}:
            with naming(path):
                self._files[path] = path.open("rb", buffering=0)
        # A GPU takes its copy out of pinned memory while the next expert is read into the other buffer.
        n_buffers, pin = (0 if device.type == "cpu" else 2), device.type == "cuda"
        self._buffers = [torch.empty(record.nbytes, dtype=torch.uint8, pin_memory=pin) for _ in range(n_buffers)]
        self._sent: list[torch.cuda.Event | None] = [None] * n_buffers
        self._turn = 0

    def bring(self, key: Key, slot: Tensor) -> None:
        """Write the expert into slot (nbytes,) uint8, on any device. CheckpointError where a file is shorter than it was."""
        if not self._buffers:
            self._read(key, slot)
            return
        i = self._turn = (self._turn + 1) % len(self._buffers)
        if self._sent[i] is not None:
            self._sent[i].synchronize()
        self._read(key, self._buffers[i])
        slot.copy_(self._buffers[i], non_blocking=slot.is_cuda)
        if slot.is_cuda:
            self._sent[i] = torch.cuda.Event()
            self._sent[i].record(
                torch.cuda.current_stream(slot.device)
            )  # the GPU of the slot need not be the current one

    def _read(self, key: Key, flat: Tensor) -> None:
        memory = memoryview(flat.numpy())
        for part in self._ranges[key]:
            file, left = self._files[part.path], memory[part.at : part.at + part.nbytes]
            with naming(part.path):
                file.seek(part.start)
                while left:
                    n = file.readinto(left)
                    if not n:
                        raise CheckpointError(
                            f"{part.path}: ends before byte {part.start + part.nbytes:,}; it is truncated."
                        )
                    left = left[n:]
            _advise(file, part, "POSIX_FADV_DONTNEED")

    def announce(self, key: Key) -> None:
        """This expert may be wanted soon: the system begins to read it."""
        for part in self._ranges[key]:
            _advise(self._files[part.path], part, "POSIX_FADV_WILLNEED")

    @property
    def nbytes(self) -> int:
        """Bytes of host memory held."""
        return sum(buffer.nbytes for buffer in self._buffers)


def _advise(file: BinaryIO, part: Range, advice: str) -> None:
    if hasattr(os, "posix_fadvise"):  # Linux
        os.posix_fadvise(file.fileno(), part.start, part.nbytes, getattr(os, advice))


def pack(
    path: Path, record: Record, keys: Iterable[Key], read: Callable[[Key], dict[str, Tensor]], about: dict
) -> dict[Key, list[Range]]:
    """Write experts into a file, each in one run of bytes, and return where; a file that is there already is taken.

    about: what the file was made of, kept at its beginning. CheckpointError where it was made of something else.
    """
    keys = list(keys)
    size = -(-record.nbytes // PAGE) * PAGE
    header = json.dumps({"about": about, "record": record.describe(), "keys": keys}).encode() + b"\n"
    first = -(-(8 + len(header)) // PAGE) * PAGE
    start = len(header).to_bytes(8, "little") + header
    if path.exists():
        with naming(path), path.open("rb") as file:
            if file.read(len(start)) != start or path.stat().st_size != first + size * len(keys):
                raise CheckpointError(
                    f"{path}: holds other experts than these, or not all. Delete it, or name another file."
                )
    else:
        for other in path.parent.glob(f"{glob.escape(path.name)}.part*"):  # of a program that was killed at it
            with contextlib.suppress(OSError):
                if time.time() - other.stat().st_mtime > ABANDONED:
                    other.unlink()
        needed, free = first + size * len(keys), shutil.disk_usage(existing(path)).free
        if free < needed:
            raise CheckpointError(
                f"{path}: needs {in_bytes(needed)}, and its disk has {in_bytes(free)} free. Make room, or name a file on "
                "another disk."
            )
        part = path.with_name(f"{path.name}.part{os.getpid()}")
        try:
            with naming(path, doing="written"), part.open("wb") as file:
                file.write(start.ljust(first, b"\0"))
                flat = torch.zeros(size, dtype=torch.uint8)
                for key in loading_bar(keys, desc="experts, packed once", unit="expert"):
                    record.fill(flat[: record.nbytes], read(key))
                    file.write(flat.numpy())
                    file.flush()
                    _advise(file, Range(path, 0, 0), "POSIX_FADV_DONTNEED")  # 0 bytes: the whole file
                os.fsync(file.fileno())
            part.replace(path)
        finally:
            with contextlib.suppress(OSError):
                part.unlink()
    return {key: [Range(path, first + i * size, record.nbytes)] for i, key in enumerate(keys)}
