"""What a machine has that decides which model runs on it, and how fast: memory, disk, and how fast memory is read."""

import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from minimistral.apple import has_apple_gpu
from minimistral.checkpoints.filling import existing
from minimistral.doctor import memory_bytes
from minimistral.memory import available_bytes

PROBE = 256 * 2**20  # bytes read to measure a bandwidth: larger than any CPU's cache


@dataclass(frozen=True)
class Gpu:
    """One accelerator. Sizes in bytes, bandwidths in bytes a second; a bandwidth is None where it was not measured."""

    name: str
    memory_total: int
    memory_free: int
    kind: str = "cuda"  # or "mps": an Apple GPU, whose memory is the machine's
    bandwidth: float | None = None  # its own memory, read and write together
    transfer: float | None = None  # from the machine's memory, pinned


@dataclass(frozen=True)
class Machine:
    """A machine, measured by `machine()`, or written down to plan for one that is not here.

    >>> Machine(cores=8, memory_total=16 * 10**9, memory_free=12 * 10**9, disk_free=10**11).gpus
    ()
    """

    cores: int
    memory_total: int  # bytes
    memory_free: int  # bytes a new program can have without swapping
    disk_free: int  # bytes, where downloads go
    gpus: tuple[Gpu, ...] = ()
    bandwidth: float | None = None  # bytes a second at which the cores read memory; None: not measured


def machine(measure: bool = True, folder: str | os.PathLike = ".") -> Machine:
    """This machine. With `measure` its bandwidths too (about a second); `folder` is where a download would go."""
    free = available_bytes(torch.device("cpu"))
    total = memory_bytes() or free or 0  # a system may say neither
    free = total if free is None else min(free, total)
    return Machine(
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        memory_total=total,
        memory_free=free,
        disk_free=shutil.disk_usage(existing(Path(folder).expanduser())).free,
        gpus=tuple(_gpus(measure, total, free)),
        bandwidth=measured_bandwidth(torch.device("cpu")) if measure else None,
    )


def measured_bandwidth(device: torch.device) -> float:
    """Bytes a second of this device's memory: the best of several reads of 256 MiB.

    On a CPU a matrix times a vector, which is what decoding does, with torch's threads; on a GPU a copy, whose reads and
    writes both count.
    """
    if device.type == "cpu":
        n = int((PROBE // 4) ** 0.5)
        matrix, vector = torch.ones(n, n), torch.ones(n)
        return matrix.nbytes / _best(lambda: torch.mv(matrix, vector))
    block = torch.ones(PROBE, dtype=torch.uint8, device=device)
    target = torch.empty_like(block)
    times = 8  # one copy takes a tenth of a millisecond, and waiting for its end a good part of that again

    def copies() -> None:
        for _ in range(times):
            target.copy_(block)

    return 2 * times * block.nbytes / _best(copies, device)


def _gpus(measure: bool, memory_total: int, memory_free: int) -> list[Gpu]:
    if torch.cuda.is_available():
        return [_cuda(i, measure) for i in range(torch.cuda.device_count())]
    if has_apple_gpu():
        bandwidth = measured_bandwidth(torch.device("mps")) if measure else None
        return [Gpu("Apple GPU", memory_total, memory_free, "mps", bandwidth, bandwidth)]
    return []


def _cuda(index: int, measure: bool) -> Gpu:
    device = torch.device("cuda", index)
    free, total = torch.cuda.mem_get_info(device)
    bandwidth = transfer = None
    if measure and free > 3 * PROBE:
        bandwidth = measured_bandwidth(device)
        pinned = torch.ones(PROBE, dtype=torch.uint8).pin_memory()
        target = torch.empty(PROBE, dtype=torch.uint8, device=device)
        transfer = PROBE / _best(lambda: target.copy_(pinned, non_blocking=True), device)
        del target
        torch.cuda.empty_cache()  # torch would keep what was measured with, and other processes may want it
    return Gpu(torch.cuda.get_device_name(device), total, free, "cuda", bandwidth, transfer)


def _best(work: Callable[[], object], device: torch.device | None = None, repeats: int = 5) -> float:
    """Seconds of the fastest of several runs: whatever else the machine does only ever adds."""
    seconds = []
    for _ in range(repeats + 1):
        started = time.perf_counter()
        work()
        if device is not None:
            torch.accelerator.synchronize(device)
        seconds.append(time.perf_counter() - started)
    return min(seconds[1:])
