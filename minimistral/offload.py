"""Experts that do not fit the device: kept in host memory or in a file, the last used ones in a few slots on the device.

A token passes through 2 of Mixtral's 8 experts a layer, and 96.6 % of its bytes are experts. What is wanted and not on the
device must be brought there first: 64 experts a token at most, fewer the more often the cache finds one.
"""

import copy
import json
import os
import warnings
from collections import OrderedDict
from collections.abc import Callable, Collection, Hashable, Iterable
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn

from minimistral.checkpoints.catalog import read_catalog
from minimistral.checkpoints.entry import Scratch
from minimistral.checkpoints.errors import CheckpointError, naming
from minimistral.checkpoints.folder import Checkpoint, find_checkpoint
from minimistral.checkpoints.match import match
from minimistral.checkpoints.names import Piece
from minimistral.checkpoints.place import find_folder
from minimistral.checkpoints.read import (
    _device,
    _dtype,
    _stays_in_file,
    _stored_dtype,
    check_second_head,
    damaged,
    quantized_weights,
    read_tokenizer,
)
from minimistral.checkpoints.room import check_groups
from minimistral.config import ModelConfig
from minimistral.expert_stores import FileStore, HostStore, Key, Range, Record, pack
from minimistral.memory import available_bytes, bytes_needed, expert_bytes, in_bytes
from minimistral.moe import MoE, choose_experts
from minimistral.quantize import Int4Linear, NotFinite, QuantizedLinear, kind_of, quantize_
from minimistral.tokenizer import Tokenizer
from minimistral.transformer import Transformer


class LRU:
    """Which of `capacity` slots holds which key; a new key takes a free slot, else that of the key unused the longest."""

    def __init__(self, capacity: int):
        if isinstance(capacity, bool) or not isinstance(capacity, int) or capacity < 1:
            raise ValueError(
                f"capacity={capacity!r}: give a whole number of 1 or more, how many experts are held at once."
            )
        self.capacity = capacity
        self.hits = self.misses = 0
        self._slots: OrderedDict[Hashable, int] = OrderedDict()  # key: its slot; the key unused the longest comes first

    def use(self, key: Hashable) -> tuple[int, bool]:
        """The key's slot, and whether the key was there already (a hit) or has to be brought into it (a miss)."""
        if key in self._slots:
            self.hits += 1
            self._slots.move_to_end(key)
            return self._slots[key], True
        self.misses += 1
        is_full = len(self._slots) == self.capacity
        slot = self._slots.popitem(last=False)[1] if is_full else len(self._slots)
        self._slots[key] = slot
        return slot, False

    def __contains__(self, key: Hashable) -> bool:
        return key in self._slots

    @property
    def keys(self) -> list[Hashable]:
        """What is held, the key unused the longest first."""
        return list(self._slots)

    @property
    def hit_rate(self) -> float:
        """The share of uses that found their key; 0.0 before the first."""
        return self.hits / max(1, self.hits + self.misses)


def lru_hits(choices: Iterable[Collection[Hashable]], capacity: int) -> tuple[int, int]:
    """How often an expert would have been on the device, and how often not: (hits, misses).

    choices: for each step (a token, or a token in a layer) the keys that it uses: expert ids, or (layer, expert) pairs
    when all layers share the slots. A list is used in its order, a set in ascending order, as `MoE` runs its experts.

    >>> lru_hits([[0, 1], [0, 2], [0, 1]], capacity=2)  # 0 stays, 2 takes the slot of 1, and then 1 that of 2
    (2, 4)
    """
    held = LRU(capacity)
    for step in choices:
        for key in sorted(step) if isinstance(step, (set, frozenset)) else step:
            held.use(key)
    return held.hits, held.misses


class ExpertCache:
    """The experts on the device: as many slots as fit the budget, filled from a store by least recent use.

    hits, misses and hit_rate count expert by expert since the beginning, or since `reset_counts`.
    """

    def __init__(
        self, store: HostStore | FileStore, record: Record, template: nn.Module, capacity: int, device: torch.device
    ):
        self.store, self.record, self.capacity = store, record, capacity
        self._slots = torch.empty(capacity, record.nbytes, dtype=torch.uint8, device=device)
        self._modules = [record.module(template, flat) for flat in self._slots]
        self._held = LRU(capacity)

    def get(self, key: Key) -> nn.Module:
        """The expert of this (layer, expert), on the device; good until the next call."""
        slot, is_hit = self._held.use(key)
        if not is_hit:
            try:
                self.store.bring(key, self._slots[slot])
            except BaseException:  # half an expert must never pass for one
                self.clear()
                raise
        return self._modules[slot]

    def clear(self) -> None:
        """Hold nothing; counts go on."""
        fresh = LRU(self.capacity)
        fresh.hits, fresh.misses, self._held = self._held.hits, self._held.misses, fresh

    def reset_counts(self) -> None:
        self._held.hits = self._held.misses = 0

    @property
    def hits(self) -> int:
        return self._held.hits

    @property
    def misses(self) -> int:
        return self._held.misses

    @property
    def hit_rate(self) -> float:
        """The share of experts that were on the device when they were wanted; 0.0 before the first."""
        return self._held.hit_rate

    @property
    def keys(self) -> list[Key]:
        """The (layer, expert) pairs held, the one unused the longest first."""
        return self._held.keys

    @property
    def nbytes(self) -> int:
        """Bytes of the slots on the device."""
        return self._slots.nbytes

    @property
    def bytes_moved(self) -> int:
        """Bytes that the misses counted have brought to the device."""
        return self.misses * self.record.nbytes

    def __repr__(self) -> str:
        return (
            f"{self.capacity} experts of {self.record.nbytes / 1e6:,.1f} MB; {self.hits} hits, {self.misses} misses "
            f"({self.hit_rate:.0%} found)"
        )


class OffloadedExpert(nn.Module):
    """Stands in a model for an expert that may have to be brought first. (n, C) to (n, C)."""

    def __init__(self, cache: ExpertCache, key: Key):
        super().__init__()
        self.cache, self.key = cache, key

    def forward(self, x: Tensor) -> Tensor:
        return self.cache.get(self.key)(x)

    def extra_repr(self) -> str:
        return f"layer={self.key[0]}, expert={self.key[1]}"


def offload(
    model: Transformer,
    budget_bytes: int,
    device: str | torch.device = "auto",
    quantize: str | None = None,
) -> ExpertCache:
    """Keep the model's experts in host memory, and at most budget_bytes of them on the device, with the rest of the model.

    In place; returns the cache, which is `model.expert_cache` too. quantize: "int8" or "int4" for all of the model, experts
    first, so that no device ever holds it whole. The logits are those of the plain model. ValueError for a model without
    experts, and for a budget that no expert fits.
    """
    if not isinstance(model, Transformer):
        raise ValueError(f"offload({type(model).__name__}): give a minimistral Transformer.")
    experts = _experts_of(model.config)
    device = _device(device)
    for module in model.modules():
        if isinstance(module, Int4Linear):
            module.unpack_()
    if quantize is not None and any(isinstance(module, QuantizedLinear) for module in model.modules()):
        raise ValueError(f"quantize={quantize!r}: the model is quantized already; leave quantize=None.")
    if quantize == "int4":
        check_groups(model.config)

    def read(key: Key) -> dict[str, Tensor]:
        expert = model.layers[key[0]].feed_forward.experts[key[1]]
        try:
            weights = _quantized(
                {name: tensor.detach() for name, tensor in expert.state_dict().items()}, quantize, device
            )
        except NotFinite as error:
            raise ValueError(f"{_expert_name(key, 'w1, w2 or w3')}: {error}") from None
        expert.to("meta")  # let go at once: two copies of all experts may not fit
        return weights

    template = _template(model.layers[0].feed_forward.experts[0], quantize)
    record = Record.of(template)
    capacity = _capacity(budget_bytes, record, len(experts))
    store = HostStore(record, experts, read, pin=device.type == "cuda")
    _install(model, ExpertCache(store, record, template, capacity, device))
    model.to(device)
    return _finish(model, quantize).expert_cache


def load_offloaded(
    name_or_path: str | os.PathLike,
    budget_bytes: int,
    device: str | torch.device = "auto",
    quantize: str | None = None,
    experts_in: str | os.PathLike = "memory",
    dtype: str | torch.dtype = "auto",
    prefetch: bool = False,
) -> tuple[Transformer, Tokenizer | None]:
    """Load a mixture as `load` does, with at most budget_bytes of its experts on the device; `model.expert_cache` counts.

    experts_in: "memory", all of them in host memory (4-bit Mixtral: 25 GB); "disk", read from the checkpoint's safetensors
    files whenever they are wanted, as they are; or a file to keep them in, written first if it is not there: the way to
    read quantized ones from disk, or those of another layout. prefetch: tell the system which experts the next layer
    would choose now, so that it reads ahead (Eliseev and Mazur, arXiv 2312.17238, section 3.2). CheckpointError as `load`,
    also where memory or disk have no room for what is asked; ValueError says which argument is wrong.
    """
    if not isinstance(experts_in, (str, os.PathLike)):
        raise ValueError(f"experts_in={experts_in!r}: give 'memory', 'disk', or a file to keep the experts in.")
    device, dtype = _device(device), _dtype(dtype)
    folder = find_folder(name_or_path)
    checkpoint = find_checkpoint(folder)
    files = _CheckpointExperts(checkpoint, dtype, quantize, device)
    experts = _experts_of(files.config)
    notes = list(checkpoint.notes)
    tokenizer = read_tokenizer(folder, files.config, notes)
    if quantize == "int4":
        check_groups(files.config)
    with torch.device("meta"):
        model = Transformer(files.config).to(files.dtype)
    template = _template(model.layers[0].feed_forward.experts[0], quantize)
    record = Record.of(template)
    capacity = _capacity(budget_bytes, record, len(experts))
    in_memory = len(experts) * record.nbytes if experts_in == "memory" else 0
    _check_room(folder, device, in_memory, capacity * record.nbytes, files.others_bytes())
    if experts_in == "memory":
        store = HostStore(record, experts, files.read, pin=device.type == "cuda")
    elif experts_in == "disk":
        store = FileStore(files.ranges(record, experts), record, device)
    else:
        place = Path(experts_in).expanduser()
        store = FileStore(pack(place, record, experts, files.read, files.about), record, device)
    for note in notes:
        warnings.warn(note, stacklevel=2)
    _install(model, ExpertCache(store, record, template, capacity, device), prefetch)
    model.load_state_dict(files.others(model), strict=True, assign=True)
    return _finish(model, None), tokenizer


class _CheckpointExperts:
    """The weights of a checkpoint, experts one by one and the others together."""

    def __init__(self, checkpoint: Checkpoint, dtype: torch.dtype | None, quantize: str | None, device: torch.device):
        self.config, self._quantize, self._device = checkpoint.config_file.config, quantize, device
        _experts_of(self.config)
        self._catalog = read_catalog(checkpoint.weights)
        self._pieces = match(self._catalog, checkpoint.layout, checkpoint.config_file)
        check_second_head(self._catalog, self._pieces, self.config)
        self.dtype = dtype or _stored_dtype(self._pieces, self._catalog, checkpoint.config_file.dtype)
        self._home = {weight: (piece, i) for piece in self._pieces for i, weight in enumerate(piece.weights)}
        paths = sorted({entry.file for entry in self._catalog.values()})
        self.about = {
            "files": [[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in paths],
            "dtype": str(self.dtype),
            "quantize": quantize,
        }

    def read(self, key: Key) -> dict[str, Tensor]:
        """The tensors of one expert, on the CPU or wherever they were quantized."""
        weights = {}
        for name in (f"{w}.weight" for w in ("w1", "w2", "w3")):
            piece, i = self._home[_expert_name(key, name)]
            entry = self._catalog[piece.name]
            weight = piece.part(entry.read(), i).to(self.dtype)
            try:
                weights |= _quantized({name: weight}, self._quantize, self._device)
            except NotFinite as error:
                raise damaged(entry, piece, _expert_name(key, name), error) from None
        return weights

    def others(self, model: Transformer) -> dict[str, Tensor]:
        """Everything that is no expert, on the device; matrices are quantized as they are read, never all held in floats."""
        found, scratch = {}, Scratch()
        for piece in self._pieces:
            if _is_of_experts(piece):
                continue
            entry = self._catalog[piece.name]
            if self._quantize is not None:
                how = self._device, self.dtype, kind_of(self._quantize), scratch
                found |= quantized_weights(model, piece, entry, *how)
                continue
            tensors = piece.unpack(entry.read())
            found |= {name: tensor.to(self._device, self.dtype) for name, tensor in zip(piece.weights, tensors)}
        return found

    def others_bytes(self) -> int:
        """Bytes of memory that everything but the experts needs; what stays in the file, mapped, needs none."""
        how = self.dtype, self._quantize
        needed = bytes_needed(self.config, *how) - expert_bytes(self.config, *how)
        if self._quantize is None:
            others = [(piece, self._catalog[piece.name]) for piece in self._pieces if not _is_of_experts(piece)]
            here = (entry for piece, entry in others if piece.turn is None)
            needed -= sum(entry.n_bytes for entry in here if _stays_in_file(entry, self._device, self.dtype))
        return needed

    def ranges(self, record: Record, experts: list[Key]) -> dict[Key, list[Range]]:
        """Where each expert's bytes lie in the files; ValueError where they do not lie there as the model wants them."""
        names = [_expert_name(key, name) for key in experts for name in ("w1.weight", "w2.weight", "w3.weight")]
        homes = [self._home[name][0] for name in names]
        entries = [self._catalog[piece.name] for piece in homes]
        as_they_are = not self._quantize and all(len(piece.weights) == 1 for piece in homes)
        if not as_they_are or any(e.dtype != self.dtype or e.file.suffix != ".safetensors" for e in entries):
            raise ValueError(
                'experts_in="disk" reads experts as they lie in safetensors files, one tensor each, without quantize and '
                "in the files' dtype. Name a file in which to keep them otherwise: experts_in='experts.bin'."
            )
        starts = {path: _tensor_starts(path) for path in {entry.file for entry in self._catalog.values()}}
        found: dict[Key, list[Range]] = {}
        for key in experts:
            for name, _, _, at in record.parts:
                entry_name = self._home[_expert_name(key, name)][0].name
                entry = self._catalog[entry_name]
                found.setdefault(key, []).append(Range(entry.file, starts[entry.file][entry_name], entry.n_bytes, at))
        return found


def _is_of_experts(piece: Piece) -> bool:
    return ".experts." in piece.weights[0]


def _expert_name(key: Key, name: str) -> str:
    return f"layers.{key[0]}.feed_forward.experts.{key[1]}.{name}"


def _tensor_starts(path: Path) -> dict[str, int]:
    """The first byte of each tensor of a safetensors file (checked when it was opened)."""
    with naming(path), path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
    return {name: 8 + length + value["data_offsets"][0] for name, value in header.items() if name != "__metadata__"}


def _experts_of(config: ModelConfig) -> list[Key]:
    if config.moe is None:
        raise ValueError(
            "the model is dense: it has no experts to offload. quantize='int8' or 'int4' makes it smaller."
        )
    return [(layer, expert) for layer in range(config.n_layers) for expert in range(config.moe.num_experts)]


def _capacity(budget_bytes: int, record: Record, n_experts: int) -> int:
    is_number = isinstance(budget_bytes, (int, float)) and not isinstance(budget_bytes, bool)
    if not is_number or not budget_bytes >= record.nbytes:  # NaN is neither less nor more
        raise ValueError(
            f"budget_bytes={budget_bytes!r}: an expert has {record.nbytes:,} bytes, and at least one must fit "
            f"(all {n_experts}: {n_experts * record.nbytes:,})."
        )
    return int(min(budget_bytes, n_experts * record.nbytes)) // record.nbytes


def _check_room(folder: Path, device: torch.device, stored: int, slots: int, others: int) -> None:
    """CheckpointError where the experts kept in memory, or what is on the device, would find no room."""
    host = torch.device("cpu")
    parts = [(host, "all experts", stored), (device, "the experts in use", slots), (device, "the rest", others)]
    for place in dict.fromkeys((host, device)):
        here = [(what, n) for where, what, n in parts if where == place and n]
        needed, free = sum(n for _, n in here), available_bytes(place)
        if free is not None and needed > free:
            listed = ", ".join(f"{in_bytes(n, 1)} for {what}" for what, n in here)
            raise CheckpointError(
                f"{folder}: needs {in_bytes(needed, 1)} on the device {place} ({listed}), {in_bytes(free, 1)} free. Fewer "
                "bits take less (quantize='int8' or 'int4'), and a smaller budget_bytes, and experts in a file (experts_in)."
            )


def _quantized(weights: dict[str, Tensor], bits: str | None, device: torch.device) -> dict[str, Tensor]:
    """The tensors of an expert as its record wants them, quantized on the device, which is quicker at it."""
    if bits is None:
        return weights
    found = {}
    for name, weight in weights.items():
        module = kind_of(bits).from_weight(weight.to(device))
        found |= {f"{name.removesuffix('.weight')}.{part}": tensor for part, tensor in module.state_dict().items()}
    return found


def _template(expert: nn.Module, bits: str | None) -> nn.Module:
    """An expert without memory (on meta), of the kind that the slots hold."""
    template = copy.deepcopy(expert).to("meta").requires_grad_(False).eval()
    if bits is not None:
        for name, linear in list(template.named_children()):
            n_rows, row = len(linear.weight), torch.ones(1, linear.weight.shape[1])
            example = kind_of(bits).from_weight(row)
            parts = {part: t.new_empty(n_rows, *t.shape[1:], device="meta") for part, t in example.state_dict().items()}
            setattr(template, name, type(example)(**parts))
    for linear in template.children():
        if isinstance(linear, Int4Linear):
            # in another order its weights would be a copy, which no budget counts and no slot fills
            linear.pack_ = _never
    return template


def _never() -> bool:
    return False


def _install(model: Transformer, cache: ExpertCache, prefetch: bool = False) -> None:
    for i, block in enumerate(model.layers):
        experts = range(len(block.feed_forward.experts))
        block.feed_forward.experts = nn.ModuleList(OffloadedExpert(cache, (i, e)) for e in experts)
    model.expert_cache = cache
    if prefetch:
        for i, (block, after) in enumerate(pairwise(model.layers), start=1):
            block.feed_forward.register_forward_pre_hook(_read_ahead(cache, i, after.feed_forward))


def _read_ahead(cache: ExpertCache, layer: int, moe: MoE) -> Callable:
    """A hook that asks the gate of the layer to come about the tokens of this one: the residual stream changes slowly."""

    def announce(module: nn.Module, args: tuple) -> None:
        tokens = args[0].flatten(0, -2)
        if len(tokens) > 1:  # a prompt: it uses nearly all experts anyway
            return
        for expert in choose_experts(moe.gate(tokens), moe.k)[1][0].tolist():
            if (layer, expert) not in cache.keys:
                cache.store.announce((layer, expert))

    return announce


def _finish(model: Transformer, quantize: str | None) -> Transformer:
    """Quantize what is no expert, on the device; from here on for inference only."""
    if quantize is not None:
        quantize_(model, quantize)
    return model.requires_grad_(False).eval()
