"""Before the first byte of a download: is everything there that it needs, and how long will it take?"""

import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from minimistral.checkpoints.errors import CheckpointError
from minimistral.checkpoints.filling import existing
from minimistral.checkpoints.hub import SPARE, Order, in_cache, is_here, make_order, place_of, refuse_place
from minimistral.checkpoints.hub_client import Hub, Listing, RemoteFile
from minimistral.checkpoints.known_models import KnownModel, known_model, repo_of
from minimistral.doctor import Finding
from minimistral.memory import available_bytes, in_bytes

PROBE_BYTES, PROBE_SECONDS = 16 * 2**20, 3.0  # what the speed is measured with: whichever is over first


@dataclass(frozen=True)
class Preflight:
    """What was looked at, in the order in which a person would want to know. Bytes and seconds: None where not known."""

    repo: str
    target: Path
    findings: tuple[Finding, ...]
    is_done: bool = False  # it is here already
    n_missing: int | None = None  # bytes still to come
    seconds: float | None = None  # for them, at the measured speed

    @property
    def is_ready(self) -> bool:
        """Whether a download can begin."""
        return self.problem is None

    @property
    def problem(self) -> str | None:
        """The first thing that stands in the way."""
        return next((f"{f.what}: {f.found}" for f in self.findings if f.is_fine is False), None)

    def __str__(self) -> str:
        marks = {True: "ok", False: "problem", None: "note"}
        return "\n".join(f"{marks[f.is_fine]:>8}  {f.what:<10} {f.found}" for f in self.findings)


def preflight(
    model: str,
    to: str | os.PathLike | None = None,
    layers: int | Sequence[int] | None = None,
    *,
    revision: str | None = None,
    token: str | bool | None = None,
    endpoint: str | None = None,
    hub: Hub | None = None,
) -> Preflight:
    """Looks at place, hub, licence, token, disk, memory and speed. Arguments as for `download`.

    Fetches the list of files, of a part its headers too, and up to 16 MB that measure the speed; writes nothing.
    """
    hub = hub or Hub(endpoint=endpoint, token=token)
    hub = replace(hub, tries=min(hub.tries, 3), longest_wait=30.0)  # a look should not take minutes
    repo, known = repo_of(model), known_model(model)
    target = place_of(repo, to, layers)
    if is_here(target, repo, layers):
        return Preflight(repo, target, (Finding("place", f"{target}: is here already", True),), True, 0, 0.0)
    findings = [_place(target, repo, layers)]
    if to is None and (cached := in_cache(repo)) is not None:
        findings.append(Finding("cache", f"{cached} has it already: load and the chapters take it from there", None))
    started = time.perf_counter()
    try:
        listing = hub.listing(repo, revision)
    except CheckpointError as error:
        findings.append(_token(hub, None))
        if findings[-1].is_fine is not False:
            findings.append(Finding("hub", str(error), False))
        return Preflight(repo, target, tuple(findings))
    seconds = time.perf_counter() - started
    findings.append(Finding("hub", f"{hub.endpoint} answers ({seconds:.1f} s), commit {listing.commit[:12]}", True))
    findings += [_licence(listing, known), _token(hub, listing.gated)]
    what = "access"
    try:
        for name in {"config.json", "params.json"} & listing.files.keys():
            hub.read_small(listing, name)
        what = "files"
        order = make_order(hub, listing, layers)
    except CheckpointError as error:
        return Preflight(repo, target, (*findings, Finding(what, str(error), False)))
    speed, access = _speed(hub, order)
    n_missing = order.n_missing(target)
    findings += [access, _files(order, n_missing), _disk(target, n_missing), _memory(order)]
    seconds = n_missing / speed if speed else None
    if seconds is not None:
        findings.append(
            Finding("time", f"about {duration(seconds)} at {speed / 1e6:.1f} MB/s, measured just now", True)
        )
    return Preflight(repo, target, tuple(findings), False, n_missing, seconds)


def duration(seconds: float) -> str:
    """Time as people say it.

    >>> duration(4), duration(200), duration(8000)
    ('4 s', '3 min', '2 h 13 min')
    """
    if seconds < 99:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


def _place(target: Path, repo: str, layers: int | Sequence[int] | None) -> Finding:
    try:
        refuse_place(target, repo, layers)
    except CheckpointError as error:
        return Finding("place", str(error), False)
    return Finding("place", str(target), True)


def _licence(listing: Listing, known: KnownModel | None) -> Finding:
    licence = listing.licence or (known.licence if known else None)
    if licence is None:
        return Finding("licence", f"the hub names none; see the page of {listing.repo}", None)
    return Finding("licence", licence, True)


def _token(hub: Hub, gated: str | bool | None) -> Finding:
    try:
        if hub.has_token:
            return Finding("token", "there is one, and it is sent", True)
    except CheckpointError as error:
        return Finding("token", str(error), False)
    if gated:
        return Finding("token", "none, and this model asks for one: `hf auth login`, or set HF_TOKEN", None)
    return Finding("token", "none; a model that is not gated needs none", None if gated is None else True)


def _files(order: Order, n_missing: int) -> Finding:
    size, n = order.n_bytes, len(order.files)
    what = "" if order.part is None else f" for {_layers(order.part.layers)} of {order.part.n_layers}"
    here = f", of which {in_bytes(size - n_missing)} are here" if n_missing < size else ""
    return Finding("files", f"{in_bytes(size)} in {n} files{what}{here}", True)


def _layers(layers: list[int]) -> str:
    return f"layer {layers[0]}" if len(layers) == 1 else f"layers {', '.join(map(str, layers))}"


def _disk(target: Path, n_missing: int) -> Finding:
    free = shutil.disk_usage(existing(target)).free
    text = f"{in_bytes(free)} free, {in_bytes(n_missing)} needed"
    if free < n_missing + SPARE:
        return Finding(
            "disk",
            f"{text}, and {in_bytes(SPARE)} to spare: make room, or choose another disk with --to, or to=…",
            False,
        )
    return Finding("disk", text, True)


def _memory(order: Order) -> Finding:
    """A note where it is short: the files can still be fetched, and run in fewer bits or elsewhere."""
    needed = sum(file.size for file in order.files if file.name.endswith((".safetensors", ".bin", ".pt", ".pth")))
    free = available_bytes("cpu")
    if free is None:
        return Finding("memory", f"{in_bytes(needed)} as stored; this system does not say what is free", None)
    text = f"{in_bytes(free)} free here, {in_bytes(needed)} as stored"
    if free < needed:
        return Finding("memory", f"{text}: load it in fewer bits (quantize='int8' or 'int4'), or some layers", None)
    return Finding("memory", text, True)


class _Enough(Exception):
    """The probe has seen enough."""


def _speed(hub: Hub, order: Order) -> tuple[float | None, Finding]:
    """Bytes a second of the largest file's beginning, which is thrown away; and whether it may be read at all."""
    files = [s.file for part in order.part.files for s in part.stretches] if order.part else order.files
    file: RemoteFile = max(files, key=lambda one: one.size)
    started, n = time.perf_counter(), 0

    def count(chunk: bytes) -> None:
        nonlocal n
        n += len(chunk)
        if time.perf_counter() - started > PROBE_SECONDS:
            raise _Enough

    try:
        hub.stream(order.listing, file, 0, min(file.size, PROBE_BYTES), count)
    except _Enough:
        pass
    except CheckpointError as error:
        return None, Finding("access", str(error), False)
    return n / (time.perf_counter() - started), Finding("access", f"{file.name} can be read", True)
