"""Which files of a folder make up a checkpoint."""

import re
from dataclasses import dataclass
from pathlib import Path

from minimistral.checkpoints.config_file import ConfigFile, refuse_disagreement
from minimistral.checkpoints.errors import CheckpointError, listed, naming
from minimistral.checkpoints.hub_config import read_config
from minimistral.checkpoints.native_config import read_params

CONFIG_FILES = {"hub": ("config.json", read_config), "native": ("params.json", read_params)}
# In order of preference. Each is one file, an index and its shards, or shards that count themselves.
WEIGHT_FILES = {
    "hub": (("model", ".safetensors"), ("pytorch_model", ".bin")),
    "native": (("consolidated", ".safetensors"), ("consolidated", ".pth"), ("consolidated", ".pt")),
}
LAYOUTS = tuple(CONFIG_FILES)


@dataclass(frozen=True)
class Weights:
    """The files that hold a layout's tensors, and the index that says which lies where, if there is one."""

    files: tuple[Path, ...]
    index: Path | None = None


@dataclass(frozen=True)
class Checkpoint:
    """One layout of a folder: its config and its weight files. `notes`: what whoever loads it should know."""

    layout: str
    config_file: ConfigFile
    weights: Weights
    notes: tuple[str, ...] = ()


def find_checkpoint(folder: Path, layout: str = "auto") -> Checkpoint:
    """The folder's checkpoint in the layout asked for; with "auto", of two complete ones the hub's."""
    with naming(folder):
        present = {entry.name for entry in folder.iterdir() if entry.is_file()}
    if adapters := sorted(name for name in present if name.startswith(("adapter_config.", "adapter_model."))):
        raise CheckpointError(
            f"{folder / adapters[0]}: is an adapter (LoRA), which this library does not apply. Merge it into its model "
            "(peft: merge_and_unload) and save that."
        )
    complete = [name for name in LAYOUTS if layout in (name, "auto") and _is_complete(folder, present, name)]
    if not complete:
        raise CheckpointError(_what_is_missing(folder, present, layout))
    found = [_read(folder, present, name) for name in complete]
    if len(found) == 1:
        return found[0]
    refuse_disagreement(found[0].config_file, found[1].config_file)
    hub, native = found
    chosen = native if _is_pickle(hub.weights) and not _is_pickle(native.weights) else hub
    other = hub if chosen is native else native
    note = (
        f"{folder} holds the model twice: reading {_first(chosen.weights).name} with its {chosen.layout} names, "
        f"not {_first(other.weights).name}."
    )
    return Checkpoint(chosen.layout, chosen.config_file, chosen.weights, (note,))


def _read(folder: Path, present: set[str], layout: str) -> Checkpoint:
    name, read = CONFIG_FILES[layout]
    config_file = read(folder / name)
    return Checkpoint(layout, config_file, _find_weights(folder, present, layout), config_file.notes)


def _is_complete(folder: Path, present: set[str], layout: str) -> bool:
    return CONFIG_FILES[layout][0] in present and _find_weights(folder, present, layout) is not None


def _find_weights(folder: Path, present: set[str], layout: str) -> Weights | None:
    for stem, ending in WEIGHT_FILES[layout]:
        if f"{stem}{ending}" in present:
            return Weights((folder / f"{stem}{ending}",))
        index = f"{stem}{ending}.index.json"
        if index in present:
            return Weights((), folder / index)
        if shards := _numbered(folder, present, stem, ending):
            return Weights(shards)
    return None


def _numbered(folder: Path, present: set[str], stem: str, ending: str) -> tuple[Path, ...]:
    """stem.00.pth, stem.01.pth, … or stem-00001-of-00003.safetensors, …; CheckpointError where one is missing."""
    stem, ending = re.escape(stem), re.escape(ending)
    by_number = {int(m[1]): m[0] for name in present if (m := re.fullmatch(rf"{stem}\.(\d{{1,5}}){ending}", name))}
    parts = [m for name in present if (m := re.fullmatch(rf"{stem}-(\d{{1,5}})-of-(\d{{1,5}}){ending}", name))]
    if by_number:
        first, last = 0, max(by_number)
    elif parts:
        by_number = {int(m[1]): m[0] for m in parts}
        first, last = 1, max(int(m[2]) for m in parts)
    else:
        return ()
    if gaps := [n for n in range(first, last + 1) if n not in by_number]:
        example = next(iter(by_number.values()))
        raise CheckpointError(
            f"{folder}: of the numbered files like {example}, number {listed([*map(str, gaps)])} is missing."
        )
    return tuple(folder / by_number[n] for n in sorted(by_number))


def _is_pickle(weights: Weights) -> bool:
    return not _first(weights).name.removesuffix(".index.json").endswith(".safetensors")


def _first(weights: Weights) -> Path:
    """The file that stands for all of them."""
    return weights.index or weights.files[0]


def _what_is_missing(folder: Path, present: set[str], layout: str) -> str:
    wanted = {
        "native": "params.json with consolidated.safetensors, consolidated.*.pth or consolidated.*.pt",
        "hub": "config.json with model.safetensors, or its shards and model.safetensors.index.json",
    }
    asked = [wanted[name] for name in LAYOUTS if layout in (name, "auto")]
    has = listed(sorted(present), most=12) if present else "no files"
    return f"{folder}: holds no complete checkpoint. Needed: {'; or '.join(asked)}. The folder has {has}."
