"""Reading the JSON files of a checkpoint, which may come from anywhere."""

import json
from pathlib import Path
from typing import Any

from minimistral.checkpoints.errors import CheckpointError, naming

# Mixtral's index, the largest JSON of the family, has 0.1 MB. Parsed JSON takes up to 30 times its size in memory.
MAX_JSON_BYTES = 10_000_000


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file; CheckpointError if it is not one, is too large, repeats a key, or holds NaN."""
    with naming(path):
        size = path.stat().st_size
        if size > MAX_JSON_BYTES:
            raise CheckpointError(f"{path}: has {size:,} bytes; {MAX_JSON_BYTES:,} are more than any such file needs.")
        data = path.read_bytes()
    refuse_impostors(path, data)
    return parse_json(path, data)


def parse_json(path: Path, data: bytes) -> dict[str, Any]:
    """The object that JSON bytes of `path` spell; CheckpointError as `read_json`."""
    with naming(path):
        try:
            value = json.loads(data.decode("utf-8-sig"), object_pairs_hook=_unique, parse_constant=_refuse_constant)
        except UnicodeDecodeError as error:
            raise CheckpointError(f"{path}: is not UTF-8 text (byte {error.start}).") from error
        except CheckpointError as error:
            raise CheckpointError(f"{path}: {error}") from None
        except ValueError as error:
            raise CheckpointError(f"{path}: is not valid JSON: {error}.") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{path}: holds a JSON {type(value).__name__}; an object {{…}} is expected.")
    return value


def refuse_impostors(path: Path, start: bytes) -> None:
    """What downloads leave in place of a file: nothing, a git-lfs pointer, or a web page. `start`: its first bytes."""
    if not start:
        raise CheckpointError(f"{path}: is empty; fetch it again.")
    if start.startswith(b"version https://git-lfs"):
        raise CheckpointError(f"{path}: is a git-lfs pointer, not the file itself. Run `git lfs pull` in its folder.")
    if start[:200].lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        raise CheckpointError(f"{path}: is a web page, perhaps a log-in or error page, not a checkpoint's file.")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        seen = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))
        raise CheckpointError(f"the key {twice[:100]!r} stands twice in one object.")
    return result


def _refuse_constant(word: str) -> None:
    raise CheckpointError(f"holds {word}, which is no JSON number.")
