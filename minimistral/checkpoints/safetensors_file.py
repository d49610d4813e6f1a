"""Opening a .safetensors file: 8 bytes with the header's length, a JSON header with each tensor's byte range, the bytes.

Format: https://github.com/huggingface/safetensors. The header is checked here, so that an error can name the tensor and
sizes are known before anything is read; safetensors itself then maps the file.
"""

import math
from pathlib import Path
from typing import Any

from safetensors import safe_open
from torch import Tensor

from minimistral.checkpoints.entry import ALLOWED, FLOATS, Entry
from minimistral.checkpoints.errors import CheckpointError, naming
from minimistral.checkpoints.fields import shortened
from minimistral.checkpoints.json_files import MAX_JSON_BYTES, parse_json, refuse_impostors


def open_safetensors(path: Path) -> dict[str, Entry]:
    """The tensors of a file by name; CheckpointError for whatever is damaged, truncated or of no use as a weight."""
    header, n_data_bytes = _header(path)
    ranges = tensor_ranges(path, header, n_data_bytes)
    with naming(path):
        file = safe_open(path, framework="pt", device="cpu")  # maps the file; a tensor is a view of that map

    def reader(name: str) -> Any:
        def read() -> Tensor:
            with naming(path):
                tensor = file.get_tensor(name)
            # A header of odd length puts the data where no aligned load may begin.
            return tensor if tensor.data_ptr() % tensor.itemsize == 0 else tensor.clone()

        return read

    start = path.stat().st_size - n_data_bytes
    return {
        name: Entry(path, tuple(value["shape"]), FLOATS[value["dtype"]], reader(name), start + ranges[name][0])
        for name, value in header.items()
    }


def tensor_ranges(path: Path, header: dict[str, Any], n_data_bytes: int) -> dict[str, tuple[int, int]]:
    """First and last byte + 1 of each tensor in the data part, all of it checked; the header loses its __metadata__.

    `path` is for the messages alone: the header may come from anywhere.
    """
    header.pop("__metadata__", None)
    ranges = {name: _range(path, name, value) for name, value in header.items()}
    _check_cover(path, ranges, n_data_bytes)
    return ranges


def _header(path: Path) -> tuple[dict[str, Any], int]:
    """The parsed header, and how many bytes follow it."""
    with naming(path):
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(512)
            refuse_impostors(path, start)
            if len(start) < 8:
                raise CheckpointError(f"{path}: has {size} bytes; a safetensors file has more. It is truncated.")
            length = int.from_bytes(start[:8], "little")
            if length > MAX_JSON_BYTES:
                raise CheckpointError(
                    f"{path}: its first 8 bytes announce a header of {length:,} bytes, and {MAX_JSON_BYTES:,} are more "
                    "than any such model needs. Is it a safetensors file?"
                )
            if 8 + length > size:
                raise CheckpointError(
                    f"{path}: announces a header of {length:,} bytes and has {size:,} in all. It is truncated, or no "
                    "safetensors file."
                )
            file.seek(8)
            header = parse_json(path, file.read(length))
    return header, size - 8 - length


def _range(path: Path, name: str, value: Any) -> tuple[int, int]:
    """The checked byte range of one tensor."""
    where = f"{path}: tensor {shortened(name)}"
    if not isinstance(value, dict) or set(value) != {"dtype", "shape", "data_offsets"}:
        raise CheckpointError(f"{where}: its header entry is {shortened(value)}, not dtype, shape and data_offsets.")
    dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(dtype, str) or dtype not in FLOATS:
        raise CheckpointError(f"{where}: has dtype {shortened(dtype)}; weights are {ALLOWED} here. Is it quantized?")
    if not _whole_numbers(shape) or not _whole_numbers(offsets) or len(offsets) != 2:
        raise CheckpointError(f"{where}: shape {shortened(shape)} or data_offsets {shortened(offsets)} cannot be.")
    start, end = offsets
    needed = math.prod(shape) * FLOATS[dtype].itemsize
    if end - start != needed:
        raise CheckpointError(
            f"{where}: shape {shortened(shape)} in {dtype} needs {shortened(needed)} bytes, and the file gives it "
            f"{shortened(end - start)}."
        )
    return start, end


def _whole_numbers(values: Any) -> bool:
    return isinstance(values, list) and all(type(n) is int and 0 <= n < 2**63 for n in values) and len(values) <= 8


def _check_cover(path: Path, ranges: dict[str, tuple[int, int]], n_data_bytes: int) -> None:
    """The ranges must fill the data part: no gap, no overlap, nothing beyond the end."""
    at = 0
    for name, (start, end) in sorted(ranges.items(), key=lambda item: item[1]):
        if end > n_data_bytes:
            raise CheckpointError(
                f"{path}: tensor {shortened(name)} ends at data byte {end:,}, and the file has {n_data_bytes:,}. "
                "It is truncated; fetch it again."
            )
        if start != at:
            raise CheckpointError(
                f"{path}: tensor {shortened(name)} begins at data byte {start:,}, where {at:,} is next: the tensors "
                "overlap or leave a gap."
            )
        at = end
    if at != n_data_bytes:
        raise CheckpointError(f"{path}: {n_data_bytes - at:,} bytes at its end belong to no tensor.")
