"""Opening what torch.save wrote (.pth, .pt, .bin): a zip archive with a pickle and the tensors' bytes.

A pickle is a program. Its instructions are read here without running them; it may name nothing but what makes plain
tensors. torch.load(weights_only=True) then applies its own, somewhat wider, rules.
"""

import pickletools
import re
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from minimistral.checkpoints.entry import ALLOWED, FLOATS, Entry
from minimistral.checkpoints.errors import CheckpointError, naming
from minimistral.checkpoints.fields import shortened
from minimistral.checkpoints.json_files import refuse_impostors

MAX_PICKLE_BYTES = 10_000_000  # Mixtral's has 0.2 MB: names, shapes and where the bytes lie
HARMLESS = re.compile(
    r"collections OrderedDict|torch Size|torch\._utils _rebuild_(tensor_v[23]|parameter)"
    r"|torch (\w+Storage|bfloat16|float\d\w+|u?int\d+)|torch\.storage UntypedStorage"
)


def open_pickle(path: Path) -> dict[str, Entry]:
    """The tensors of a file by name; CheckpointError for whatever is damaged, or more than a table of plain tensors."""
    with naming(path):
        with path.open("rb") as file:
            refuse_impostors(path, file.read(512))
        _check_program(path, _pickled_program(path))
        table = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        if not isinstance(table, dict) or not table:
            raise CheckpointError(f"{path}: holds a {type(table).__name__}, not a table of named tensors.")
        return {name: _entry(path, name, value) for name, value in table.items()}


def _pickled_program(path: Path) -> bytes:
    """The archive's data.pkl, once the archive's sizes are found to be possible."""
    if not zipfile.is_zipfile(path):
        raise CheckpointError(
            f"{path}: is not what torch.save writes (since torch 1.6, a zip archive), or is truncated. Fetch it again; "
            "an old file becomes a new one by torch.save(torch.load(path, weights_only=True), new_path)."
        )
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        claimed = sum(member.file_size for member in members)
        if any(member.compress_type != zipfile.ZIP_STORED for member in members) or claimed > path.stat().st_size:
            raise CheckpointError(
                f"{path}: its parts are compressed or claim {claimed:,} bytes, more than the file has. torch.save never "
                "writes such a file."
            )
        programs = [
            member for member in members if member.filename.count("/") == 1 and member.filename.endswith("/data.pkl")
        ]
        if len(programs) != 1 or programs[0].file_size > MAX_PICKLE_BYTES:
            raise CheckpointError(f"{path}: has no data.pkl of reasonable size inside: not a file of torch.save.")
        return archive.read(programs[0])


def _check_program(path: Path, program: bytes) -> None:
    """Read a pickle's instructions, run none, and refuse whatever would call anything but a maker of tensors."""
    for instruction, argument, _ in pickletools.genops(program):
        if instruction.name in ("STACK_GLOBAL", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4"):
            wanted = f"the instruction {instruction.name}"
        elif instruction.name == "GLOBAL" and not HARMLESS.fullmatch(argument):
            wanted = shortened(argument.replace(" ", "."))
        else:
            continue
        raise CheckpointError(
            f"{path}: is a pickle that wants to run code or make more than tensors ({wanted}). Nothing of it was run. "
            "Ask its author for a safetensors file."
        )


def _entry(path: Path, name: Any, value: Any) -> Entry:
    where = f"{path}: tensor {shortened(name)}"
    if not isinstance(name, str) or not isinstance(value, Tensor):
        raise CheckpointError(f"{where}: is a {type(value).__name__}; the file must be a plain table of named tensors.")
    if value.dtype not in FLOATS.values() or value.layout != torch.strided:
        raise CheckpointError(f"{where}: is a {value.layout} of {value.dtype}; weights are dense {ALLOWED} here.")
    if value.numel() * value.itemsize > value.untyped_storage().nbytes():
        raise CheckpointError(f"{where}: claims shape {tuple(value.shape)}, more numbers than the file holds for it.")
    return Entry(path, tuple(value.shape), value.dtype, lambda: value.detach().contiguous())
