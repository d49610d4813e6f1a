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

LEAST = 4 * 2**20  # bytes: smaller tensors are not worth a file
SPARE = 10 * 2**30  # bytes of disk that must stay free


def aside(tensor: Tensor) -> Tensor:
    """The same numbers, mapped from a file that is gone from its folder already; the tensor itself where that cannot be.

    Writing to it changes this program's copy only. The disk space is free again when the last such tensor is.
    """
    folder = _folder()
    if tensor.nbytes < LEAST or tensor.device.type != "cpu" or folder is None:
        return tensor
    path = None
    try:
        if shutil.disk_usage(folder).free < SPARE + tensor.nbytes:
            return tensor
        descriptor, path = tempfile.mkstemp(prefix="minimistral-", dir=folder)
        with open(descriptor, "wb", buffering=0) as file:
            _write(file, tensor)
        return torch.from_file(path, shared=False, size=tensor.numel(), dtype=tensor.dtype).view(tensor.shape)
    except (OSError, RuntimeError):  # a full disk, a folder that lets nobody write: memory will do
        return tensor
    finally:
        if path is not None:
            os.unlink(path)  # the mapping keeps the bytes


def _write(file, tensor: Tensor) -> None:
    left = memoryview(tensor.contiguous().view(torch.uint8).flatten().numpy())
    while left:
        left = left[file.write(left) :]


def _folder() -> Path | None:
    """A folder on a disk: /tmp is memory on many systems, /var/tmp is not (Filesystem Hierarchy Standard 3.0, 5.15)."""
    if sys.platform == "win32":  # a file that is mapped cannot be removed there
        return None
    folder = Path(os.environ.get("TMPDIR") or "/var/tmp")
    return folder if folder.is_dir() and os.access(folder, os.W_OK) else None
