"""Saving a model: in Mistral's layout, or in the one that transformers opens."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from minimistral.checkpoints.entry import ALLOWED, FLOATS
from minimistral.checkpoints.errors import CheckpointError, naming
from minimistral.checkpoints.filling import existing
from minimistral.checkpoints.folder import LAYOUTS
from minimistral.checkpoints.hub_config import write_config
from minimistral.checkpoints.names import hub_name, native_pieces, rotated_heads, to_halves
from minimistral.checkpoints.native_config import write_params
from minimistral.checkpoints.replace import CONFIGS, TOKENIZERS, WEIGHTS, new_folder, refuse_to_replace
from minimistral.checkpoints.shards import parse_size, write_json, write_tensors
from minimistral.config import ModelConfig
from minimistral.memory import in_bytes
from minimistral.tokenizer import Tokenizer
from minimistral.transformer import Transformer

SPARE_BYTES = 10_000_000  # headers, config and tokenizer


def save(
    model: Transformer,
    path: str | os.PathLike,
    tokenizer: Tokenizer | None = None,
    layout: str = "native",
    max_shard_size: int | str = "5GB",
    overwrite: bool = False,
) -> None:
    """Write a checkpoint folder, whole or not at all; every weight keeps its dtype and its bits.

    layout: "native" (params.json, consolidated.safetensors) or "hub" (config.json, model.safetensors; transformers
    opens it). overwrite replaces a checkpoint and leaves what else lies in its folder, its tokenizer too unless one is
    given. CheckpointError names what is in the way.
    """
    if layout not in LAYOUTS:
        raise ValueError(f"layout={layout!r}: choose {' or '.join(map(repr, LAYOUTS))}.")
    if not isinstance(path, (str, os.PathLike)):
        raise ValueError(f"path={path!r}: give the folder to make.")
    if tokenizer is not None and not isinstance(tokenizer, Tokenizer):
        raise ValueError(f"tokenizer={tokenizer!r:.80}: give a minimistral Tokenizer, or None to write none.")
    most = parse_size(max_shard_size)
    model = getattr(model, "_orig_mod", model)  # what torch.compile wraps
    weights = _checked_weights(model)
    target = Path(os.path.realpath(os.path.expanduser(path)))
    with naming(target, doing="written"):
        refuse_to_replace(target, overwrite)
        _check_space(target, sum(weight.nbytes for weight in weights.values()))
        with new_folder(target, belongs=lambda name: _belongs(name, tokenizer is not None)) as folder:
            _write(folder, layout, model.config, weights, tokenizer, most)


def _write(
    folder: Path, layout: str, config: ModelConfig, weights: dict[str, Tensor], tokenizer: Tokenizer | None, most: int
) -> None:
    if tokenizer is not None:
        (folder / "tokenizer.model").write_bytes(tokenizer.model_bytes)
    if layout == "native":
        write_json(folder / "params.json", write_params(config))
        tensors = {name: _native(weight) for name, weight in weights.items()}
        sizes = {name: weight.nbytes for name, weight in weights.items()}
        write_tensors(folder, "consolidated", tensors, sizes, most)
    else:
        dtype = str(weights["tok_embeddings.weight"].dtype).removeprefix("torch.")
        bos_id, eos_id = (1, 2) if tokenizer is None else (tokenizer.bos_id, tokenizer.eos_id)
        write_json(folder / "config.json", write_config(config, dtype, bos_id, eos_id))
        tensors = {hub_name(name): _hub(weight, rotated_heads(name, config)) for name, weight in weights.items()}
        sizes = {hub_name(name): weight.nbytes for name, weight in weights.items()}
        write_tensors(folder, "model", tensors, sizes, most)


def _native(weight: Tensor) -> Callable[[], Tensor]:
    return lambda: weight.cpu().contiguous()


def _hub(weight: Tensor, n_heads: int | None) -> Callable[[], Tensor]:
    return _native(weight) if n_heads is None else lambda: to_halves(weight.cpu(), n_heads).contiguous()


def _checked_weights(model: Transformer) -> dict[str, Tensor]:
    """The model's weights in the layout's order; CheckpointError where they are not what its config says."""
    if not isinstance(model, Transformer):
        raise ValueError(f"save({type(model).__name__}): give a minimistral Transformer.")
    if hasattr(model, "whole"):  # parallel.Part: consistent in itself, and half a model
        raise CheckpointError(
            f"the model is one process's part, {model.config.n_heads} of {model.whole.n_heads} heads, and would be written "
            "as if it were all. Save in one process, the model that `load` gives."
        )
    state = model.state_dict()
    weights = {}
    for piece in native_pieces(model.config):
        weight = state.pop(piece.name, None)
        is_quantized = piece.name.removesuffix("weight") + "q" in state
        problem = "is quantized" if is_quantized else _problem(weight, piece.shape)
        if problem:
            raise CheckpointError(
                f"{piece.name} {problem}. A quantized or altered model cannot be saved: its weights are no longer those "
                "of the published layouts. Save the model it was made from."
            )
        weights[piece.name] = weight.detach()
    if state:
        raise CheckpointError(
            f"{next(iter(state))} is no weight of a plain model: a quantized or altered model cannot be saved."
        )
    return weights


def _problem(weight: Tensor | None, shape: tuple[int, ...]) -> str | None:
    if weight is None:
        return "is missing in the model"
    if tuple(weight.shape) != shape:
        return f"has shape {tuple(weight.shape)}, and the config says {shape}"
    if weight.dtype not in FLOATS.values():
        return f"has dtype {weight.dtype}, and weights are {ALLOWED}"
    if weight.device.type == "meta":
        return "has no values (it is on the meta device)"
    return None


def _check_space(target: Path, n_bytes: int) -> None:
    free = shutil.disk_usage(existing(target)).free
    if free < n_bytes + SPARE_BYTES:
        raise CheckpointError(
            f"{target}: needs {in_bytes(n_bytes)}, and its disk has {in_bytes(free)} free (an overwritten "
            "checkpoint goes only after the new one is complete). Make room, or choose another disk."
        )


def _belongs(name: str, has_tokenizer: bool) -> bool:
    """Whether a file of the old folder is replaced."""
    return bool(name in CONFIGS or WEIGHTS.fullmatch(name) or (has_tokenizer and TOKENIZERS.fullmatch(name)))
