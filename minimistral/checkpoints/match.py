"""Comparing what a config asks for with what the files hold, by names and shapes alone."""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace

from minimistral.checkpoints import names
from minimistral.checkpoints.config_file import ConfigFile
from minimistral.checkpoints.entry import Entry
from minimistral.checkpoints.errors import CheckpointError, listed
from minimistral.checkpoints.fields import shortened
from minimistral.config import ModelConfig


def match(
    catalog: dict[str, Entry], layout: str, config_file: ConfigFile, layers: list[int] | None = None
) -> list[names.Piece]:
    """The pieces to read, all of them present and of the right shape, and nothing left over; else CheckpointError.

    layers: only these, and what belongs to none; their weights come out as layers 0, 1, … of a model that has no others.
    """
    config, found, known = config_file.config, [], set()
    for piece in _variant(catalog, layout, config)(config):
        known.add(piece.name)
        layer = layer_of(piece.name)
        if layer is not None and layers is not None and layer not in layers:
            continue
        entry = catalog.get(piece.name)
        if entry is None:
            raise CheckpointError(_missing(piece.name, catalog, config_file))
        if entry.shape != piece.shape:
            raise CheckpointError(
                f"{entry.file}: tensor {piece.name} has shape {list(entry.shape)}; {config_file.path.name} asks for "
                f"{shortened(list(piece.shape))}.{_assumptions(config_file)}"
            )
        found.append(piece if layers is None else _renumbered(piece, layers))
    left_over = [name for name in catalog.keys() - known if not _may_be_ignored(name, config)]
    if left_over:
        file = catalog[min(left_over)].file
        raise CheckpointError(
            f"{file}: holds {listed([*map(shortened, sorted(left_over))])}, which the model of {config_file.path.name} "
            "does not have. Another architecture, a quantized file, or the wrong config?"
        )
    return found


def second_head(catalog: dict[str, Entry], config: ModelConfig) -> str | None:
    """In a file of a tied model, the head it stores beside the embeddings, if it does."""
    return next((name for name in _HEADS if config.tie_embeddings and name in catalog), None)


def layer_of(name: str) -> int | None:
    """The layer that a tensor belongs to, in either layout; None for embeddings, last norm and head.

    >>> layer_of("model.layers.12.mlp.up_proj.weight"), layer_of("norm.weight")
    (12, None)
    """
    found = _LAYER.match(name)
    return None if found is None else int(found[1])


_LAYER = re.compile(r"(?:model\.)?layers\.(\d{1,9})\.")
_HEADS = ("output.weight", "lm_head.weight")


def _variant(
    catalog: dict[str, Entry], layout: str, config: ModelConfig
) -> Callable[[ModelConfig], Iterator[names.Piece]]:
    """Which of the layout's variants this file is: told by the names under which its experts stand."""
    if layout == "native":
        is_stacked = config.moe and any(name.endswith(".block_sparse_moe.w1") for name in catalog)
        return names.stacked_pieces if is_stacked else names.native_pieces
    is_fused = config.moe and any(name.endswith(".mlp.experts.gate_up_proj") for name in catalog)
    return names.fused_pieces if is_fused else names.hub_pieces


def _renumbered(piece: names.Piece, layers: list[int]) -> names.Piece:
    layer = layer_of(piece.name)
    if layer is None:
        return piece
    old, new = f"layers.{layer}.", f"layers.{layers.index(layer)}."
    return replace(piece, weights=tuple(weight.replace(old, new, 1) for weight in piece.weights))


def _missing(name: str, catalog: dict[str, Entry], config_file: ConfigFile) -> str:
    files = sorted({str(entry.file) for entry in catalog.values()})
    where = listed(files, most=1)
    present = sorted({layer for name in catalog if (layer := layer_of(name)) is not None})
    missing = layer_of(name)
    hint = ""
    if missing is not None and present and missing not in present:
        hint = (
            f" Of its {config_file.config.n_layers} layers there {'are' if len(present) > 1 else 'is'} "
            f"{listed([*map(str, present)], most=40)} here: load(…, layers={present}) runs "
            f"{'those' if len(present) > 1 else 'that one'} alone."
        )
    return f"{where}: tensor {name} is missing; {config_file.path.name} asks for it.{hint}{_assumptions(config_file)}"


def _assumptions(config_file: ConfigFile) -> str:
    sizes = {"dim", "n_layers", "n_heads", "n_kv_heads", "hidden_dim", "vocab_size", "moe"}
    assumed = [f"{name} = {getattr(config_file.config, name)}" for name in sorted(sizes & config_file.assumed)]
    return f" (That file leaves open, and so was taken: {', '.join(assumed)}.)" if assumed else ""


def _may_be_ignored(name: str, config: ModelConfig) -> bool:
    """A tied head is compared later; the angles that old transformers stored follow from rope_theta."""
    return (name in _HEADS and config.tie_embeddings) or name.endswith(".rotary_emb.inv_freq")
