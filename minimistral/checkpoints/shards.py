"""Writing named tensors as one .safetensors file, or as several with an index."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
UNITS |= {"KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}


def parse_size(size: int | str) -> int:
    """Bytes; ValueError for what is no size.

    >>> parse_size("5GB"), parse_size("1.5 GiB"), parse_size(1000)
    (5000000000, 1610612736, 1000)
    """
    n_bytes = 0
    if isinstance(size, int) and not isinstance(size, bool):
        n_bytes = size
    elif isinstance(size, str) and (
        found := re.fullmatch(r"(\d{1,15}(?:\.\d{1,9})?)\s*([KMGT]?I?B?)", size.strip().upper())
    ):
        n_bytes = int(float(found[1]) * UNITS.get(found[2], 0))
    if n_bytes < 1:
        raise ValueError(f"max_shard_size={size!r}: give bytes, or a text such as '5GB', '200MB' or '1GiB'.")
    return n_bytes


def split(n_bytes: dict[str, int], most: int) -> list[list[str]]:
    """Names in their order, cut into runs of at most `most` bytes; a tensor that is larger gets a run of its own.

    >>> split({"a": 3, "b": 3, "c": 9, "d": 1}, most=6)
    [['a', 'b'], ['c'], ['d']]
    """
    runs, room = [], 0
    for name, n in n_bytes.items():
        if not runs or n > room:
            runs.append([])
            room = most
        runs[-1].append(name)
        room -= n
    return runs


def write_tensors(
    folder: Path, stem: str, tensors: dict[str, Callable[[], Tensor]], sizes: dict[str, int], most: int
) -> None:
    """Write tensors (made one shard at a time, so that no more than a shard is ever copied) as stem.safetensors or shards."""
    runs = split(sizes, most)
    placed: dict[str, str] = {}
    for i, run in enumerate(runs, start=1):
        file_name = f"{stem}.safetensors" if len(runs) == 1 else f"{stem}-{i:05}-of-{len(runs):05}.safetensors"
        placed |= dict.fromkeys(run, file_name)
        path = folder / file_name
        path.touch()
        usual_mode = path.stat().st_mode  # safetensors gives its file to the owner alone
        save_file(_apart({name: tensors[name]() for name in run}), path, metadata={"format": "pt"})
        path.chmod(usual_mode)
    if len(runs) > 1:
        index = {"metadata": {"total_size": sum(sizes.values())}, "weight_map": dict(sorted(placed.items()))}
        write_json(folder / f"{stem}.safetensors.index.json", index)


def write_json(path: Path, value: dict[str, Any]) -> None:
    """JSON as people read it."""
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def _apart(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors, none of which shares another's memory: safetensors stores every name by itself."""
    seen: set[int] = set()
    result = {}
    for name, tensor in tensors.items():
        result[name] = tensor.clone() if tensor.data_ptr() in seen else tensor
        seen.add(tensor.data_ptr())
    return result
