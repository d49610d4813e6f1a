"""Making a folder appear whole or not at all."""

import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from minimistral.checkpoints.errors import CheckpointError, listed

WEIGHTS = re.compile(
    r"(model(-\d+-of-\d+)?\.safetensors|pytorch_model(-\d+-of-\d+)?\.bin"
    r"|consolidated(\.\d+|-\d+-of-\d+)?\.(safetensors|pth|pt))(\.index\.json)?"
)
CONFIGS = {"params.json", "config.json"}
TOKENIZERS = re.compile(r"tokenizer\.model(\.v\d)?|(tokenizer|tokenizer_config|special_tokens_map|added_tokens)\.json")


def refuse_to_replace(target: Path, overwrite: bool) -> None:
    """CheckpointError unless `target` is free, an empty folder, or a checkpoint that may be overwritten."""
    if not os.path.lexists(target):
        return
    if not target.is_dir():
        raise CheckpointError(f"{target}: is a file, and a checkpoint is a folder. Choose another path.")
    names = {entry.name for entry in target.iterdir()}
    if not names:
        return
    if not overwrite:
        raise CheckpointError(
            f"{target}: already holds {listed(sorted(names))}. Choose another path, or pass overwrite=True."
        )
    if not names & CONFIGS or not any(WEIGHTS.fullmatch(name) for name in names):
        raise CheckpointError(
            f"{target}: is not a checkpoint (it holds {listed(sorted(names))}), so it is left alone. Choose another path."
        )


@contextmanager
def new_folder(target: Path, belongs: Callable[[str], bool]) -> Iterator[Path]:
    """A folder to fill. Left without an error it takes the place of `target`; otherwise it goes, and all is as before.

    belongs(name): whether a file of the old folder is part of what is replaced. All others move to the new one.
    """
    made = _make_parents(target.parent)
    filling = _beside(target, "saving")
    try:
        filling.mkdir()
        yield filling
        for path in [*filling.iterdir(), filling]:
            flush(path)
        _put(filling, target, belongs)
        flush(target.parent)
    except BaseException:  # also when the user interrupts
        shutil.rmtree(filling, ignore_errors=True)
        for parent in made:
            parent.rmdir()
        raise


def _put(filling: Path, target: Path, belongs: Callable[[str], bool]) -> None:
    """Two renames: in between, the old folder stands complete under another name, and an error brings it back."""
    if not target.exists():
        filling.rename(target)
        return
    shutil.copymode(target, filling)
    old = _beside(target, "old")
    target.rename(old)
    try:
        filling.rename(target)
    except BaseException:
        old.rename(target)
        raise
    for path in list(old.iterdir()):
        if not belongs(path.name):
            path.rename(target / path.name)
    shutil.rmtree(old, ignore_errors=True)


def _beside(target: Path, what: str) -> Path:
    """A free, hidden name on the same disk: a rename across disks is a copy, and not atomic."""
    return target.with_name(f".{target.name}.{what}-{secrets.token_hex(4)}")


def _make_parents(folder: Path) -> list[Path]:
    """Create what is missing; the created, innermost first."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    return missing


def flush(path: Path) -> None:
    """Wait until the disk has it. Windows opens no folders, and needs none flushed."""
    if path.is_dir() and os.name == "nt":
        return
    handle = os.open(path, os.O_RDONLY if os.name != "nt" else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
