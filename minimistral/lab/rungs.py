"""Chapters 12 and 13: as much of a real model as this machine can take, or a stand-in, chosen and said in one line."""

from dataclasses import dataclass, replace
from pathlib import Path

from minimistral.checkpoints import load
from minimistral.checkpoints.filling import read_record
from minimistral.checkpoints.folder import find_checkpoint
from minimistral.checkpoints.known_models import known_model
from minimistral.config import ModelConfig
from minimistral.loading import load_planned
from minimistral.machine import Machine, machine
from minimistral.memory import available_bytes, bytes_needed
from minimistral.plan import Plan, plan
from minimistral.tokenizer import Tokenizer
from minimistral.transformer import Transformer


@dataclass
class Rung:
    """What a chapter runs. name: "stand-in", "some layers", "cpu", "gpu", "offload" or "several gpus".

    folder: where the files are. layers: None for the whole model, else which of its layers (of the real one, from 0).
    plan: how the whole model would run on this machine. why: one line for the reader.
    """

    name: str
    folder: Path
    layers: list[int] | None
    plan: Plan
    why: str

    @property
    def is_real(self) -> bool:
        """Whether the weights are those that were published."""
        return self.name != "stand-in"

    @property
    def is_whole(self) -> bool:
        return self.is_real and self.layers is None

    def load(self) -> tuple[Transformer, Tokenizer | None]:
        """The model, and its tokenizer. Of several GPUs the notebook itself uses one, as one allows; torchrun uses all."""
        if not self.is_real:
            return load(self.folder, device="cpu", dtype="float32")
        if self.layers is not None:
            config = find_checkpoint(self.folder).config_file.config
            return load(self.folder, device="cpu", dtype=_dtype_of(config, self.layers), layers=self.layers)
        return load_planned(self.folder, self.alone())

    def alone(self) -> Plan:
        """How one process runs the model here: the plan, but with the first GPU only where that takes several."""
        if self.plan.n_gpus < 2:
            return self.plan
        here = machine(measure=False)
        return plan(self.folder, replace(here, gpus=here.gpus[:1]))


def find_rung(model: str, stand_in: str, weights: str | Path | None = None, machine: Machine | None = None) -> Rung:
    """The highest rung of `model` (a known model's name) that the files here and this machine allow. No network.

    weights: the folder where the files are; None: where `minimistral download` or another program put them, if anywhere.
    Without any: `stand_in`, a bundled model's name. ValueError where `weights` names no folder.
    """
    folder = _folder(model, weights)
    whole = plan(_preset(model), machine)
    if folder is None:
        from minimistral.checkpoints.place import BUNDLED

        get = f"minimistral download {model}{_option(whole.layers)}"
        why = f"A stand-in, {stand_in}, trained in this repository: the real weights are not here. To get them: {get}"
        return Rung("stand-in", BUNDLED / stand_in, None, whole, why)
    record = read_record(folder)
    if record is not None and record.layers is not None:
        why = f"Of the real {model} {_count(len(record.layers))}: {', '.join(map(str, record.layers))}. They are in {folder.name}."
        return Rung("some layers", folder, record.layers, whole, why)
    local = plan(folder, machine)
    if local.layers is not None:
        why = f"The first {_count(local.layers)} of the real {model}. {local.why}"
        return Rung("some layers", folder, list(range(local.layers)), local, why)
    return Rung(_name(local), folder, None, local, f"The real {model}. {local.describe()}")


def _dtype_of(config: ModelConfig, layers: list[int]) -> str:
    """float32, quicker and finer on a CPU, where these layers fit in it; else bfloat16, as they lie in the file."""
    part, free = replace(config, n_layers=len(layers)), available_bytes("cpu")
    return "float32" if free is None or bytes_needed(part, "float32") < 0.8 * free else "bfloat16"


def _name(found: Plan) -> str:
    if found.offload:
        return "offload"
    return "cpu" if found.device == "cpu" else "several gpus" if found.n_gpus > 1 else "gpu"


def _option(n_layers: int | None) -> str:
    """For `minimistral download`, which takes numbers of layers: the first n_layers of them."""
    if n_layers is None:
        return ""
    return " --layers 0" if n_layers == 1 else f" --layers 0-{n_layers - 1}"


def _count(n: int) -> str:
    return "1 layer" if n == 1 else f"{n} layers"


def _preset(model: str) -> str:
    known = known_model(model)
    return model if known is None else known.preset


def _folder(model: str, weights: str | Path | None) -> Path | None:
    """Where the files are, whole before a part; None where they are not."""
    if weights is not None:
        folder = Path(weights).expanduser()
        if not folder.is_dir():
            raise ValueError(f"weights={str(weights)!r} is no folder. Give the one with the model's files, or None.")
        return folder
    try:
        from minimistral.checkpoints.hub import in_cache, is_here, place_of
    except ImportError:
        return None
    known = known_model(model)
    if known is None:
        return None
    try:
        if is_here(place_of(known.repo), known.repo):
            return place_of(known.repo)
        if (cached := in_cache(known.repo)) is not None:
            return cached
        part = place_of(known.repo, layers=1)
        record = read_record(part)
        if record is not None and record.is_whole(part):
            return part
    except Exception:  # huggingface_hub is not installed, or its cache is in disorder: then there is nothing to find
        pass
    return None
