"""A part of a model on the hub: embeddings, some layers, last norm and head, by byte ranges of its safetensors files.

A safetensors file begins with a header that gives each tensor's place, so a few thousand bytes tell which ranges to ask
for (https://huggingface.co/docs/safetensors/metadata_parsing). What comes is written as new safetensors files, one a
layer, with an index: `load(folder, layers=…)` reads them like any checkpoint.
"""

import hashlib
import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from minimistral.checkpoints.catalog import index_of
from minimistral.checkpoints.config_file import ConfigFile
from minimistral.checkpoints.entry import FLOATS, Entry
from minimistral.checkpoints.errors import CheckpointError
from minimistral.checkpoints.folder import CONFIG_FILES
from minimistral.checkpoints.hub_client import Hub, Listing, RemoteFile
from minimistral.checkpoints.json_files import MAX_JSON_BYTES, parse_json
from minimistral.checkpoints.match import layer_of, match
from minimistral.checkpoints.read import chosen_layers
from minimistral.checkpoints.safetensors_file import tensor_ranges

FIRST_READ = 2**17  # bytes: longer than the headers of the 7B's files, so one request is enough
STEMS = {"model": "hub", "consolidated": "native"}  # in order of preference


@dataclass(frozen=True)
class Stretch:
    """A run of bytes of one remote file, whole tensors."""

    file: RemoteFile
    start: int
    end: int


@dataclass(frozen=True)
class PartFile:
    """A file of ours: its header, and the stretches that follow it."""

    name: str
    header: bytes
    stretches: tuple[Stretch, ...]
    tensors: tuple[str, ...]

    @property
    def size(self) -> int:
        """Bytes in all."""
        return len(self.header) + sum(s.end - s.start for s in self.stretches)

    @property
    def key(self) -> str:
        """What its bytes follow from: the header, and which bytes of which files."""
        text = repr([(s.file.hash, s.start, s.end) for s in self.stretches]).encode()
        return hashlib.sha256(self.header + text).hexdigest()


@dataclass(frozen=True)
class PartPlan:
    """What a part of a model consists of."""

    layers: list[int]
    n_layers: int
    config: RemoteFile
    stem: str  # of the index: "model" or "consolidated"
    files: tuple[PartFile, ...]

    @property
    def sources(self) -> dict[str, str]:
        """The hub's files that it is cut from, and their hashes."""
        return {s.file.name: s.file.hash for part in self.files for s in part.stretches}

    def index(self, before: dict[str, str]) -> bytes:
        """The index of this part and of what the folder held before."""
        placed = before | {tensor: part.name for part in self.files for tensor in part.tensors}
        return (json.dumps({"metadata": {}, "weight_map": dict(sorted(placed.items()))}, indent=2) + "\n").encode()


def plan_part(hub: Hub, listing: Listing, layers: int | Sequence[int]) -> PartPlan:
    """Reads config, index and headers of the files concerned, some 100 kB; CheckpointError where no part can be had."""
    stem = next((s for s in STEMS if CONFIG_FILES[STEMS[s]][0] in listing.files and _weights(listing, s)), None)
    if stem is None:
        raise CheckpointError(
            f"{listing.repo}: has no safetensors files whose tensors can be fetched one by one: {' or '.join(STEMS)}"
            ".safetensors, or shards with their index, and the config. Download the whole model, or take another one."
        )
    config_name = CONFIG_FILES[STEMS[stem]][0]
    config_file = read_config_of(hub, listing, STEMS[stem])
    n_layers = config_file.config.n_layers
    chosen = chosen_layers(layers, n_layers)
    places = _places(hub, listing, stem, chosen)
    match(_catalog(listing, places), STEMS[stem], config_file, chosen)  # what `load` would refuse is not fetched
    files = [_part_file(name, places[name]) for name in sorted(places)]
    return PartPlan(chosen, n_layers, listing.files[config_name], stem, tuple(files))


def _weights(listing: Listing, stem: str) -> bool:
    return f"{stem}.safetensors.index.json" in listing.files or f"{stem}.safetensors" in listing.files


def read_config_of(hub: Hub, listing: Listing, layout: str) -> ConfigFile:
    """The config on the hub, checked as `load` will: better now than after the download."""
    name, read = CONFIG_FILES[layout]
    data = hub.read_small(listing, name)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / name).write_bytes(data)
        try:
            return replace(read(Path(folder) / name), path=Path(listing.repo) / name)
        except CheckpointError as error:
            raise CheckpointError(str(error).replace(folder, listing.repo)) from error


def _places(hub: Hub, listing: Listing, stem: str, layers: list[int]) -> dict[str, list[tuple]]:
    """For each file of ours the tensors in it: (remote file, start, end, name, dtype, shape), checked to be complete."""
    index_name = f"{stem}.safetensors.index.json"
    placed = wanted = {}
    if f"{stem}.safetensors" not in listing.files:  # where there is one file, it is what `load` reads
        placed = read_index_of(hub, listing, index_name, layers)
        wanted = {name: file for name, file in placed.items() if layer_of(name) in (None, *layers)}
    places: dict[str, list[tuple]] = {}
    for file_name in sorted(set(wanted.values())) or [f"{stem}.safetensors"]:
        file = listing.files[file_name]
        for name, (start, end, value) in _header(hub, listing, file).items():
            if placed and placed.get(name) != file_name:
                raise CheckpointError(
                    f"{listing.repo}: {file_name} holds {name!r}, which {index_name} does not place there."
                )
            layer = layer_of(name)
            if layer is None or layer in layers:
                wanted = {key: at for key, at in wanted.items() if key != name}
                ours = f"{stem}-{'rest' if layer is None else f'layer-{layer:05}'}.safetensors"
                places.setdefault(ours, []).append((file, start, end, name, value["dtype"], value["shape"]))
    if wanted:
        name, file_name = next(iter(wanted.items()))
        raise CheckpointError(f"{listing.repo}: {index_name} places {name} in {file_name}, which does not hold it.")
    if absent := [i for i in layers if f"{stem}-layer-{i:05}.safetensors" not in places]:
        raise CheckpointError(f"{listing.repo}: its {stem} files hold no tensor of layer {absent[0]}.")
    return places


def read_index_of(hub: Hub, listing: Listing, name: str, layers: Sequence[int] | None = None) -> dict[str, str]:
    """Tensor name to file name of an index on the hub; CheckpointError where a file (for `layers`) is not there."""
    placed, _ = index_of(index := Path(listing.repo) / name, parse_json(index, hub.read_small(listing, name)))
    wanted = {file for tensor, file in placed.items() if layers is None or layer_of(tensor) in (None, *layers)}
    if unlisted := sorted(wanted - listing.files.keys()):
        raise CheckpointError(f"{listing.repo}: {name} names {unlisted[0]}, which the hub does not list.")
    return placed


def _header(hub: Hub, listing: Listing, file: RemoteFile) -> dict[str, tuple[int, int, dict[str, Any]]]:
    """Tensor name to first byte, last byte + 1 (in the file) and header entry."""
    where = Path(listing.repo) / file.name
    start = hub.read(listing, file, 0, min(FIRST_READ, file.size))
    length = int.from_bytes(start[:8], "little")
    if len(start) < 8 or length > MAX_JSON_BYTES or 8 + length > file.size:
        raise CheckpointError(f"{where}: begins like no safetensors file: a header of {length:,} bytes.")
    if 8 + length > len(start):
        start += hub.read(listing, file, len(start), 8 + length)
    header = parse_json(where, start[8 : 8 + length])
    ranges = tensor_ranges(where, header, file.size - 8 - length)
    return {name: (8 + length + a, 8 + length + b, header[name]) for name, (a, b) in ranges.items()}


def _catalog(listing: Listing, places: dict[str, list[tuple]]) -> dict[str, Entry]:
    """The tensors as `read_catalog` will find them, but for their bytes."""
    return {
        name: Entry(Path(listing.repo) / file.name, tuple(shape), FLOATS[dtype], _still_on_the_hub)
        for tensors in places.values()
        for file, _, _, name, dtype, shape in tensors
    }


def _still_on_the_hub() -> Tensor:
    raise AssertionError("a plan is made from headers alone")


def _part_file(name: str, tensors: list[tuple]) -> PartFile:
    """The tensors in the order in which they lie on the hub, neighbours as one stretch."""
    tensors = sorted(tensors, key=lambda tensor: (tensor[0].name, tensor[1], tensor[2]))
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    stretches: list[Stretch] = []
    at = 0
    for file, start, end, tensor, dtype, shape in tensors:
        header[tensor] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + end - start]}
        at += end - start
        if stretches and stretches[-1].file is file and stretches[-1].end == start:
            stretches[-1] = Stretch(file, stretches[-1].start, end)
        else:
            stretches.append(Stretch(file, start, end))
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return PartFile(name, len(text).to_bytes(8, "little") + text, tuple(stretches), tuple(t[3] for t in tensors))
