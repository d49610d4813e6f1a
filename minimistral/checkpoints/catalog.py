"""All tensors of a checkpoint's files, before any is read, and what the index says of them."""

from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from minimistral.checkpoints.entry import Entry
from minimistral.checkpoints.errors import CheckpointError, listed
from minimistral.checkpoints.fields import shortened
from minimistral.checkpoints.folder import Weights
from minimistral.checkpoints.json_files import read_json
from minimistral.checkpoints.pickle_file import open_pickle
from minimistral.checkpoints.safetensors_file import open_safetensors


def read_catalog(weights: Weights) -> dict[str, Entry]:
    """Name to tensor, over all files; CheckpointError where files repeat a name or disagree with their index."""
    placed, total_size = (None, None) if weights.index is None else index_of(weights.index, read_json(weights.index))
    files = weights.files if placed is None else sorted({weights.index.parent / name for name in placed.values()})
    catalog: dict[str, Entry] = {}
    for path in files:
        if not path.is_file():
            raise CheckpointError(f"{weights.index}: names {path.name}, which is not in the folder. Fetch it again.")
        entries = open_safetensors(path) if path.suffix == ".safetensors" else open_pickle(path)
        for name, entry in entries.items():
            if name in catalog:
                raise CheckpointError(f"{path}: tensor {shortened(name)} also stands in {catalog[name].file.name}.")
            catalog[name] = entry
    if placed is not None:
        _compare(weights.index, placed, total_size, catalog)
    return catalog


def index_of(path: Path, index: dict[str, Any]) -> tuple[dict[str, str], int | None]:
    """Of an index read from `path`: tensor name to file name, and the bytes in all where it states them."""
    placed, metadata = index.get("weight_map"), index.get("metadata") or {}
    if not isinstance(placed, dict) or not placed or not isinstance(metadata, dict):
        raise CheckpointError(f"{path}: needs a weight_map from tensor names to file names, and metadata as an object.")
    for name, file_name in placed.items():
        if not _is_bare(file_name):
            raise CheckpointError(
                f"{path}: places tensor {shortened(name)} in {shortened(file_name)}, which is not the name of a file "
                "in this folder. Nothing outside the folder is read."
            )
    total = metadata.get("total_size")
    if total is not None and (isinstance(total, bool) or not isinstance(total, (int, float))):
        raise CheckpointError(f"{path}: metadata.total_size = {shortened(total)} is not a number of bytes.")
    return placed, total


def _is_bare(name: Any) -> bool:
    """A name within the folder on every system: no separator, no drive, no parent."""
    if not isinstance(name, str) or name in ("", ".", "..") or "\0" in name:
        return False
    return PurePosixPath(name).name == name and PureWindowsPath(name).name == name


def _compare(index: Path, placed: dict[str, str], total_size: float | None, catalog: dict[str, Entry]) -> None:
    if absent := [name for name in placed if name not in catalog or catalog[name].file.name != placed[name]]:
        name = absent[0]
        raise CheckpointError(f"{index}: places tensor {shortened(name)} in {placed[name]}, which does not hold it.")
    if unplaced := sorted(catalog.keys() - placed.keys()):
        file = catalog[unplaced[0]].file
        raise CheckpointError(f"{file}: holds {listed([*map(shortened, unplaced)])}, which {index.name} does not name.")
    n_bytes = sum(entry.n_bytes for entry in catalog.values())
    if total_size is not None and total_size != n_bytes:
        raise CheckpointError(
            f"{index}: metadata.total_size is {shortened(total_size)}, and the tensors have {n_bytes:,} bytes."
        )
