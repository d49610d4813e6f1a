"""What chapters 12 and 13 do with a model of any size: look into its files, change a setting for a moment, measure its losses."""

import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor

from minimistral.attention import QUERY_BLOCK
from minimistral.checkpoints.catalog import read_catalog
from minimistral.checkpoints.entry import FLOATS, Entry
from minimistral.checkpoints.folder import find_checkpoint
from minimistral.evaluate import in_chunks
from minimistral.memory import ROOM, available_bytes, cache_bytes
from minimistral.quantize import KINDS
from minimistral.rope import rotate_pairs
from minimistral.transformer import Transformer

CHUNK = 512  # tokens read at a time


def tensors_of(folder: Path) -> dict[str, Entry]:
    """Every tensor of a model's files by name: shape, dtype, bytes, none of them read."""
    return read_catalog(find_checkpoint(folder).weights)


def as_table(path: Path, entries: dict[str, Entry]) -> dict[str, dict]:
    """Of these tensors those in one file, in the words of a safetensors file's table: for a pickle, which has no table.

    Its numbers need not lie one after another, so each place is counted from 0.
    """
    words = {dtype: word for word, dtype in FLOATS.items()}
    return {
        name: {"dtype": words[entry.dtype], "shape": list(entry.shape), "data_offsets": [0, entry.n_bytes]}
        for name, entry in entries.items()
        if entry.file == path
    }


@contextmanager
def as_if(model: Transformer, **settings) -> Iterator[Transformer]:
    """The same weights under another config for a while: sliding_window, rope_theta, or whatever its forward pass reads."""
    config, windows = model.config, [layer.attention.window for layer in model.layers]
    model.config = replace(config, **settings)
    try:
        for layer in model.layers:
            layer.attention.window = model.config.sliding_window
        yield model
    finally:
        model.config = config
        for layer, window in zip(model.layers, windows):
            layer.attention.window = window


@contextmanager
def as_if_unpermuted() -> Iterator[None]:
    """Queries and keys as they come out of hub weights loaded without reordering: first all even numbers, then all odd."""

    def mismatched(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        return rotate_pairs(torch.cat([x[..., ::2], x[..., 1::2]], dim=-1), cos, sin)

    with patch("minimistral.attention.rotate_pairs", mismatched):
        yield


def mistakes(model: Transformer) -> dict[str, AbstractContextManager]:
    """Three ways to run the same weights: as they are, with the theta of another version, and as if unpermuted."""
    other = 1e6 if model.config.rope_theta < 1e5 else 1e4
    return {"as it is": nullcontext(), "theta wrong": as_if(model, rope_theta=other), "unpermuted": as_if_unpermuted()}


def bits_of(model: Transformer) -> str | None:
    """What its matrices were quantized to, "int8" or "int4"; None: they are floats."""
    kinds = {type(module) for module in model.modules()}
    return next((bits for bits, kind in KINDS.items() if kind in kinds), None)


def lengths_that_fit(model: Transformer, lengths: Sequence[int], free: int | None = None) -> tuple[int, ...]:
    """Of these lengths of a text those that the model can read without its window in `free` bytes; the shortest always.

    free: None for what its device has now. Counted are the cache, and float32 scores of a block of queries with a copy.
    """
    weight, config = model.tok_embeddings.weight, replace(model.config, sliding_window=None)
    free = available_bytes(weight.device) if free is None else free
    dtype = str(weight.dtype).removeprefix("torch.")

    def needed(length: int) -> int:
        scores = 4 * config.n_heads * QUERY_BLOCK * length
        return cache_bytes(config, dtype, length) + 3 * scores

    fitting = tuple(length for length in lengths if free is None or needed(length) < ROOM * free)
    return fitting or (min(lengths),)


@torch.inference_mode()
def losses(model: Transformer, ids: Sequence[int]) -> Tensor:
    """Bits of each token of one text given all before it, the first one given: (T - 1,) float32, on the CPU."""
    parts = [F.cross_entropy(*read, reduction="none").cpu() for read in in_chunks(model, list(ids), CHUNK)]
    return torch.cat(parts) / math.log(2)


def same_targets(model: Transformer, texts: Sequence[Sequence[int]], context: int, n_targets: int) -> float:
    """Mean bits of the last n_targets tokens of each text, given `context` tokens before the first of them.

    The targets are the same for every context: only how much stands before them differs. ValueError where a text is short.
    """
    found = []
    for ids in texts:
        if len(ids) < context + n_targets:
            raise ValueError(
                f"a text has {len(ids)} tokens; {context} before {n_targets} targets need {context + n_targets}."
            )
        found.append(losses(model, ids[-(context + n_targets) :])[-n_targets:])
    return float(torch.cat(found).mean())
