"""What stands in a sentencepiece file, read and checked before the C++ library, which trusts its input, sees it.

The file is a protocol buffer (sentencepiece_model.proto). Only the fields that a tokenizer needs are understood here.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from minimistral.checkpoints.errors import CheckpointError, naming
from minimistral.checkpoints.json_files import refuse_impostors

MAX_BYTES = 64_000_000  # the largest sentencepiece files in use have 5 MB
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6  # the types of a piece


@dataclass(frozen=True)
class TokenizerFile:
    """The bytes of a sentencepiece file and what they say."""

    data: bytes
    pieces: list[str]
    types: list[int]
    adds_dummy_prefix: bool  # a space is put before a text, and taken off again on decoding


def read_tokenizer_file(path: Path) -> TokenizerFile:
    """Read and check a file; CheckpointError names it and says what is wrong."""
    with naming(path):
        size = path.stat().st_size
        if path.is_dir():
            raise CheckpointError(f"{path}: is a folder; give the sentencepiece file in it, e.g. tokenizer.model.")
        if size > MAX_BYTES:
            raise CheckpointError(f"{path}: has {size:,} bytes; no sentencepiece file needs {MAX_BYTES:,}.")
        data = path.read_bytes()
    refuse_impostors(path, data)
    if data.lstrip()[:1] == b"{":
        raise CheckpointError(
            f"{path}: is JSON, perhaps a tokenizer.json; a sentencepiece file (tokenizer.model) is needed."
        )
    try:
        return _parse(data)
    except (ValueError, IndexError, struct.error) as error:
        raise CheckpointError(f"{path}: is not a whole sentencepiece file: {error}. Fetch it again.") from error


def _parse(data: bytes) -> TokenizerFile:
    pieces, types, adds_dummy_prefix = [], [], True
    for field, value in _fields(data):
        if field == 1:  # a piece: 1 its text, 2 its score, 3 its type
            piece = dict(_fields(_message(value)))
            pieces.append(_message(piece.get(1, b"")).decode("utf-8"))
            types.append(piece.get(3, NORMAL))
            if not isinstance(types[-1], int) or not NORMAL <= types[-1] <= BYTE:
                raise ValueError(f"piece {len(types) - 1} is of the unknown type {types[-1]!r}")
            if not isinstance(piece.get(2, b"\0" * 4), bytes) or not abs(_float(piece.get(2, b"\0" * 4))) < 1e30:
                raise ValueError(f"the score of piece {len(types) - 1} is not a finite number")
        elif field == 2:  # how it was trained
            trainer = dict(_fields(_message(value)))
            if trainer.get(3, 1) not in (1, 2, 3, 4):
                raise ValueError(f"its kind of model, {trainer.get(3)!r}, is unknown")
        elif field == 3:  # how text is normalised; 3: whether a space is put before it
            adds_dummy_prefix = bool(dict(_fields(_message(value))).get(3, 1))
    _check_pieces(pieces, types)
    return TokenizerFile(data, pieces, types, adds_dummy_prefix)


def _check_pieces(pieces: list[str], types: list[int]) -> None:
    if not pieces:
        raise ValueError("it holds no pieces")
    if len(set(pieces)) != len(pieces):
        twice = next(piece for piece in pieces if pieces.count(piece) > 1)
        raise ValueError(f"the piece {twice[:40]!r} stands in it twice")
    if "" in pieces:
        raise ValueError(f"piece {pieces.index('')} is empty")
    if types.count(UNKNOWN) != 1:
        raise ValueError(f"it holds {types.count(UNKNOWN)} pieces for unknown text, and exactly 1 is needed")
    for name in ("<s>", "</s>"):
        if name not in pieces or types[pieces.index(name)] != CONTROL:
            raise ValueError(f"its control piece {name} is missing, so no text can be opened or closed")
    names = {f"<0x{byte:02X}>" for byte in range(256)}
    in_bytes = {piece for piece, kind in zip(pieces, types) if kind == BYTE}
    if in_bytes and in_bytes != names:
        raise ValueError(
            f"{len(in_bytes & names)} of the 256 byte pieces are in it, and {len(in_bytes - names)} that are none"
        )


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The fields of a protocol buffer message: number and value, an int for varints, else bytes."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        field, wire = key >> 3, key & 7
        if wire == 0:
            value, at = _varint(data, at)
        else:
            if wire == 2:
                size, at = _varint(data, at)
            elif wire in (1, 5):
                size = 8 if wire == 1 else 4
            else:
                raise ValueError(f"byte {at} opens a field of the unknown wire type {wire}")
            if at + size > len(data):
                raise ValueError(f"it ends at byte {len(data)}, inside a field of {size} bytes that starts at {at}")
            value, at = data[at : at + size], at + size
        if field == 0:
            raise ValueError(f"a field before byte {at} has the number 0")
        yield field, value


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise ValueError(f"a number that ends at byte {at} is cut off or too long")
        value |= (data[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if not data[at - 1] & 0x80:
            return value, at


def _message(value: int | bytes) -> bytes:
    if not isinstance(value, bytes):
        raise ValueError(f"the number {value} stands where text or a message belongs")
    return value


def _float(value: bytes) -> float:
    return struct.unpack("<f", value)[0]
