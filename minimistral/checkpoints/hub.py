"""Getting a model, or a part of one, from the Hugging Face hub.

    download("mistral-7b-v0.1")                       # 14.5 GB
    download("mistral-7b-v0.1", layers=1)             # embeddings, layer 0, norm and head: 0.96 GB

A folder appears when it is whole and every file has the hash that the hub published; until then it is beside its place,
hidden, and the same call goes on from there (filling.py). Of a part, no hash is published: its bytes are asked for by
commit and by the hash of the file they are cut from, and their number and headers are checked.
"""

import hashlib
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm.auto import tqdm

from minimistral.checkpoints.catalog import read_catalog
from minimistral.checkpoints.errors import CheckpointError, listed, naming
from minimistral.checkpoints.filling import Filling, Growing, existing, locked, read_record
from minimistral.checkpoints.folder import find_checkpoint
from minimistral.checkpoints.hub_client import Hub, Listing, RemoteFile, hub_library
from minimistral.checkpoints.json_files import read_json
from minimistral.checkpoints.known_models import repo_of
from minimistral.checkpoints.parts import PartFile, PartPlan, plan_part, read_config_of, read_index_of
from minimistral.checkpoints.place import files_worth_having
from minimistral.checkpoints.read import chosen_layers
from minimistral.memory import in_bytes

SPARE = 100_000_000  # bytes to leave free on the disk


@dataclass(frozen=True)
class Order:
    """What is to be fetched: whole files, or a part with the small files beside it, the config last."""

    listing: Listing
    files: tuple[RemoteFile | PartFile, ...]
    part: PartPlan | None = None

    @property
    def n_bytes(self) -> int:
        """Bytes in all."""
        return sum(file.size for file in self.files)

    def n_missing(self, target: Path) -> int:
        """Bytes that are not here yet, neither in the folder nor in what an earlier run left."""
        here = Filling(target, "", "")
        return sum(file.size - here.n_here(file.name, key(file), file.size) for file in self.files)


def download(
    model: str,
    to: str | os.PathLike | None = None,
    layers: int | Sequence[int] | None = None,
    *,
    revision: str | None = None,
    token: str | bool | None = None,
    endpoint: str | None = None,
    progress: bool = True,
    hub: Hub | None = None,
) -> Path:
    """The folder with a model, fetched if it is not there: a known model's name or a hub id.

    to: the folder to make; default: in Hugging Face's own (HF_HOME), under minimistral. layers: only these, as `load`
    takes them; a folder that has some gets the others. revision: a commit, branch or tag. CheckpointError says what was
    asked, what came and what to do.
    """
    hub = hub or Hub(endpoint=endpoint, token=token, say=_say)
    repo = repo_of(model)
    target = place_of(repo, to, layers)
    if is_here(target, repo, layers, revision):
        return target
    refuse_place(target, repo, layers)
    order = make_order(hub, hub.listing(repo, revision), layers)
    with locked(target, hub.say):
        if is_here(target, repo, layers, revision):  # another process was quicker
            return target
        refuse_place(target, repo, layers)  # or it put something else there
        _refuse_another_version(target, order)
        if is_here(target, repo, layers):  # of the revision that was asked for, by another name
            return target
        _refuse_small_disk(target, order)
        filling = Filling(target, repo, order.listing.commit)
        title = repo.split("/")[-1]
        with tqdm(total=order.n_bytes, desc=title, unit="B", unit_scale=True, disable=not progress) as bar:
            for file in order.files:
                fetch = _fetch_part if isinstance(file, PartFile) else _fetch_whole
                fetch(hub, order.listing, file, filling, bar)
        _publish(filling, order)
    return target


def find_or_download(model: str, layers: int | Sequence[int] | None = None) -> Path:
    """What `load` does with a hub id: a folder that is here, whole or with these layers, else a download."""
    repo = repo_of(model)
    wholes = [place_of(repo)] if layers is None else [place_of(repo), place_of(repo, layers=layers)]
    for folder in wholes:
        if is_here(folder, repo, layers):
            return folder
    return in_cache(repo) or download(repo, layers=layers)


def in_cache(repo: str) -> Path | None:
    """The model in Hugging Face's own cache, where other programs put it; None where it is not, or not wholly."""
    try:
        # Not snapshot_download: since version 1.22 it wants every file of the repository, those that nobody reads too.
        cached = [hub_library().try_to_load_from_cache(repo, name) for name in ("config.json", "params.json")]
        folder = next((Path(path).parent for path in cached if isinstance(path, str)), None)
        if folder is not None:
            read_catalog(find_checkpoint(folder).weights)  # a download that was interrupted leaves a part
        return folder
    except CheckpointError as error:
        if "pip install" in str(error):
            raise
    except Exception:  # its error types differ between versions
        pass
    return None


def place_of(repo: str, to: str | os.PathLike | None = None, layers: int | Sequence[int] | None = None) -> Path:
    """Where a model goes: `to`, or a folder of its own among Hugging Face's."""
    if to is not None:
        if not isinstance(to, (str, os.PathLike)):
            raise ValueError(f"to={to!r}: give the folder to make, or None for one among Hugging Face's own.")
        return Path(os.path.realpath(os.path.expanduser(to)))
    name = repo.replace("/", "--") + ("" if layers is None else "--part")
    return Path(hub_library("constants").HF_HOME).expanduser() / "minimistral" / name


def is_here(target: Path, repo: str, layers: int | Sequence[int] | None = None, revision: str | None = None) -> bool:
    """Whether the folder holds what is asked for, all of it. No network, so of revisions only commits are known."""
    record = read_record(target)
    if record is None or record.model.lower() != repo.lower() or not record.is_whole(target):
        return False
    if revision not in (None, record.commit):
        return False
    if record.layers is None:
        return True
    return layers is not None and set(chosen_layers(layers, record.n_layers)) <= set(record.layers)


def refuse_place(target: Path, repo: str, layers: int | Sequence[int] | None = None) -> None:
    """CheckpointError where the folder holds something else, which is never touched, or cannot be made."""
    parent = existing(target.parent)  # the work folder is beside the target, and takes its place by a rename
    if not parent.is_dir():
        raise CheckpointError(f"{target}: {parent} is a file. Choose another place: --to, or to=….")
    _refuse_closed(parent, target)
    if target.parent == target or os.path.ismount(target):
        raise CheckpointError(
            f"{target}: is where a disk begins, and the model wants a folder on it. Choose one, such as "
            f"{target / repo.split('/')[-1]}: --to, or to=…."
        )
    if not os.path.lexists(target):
        return
    if not target.is_dir():
        raise CheckpointError(f"{target}: is a file, and a model is a folder. Choose another place: --to, or to=….")
    with naming(target):
        names = sorted(path.name for path in target.iterdir())
    if not names:
        return
    record = read_record(target)
    if record is None:
        raise CheckpointError(f"{target}: already holds {listed(names)}. Choose another folder: --to, or to=….")
    held = "the whole" if record.layers is None else f"layers {listed([*map(str, record.layers)], most=40)} of"
    if record.model.lower() != repo.lower() or (layers is None and record.layers is not None):
        wanted = "the whole model is asked for" if record.model.lower() == repo.lower() else f"{repo} is asked for"
        raise CheckpointError(
            f"{target}: holds {held} {record.model}, and {wanted}. Choose another folder: --to, or to=…."
        )
    if not record.is_whole(target):
        raise CheckpointError(
            f"{target}: was {held} {record.model}, and a file has gone or changed its size since. Remove the folder, and "
            "run the same again."
        )
    _refuse_closed(target, target)


def _refuse_closed(folder: Path, target: Path) -> None:
    if not os.access(folder, os.W_OK | os.X_OK):
        raise CheckpointError(f"{target}: this user may not write in {folder}. Choose another place: --to, or to=….")


def make_order(hub: Hub, listing: Listing, layers: int | Sequence[int] | None = None) -> Order:
    """Chooses from what the hub has; reads the config, and the index or a part's headers. CheckpointError where `load`
    would refuse what comes."""
    repo, names = listing.repo, files_worth_having(sorted(listing.files))
    if layers is not None:
        plan = plan_part(hub, listing, layers)
        small = [listing.files[name] for name in names if name.startswith("tokenizer")]
        return Order(listing, (*small, *plan.files, plan.config), plan)
    weights = [name for name in names if name.endswith((".safetensors", ".bin", ".pt", ".pth"))]
    if not weights:
        raise CheckpointError(
            f"{repo}: holds no weights, with their config, in a layout that this library reads. The hub lists "
            f"{listed(sorted(listing.files), most=12)}."
        )
    read_config_of(hub, listing, "native" if weights[0].startswith("consolidated") else "hub")
    if index := next((name for name in names if name.endswith(".index.json")), None):
        placed = set(read_index_of(hub, listing, index).values())  # others are of an earlier version, cut otherwise
        names = [name for name in names if name not in weights or name in placed]
    # Nothing can be mistaken for a model before its index and its config are there.
    names.sort(key=lambda name: (name in ("config.json", "params.json"), name.endswith(".index.json")))
    return Order(listing, tuple(listing.files[name] for name in names))


def key(file: RemoteFile | PartFile) -> str:
    """What the file's bytes follow from."""
    return file.key if isinstance(file, PartFile) else file.hash


def _fetch_whole(hub: Hub, listing: Listing, file: RemoteFile, filling: Filling, bar: tqdm) -> None:
    if filling.has(file.name, file.hash):
        bar.update(file.size)
        return
    for _ in range(2):
        path = filling.part(file.name, file.hash)
        growing = Growing(path, file.size, file.hasher())
        _grow(hub, listing, growing, [(file, 0, file.size)], bar)
        if growing.hasher.hexdigest() == file.hash:
            filling.keep(path, file.name, file.hash)
            return
        path.unlink()
        bar.update(-file.size)
        hub.say(f"{listing.repo}: {file.name} came with wrong bytes; fetching it again.")
    raise CheckpointError(
        f"{listing.repo}: {file.name} came twice with other bytes than the hub lists (hash {growing.hasher.hexdigest()[:12]}… "
        f"instead of {file.hash[:12]}…). It is not kept. Try another connection, or later."
    )


def _fetch_part(hub: Hub, listing: Listing, part: PartFile, filling: Filling, bar: tqdm) -> None:
    if filling.has(part.name, part.key):
        bar.update(part.size)
        return
    path = filling.part(part.name, part.key)
    growing = Growing(path, part.size, hashlib.sha256(), careful=True)
    _grow(hub, listing, growing, [(s.file, s.start, s.end) for s in part.stretches], bar, part.header)
    filling.keep(path, part.name, part.key, growing.hasher.hexdigest())


def _grow(
    hub: Hub,
    listing: Listing,
    growing: Growing,
    stretches: list[tuple[RemoteFile, int, int]],
    bar: tqdm,
    header: bytes = b"",
) -> None:
    """The header, then the stretches one after the other, from where the file ends."""

    def write(chunk: bytes) -> None:
        growing.write(chunk)
        bar.update(len(chunk))

    try:
        bar.update(growing.n)
        if growing.n < len(header):
            write(header[growing.n :])
        at = len(header)
        for file, start, end in stretches:
            n_done = min(max(0, growing.n - at), end - start)
            hub.stream(listing, file, start + n_done, end, write)
            at += end - start
    finally:
        growing.close()


def _publish(filling: Filling, order: Order) -> None:
    plan, record, old = order.part, filling.record, filling.old
    names = [file.name for file in order.files]
    record.layers, record.n_layers, record.sources = None, None, {}
    if plan is not None:
        index = f"{plan.stem}.safetensors.index.json"
        before = read_json(filling.target / index)["weight_map"] if old else {}
        filling.write(index, plan.index(before))
        names.append(index)
        record.layers = sorted({*plan.layers, *(old.layers if old else ())})
        record.n_layers = plan.n_layers
        record.sources = (old.sources if old else {}) | plan.sources
    filling.publish(names)


def _refuse_another_version(target: Path, order: Order) -> None:
    """Layers of two versions of a model would make a third one that nobody trained."""
    old, files = read_record(target), order.listing.files
    if old is None or old.commit == order.listing.commit:
        return
    if old.layers is None:
        raise CheckpointError(
            f"{target}: holds commit {old.commit[:12]} of {old.model}, and {order.listing.commit[:12]} is asked for. Choose "
            "another folder: --to, or to=…."
        )
    for name, hash_then in old.sources.items():
        if name not in files or files[name].hash != hash_then:
            raise CheckpointError(
                f"{target}: its layers are from commit {old.commit[:12]} of {old.model}, and {name} has changed on the hub "
                f"since. Pass revision='{old.commit}' for more layers of that one, or choose another folder."
            )


def _refuse_small_disk(target: Path, order: Order) -> None:
    free, needed = shutil.disk_usage(existing(target)).free, order.n_missing(target)
    if free < needed + SPARE:
        raise CheckpointError(
            f"{target}: {in_bytes(needed)} are still to come, and its disk has {in_bytes(free)} free, of which "
            f"{in_bytes(SPARE)} should stay so. Make room, or choose another disk: --to, or to=…."
        )


def _say(message: str) -> None:
    tqdm.write(message, file=sys.stderr)
