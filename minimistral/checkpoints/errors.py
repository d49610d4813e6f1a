"""The one error that reading and writing checkpoints raises."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class CheckpointError(ValueError):
    """A checkpoint that cannot be read, honoured or written; the message names the file, and the tensor if it is one's fault."""


@contextmanager
def naming(path: Path, doing: str = "read") -> Iterator[None]:
    """Whatever a parser or the system raises inside becomes a CheckpointError that names the file.

    Damaged files make json, zipfile, torch and safetensors raise a dozen unrelated types, so all of them are caught.
    """
    try:
        yield
    except CheckpointError:
        raise
    except MemoryError as error:
        raise CheckpointError(f"{path}: cannot be {doing}: it needs more memory than this machine gives.") from error
    except RecursionError as error:
        raise CheckpointError(f"{path}: cannot be {doing}: it is nested too deeply for a checkpoint.") from error
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise CheckpointError(f"{path}: cannot be {doing}: {reason}") from error


def listed(names: list[str], most: int = 5) -> str:
    """The first few of many names, for a message.

    >>> listed(["a", "b", "c"], most=2)
    'a, b and 1 more'
    """
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
