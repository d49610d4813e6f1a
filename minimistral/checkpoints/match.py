"""Comparing what a config asks for with what the files hold, by names and shapes alone."""

from collections.abc import Callable, Iterator

from minimistral.checkpoints import names
from minimistral.checkpoints.config_file import ConfigFile
from minimistral.checkpoints.entry import Entry
from minimistral.checkpoints.errors import CheckpointError, listed
from minimistral.checkpoints.fields import shortened
from minimistral.config import ModelConfig


def match(catalog: dict[str, Entry], layout: str, config_file: ConfigFile) -> list[names.Piece]:
    """The pieces to read, all of them present and of the right shape, and nothing left over; else CheckpointError."""
    config, found = config_file.config, []
    for piece in _variant(catalog, layout, config)(config):
        entry = catalog.get(piece.name)
        if entry is None:
            raise CheckpointError(_missing(piece.name, catalog, config_file))
        if entry.shape != piece.shape:
            raise CheckpointError(
                f"{entry.file}: tensor {piece.name} has shape {list(entry.shape)}; {config_file.path.name} asks for "
                f"{shortened(list(piece.shape))}.{_assumptions(config_file)}"
            )
        found.append(piece)
    left_over = [name for name in catalog.keys() - {piece.name for piece in found} if not _may_be_ignored(name, config)]
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


_HEADS = ("output.weight", "lm_head.weight")


def _variant(
    catalog: dict[str, Entry], layout: str, config: ModelConfig
) -> Callable[[ModelConfig], Iterator[names.Piece]]:
    """Which of the layout's variants this file is: told by the name under which the first layer's experts stand."""
    if layout == "native":
        is_stacked = config.moe and "layers.0.block_sparse_moe.w1" in catalog
        return names.stacked_pieces if is_stacked else names.native_pieces
    is_fused = config.moe and "model.layers.0.mlp.experts.gate_up_proj" in catalog
    return names.fused_pieces if is_fused else names.hub_pieces


def _missing(name: str, catalog: dict[str, Entry], config_file: ConfigFile) -> str:
    files = sorted({str(entry.file) for entry in catalog.values()})
    where = listed(files, most=1)
    return f"{where}: tensor {name} is missing; {config_file.path.name} asks for it.{_assumptions(config_file)}"


def _assumptions(config_file: ConfigFile) -> str:
    sizes = {"dim", "n_layers", "n_heads", "n_kv_heads", "hidden_dim", "vocab_size", "moe"}
    assumed = [f"{name} = {getattr(config_file.config, name)}" for name in sorted(sizes & config_file.assumed)]
    return f" (That file leaves open, and so was taken: {', '.join(assumed)}.)" if assumed else ""


def _may_be_ignored(name: str, config: ModelConfig) -> bool:
    """A tied head is compared later; the angles that old transformers stored follow from rope_theta."""
    return (name in _HEADS and config.tie_embeddings) or name.endswith(".rotary_emb.inv_freq")
