"""Loading a checkpoint: find its files, check everything that can be known without reading weights, then map them in."""

import os
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import prod
from pathlib import Path

import torch
from torch import Tensor

from minimistral.apple import has_apple_gpu
from minimistral.checkpoints.aside import aside
from minimistral.checkpoints.bar import loading_bar
from minimistral.checkpoints.catalog import read_catalog
from minimistral.checkpoints.entry import BLOCK, FLOATS, Entry, Scratch
from minimistral.checkpoints.errors import CheckpointError
from minimistral.checkpoints.folder import LAYOUTS, Checkpoint, find_checkpoint
from minimistral.checkpoints.match import match, second_head
from minimistral.checkpoints.names import Piece
from minimistral.checkpoints.place import find_folder
from minimistral.checkpoints.room import check_groups, check_room
from minimistral.config import ModelConfig
from minimistral.quantize import NotFinite, QuantizedLinear, is_quantized_name, kind_of
from minimistral.tokenizer import Tokenizer, find_tokenizer
from minimistral.transformer import Transformer


def load(
    name_or_path: str | os.PathLike,
    device: str | torch.device = "auto",
    dtype: str | torch.dtype = "auto",
    quantize: str | None = None,
    layout: str = "auto",
    layers: int | Sequence[int] | None = None,
) -> tuple[Transformer, Tokenizer | None]:
    """A model in eval mode, and its tokenizer (None where the folder has none).

    name_or_path: a bundled name, a folder in native or hub layout, or a hub id. layout: "native" or "hub" chooses one
    of two. device "auto": a GPU where there is one. dtype "auto": the file's. layers: the model has these layers of the
    checkpoint alone, an int n the first n, a list these in its order; a folder that holds only a part of a model will do
    (checkpoints/hub.py fetches parts). quantize "int8" or "int4": matrices are quantized one by one as they are read, and
    the model is for inference. CheckpointError says what is wrong with which file and tensor, and that a model is too
    large for the memory that is free; ValueError, which argument is wrong.

    Without quantize, on a CPU and in the file's dtype, weights stay in the file, which is mapped: memory of the program's
    own is taken by what the layout stores in another order and `aside` finds no disk for (hub: wq and wk), and by a third
    of the experts of the eight-file Mixtral (w2, stored transposed).
    """
    if layout not in ("auto", *LAYOUTS):
        raise ValueError(f"layout={layout!r}: choose 'auto', {' or '.join(map(repr, LAYOUTS))}.")
    if quantize is not None:
        kind_of(quantize)  # ValueError before anything is looked for
    device, dtype = _device(device), _dtype(dtype)
    folder = find_folder(name_or_path, layers)
    checkpoint = find_checkpoint(folder, layout)
    notes = list(checkpoint.notes)
    tokenizer = read_tokenizer(folder, checkpoint.config_file.config, notes)
    model = _load_model(checkpoint, device, dtype, quantize, layers, notes)
    for note in notes:
        warnings.warn(note, stacklevel=2)
    return model, tokenizer


def _load_model(
    checkpoint: Checkpoint,
    device: torch.device,
    dtype: torch.dtype | None,
    quantize: str | None,
    layers: int | Sequence[int] | None,
    notes: list[str],
) -> Transformer:
    config = checkpoint.config_file.config
    chosen = chosen_layers(layers, config.n_layers)
    catalog = read_catalog(checkpoint.weights)
    # from here on all sizes are those of the files
    pieces = match(catalog, checkpoint.layout, checkpoint.config_file, chosen)
    check_second_head(catalog, pieces, config)
    config = config if chosen is None else replace(config, n_layers=len(chosen))
    dtype = dtype or _stored_dtype(pieces, catalog, checkpoint.config_file.dtype)
    mapped = 0 if quantize else _mapped_bytes(pieces, catalog, device, dtype)
    if quantize == "int4":
        check_groups(config)
    if note := check_room(str(checkpoint.config_file.path.parent), config, device, dtype, quantize, mapped):
        notes.append(note)
    with torch.device("meta"):
        model = Transformer(config)
    weights: dict[str, Tensor] = {}
    scratch = Scratch()
    for piece in loading_bar(pieces, desc="weights", unit="tensor"):
        if quantize is None:
            weights |= _mapped(piece, catalog[piece.name], device, dtype, scratch)
        else:
            weights |= quantized_weights(model, piece, catalog[piece.name], device, dtype, kind_of(quantize), scratch)
    model.load_state_dict(weights, strict=True, assign=True)
    return model.eval() if quantize is None else model.eval().requires_grad_(False)


def _mapped(
    piece: Piece, entry: Entry, device: torch.device, dtype: torch.dtype, scratch: Scratch
) -> dict[str, Tensor]:
    """The weights of a piece, as they lie in the file wherever that is possible."""
    stored = entry.read()
    if piece.turn is None or not _stays_in_file(entry, device, dtype):
        return {name: part.to(device, dtype) for name, part in zip(piece.weights, piece.unpack(stored), strict=True)}
    ordered = (aside(piece.view(stored, i), scratch) for i in range(len(piece.weights)))
    return {name: part.view(-1, part.shape[-1]) for name, part in zip(piece.weights, ordered, strict=True)}


def quantized_weights(
    model: Transformer,
    piece: Piece,
    entry: Entry,
    device: torch.device,
    dtype: torch.dtype,
    kind: type[QuantizedLinear],
    scratch: Scratch,
) -> dict[str, Tensor]:
    """The weights of a piece for a model that gets quantized modules where it had matrices; of the piece nothing is kept.

    It is read some rows at a time, and only what has to be turned as a whole: beside the result little memory is taken,
    however large an embedding table is.
    """
    weights = {}
    n_rows = prod(entry.shape[:-1]) // len(piece.weights)
    for i, name in enumerate(piece.weights):
        start, end = i * n_rows, (i + 1) * n_rows
        if not is_quantized_name(name):
            weights[name] = torch.empty(entry.shape, dtype=dtype, device=device)
            left = weights[name].view(-1, entry.shape[-1])
            for block in entry.blocks(start, end, scratch):
                left[: len(block)], left = block, left[len(block) :]
            continue
        blocks = entry.blocks(start, end, scratch) if piece.turn is None else _turned(piece, entry, start, end, scratch)
        stem = name.removesuffix(".weight")
        try:
            module = kind.from_blocks((block.to(device, dtype) for block in blocks), len(model.get_parameter(name)))
        except NotFinite as error:
            raise damaged(entry, piece, name, error) from None
        model.set_submodule(stem, module)
        weights |= {f"{stem}.{key}": value for key, value in module.state_dict().items()}
    return weights


def damaged(entry: Entry, piece: Piece, name: str, error: NotFinite) -> CheckpointError:
    """The error for a weight that cannot be quantized, with the file and the tensor that it lies in."""
    where = "" if len(piece.weights) == 1 else f", in it {name}"
    return CheckpointError(f"{entry.file}: tensor {piece.name}{where}: {error}")


def _turned(piece: Piece, entry: Entry, start: int, end: int, scratch: Scratch) -> Iterator[Tensor]:
    """A matrix that is brought into the model's order, some rows at a time."""
    view = piece.turn(entry.rows(start, end, scratch))
    for part in view.split(max(1, BLOCK * len(view) // view.nbytes)):
        yield part.reshape(-1, part.shape[-1])


def _stays_in_file(entry: Entry, device: torch.device, dtype: torch.dtype) -> bool:
    return device.type == "cpu" and entry.dtype == dtype


def _mapped_bytes(pieces: list[Piece], catalog: dict[str, Entry], device: torch.device, dtype: torch.dtype) -> int:
    """Bytes of the weights that need no memory of the program's own (those put aside count as needing it)."""
    entries = [(piece, catalog[piece.name]) for piece in pieces]
    return sum(entry.n_bytes for piece, entry in entries if piece.turn is None and _stays_in_file(entry, device, dtype))


def chosen_layers(layers: int | Sequence[int] | None, n_layers: int) -> list[int] | None:
    """The layers meant, of n_layers; ValueError for what cannot be.

    >>> chosen_layers(2, 32), chosen_layers([0, 15], 32), chosen_layers(None, 32)
    ([0, 1], [0, 15], None)
    """
    if layers is None:
        return None
    if isinstance(layers, int) and not isinstance(layers, bool):
        given = list(range(layers))
    else:
        given = list(layers) if isinstance(layers, Sequence) else []
    are_layers = all(type(layer) is int and 0 <= layer < n_layers for layer in given)
    if given and are_layers and len(set(given)) == len(given):
        return given
    raise ValueError(
        f"layers={layers!r}: the model has {n_layers} layers. Give None for all, a number from 1 to {n_layers} for the "
        f"first ones, or a list of different layers from 0 to {n_layers - 1}."
    )


def _stored_dtype(pieces: list[Piece], catalog: dict[str, Entry], stated: str | None) -> torch.dtype:
    """The files' dtype. Where they mix several: the one the config states, else the one that holds them all."""
    dtypes = {catalog[piece.name].dtype for piece in pieces}
    if len(dtypes) > 1 and stated is not None and getattr(torch, stated, None) in FLOATS.values():
        return getattr(torch, stated)
    result = dtypes.pop()
    for other in dtypes:
        result = torch.promote_types(result, other)
    return result


def read_tokenizer(folder: Path, config: ModelConfig, notes: list[str]) -> Tokenizer | None:
    """The tokenizer beside a model's weights, if there is one; what should be known of it is added to `notes`."""
    path = find_tokenizer(folder)
    if path is None:
        return None
    tokenizer = Tokenizer(path)
    if tokenizer.vocab_size > config.vocab_size:
        notes.append(
            f"{path}: has {tokenizer.vocab_size:,} ids, and the model knows {config.vocab_size:,}: "
            "it will refuse the others. Is it this model's tokenizer?"
        )
    return tokenizer


def check_second_head(catalog: dict[str, Entry], pieces: list[Piece], config: ModelConfig) -> None:
    """CheckpointError where the files of a tied model hold a head of its own beside the embeddings, and it is not they."""
    name = second_head(catalog, config)
    if name is None:
        return
    embeddings = next(piece.name for piece in pieces if piece.weights == ("tok_embeddings.weight",))
    head, one, other = catalog[name], catalog[name].read(), catalog[embeddings].read()
    if one.dtype != other.dtype or not torch.equal(one.view(torch.uint8), other.view(torch.uint8)):
        raise CheckpointError(
            f"{head.file}: tensor {name} differs from the embeddings, and the config says that both are one. "
            "If they are not, set tie_word_embeddings (params.json: tied_embeddings) to false."
        )


def _device(device: str | torch.device) -> torch.device:
    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if has_apple_gpu() else "cpu")
    try:
        chosen = torch.device(device)
        torch.empty(0, device=chosen)
    except (RuntimeError, TypeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"device={device!r} cannot be used here ({reason}). Choose 'auto' or 'cpu'.") from error
    return chosen


def _dtype(dtype: str | torch.dtype) -> torch.dtype | None:
    """None stands for "auto"."""
    chosen = None if dtype == "auto" else getattr(torch, dtype, dtype) if isinstance(dtype, str) else dtype
    if chosen is not None and chosen not in FLOATS.values():
        raise ValueError(f"dtype={dtype!r}: choose 'auto', 'float32', 'bfloat16', 'float16' or 'float64'.")
    return chosen
