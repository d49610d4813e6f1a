"""One model on several GPUs: each process, a rank, holds a thinner model, and twice a layer their results are added.

    with ranks.joined():  # in a script that torchrun starts: torchrun --nproc-per-node 2 script.py
        model, tokenizer = load_parallel(path)
        generate(model, prompts)  # on every rank, with the same arguments: every rank gets the same tokens

Attention is cut by heads: each rank has G/n key/value heads, with their H/n query heads, and caches only those. A dense
feed-forward block is cut by its hidden units. Of a mixture each rank holds E/n whole experts; where n does not divide E,
a part of every expert's hidden units. Each output is then a sum over ranks: two sums a layer are all they exchange.
Norms, gates and embeddings are whole on every rank, so that all route alike; the output head is cut by the vocabulary.
Source: Megatron-LM, arXiv 1909.08053, section 3; experts in place of hidden units are the same idea one step up.

Torch's plans (parallelize_module) say where ranks meet. Weights stay plain tensors, so that quantized modules can be cut
too. For inference: gradients of what is whole on every rank would need sums of their own.
"""

import os
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.tensor import Replicate, Shard
from torch.distributed.tensor.parallel import ParallelStyle, PrepareModuleOutput, parallelize_module

from minimistral.checkpoints.bar import loading_bar
from minimistral.checkpoints.catalog import read_catalog
from minimistral.checkpoints.entry import Entry
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
    load,
    read_tokenizer,
)
from minimistral.checkpoints.room import check_room
from minimistral.config import ModelConfig, MoEConfig
from minimistral.quantize import Int8Linear, NotFinite, QuantizedLinear, is_quantized_name, kind_of
from minimistral.ranks import from_first, n_ranks, rank
from minimistral.tokenizer import Tokenizer
from minimistral.transformer import Transformer

Result = TypeVar("Result")


def part_config(config: ModelConfig, n: int) -> ModelConfig:
    """The shape of what each of n ranks computes in a layer; ValueError says with how many ranks the model can be cut.

    >>> part_config(ModelConfig.preset("mistral-7b-v0.1"), 4).n_kv_heads
    2
    """
    possible = [m for m in range(1, config.n_kv_heads + 1) if _can_be_cut(config, m)]
    if n not in possible:
        experts = "" if config.moe is None else f"num_experts={config.moe.num_experts} or "
        raise ValueError(
            f"{n} processes cannot share this model. Each takes whole key/value heads (n_kv_heads={config.n_kv_heads}) and "
            f"an equal part of {experts}hidden_dim={config.hidden_dim}. Possible: {', '.join(map(str, possible))}. "
            f"Start torchrun --nproc-per-node {max((m for m in possible if m <= n), default=1)}."
        )
    hidden_dim = config.hidden_dim if experts_stay_whole(config, n) else config.hidden_dim // n
    heads = dict(n_heads=config.n_heads // n, n_kv_heads=config.n_kv_heads // n)
    return replace(config, **heads, hidden_dim=hidden_dim)


def experts_stay_whole(config: ModelConfig, n: int) -> bool:
    """Whether n ranks share a mixture expert by expert."""
    return config.moe is not None and config.moe.num_experts % n == 0


def held_config(config: ModelConfig, n: int) -> ModelConfig:
    """The shape of what each of n ranks holds, whose weights can be counted: with only its own experts. As `part_config`."""
    held = part_config(config, n)
    if not experts_stay_whole(config, n):
        return held
    n_own = config.moe.num_experts // n
    return replace(held, moe=MoEConfig(n_own, min(n_own, config.moe.num_experts_per_tok)))


def _can_be_cut(config: ModelConfig, n: int) -> bool:
    return config.n_kv_heads % n == 0 and (experts_stay_whole(config, n) or config.hidden_dim % n == 0)


class Part(Transformer):
    """What one rank holds; called on all ranks at once it gives the whole model's logits. `whole`: the model's config.

    `config` is that of the part (its heads; the hidden units of its blocks), so its cache holds this rank's heads only.
    """

    def __init__(self, whole: ModelConfig, rank: int, n: int):
        super().__init__(part_config(whole, n))
        self.whole = whole
        if experts_stay_whole(whole, n):
            own = range(rank * whole.moe.num_experts // n, (rank + 1) * whole.moe.num_experts // n)
            for layer in self.layers:
                experts = layer.feed_forward.experts
                layer.feed_forward.experts = nn.ModuleList(
                    x if e in own else Elsewhere() for e, x in enumerate(experts)
                )
        if self.output is not None and whole.vocab_size % n == 0:
            self.output = nn.Linear(whole.dim, whole.vocab_size // n, bias=False)

    def connect(self, mesh: DeviceMesh) -> None:
        """Have the ranks' results added, or put side by side, wherever they are parts of one result."""
        plan = {"layers.*.attention": Summed(), "layers.*.feed_forward": Summed()}
        if self.output is not None and self.output.out_features < self.whole.vocab_size:
            plan["output"] = PrepareModuleOutput(output_layouts=Shard(-1), desired_output_layouts=Replicate())
        parallelize_module(self, mesh, plan)
        seed = from_first(lambda: torch.Generator().seed())  # from the operating system
        self._seeds = torch.Generator().manual_seed(seed)

    def draw_seed(self) -> int:
        """A seed that nobody chose, the same on every rank: what `generate` uses when it is given none."""
        return int(torch.randint(2**62, (), generator=self._seeds))


class Summed(ParallelStyle):
    """The ranks' outputs of a module are added, in place.

    It is what DTensor's Partial to Replicate means. That takes ten times the processor time a sum (0.7 ms against 0.06 on
    one core, two gloo processes), and a token of the 7B waits for 64 of them.
    """

    def _apply(self, module: nn.Module, device_mesh: DeviceMesh) -> nn.Module:
        group = device_mesh.get_group()

        def add(module: nn.Module, inputs: tuple, output: Tensor) -> Tensor:
            dist.all_reduce(output, group=group)
            return output

        module.register_forward_hook(add)
        return module


class Elsewhere(nn.Module):
    """An expert that another rank holds: it adds nothing to this rank's sum."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.zeros_like(x)


def load_parallel(
    name_or_path: str | os.PathLike,
    device: str | torch.device = "auto",
    dtype: str | torch.dtype = "auto",
    quantize: str | None = None,
    layout: str = "auto",
) -> tuple[Transformer, Tokenizer | None]:
    """Like `load`, on every rank at once within `ranks.joined()`: each reads and holds only its part. Alone: `load`.

    device "auto": the process's own GPU (cuda:LOCAL_RANK) where there are GPUs, else the CPU. quantize "int8" or "int4":
    each rank quantizes its part, into the codes that one process would have. What goes wrong on one rank (CheckpointError,
    ValueError) is raised on all of them.
    """
    if n_ranks() == 1:
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            raise ValueError(
                "torchrun started several processes that do not know each other: load within `with ranks.joined():`."
            )
        return load(name_or_path, device=device, dtype=dtype, quantize=quantize, layout=layout)
    from_first(lambda: str(find_folder(name_or_path)))  # a download happens once; then every rank finds it
    part, tokenizer, mesh_device = on_all(lambda: _load_part(name_or_path, device, dtype, quantize, layout))
    part.connect(init_device_mesh(mesh_device, (n_ranks(),)))
    return part, tokenizer


def on_all(make: Callable[[], Result]) -> Result:
    """What `make()` returns on each rank; where it fails on one, every rank raises, instead of waiting for that one."""
    result, error = None, None
    try:
        result = make()
    except Exception as caught:
        error = caught
    reasons: list[str | None] = [None] * n_ranks()
    dist.all_gather_object(reasons, None if error is None else f"{error}" or type(error).__name__)
    if error is not None:
        error.first_tells = True  # the first process knows of it, and need not hear it twice
        raise error
    for i, reason in enumerate(reasons):
        if reason is not None:
            raise ValueError(f"process {i} of {n_ranks()} could not go on: {reason}")
    return result


def _load_part(
    name_or_path: str | os.PathLike,
    device: str | torch.device,
    dtype: str | torch.dtype,
    quantize: str | None,
    layout: str,
) -> tuple[Part, Tokenizer | None, str]:
    device, dtype = _own_device(device), _dtype(dtype)
    if quantize is not None:
        kind_of(quantize)  # ValueError before anything is looked for
    folder = find_folder(name_or_path)
    checkpoint = find_checkpoint(folder, layout)
    notes = list(checkpoint.notes)
    tokenizer = read_tokenizer(folder, checkpoint.config_file.config, notes)
    part = _read_part(checkpoint, device, dtype, quantize, notes)
    if rank() == 0:
        for note in notes:
            warnings.warn(note, stacklevel=2)
    return part, tokenizer, device.type


def _read_part(
    checkpoint: Checkpoint,
    device: torch.device,
    dtype: torch.dtype | None,
    quantize: str | None,
    notes: list[str],
) -> Part:
    catalog, config = read_catalog(checkpoint.weights), checkpoint.config_file.config
    pieces = match(catalog, checkpoint.layout, checkpoint.config_file)
    if rank() == 0:
        check_second_head(catalog, pieces, config)
    dtype = dtype or _stored_dtype(pieces, catalog, checkpoint.config_file.dtype)
    with torch.device("meta"):
        part = Part(config, rank(), n_ranks())
    files = [(piece, catalog[piece.name]) for piece in pieces]
    if note := _check_room(checkpoint, files, config, device, dtype, quantize):
        notes.append(note)
    shapes = {name: weight.shape for name, weight in part.state_dict().items()}
    weights: dict[str, Tensor] = {}
    bar = loading_bar(files, desc="weights", unit="tensor", disable=None if rank() == 0 else True)
    for piece, entry in bar:
        if not any(name in shapes for name in piece.weights):
            continue  # an expert of another rank: not a byte of it is read
        stored = entry.read()  # mapped: bytes are read where they are used
        for i, name in enumerate(piece.weights):
            if name not in shapes:
                continue
            whole = piece.part(stored, i)
            if quantize is not None and is_quantized_name(name):
                try:
                    weights |= _quantize(part, name, whole, shapes[name], device, dtype, kind_of(quantize))
                except NotFinite as error:
                    raise damaged(entry, piece, name, error) from None
                continue
            own = cut(whole, shapes[name], rank())
            # A view of a reordered copy would keep all of that copy alive; a view of the file costs nothing.
            weights[name] = (own if piece.turn is None else own.clone()).to(device, dtype).contiguous()
    part.load_state_dict(weights, strict=True, assign=True)
    return part.eval().requires_grad_(False)


def _check_room(
    checkpoint: Checkpoint,
    files: list[tuple[Piece, Entry]],
    config: ModelConfig,
    device: torch.device,
    dtype: torch.dtype,
    quantize: str | None,
) -> str | None:
    """As `load` does. Each GPU has to hold a part; on a CPU the ranks of one machine share its memory, and hold the whole."""
    what = str(checkpoint.config_file.path.parent)
    if device.type == "cpu" and int(os.environ.get("LOCAL_WORLD_SIZE", "1")) == n_ranks():
        cut_by_columns = ("wo", "w2")
        mapped = sum(
            entry.n_bytes
            for piece, entry in files
            if quantize is None
            and piece.turn is None
            and _stays_in_file(entry, device, dtype)
            and piece.weights[0].split(".")[-2] not in cut_by_columns
        )
        return check_room(what, config, device, dtype, quantize, mapped)
    what = f"{what}, of which each of {n_ranks()} processes holds a part"
    return check_room(what, held_config(config, n_ranks()), device, dtype, quantize)


def _quantize(
    part: Part,
    name: str,
    whole: Tensor,
    shape: torch.Size,
    device: torch.device,
    dtype: torch.dtype,
    kind: type[QuantizedLinear],
) -> dict[str, Tensor]:
    """Give the part this rank's piece of a matrix, quantized, in place of one that is still on meta; what its state holds.

    int8 has one scale a row: where rows are cut, it follows from the whole row, so that all ranks have the codes of one.
    For that each reads the row, whose pages it shares with the others. To compare the largest weights of its pieces
    first would spare two ranks an eighth of the time, at the price of a collective in the middle of reading.
    """
    stem = name.removesuffix(".weight")
    own = cut(whole, shape, rank())
    try:
        if kind is Int8Linear and shape[1] < whole.shape[1]:
            found = kind.from_weight(whole.to(device, dtype))
            module = kind(cut(found.q, shape, rank()).contiguous(), found.scale)
        else:
            module = kind.from_weight(own.to(device, dtype))
    except NotFinite as error:
        raise NotFinite(error.row + rank() * shape[0] if shape[0] < whole.shape[0] else error.row) from None
    except ValueError as error:  # groups that would be cut: they need not divide a piece of a row that they divide
        raise ValueError(f"{name}, of which each of {n_ranks()} processes has {tuple(own.shape)}: {error}") from None
    part.set_submodule(stem, module)
    return {f"{stem}.{key}": value for key, value in module.state_dict().items()}


def cut(whole: Tensor, shape: torch.Size, rank: int) -> Tensor:
    """This rank's piece of a weight: along the axis on which the part is smaller, the rank-th of equal pieces."""
    for axis, size in enumerate(shape):
        if size != whole.shape[axis]:
            return whole.narrow(axis, rank * size, size)
    return whole


def _own_device(device: str | torch.device) -> torch.device:
    """The device of this process: each needs a GPU of its own."""
    chosen = _device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)
    if chosen.type not in ("cpu", "cuda"):
        raise ValueError(f"device={device!r}: several processes share a model on GPUs (cuda) or on the CPU.")
    if chosen.type == "cpu":
        return chosen
    here, n_gpus = int(os.environ.get("LOCAL_WORLD_SIZE", "1")), torch.cuda.device_count()
    if here > n_gpus:
        raise ValueError(
            f"torchrun started {here} processes on this machine, and each needs a GPU of its own: there are {n_gpus}. "
            f"Start torchrun --nproc-per-node {n_gpus}, or use device='cpu'."
        )
    return torch.device("cuda", int(os.environ["LOCAL_RANK"]))
