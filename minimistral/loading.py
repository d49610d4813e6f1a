"""From a plan to a loaded model: the one place that knows which of `load` and `load_offloaded` a plan means."""

import os
from pathlib import Path

from minimistral.checkpoints import load
from minimistral.checkpoints.catalog import read_catalog
from minimistral.checkpoints.errors import naming
from minimistral.checkpoints.folder import find_checkpoint
from minimistral.checkpoints.match import match
from minimistral.checkpoints.place import find_folder
from minimistral.checkpoints.read import _stored_dtype
from minimistral.plan import Plan, expert_budget, packed_place, plan, plan_offload
from minimistral.tokenizer import Tokenizer
from minimistral.transformer import Transformer


def load_planned(name_or_path: str | os.PathLike, planned: Plan) -> tuple[Transformer, Tokenizer | None]:
    """The model and its tokenizer, as `plan` or `plan_offload` says (with their usual context), in this one process.

    Experts on disk: quantized ones come from a file beside the checkpoint (or where that takes none, in ~/.cache/minimistral),
    written at the first time; others from the checkpoint itself. ValueError for a plan of several GPUs,
    which are torchrun's business.
    """
    if planned.n_gpus > 1:
        raise ValueError(f"the plan takes {planned.n_gpus} GPUs, one process each: torchrun and load_parallel run it.")
    how = dict(device=planned.device, dtype=planned.dtype, quantize=planned.quantize)
    if planned.offload is None:
        return load(name_or_path, layers=planned.layers, **how)
    from minimistral.offload import load_offloaded

    folder = find_folder(name_or_path)
    budget = expert_budget(find_checkpoint(folder).config_file.config, planned)
    experts_in = "memory" if planned.offload == "host" else "disk"
    if experts_in == "disk" and planned.quantize is not None:
        experts_in = packed_place(folder, planned.quantize)
        with naming(experts_in.parent, doing="written"):
            experts_in.parent.mkdir(parents=True, exist_ok=True)
    return load_offloaded(folder, budget, experts_in=experts_in, prefetch=planned.offload == "disk", **how)


def choose(
    name_or_path: str,
    command: str,
    auto: bool = False,
    offload: str | None = None,
    device: str = "auto",
    dtype: str = "auto",
    quantize: str | None = None,
) -> Plan | None:
    """What `minimistral COMMAND` does by its options; None: neither --auto nor --offload, so `load` with the options as they are.

    ValueError where they contradict each other, and where the plan is none for one process: then it says what is.
    """
    if not auto and offload is None:
        return None
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ValueError("--auto and --offload are for one process; torchrun starts several, which share the model.")
    if not auto:
        folder = find_folder(name_or_path)
        dtype = stored_dtype(folder) if dtype == "auto" else dtype
        return plan_offload(folder, offload, device, dtype, quantize)
    if (offload, device, dtype, quantize) != (None, "auto", "auto", None):
        raise ValueError("--auto chooses device, dtype, bits and offloading itself: leave their options out.")
    planned = plan(find_folder(name_or_path))
    if planned.n_gpus > 1:
        raise ValueError(f"{planned.why} Run it so: {torchrun(name_or_path, command, planned)}")
    if planned.layers is not None:
        raise ValueError(f"{planned.why} In Python: load({name_or_path!r}, layers={planned.layers}).")
    return planned


def torchrun(model: str, command: str, planned: Plan) -> str:
    """The line that runs a plan of several GPUs."""
    bits = "" if planned.quantize is None else f" --quantize {planned.quantize}"
    dtype = f" --dtype {planned.dtype}"
    return f"torchrun --nproc-per-node {planned.n_gpus} -m minimistral {command} {model} …{dtype}{bits}"


def stored_dtype(folder: Path) -> str:
    """The dtype that `load` gives a checkpoint unless told otherwise: its name."""
    checkpoint = find_checkpoint(folder)
    catalog = read_catalog(checkpoint.weights)
    pieces = match(catalog, checkpoint.layout, checkpoint.config_file)
    return str(_stored_dtype(pieces, catalog, checkpoint.config_file.dtype)).removeprefix("torch.")
