"""How to run a model on a machine: on what, in how many bits, how much of it, and how fast that should be.

The speed is the roofline of decoding at batch 1: every weight that a token passes through is read once, and so is the
cache, so tokens a second are at most bandwidth / bytes. Source: Williams et al., "Roofline", CACM 52(4), 2009.
"""

import hashlib
import os
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from minimistral.checkpoints.known_models import known_model
from minimistral.checkpoints.place import BUNDLED
from minimistral.config import PRESETS, ModelConfig
from minimistral.machine import Gpu, Machine
from minimistral.machine import machine as this_machine
from minimistral.memory import CONTEXT, GROUP, ROOM, cache_bytes, expert_bytes, in_bytes, weight_bytes, whole_bytes

SMALL = 10**9  # bytes in float32: so small a model runs on a CPU as it is
DISK = 1.5e9  # bytes a second, assumed where experts come from a disk
PLACES = {"memory": "host", "disk": "disk"}  # what a person says, and what a plan does
BITS = {None: "16-bit", "int8": "8-bit", "int4": "4-bit"}


@dataclass(frozen=True)
class Plan:
    """What `load` and its neighbours are to be called with, and why.

    device: "cpu", "mps", "cuda", or "cuda:1" where another GPU than the first has the room. dtype: a torch dtype's name.
    quantize: None, "int8" or "int4". offload: None, "host" (experts in the machine's memory) or "disk" (experts in a file
    of their own, quantized once; without quantize, read as they lie in the checkpoint). n_gpus: GPUs, one process each under
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

    def short(self) -> str:
        """A few words.

        >>> plan("mistral-7b-v0.1", Machine(8, 16 * 10**9, 13 * 10**9, 10**11)).short()
        '8-bit on the CPU'
        """
        if self.layers is not None:
            return "the first layer" if self.layers == 1 else f"the first {self.layers} layers"
        where = {"cpu": "on the CPU", "mps": "on the Apple GPU"}.get(self.device, f"on {self.n_gpus} GPUs")
        where = "on one GPU" if self.n_gpus == 1 and self.device != "mps" else where
        outside = {None: "", "host": ", experts in memory", "disk": ", experts on disk"}[self.offload]
        return f"{_bits(self.dtype, self.quantize)} {where}{outside}"


def plan(model: str | os.PathLike | ModelConfig, machine: Machine | None = None, context: int = CONTEXT) -> Plan:
    """The best way to run `model` on `machine` (default: this one).

    model: a preset's name or a published model's, ours or the hub's; a checkpoint's folder; or a config.

    On GPUs: 16 bits on one, 16 bits over several, 8 bits on one, 8 bits over several, 4 bits, and for a mixture 4 bits
    with its experts outside. On a CPU: 8 bits, 4 bits, and for a mixture experts from disk. Where nothing fits: as many
    of the first layers as do, in 16 bits. The cache is counted for `context` tokens. ValueError says what is wrong.
    """
    if isinstance(context, bool) or not isinstance(context, int) or context < 1:
        raise ValueError(f"context={context!r}: give the number of tokens that the cache must hold, 1 or more.")
    config = _config(model)
    here = _machine_for(model, config, machine)
    if here.disk_free >= weight_bytes(config, "bfloat16"):
        for candidate in (_on_cuda, _on_apple, _on_cpu):
            if found := candidate(config, here, context):
                return found
    return _first_layers(config, here, context)


def plan_offload(
    model: str | os.PathLike | ModelConfig,
    where: str = "auto",
    device: str = "auto",
    dtype: str = "bfloat16",
    quantize: str | None = None,
    machine: Machine | None = None,
    context: int = CONTEXT,
) -> Plan:
    """A mixture with its experts outside as the caller says, and as many of them on the device as fit.

    where: "memory", "disk", or "auto": beside a GPU the memory if it holds them all, else the disk. device: "auto", "cpu"
    or a CUDA device. ValueError for a dense model, and where what is no expert does not fit.
    """
    config = _config(model)
    if where not in ("auto", *PLACES):
        raise ValueError(f"offload={where!r}: choose auto, {' or '.join(PLACES)}.")
    if config.moe is None:
        raise ValueError("the model is dense: it has no experts to offload. quantize int8 or int4 makes it smaller.")
    here = _machine_for(model, config, machine)
    gpu = _gpu_of(here, device)
    places = ["disk"] if where == "auto" and gpu is None else list(PLACES) if where == "auto" else [where]
    for place in places:
        if found := _experts_outside(config, here, gpu, context, PLACES[place], quantize, dtype):
            return found
    raise ValueError(
        f"--offload {where} with {_bits(dtype, quantize)} weights: experts take "
        f"{_size(expert_bytes(config, dtype, quantize))}, everything else "
        f"{_size(whole_bytes(config, dtype, quantize, context) - expert_bytes(config, dtype, quantize))}; free are "
        f"{_size(here.memory_free)} of memory{'' if gpu is None else f' and {_size(gpu.memory_free)} on {gpu.name}'}. "
        "Fewer bits take less (int8, int4), and experts on disk take no memory but their copies in use."
    )


def read_bytes(config: ModelConfig, dtype: str, quantize: str | None = None, context: int = 1) -> int:
    """Bytes that writing one token reads: the weights it passes through, and keys and values of `context` tokens."""
    idle = 0 if config.moe is None else expert_bytes(config, dtype, quantize) * _idle_share(config)
    embeddings = 0 if config.tie_embeddings else config.vocab_size * config.dim * _itemsize(dtype)  # one row is read
    return weight_bytes(config, dtype, quantize) - int(idle) - embeddings + cache_bytes(config, dtype, context)


def expert_budget(config: ModelConfig, found: Plan, context: int = CONTEXT) -> int:
    """Of the bytes that an offloading plan needs on the device, those for experts: `load_offloaded`'s budget_bytes."""
    experts = expert_bytes(config, found.dtype, found.quantize)
    return int(found.bytes_needed - (whole_bytes(config, found.dtype, found.quantize, context) - experts))


def _on_cuda(config: ModelConfig, here: Machine, context: int) -> Plan | None:
    gpus = [gpu for gpu in here.gpus if gpu.kind == "cuda"]
    if not gpus:
        return None
    roomiest = max(gpus, key=lambda gpu: gpu.memory_free)
    choices = [([roomiest], config)]
    choices += [
        (gpus[:n], held) for n in range(2, len(gpus) + 1) if (held := _held(config, n))
    ]  # as torchrun takes them
    for quantize in (None, "int8", "int4"):
        for chosen, held in choices:
            room = ROOM * min(gpu.memory_free for gpu in chosen)
            if _fits_groups(held, quantize) and whole_bytes(held, "bfloat16", quantize, context) <= room:
                needed = whole_bytes(config, "bfloat16", quantize, context)
                return _gpu_plan(config, here, chosen, quantize, needed)
    return _outside(config, here, roomiest, context)


def _held(config: ModelConfig, n: int) -> ModelConfig | None:
    """What each of n GPUs would hold; None where the model cannot be cut into n."""
    from minimistral.parallel import held_config  # brings in torch.distributed, which one GPU does without

    try:
        return held_config(config, n)
    except ValueError:
        return None


def _gpu_plan(config: ModelConfig, here: Machine, gpus: list[Gpu], quantize: str | None, needed: int) -> Plan:
    n = len(gpus)
    where = f"one {gpus[0].name}" if n == 1 else f"{n} GPUs, each with {1 / n:.0%} of it (torchrun)"
    why = f"The whole model with {BITS[quantize]} weights takes {_size(needed)} with its cache and fits on {where}."
    slowest = None if any(gpu.bandwidth is None for gpu in gpus) else min(gpu.bandwidth for gpu in gpus)
    speed = None if slowest is None else n * slowest / read_bytes(config, "bfloat16", quantize)
    device = _device_of(here, gpus[0]) if n == 1 else "cuda"
    return Plan(device, "bfloat16", quantize, None, n, None, needed, speed, why)


def _outside(config: ModelConfig, here: Machine, gpu: Gpu | None, context: int) -> Plan | None:
    """A mixture with its experts outside, in as few bits as its widths allow; None for a dense model.

    On disk they are packed once in these bits; where there is no room for that file, read as they lie in the checkpoint.
    """
    if config.moe is None:
        return None
    few = "int4" if _fits_groups(config, "int4") else "int8"
    can_pack = here.disk_free - weight_bytes(config, "bfloat16") >= expert_bytes(config, "bfloat16", few)
    ways = [("disk", few if can_pack else None)]
    for place, quantize in ways if gpu is None else [("host", few), *ways]:
        if found := _experts_outside(config, here, gpu, context, place, quantize):
            return found
    return None


def _experts_outside(
    config: ModelConfig,
    here: Machine,
    gpu: Gpu | None,
    context: int,
    place: str,
    quantize: str | None,
    dtype: str = "bfloat16",
) -> Plan | None:
    """Experts in `place`, as many as possible kept on the GPU, or without one in memory; None where too few would be."""
    experts = expert_bytes(config, dtype, quantize)
    rest = whole_bytes(config, dtype, quantize, context) - experts
    device, free = (here if gpu is None else gpu), (here if gpu is None else gpu).memory_free
    room = ROOM * free - rest
    if place == "host":
        room -= experts if gpu is None else 0
        if gpu is not None and experts > ROOM * here.memory_free:
            return None
    kept = min(1.0, room / experts)
    if kept * config.n_layers * config.moe.num_experts < 2 * config.moe.num_experts_per_tok:
        return None
    speed = None
    if device.bandwidth is not None:
        fetch = DISK if place == "disk" else (here.bandwidth if gpu is None else gpu.transfer) or DISK
        missed = experts * (1 - _idle_share(config)) * (1 - kept)
        speed = 1 / (read_bytes(config, dtype, quantize) / device.bandwidth + missed / fetch)
    source = "stay in the machine's memory"
    if place == "disk":
        file = "the checkpoint" if quantize is None else f"a file of their own ({_size(experts)}, written once)"
        source = f"are read from {file} as they are chosen"
    where, name = ("in memory", "this machine") if gpu is None else ("on the GPU", gpu.name)
    why = (
        f"It takes {_size(rest + experts)} with {_bits(dtype, quantize)} weights, and {name} has {_size(free)} free: its "
        f"experts {source}, and {kept:.0%} of them fit {where} at a time."
    )
    n_gpus, device_name = (0, "cpu") if gpu is None else (1, _device_of(here, gpu))
    return Plan(device_name, dtype, quantize, place, n_gpus, None, int(rest + kept * experts), speed, why)


def _on_apple(config: ModelConfig, here: Machine, context: int) -> Plan | None:
    """An Apple GPU in 16 bits: its memory is the machine's, and 8 bits are as fast on its cores (see quantize.py)."""
    gpus = [gpu for gpu in here.gpus if gpu.kind == "mps"]
    needed = whole_bytes(config, "bfloat16", None, context)
    if not gpus or needed > ROOM * here.memory_free:
        return None
    speed = None if gpus[0].bandwidth is None else gpus[0].bandwidth / read_bytes(config, "bfloat16")
    why = f"The whole model with 16-bit weights takes {_size(needed)} with its cache and fits in the memory of the {gpus[0].name}."
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
    return _outside(config, here, None, context)


def _cpu_plan(config: ModelConfig, here: Machine, dtype: str, quantize: str | None, context: int, how: str) -> Plan:
    needed = whole_bytes(config, dtype, quantize, context)
    speed = None if here.bandwidth is None else here.bandwidth / read_bytes(config, dtype, quantize)
    gpu = " No GPU that torch can use has room for it." if here.gpus else ""
    why = f"The whole model ({_size(needed)} with its cache) {how}, {_size(here.memory_free)} of which are free.{gpu}"
    return Plan("cpu", dtype, quantize, None, 0, None, needed, speed, why)


def _first_layers(config: ModelConfig, here: Machine, context: int) -> Plan:
    """What is left: embeddings, head, and as many layers as memory and disk have room for; at least one is planned."""
    one, two = (whole_bytes(replace(config, n_layers=n), "bfloat16", None, context) for n in (1, 2))
    room = min(ROOM * here.memory_free, here.disk_free)
    n = max(1, min(config.n_layers - 1, 1 + int((room - one) // (two - one))))
    part = replace(config, n_layers=n)
    needed = whole_bytes(part, "bfloat16", None, context)
    what = "first layer" if n == 1 else f"first {n} layers"
    few = "int4" if _fits_groups(config, "int4") else "int8"
    on_disk, in_memory = weight_bytes(config, "bfloat16"), whole_bytes(config, "bfloat16", few, context)
    if here.disk_free < on_disk:
        reason = f"The whole model takes {_size(on_disk)} of disk, and {_size(here.disk_free)} are free"
    else:
        least = f"{_size(in_memory)} even with {_bits('bfloat16', few)} weights"
        reason = f"The whole model takes {least}, and {_size(here.memory_free)} are free"
    why = f"{reason}: its {what}, {_size(needed)}, can be run and looked at."
    if needed > room:
        why = f"{reason}, too few even for its {what}, {_size(needed)}. Make room, or use another machine."
    return Plan("cpu", "bfloat16", None, None, 0, n, needed, None, why)


def _config(model: str | os.PathLike | ModelConfig) -> ModelConfig:
    if isinstance(model, ModelConfig):
        return model
    if isinstance(model, str) and model in PRESETS:
        return ModelConfig.preset(model)
    if _is_folder(model):
        from minimistral.checkpoints.folder import find_checkpoint

        return find_checkpoint(Path(model).expanduser()).config_file.config
    if isinstance(model, str) and (known := known_model(model)):
        return ModelConfig.preset(known.preset)
    raise ValueError(f"model={model!r}: give a checkpoint's folder, a ModelConfig, or one of {', '.join(PRESETS)}.")


def _machine_for(model: object, config: ModelConfig, machine: Machine | None) -> Machine:
    """The machine, on whose disk a model that is there already needs no more room, and neither do its packed experts."""
    if machine is not None and not isinstance(machine, Machine):
        raise ValueError(f"machine={machine!r}: give a minimistral.machine.Machine, or None for this one.")
    folder = Path(model).expanduser() if _is_folder(model) else None
    here = machine or this_machine(folder=folder or ".")
    if folder is None:
        return here
    packed = [path.stat().st_size for bits in ("int8", "int4") if (path := packed_place(folder, bits)).exists()]
    return replace(here, disk_free=here.disk_free + weight_bytes(config, "bfloat16") + sum(packed))


def packed_place(folder: Path, quantize: str) -> Path:
    """The file in which a checkpoint's experts wait, quantized: beside it, or where that folder takes no files in ~/.cache.

    A bundled model's folder is the library's own, and so takes none either.
    """
    name = f"experts-{quantize}.bin"
    if os.access(folder, os.W_OK) and folder.parent.resolve() != BUNDLED.resolve():
        return folder / name
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    which = hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:8]
    return caches / "minimistral" / f"{folder.name}-{which}" / name


def _gpu_of(here: Machine, device: str) -> Gpu | None:
    """The GPU that `load` would take for this device; None for the CPU."""
    gpus = [gpu for gpu in here.gpus if gpu.kind == "cuda"]
    if device == "cpu" or (device == "auto" and not gpus):
        return None
    if device == "auto":
        return max(gpus, key=lambda gpu: gpu.memory_free)
    kind, _, index = device.partition(":")
    if kind != "cuda" or not (index or "0").isdigit() or int(index or "0") >= len(gpus):
        raise ValueError(
            f"device={device!r}: experts can be offloaded from the CPU and from CUDA GPUs ({len(gpus)} here)."
        )
    return gpus[int(index or "0")]


def _device_of(here: Machine, gpu: Gpu) -> str:
    index = here.gpus.index(gpu)
    return "cuda" if index == 0 else f"cuda:{index}"


def _is_folder(model: object) -> bool:
    return isinstance(model, (str, os.PathLike)) and model not in PRESETS and os.path.isdir(os.path.expanduser(model))


def _idle_share(config: ModelConfig) -> float:
    return 1 - config.moe.num_experts_per_tok / config.moe.num_experts


def _fits_groups(config: ModelConfig, quantize: str | None) -> bool:
    return quantize != "int4" or all(
        n % GROUP == 0 for n in (config.dim, config.hidden_dim, config.n_heads * config.head_dim)
    )


def _bits(dtype: str, quantize: str | None) -> str:
    return BITS[quantize] if quantize else f"{8 * _itemsize(dtype)}-bit"


def _itemsize(dtype: str) -> int:
    return getattr(torch, dtype).itemsize


def _size(n_bytes: float) -> str:
    return in_bytes(n_bytes, digits=1)


def _digits(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}" if value >= 1 else f"{value:.2f}"
