"""A folder that is filled beside its place, file by file, and takes it when it is whole.

While a download lasts, everything is in .NAME.download beside NAME: whole files under their names, the one that is on its
way as a .part. download.json there says which files are whole and verified; it stays in the finished folder as a record.
Nothing is ever loaded from it unseen: NAME appears by one rename. Stopped anywhere, the next run goes on from there.
"""

import contextlib
import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from minimistral.checkpoints.errors import CheckpointError, naming
from minimistral.checkpoints.json_files import read_json
from minimistral.checkpoints.replace import flush
from minimistral.memory import in_bytes

RECORD = "download.json"
SAFE_EVERY = 64 * 2**20  # bytes after which a part without a published hash is put on the disk for good


@dataclass
class Record:
    """What a folder was downloaded from. files: name to size and hash; layers: None for a whole model."""

    model: str
    commit: str
    layers: list[int] | None = None
    n_layers: int | None = None
    sources: dict[str, str] = field(
        default_factory=dict
    )  # of a part: the hub's files that it was cut from, their hashes
    files: dict[str, dict[str, Any]] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        """Into the folder, whole or not at all."""
        new = folder / f".{RECORD}.new"
        new.write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")
        flush(new)
        new.replace(folder / RECORD)

    def is_whole(self, folder: Path) -> bool:
        """Whether all files are there in their sizes."""
        return bool(self.files) and all(_size(folder / name) == file["size"] for name, file in self.files.items())


def read_record(folder: Path) -> Record | None:
    """The record of a folder; None where there is none that can be read."""
    try:
        record = Record(**read_json(folder / RECORD))
        record.is_whole(folder)
        return record
    except (CheckpointError, TypeError, AttributeError, KeyError):
        return None


class Filling:
    """The work folder of one download, and the folder that it adds to, if there is one.

    `key` of a file: what its bytes follow from; another key, another file.
    """

    def __init__(self, target: Path, model: str, commit: str):
        self.target, self.folder = target, beside(target)
        self.record, self.old = read_record(self.folder) or Record(model, commit), read_record(target)
        self.record.model, self.record.commit = model, commit

    def has(self, name: str, key: str) -> bool:
        """Whether the file is here, verified: in the work folder, or in the one that is added to."""
        for record in filter(None, (self.record, self.old)):
            file = record.files.get(name, {})
            if file.get("key") == key and file.get("size") in (_size(self.folder / name), _size(self.target / name)):
                return True
        return False

    def n_here(self, name: str, key: str, size: int) -> int:
        """Bytes of the file that need not be fetched any more, as far as their number tells."""
        if self.has(name, key):
            return size
        return min(size, _size(self._part(name, key)) or 0)

    def part(self, name: str, key: str) -> Path:
        """Where the file grows; what another key left behind goes."""
        mine = self._part(name, key)
        with to_disk(mine):
            for other in self.folder.glob(f"{name}.*.part*"):
                if not other.name.startswith(mine.name):
                    other.unlink()
            stray = self.folder / name  # stopped between two lines of `keep`: it is only not yet in the record
            if stray.exists() and name not in self.record.files and not mine.exists():
                stray.replace(mine)
        return mine

    def _part(self, name: str, key: str) -> Path:
        return self.folder / f"{name}.{key[:16]}.part"

    def keep(self, part: Path, name: str, key: str, sha256: str | None = None) -> None:
        """A part that is whole becomes the file."""
        with to_disk(part):
            size = part.stat().st_size
            flush(part)
            part.replace(self.folder / name)
            self.record.files[name] = {"size": size, "key": key} | ({"sha256": sha256} if sha256 else {})
            self.record.write(self.folder)

    def write(self, name: str, data: bytes) -> None:
        """A small file at once."""
        part = self.folder / f"{name}.new"
        with to_disk(part):
            part.write_bytes(data)
        self.keep(part, name, hashlib.sha256(data).hexdigest())

    def publish(self, names: list[str]) -> None:
        """The folder takes its place; into one that stands there already its files go, in this order."""
        new = {name: self.record.files[name] for name in names if name in self.record.files}
        self.record.files = (self.old.files if self.old else {}) | new
        with to_disk(self.target):
            self.record.write(self.folder)
            for path in list(self.folder.iterdir()):
                if path.name not in (*new, RECORD):
                    path.unlink()
            flush(self.folder)
            if self.old is None:
                if self.target.exists():
                    self.target.rmdir()  # it is empty
                self.folder.rename(self.target)
            else:
                moved = [name for name in (*new, RECORD) if (self.folder / name).exists()]
                # Stopped in between, the old record must still be right: it lets go of what is about to be replaced.
                self.old.files = {name: file for name, file in self.old.files.items() if name not in moved}
                self.old.write(self.target)
                for name in moved:  # the record last: it says that all the others are there
                    (self.folder / name).replace(self.target / name)
                self.folder.rmdir()
                flush(self.target)
            flush(self.target.parent)


@contextmanager
def locked(target: Path, say: Callable[[str], None]) -> Iterator[None]:
    """One process at a time; the next waits, and then finds the work done. The system frees the lock of a dead process."""
    from filelock import Timeout
    from huggingface_hub.utils import WeakFileLock

    with to_disk(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    lock = beside(target).with_suffix(".lock")
    with contextlib.ExitStack() as stack:
        with naming(lock, doing="locked"):
            try:
                stack.enter_context(WeakFileLock(lock, timeout=0.2))
            except Timeout:
                say(f"{target}: another process is downloading it; waiting for it to end.")
                stack.enter_context(WeakFileLock(lock))
        with to_disk(target):
            beside(target).mkdir(exist_ok=True)
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                beside(target).rmdir()  # only where nothing is in it
            if not beside(target).exists():
                with contextlib.suppress(OSError):  # Windows keeps what is open
                    lock.unlink()


class Growing:
    """A .part file that grows by `write`, from what an earlier run left of it; every byte passes the hasher.

    Bytes with a published hash are simply hashed again. `careful`: without one, only those are trusted which were put on
    the disk for good, with their own hash written beside them: after a power cut a file may end in zeros.
    """

    def __init__(self, path: Path, size: int, hasher: Any, careful: bool = False):
        self.path, self.hasher, self.careful = path, hasher, careful
        self.note, self.n_safe = path.with_name(f"{path.name}.safe"), 0
        with to_disk(path):
            self.file = path.open("ab", buffering=0)
            self.n = self._left(size)

    def write(self, chunk: bytes) -> None:
        """Append; CheckpointError where the disk is full."""
        with to_disk(self.path):
            view = memoryview(chunk)
            while view:
                view = view[self.file.write(view) :]
        self.hasher.update(chunk)
        self.n += len(chunk)
        if self.careful and self.n - self.n_safe >= SAFE_EVERY:
            with to_disk(self.path):
                self._make_safe()

    def close(self) -> None:
        """Whatever happened: what has come stays."""
        try:
            if self.careful and self.n:
                with to_disk(self.path):
                    self._make_safe()
        finally:
            self.file.close()

    def _make_safe(self) -> None:
        os.fsync(self.file.fileno())
        new = self.note.with_suffix(".new")
        new.write_text(f"{self.n} {self.hasher.hexdigest()}", encoding="ascii")
        new.replace(self.note)
        self.n_safe = self.n

    def _left(self, size: int) -> int:
        """How many bytes of an earlier run are good; they are hashed, and what follows them goes."""
        n, wanted = self.path.stat().st_size, None
        if self.careful:
            try:
                text, wanted = self.note.read_text(encoding="ascii").split()
                n = min(n, int(text))
            except (OSError, ValueError):
                n = 0
        n = n if n <= size else 0
        start = self.hasher.copy()
        self._hash(n)
        if wanted is not None and self.hasher.hexdigest() != wanted:
            n, self.hasher = 0, start
        if n < self.path.stat().st_size:
            self.file.truncate(n)
        self.n_safe = n
        return n

    def _hash(self, n: int) -> None:
        with self.path.open("rb") as file:
            while n and (block := file.read(min(n, 2**20))):
                self.hasher.update(block)
                n -= len(block)


@contextmanager
def to_disk(path: Path) -> Iterator[None]:
    """A full disk, and whatever else a disk refuses, as a CheckpointError that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", None)):
            raise CheckpointError(
                f"{path}: the disk is full ({_free(path)}). What has come is kept: make room and run the same again."
            ) from error
        raise CheckpointError(f"{path}: cannot be written: {error.strerror or error}.") from error


def beside(target: Path) -> Path:
    """The work folder, on the same disk: a rename across disks is a copy, and not atomic."""
    return target.parent / f".{target.name}.download"


def existing(path: Path) -> Path:
    """The nearest folder that is there already."""
    return next(folder for folder in (path, *path.parents) if os.path.exists(folder))


def _free(path: Path) -> str:
    return f"{in_bytes(shutil.disk_usage(existing(path)).free)} free"


def _size(path: Path) -> int | None:
    return path.stat().st_size if os.path.isfile(path) else None
