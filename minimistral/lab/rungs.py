"""Chapters 12 and 13: as much of a real model as this machine can take, or a stand-in, chosen and said in one line."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from minimistral.checkpoints import load
from minimistral.checkpoints.filling import read_record
from minimistral.checkpoints.folder import find_checkpoint
from minimistral.checkpoints.known_models import KNOWN_MODELS, known_model
from minimistral.config import ModelConfig
from minimistral.expert_stores import HostStore
from minimistral.loading import load_planned
from minimistral.machine import Machine, machine
from minimistral.memory import available_bytes, bytes_needed
from minimistral.plan import Plan, plan
from minimistral.tokenizer import Tokenizer
from minimistral.transformer import Transformer

V1_SIZE = 32_000  # words of the first tokenizer, which the library has
THREADS = torch.get_num_threads()  # as many as torch takes by itself: a chapter that is run again may have set one


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
        return self.is_real and self.layers is None and self.alone().layers is None

    @property
    def is_chat(self) -> bool:
        """Whether it is one of those that were taught to chat, which only their names tell: …-Instruct-…, …_instruct_…"""
        return self.is_real and re.search(r"(?i)(?<![a-z])instruct(?![a-z])", _title(self.folder)) is not None

    def load(self) -> tuple[Transformer, Tokenizer | None]:
        """The model, and its tokenizer; where the folder has none, v0.1's for a vocabulary of 32,000, else None.

        Of several GPUs the notebook itself uses one, as one allows; torchrun uses all.
        """
        model, tokenizer = self._load()
        if tokenizer is None and model.config.vocab_size == V1_SIZE:
            tokenizer = Tokenizer.mistral_v1()
        return model, tokenizer

    def _load(self) -> tuple[Transformer, Tokenizer | None]:
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

    Its tokens a second follow from this machine's bandwidth, measured with as many threads as torch has when it is called.
    weights: the folder where the files are; None: where `minimistral download` or another program put them, if anywhere.
    Without any: `stand_in`, a bundled model's name. ValueError where `weights` names no folder, or one with a mixture where
    `model` is dense, or the other way about.
    """
    folder = _folder(model, weights)
    whole = plan(_preset(model), machine)
    if folder is None:
        from minimistral.checkpoints.place import BUNDLED

        get = f"minimistral download {model}{_option(whole.layers)}"
        why = f"A stand-in, {stand_in}: the real weights are not here. Get them: {get}"
        return Rung("stand-in", BUNDLED / stand_in, None, whole, why)
    _refuse_another_kind(folder, model)
    record, title = read_record(folder), _title(folder)
    if record is not None and record.layers is not None:
        why = f"Of the real {title} only {_listed(record.layers)}, counted from 0. It is what lies in {folder.name}."
        return Rung("some layers", folder, record.layers, whole, why)
    local = plan(folder, machine)
    if local.layers is not None:
        why = f"Of the real {title} only {_listed(range(local.layers))}, counted from 0. {local.why}"
        return Rung("some layers", folder, list(range(local.layers)), local, why)
    rung = Rung(_name(local), folder, None, local, f"The real {title}. {local.describe()}")
    if local.n_gpus > 1:
        rung.why += f" This notebook is one process, and runs {rung.alone().short()}."
    return rung


def let_go(model: Transformer | None) -> None:
    """Give a model's memory back at once, whoever still holds it (a tool does); it can only be loaded anew after this.

    Other processes want the GPU that this one has filled, or the same notebook, run again, the memory. Weights that are
    mapped from a file hold none, and stay. None: there is no model, and nothing happens.
    """
    if model is None:
        return
    cache = getattr(model, "expert_cache", None)
    for tensor in (*model.parameters(), *model.buffers(), *(() if cache is None else (cache._slots,))):
        if (storage := tensor.untyped_storage()).resizable():
            storage.resize_(0)
    if cache is not None and isinstance(cache.store, HostStore):
        cache.store._flat.clear()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _title(folder: Path) -> str:
    """What the model in a folder is called: as its record or Hugging Face's cache has it, else as the folder is."""
    record = read_record(folder)
    if record is not None:
        return record.model.split("/")[-1]
    in_cache = [part for part in folder.absolute().parts[-3:] if part.startswith("models--")]
    return in_cache[0].split("--")[-1] if in_cache else folder.resolve().name


def _refuse_another_kind(folder: Path, model: str) -> None:
    wanted, found = ModelConfig.preset(_preset(model)), find_checkpoint(folder).config_file.config
    if (wanted.moe is None) != (found.moe is None):
        kinds = {True: "a dense model", False: "a mixture of experts"}
        others = [known.repo for known in KNOWN_MODELS.values() if known.preset == _preset(model)]
        raise ValueError(
            f"{folder}: holds {kinds[found.moe is None]}, and this chapter is about {kinds[wanted.moe is None]}. "
            f"Give a folder with {' or '.join(others)}, or None."
        )


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


def _listed(layers: Sequence[int]) -> str:
    """layer 3; layers 0, 1; layers 0 to 5; layers 0, 2, 7"""
    if len(layers) == 1:
        return f"layer {layers[0]}"
    if len(layers) > 2 and list(layers) == list(range(layers[0], layers[-1] + 1)):
        return f"layers {layers[0]} to {layers[-1]}"
    return f"layers {', '.join(map(str, layers))}"


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
