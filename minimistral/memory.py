"""How much memory a model needs, and how much there is: asked before loading, so that nobody is killed half way."""

import ctypes
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import torch

from minimistral.config import ModelConfig

BITS = {"int8": 8, "int4": 4}
GROUP = 32  # int4: weights that share a scale of two bytes
WORK = 64 * 2**20  # bytes: a few float32 blocks while quantizing, and what the allocator keeps
CONTEXT = 4096  # tokens that the cache is counted for unless the caller says otherwise
READING = 512  # tokens of a prompt that are read at a time: their activations need memory too
ROOM = 0.92  # of the free memory, for what is planned or advised: the rest is for the allocator, kernels, neighbours


def weight_bytes(config: ModelConfig, dtype: str | torch.dtype, quantize: str | None = None) -> int:
    """Bytes of a model's weights in `dtype`, its matrices quantized to "int8" or "int4" or not (None).

    Embeddings, norms and the router's gate are never quantized, and neither is a head tied to the embeddings.

    >>> round(weight_bytes(ModelConfig.preset("mistral-7b-v0.1"), "bfloat16") / 1e9, 1)
    14.5
    """
    itemsize = _itemsize(dtype)
    count = config.count_parameters()
    if quantize is None:
        return count.total * itemsize
    if quantize not in BITS:
        raise ValueError(f"quantize={quantize!r}: choose 'int8', 'int4' or None.")
    quantized = _quantized(config)
    scales = 4 * quantized_rows(config) if quantize == "int8" else 2 * quantized // GROUP
    return (count.total - quantized) * itemsize + quantized * BITS[quantize] // 8 + scales


def expert_bytes(config: ModelConfig, dtype: str | torch.dtype, quantize: str | None = None) -> int:
    """Of a mixture's weights those of its experts, in all layers: what one more adds, times their number."""
    more = replace(config, moe=replace(config.moe, num_experts=config.moe.num_experts + 1))
    one = weight_bytes(more, dtype, quantize) - weight_bytes(config, dtype, quantize)
    gate = config.n_layers * config.dim * _itemsize(dtype)
    return config.moe.num_experts * (one - gate)


def bytes_needed(config: ModelConfig, dtype: str | torch.dtype, quantize: str | None = None) -> int:
    """Memory that holds the model, and what loading and running it take beside that (the cache is not in it).

    Quantizing reads one matrix at a time, so the largest is counted; a CPU's int4 kernel stores each scale with a zero.
    """
    needed = weight_bytes(config, dtype, quantize) + WORK
    if quantize is None:
        return needed
    largest = config.dim * max(config.vocab_size, config.hidden_dim, config.n_heads * config.head_dim)
    return needed + largest * _itemsize(dtype) + (2 * _quantized(config) // GROUP if quantize == "int4" else 0)


def cache_bytes(config: ModelConfig, dtype: str | torch.dtype, context: int) -> int:
    """Bytes of keys and values of one text: 2 · L · G · D · min(W, context) numbers."""
    n_slots = min(config.sliding_window or context, context)
    return 2 * config.n_layers * config.n_kv_heads * config.head_dim * n_slots * _itemsize(dtype)


def whole_bytes(config: ModelConfig, dtype: str | torch.dtype, quantize: str | None, context: int = CONTEXT) -> int:
    """Memory to run the whole model: weights, what loading takes beside them, the cache, and a prompt's activations."""
    widest = max(config.vocab_size, 4 * config.dim + 3 * config.hidden_dim)
    reading = 4 * min(READING, context) * widest
    return bytes_needed(config, dtype, quantize) + cache_bytes(config, dtype, context) + reading


def in_bytes(n_bytes: float, digits: int = 2) -> str:
    """A number of bytes as people say it: GB (10⁹) as soon as two digits of it can be seen, else MB (10⁶).

    >>> in_bytes(14_483_464_192), in_bytes(14_483_464_192, digits=1), in_bytes(270_000)
    ('14.48 GB', '14.5 GB', '0.3 MB')
    """
    if n_bytes >= 10 ** (10 - digits):
        return f"{n_bytes / 1e9:.{digits}f} GB"
    return f"{n_bytes / 1e6:.1f} MB"


def _quantized(config: ModelConfig) -> int:
    """Weights that quantizing changes."""
    return sum(config.count_parameters().parts[name] for name in ("attention", "feed_forward", "output"))


def quantized_rows(config: ModelConfig) -> int:
    """Rows of all quantized matrices: each has a scale of its own in int8."""
    attention = (config.n_heads + 2 * config.n_kv_heads) * config.head_dim + config.dim
    n_experts = config.moe.num_experts if config.moe else 1
    feed_forward = n_experts * (2 * config.hidden_dim + config.dim)
    return config.n_layers * (attention + feed_forward) + (0 if config.tie_embeddings else config.vocab_size)


def available_bytes(device: str | torch.device = "cpu") -> int | None:
    """Bytes that a program can have now on this device without swapping; None where the system does not say.

    CPU: what the system calls available, or what a container's limit leaves if that is less. CUDA: free memory of the
    GPU, and what torch holds of it without using it. Apple's GPU shares the machine's memory.
    """
    device = torch.device(device)
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + unused
    if device.type == "meta":
        return None
    found = [n for n in (_system_available(), _cgroup_available()) if n is not None]
    return min(found, default=None)


def _system_available() -> int | None:
    try:
        if sys.platform == "linux":
            return _linux(Path("/proc/meminfo").read_text(encoding="ascii"))
        if sys.platform == "darwin":
            return _darwin(subprocess.run(["vm_stat"], capture_output=True, text=True, timeout=5, check=True).stdout)
        if sys.platform == "win32":
            return _windows()
    except (OSError, ValueError, subprocess.SubprocessError):
        pass  # an estimate that cannot be made must not stop anybody
    return None


def _linux(meminfo: str) -> int | None:
    """MemAvailable counts free memory and the file cache that can be given back (man 5 proc_meminfo)."""
    found = re.search(r"^MemAvailable:\s+(\d+) kB", meminfo, re.MULTILINE)
    return None if found is None else int(found[1]) * 1024


def _darwin(vm_stat: str) -> int | None:
    """Pages that are free or can be freed without writing them out (man 1 vm_stat)."""
    size = re.search(r"page size of (\d+) bytes", vm_stat)
    pages = re.findall(r"^Pages (?:free|inactive|speculative|purgeable):\s+(\d+)\.", vm_stat, re.MULTILINE)
    return int(size[1]) * sum(map(int, pages)) if size and pages else None


def _windows() -> int | None:
    """ullAvailPhys of GlobalMemoryStatusEx (learn.microsoft.com, MEMORYSTATUSEX)."""

    class Status(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ulong), ("load", ctypes.c_ulong)] + [
            (name, ctypes.c_ulonglong)
            for name in ("total", "available", "total_page", "page", "total_virtual", "virtual", "extended")
        ]

    status = Status(length=ctypes.sizeof(Status))
    return status.available if ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status)) else None


def _cgroup_available(root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> int | None:
    """What the tightest limit on this process's control groups leaves; None where there is none.

    Version 2 keeps memory.max and memory.current in the group's folder and in those above it, version 1
    memory.limit_in_bytes and memory.usage_in_bytes under memory/. Usage counts the file cache too, so what the kernel can
    give back (inactive_file in memory.stat) is added. Source: docs.kernel.org/admin-guide/cgroup-v2.html.
    """
    try:
        lines = own.read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    left = []
    for _, controllers, path in (line.split(":", 2) for line in lines if line.count(":") >= 2):
        if controllers == "":
            base, limit_name, usage_name, stat_name = root, "memory.max", "memory.current", "inactive_file"
        elif "memory" in controllers.split(","):
            base, limit_name, usage_name = root / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes"
            stat_name = "total_inactive_file"
        else:
            continue
        folder = base / path.lstrip("/")
        for place in (folder, *folder.parents):
            limit, usage = _number(place / limit_name), _number(place / usage_name)
            if limit is not None and usage is not None and limit < 2**60:  # version 1 writes a huge number for "none"
                left.append(max(0, limit - usage + _statistic(place / "memory.stat", stat_name)))
            if place == base:
                break
    return min(left, default=None)


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):  # no such file, or "max"
        return None


def _statistic(path: Path, name: str) -> int:
    try:
        found = re.search(rf"^{name} (\d+)$", path.read_text(encoding="ascii"), re.MULTILINE)
    except (OSError, ValueError):
        return 0
    return 0 if found is None else int(found[1])


def _itemsize(dtype: str | torch.dtype) -> int:
    found = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
    if not isinstance(found, torch.dtype):
        raise ValueError(f"dtype={dtype!r}: give a torch dtype or its name, such as 'bfloat16'.")
    return found.itemsize
