"""Reordered weights that do not take up memory: they lie in a file without a name, mapped like the checkpoint itself.

The hub's layout has the rows of wq and wk in another order than the model, so they cannot be used as they lie in the
file: 9 % of a 7B. Copies in a program's own memory stay there; of a mapped file the system may take back what it needs.
"""

import os
import shutil
import sys
import tempfile
from pathlib import Path

import torch
from torch import Tensor

from minimistral.checkpoints.entry import Scratch

LEAST = 2**16  # bytes: smaller tensors are not worth a file
SPARE = 10 * 2**30  # bytes of disk that must stay free
AT_ONCE = 2**20  # bytes brought into order at a time


def aside(view: Tensor, scratch: Scratch) -> Tensor:
    """The numbers of a view in its order, mapped from a file that is gone from its folder already; where that cannot be, copied.

    Writing to them changes this program's copy only. The disk space is free again when the last such tensor is.
    """
    folder = _folder()
    if view.nbytes < LEAST or view.device.type != "cpu" or folder is None:
        return view.contiguous()
    path = None
    try:
        if shutil.disk_usage(folder).free < SPARE + view.nbytes:
            return view.contiguous()
        descriptor, path = tempfile.mkstemp(prefix="minimistral-", dir=folder)
        with open(descriptor, "wb", buffering=0) as file:
            _write(file, view, scratch)
        return torch.from_file(path, shared=False, size=view.numel(), dtype=view.dtype).view(view.shape)
    except (OSError, RuntimeError):  # a full disk, a folder that lets nobody write: memory will do
        return view.contiguous()
    finally:
        if path is not None:
            os.unlink(path)  # the mapping keeps the bytes


def _write(file, view: Tensor, scratch: Scratch) -> None:
    for part in view.split(max(1, AT_ONCE * len(view) // view.nbytes)):
        ordered = scratch.take(part.nbytes)
        ordered.view(part.dtype).view(part.shape).copy_(part)
        left = memoryview(ordered.numpy())
        while left:
            left = left[file.write(left) :]


def _folder() -> Path | None:
    """A folder on a disk: /tmp is memory on many systems, /var/tmp is not (Filesystem Hierarchy Standard 3.0, 5.15)."""
    if sys.platform == "win32":  # a file that is mapped cannot be removed there
        return None
    folder = Path(os.environ.get("TMPDIR") or "/var/tmp")
    return folder if folder.is_dir() and os.access(folder, os.W_OK) else None
