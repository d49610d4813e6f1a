"""How to run a model on a machine: on what, in how many bits, how much of it, and how fast that should be.

The speed is the roofline of decoding at batch 1: every weight that a token passes through is read once, and so is the
cache, so tokens a second are at most bandwidth / bytes. Source: Williams et al., "Roofline", CACM 52(4), 2009.
"""

import os
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from minimistral.config import PRESETS, ModelConfig
from minimistral.machine import Gpu, Machine
from minimistral.machine import machine as this_machine
from minimistral.memory import GROUP, bytes_needed, weight_bytes

CONTEXT = 4096  # tokens that the cache is counted for unless the caller says otherwise
READING = 512  # tokens of a prompt that are read at a time: their activations need memory too
ROOM = 0.92  # of the free memory: the rest is for the allocator, the kernels and the neighbours
SMALL = 10**9  # bytes in float32: so small a model runs on a CPU as it is
DISK = 1.5e9  # bytes a second, assumed where experts come from a disk
BITS = {None: "16-bit", "int8": "8-bit", "int4": "4-bit"}


@dataclass(frozen=True)
class Plan:
    """What `load` and its neighbours are to be called with, and why.

    device: "cpu", "cuda" or "mps". dtype: a torch dtype's name. quantize: None, "int8" or "int4". offload: None, "host"
    (experts in the machine's memory) or "disk" (experts read from the file). n_gpus: GPUs, one process each under
    torchrun; 0 on a CPU. layers: None for the whole model, else how many of its first layers fit. bytes_needed: weights,
    cache and working memory on the device (all GPUs together). tokens_per_second: at most, writing one text with a short
    context; None where the bandwidth is not known, or the model is not whole.
    """

    device: str
    dtype: str
    quantize: str | None
    offload: str | None
    n_gpus: int
    layers: int | None
    bytes_needed: int
    tokens_per_second: float | None
    why: str

    def describe(self) -> str:
        """One line for a reader."""
        if self.tokens_per_second is None:
            return self.why
        return f"{self.why} At most about {_digits(self.tokens_per_second)} tokens a second."


def plan(model: str | os.PathLike | ModelConfig, machine: Machine | None = None, context: int = CONTEXT) -> Plan:
    """The best way to run `model` (a preset's name, a checkpoint's folder or a config) on `machine` (default: this one).

    On GPUs: 16 bits on one, 16 bits over several, 8 bits on one, 8 bits over several, 4 bits, and for a mixture 4 bits
    with its experts outside. On a CPU: 8 bits, 4 bits, and for a mixture experts from disk. Where nothing fits: as many
    of the first layers as do, in 16 bits. The cache is counted for `context` tokens. ValueError says what is wrong.
    """
    if isinstance(context, bool) or not isinstance(context, int) or context < 1:
        raise ValueError(f"context={context!r}: give the number of tokens that the cache must hold, 1 or more.")
    if machine is not None and not isinstance(machine, Machine):
        raise ValueError(f"machine={machine!r}: give a minimistral.machine.Machine, or None for this one.")
    config = _config(model)
    here = this_machine() if machine is None else machine
    if _is_folder(model):
        here = replace(here, disk_free=here.disk_free + weight_bytes(config, "bfloat16"))  # it is there already
    if here.disk_free >= weight_bytes(config, "bfloat16"):
        for candidate in (_on_cuda, _on_apple, _on_cpu):
            if found := candidate(config, here, context):
                return found
    return _first_layers(config, here, context)


def read_bytes(config: ModelConfig, dtype: str, quantize: str | None = None, context: int = 1) -> int:
    """Bytes that writing one token reads: the weights it passes through, and keys and values of `context` tokens."""
    idle = 0 if config.moe is None else _expert_bytes(config, dtype, quantize) * _idle_share(config)
    embeddings = 0 if config.tie_embeddings else config.vocab_size * config.dim * _itemsize(dtype)  # one row is read
    return weight_bytes(config, dtype, quantize) - int(idle) - embeddings + cache_bytes(config, dtype, context)


def cache_bytes(config: ModelConfig, dtype: str, context: int) -> int:
    """Bytes of keys and values of one text: 2 · L · G · D · min(W, context) numbers."""
    n_slots = min(config.sliding_window or context, context)
    return 2 * config.n_layers * config.n_kv_heads * config.head_dim * n_slots * _itemsize(dtype)


def whole_bytes(config: ModelConfig, dtype: str, quantize: str | None, context: int) -> int:
    """Memory to run the whole model: weights, what loading takes beside them, the cache, and a prompt's activations."""
    widest = max(config.vocab_size, 4 * config.dim + 3 * config.hidden_dim)
    reading = 4 * min(READING, context) * widest
    return bytes_needed(config, dtype, quantize) + cache_bytes(config, dtype, context) + reading


def _on_cuda(config: ModelConfig, here: Machine, context: int) -> Plan | None:
    gpus = [gpu for gpu in here.gpus if gpu.kind == "cuda"]
    if not gpus:
        return None
    counts = [n for n in range(1, len(gpus) + 1) if config.n_kv_heads % n == 0]
    for quantize in (None, "int8", "int4"):
        needed = whole_bytes(config, "bfloat16", quantize, context)
        for n in counts:
            largest = sorted(gpus, key=lambda gpu: gpu.memory_free, reverse=True)[:n]
            if needed / n <= ROOM * largest[-1].memory_free:
                return _gpu_plan(config, largest, quantize, needed)
    return _experts_outside(config, here, max(gpus, key=lambda gpu: gpu.memory_free), context)


def _gpu_plan(config: ModelConfig, gpus: list[Gpu], quantize: str | None, needed: int) -> Plan:
    n = len(gpus)
    where = f"one {gpus[0].name}" if n == 1 else f"{n} GPUs, each with {1 / n:.0%} of it (torchrun)"
    why = f"The whole model with {BITS[quantize]} weights takes {_gb(needed)} and fits on {where}."
    speed = None if gpus[-1].bandwidth is None else n * gpus[-1].bandwidth / read_bytes(config, "bfloat16", quantize)
    return Plan("cuda", "bfloat16", quantize, None, n, None, needed, speed, why)


def _experts_outside(config: ModelConfig, here: Machine, gpu: Gpu, context: int) -> Plan | None:
    """A mixture whose experts stay in the machine's memory or on disk, as many as possible kept on the GPU."""
    if config.moe is None:
        return None
    experts = _expert_bytes(config, "bfloat16", "int4")
    rest = whole_bytes(config, "bfloat16", "int4", context) - experts
    room = ROOM * gpu.memory_free - rest
    if room < 2 * config.moe.num_experts_per_tok * experts / (config.n_layers * config.moe.num_experts):
        return None
    place = "host" if experts <= ROOM * here.memory_free else "disk"
    source = "the machine's memory" if place == "host" else "the file"
    kept = min(1.0, room / experts)
    fetch = (gpu.transfer if place == "host" else DISK) or DISK
    missed = _chosen_bytes(config, "int4" if place == "host" else None) * (1 - kept)
    speed = None
    if gpu.bandwidth is not None:
        read = read_bytes(config, "bfloat16", "int4")
        speed = 1 / (read / gpu.bandwidth + missed / fetch)
    why = (
        f"Even with 4-bit weights it takes {_gb(rest + experts)}, and {gpu.name} has {_gb(gpu.memory_free)} free: its experts "
        f"stay in {source}, and {kept:.0%} of them fit on the GPU at a time."
    )
    return Plan("cuda", "bfloat16", "int4", place, 1, None, int(rest + kept * experts), speed, why)


def _on_apple(config: ModelConfig, here: Machine, context: int) -> Plan | None:
    """An Apple GPU in 16 bits: its memory is the machine's, and 8 bits are as fast on its cores (see quantize.py)."""
    gpus = [gpu for gpu in here.gpus if gpu.kind == "mps"]
    needed = whole_bytes(config, "bfloat16", None, context)
    if not gpus or needed > ROOM * here.memory_free:
        return None
    speed = None if gpus[0].bandwidth is None else gpus[0].bandwidth / read_bytes(config, "bfloat16")
    why = f"The whole model with 16-bit weights takes {_gb(needed)} and fits in the memory of the {gpus[0].name}."
    return Plan("mps", "bfloat16", None, None, 1, None, needed, speed, why)


def _on_cpu(config: ModelConfig, here: Machine, context: int) -> Plan | None:
    free = ROOM * here.memory_free
    if weight_bytes(config, "float32") <= SMALL and whole_bytes(config, "float32", None, context) <= free:
        return _cpu_plan(config, here, "float32", None, context, "is small enough for the CPU as it is")
    for quantize in ("int8", "int4"):
        if _fits_groups(config, quantize) and whole_bytes(config, "bfloat16", quantize, context) <= free:
            return _cpu_plan(
                config, here, "bfloat16", quantize, context, f"with {BITS[quantize]} weights fits in memory"
            )
    if config.moe is None:
        return None
    experts = _expert_bytes(config, "bfloat16", "int4")
    rest = whole_bytes(config, "bfloat16", "int4", context) - experts
    kept = min(1.0, (free - rest) / experts)
    if kept * config.n_layers * config.moe.num_experts < 2 * config.moe.num_experts_per_tok:
        return None
    speed = None
    if here.bandwidth is not None:
        missed = _chosen_bytes(config, None) * (1 - kept)  # the file's are not quantized yet
        speed = 1 / (read_bytes(config, "bfloat16", "int4") / here.bandwidth + missed / DISK)
    why = (
        f"It takes {_gb(rest + experts)} even with 4-bit weights, and {_gb(here.memory_free)} are free: its experts are read "
        f"from the file as they are chosen, and {kept:.0%} of them are kept. Slow, and it works."
    )
    return Plan("cpu", "bfloat16", "int4", "disk", 0, None, int(rest + kept * experts), speed, why)


def _cpu_plan(config: ModelConfig, here: Machine, dtype: str, quantize: str | None, context: int, how: str) -> Plan:
    needed = whole_bytes(config, dtype, quantize, context)
    speed = None if here.bandwidth is None else here.bandwidth / read_bytes(config, dtype, quantize)
    gpu = " No GPU that torch can use has room for it." if here.gpus else ""
    why = f"The whole model ({_gb(needed)}) {how}, {_gb(here.memory_free)} of which are free.{gpu}"
    return Plan("cpu", dtype, quantize, None, 0, None, needed, speed, why)


def _first_layers(config: ModelConfig, here: Machine, context: int) -> Plan:
    """What is left: embeddings, head, and as many layers as memory and disk have room for; at least one is planned."""
    one, none = replace(config, n_layers=1), weight_bytes(replace(config, n_layers=1), "bfloat16")
    layer = weight_bytes(replace(config, n_layers=2), "bfloat16") - none
    room = min(ROOM * here.memory_free, here.disk_free) - whole_bytes(one, "bfloat16", None, context)
    n = max(1, min(config.n_layers - 1, 1 + int(room // layer)))
    part = replace(config, n_layers=n)
    needed = whole_bytes(part, "bfloat16", None, context)
    what = "first layer" if n == 1 else f"first {n} layers"
    on_disk, in_memory = weight_bytes(config, "bfloat16"), whole_bytes(config, "bfloat16", "int4", context)
    if here.disk_free < on_disk:
        reason = f"The whole model takes {_gb(on_disk)} of disk, and {_gb(here.disk_free)} are free"
    else:
        reason = f"The whole model takes {_gb(in_memory)} even with 4-bit weights, and {_gb(here.memory_free)} are free"
    why = f"{reason}: its {what}, {_gb(needed)}, can be run and looked at."
    return Plan("cpu", "bfloat16", None, None, 0, n, needed, None, why)


def _config(model: str | os.PathLike | ModelConfig) -> ModelConfig:
    if isinstance(model, ModelConfig):
        return model
    if isinstance(model, str) and model in PRESETS:
        return ModelConfig.preset(model)
    if _is_folder(model):
        from minimistral.checkpoints.folder import find_checkpoint

        return find_checkpoint(Path(model).expanduser()).config_file.config
    raise ValueError(f"model={model!r}: give a checkpoint's folder, a ModelConfig, or one of {', '.join(PRESETS)}.")


def _is_folder(model: object) -> bool:
    return isinstance(model, (str, os.PathLike)) and model not in PRESETS and Path(model).expanduser().is_dir()


def _expert_bytes(config: ModelConfig, dtype: str, quantize: str | None) -> int:
    """All experts of all layers: what more experts add, times their number."""
    more = replace(config, moe=replace(config.moe, num_experts=config.moe.num_experts + 1))
    one = weight_bytes(more, dtype, quantize) - weight_bytes(config, dtype, quantize)
    gate = config.n_layers * config.dim * _itemsize(dtype)
    return config.moe.num_experts * (one - gate)


def _chosen_bytes(config: ModelConfig, quantize: str | None) -> float:
    """The experts that one token is sent to, over all layers."""
    return _expert_bytes(config, "bfloat16", quantize) * (1 - _idle_share(config))


def _idle_share(config: ModelConfig) -> float:
    return 1 - config.moe.num_experts_per_tok / config.moe.num_experts


def _fits_groups(config: ModelConfig, quantize: str) -> bool:
    return quantize != "int4" or all(
        n % GROUP == 0 for n in (config.dim, config.hidden_dim, config.n_heads * config.head_dim)
    )


def _itemsize(dtype: str) -> int:
    return getattr(torch, dtype).itemsize


def _gb(n_bytes: float) -> str:
    return f"{n_bytes / 1e9:.1f} GB"


def _digits(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}" if value >= 1 else f"{value:.2f}"
