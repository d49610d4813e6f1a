"""Weights in 8 or 4 bits: a matrix of whole numbers, and scales that turn them back. Activations stay floats.

Both grids are symmetric: w ≈ scale · q with as many codes below zero as above, so that no offset is stored or added.
int8 has one scale a row (output channel), int4 one for every `group_size` weights of a row: with 16 levels instead of 256
one outlier costs its neighbours more, so fewer share a scale. A code is the nearest one: |w − scale · q| ≤ scale / 2.

Sources: Dettmers and others, LLM.int8(), arXiv 2208.07339, section 2 (absmax quantization, a scale a row); Frantar and
others, GPTQ, arXiv 2210.17323, section 4 (round to nearest, and groups, at 4 bits); Gholami and others, arXiv 2103.13630,
section III (symmetric against asymmetric, granularity).
"""

from collections.abc import Callable, Iterable
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minimistral.quantized_products import can_pack, int4_product, int8_product, pack, packed_int4_product, unpack
from minimistral.transformer import Transformer

GROUP_SIZE = 32  # weights that share a scale in int4
AT_ONCE = 2**18  # weights turned into float32 at a time: 1 MiB, which a core's cache holds


def quantize_int8(weight: Tensor) -> tuple[Tensor, Tensor]:
    """weight (out, in) to codes q (out, in) int8 from −127 to 127, and one scale a row (out,) float32.

    scale = largest |w| of the row / 127, and 1 for a row of zeros; q = w / scale, rounded, halves to even. ValueError
    names the first row that holds an infinity or a NaN.

    >>> quantize_int8(torch.tensor([[1.0, -2.0, 0.5]]))
    (tensor([[  64, -127,   32]], dtype=torch.int8), tensor([0.0157]))
    """
    weight = _checked(weight)
    scale = _scale(weight.abs().amax(dim=1), largest=127)  # (out,)
    codes = (weight / scale[:, None]).round_().clamp_(-127, 127)
    return codes.to(torch.int8), scale


def dequantize_int8(q: Tensor, scale: Tensor) -> Tensor:
    """q (out, in) and scale (out,) to weights (out, in) float32."""
    return q.float() * scale.float()[:, None]


def quantize_int4(
    weight: Tensor, group_size: int = GROUP_SIZE, scale_dtype: torch.dtype = torch.float32
) -> tuple[Tensor, Tensor]:
    """weight (out, in) to packed codes (out, in / 2) uint8, and scales (out, in / group_size) in scale_dtype.

    Codes run from −7 to 7; a byte holds two, plus 8 each: the weight of the even column in its low four bits, its right
    neighbour in the high four. With scales in bfloat16 a weight takes 4 + 16 / group_size bits; codes are chosen for the
    scale as it is stored. ValueError for an infinity or a NaN, and for a width that groups do not divide.

    >>> q, scale = quantize_int4(torch.tensor([[7.0, -7.0, 0.0, 3.4]]), group_size=2)
    >>> q, scale  # 15 + 16 · 1 = 31: the codes 7 and −7; 8 + 16 · 15 = 248: the codes 0 and 7
    (tensor([[ 31, 248]], dtype=torch.uint8), tensor([[1.0000, 0.4857]]))
    """
    weight = _checked(weight)
    check_group_size(weight.shape[1], group_size)
    groups = weight.unflatten(1, (-1, group_size))  # (out, n_groups, group_size)
    scale = _scale(groups.abs().amax(dim=2), largest=7).to(scale_dtype)
    codes = (groups / scale.float()[..., None]).round_().clamp_(-7, 7)
    return pack_int4(codes.flatten(1)), scale


def dequantize_int4(q: Tensor, scale: Tensor) -> Tensor:
    """Packed codes (out, in / 2) and scales (out, n_groups) to weights (out, in) float32."""
    codes = unpack_int4(q).float().unflatten(1, (scale.shape[1], -1))  # (out, n_groups, group_size)
    return (codes * scale.float()[..., None]).flatten(1)


def pack_int4(codes: Tensor) -> Tensor:
    """Codes (out, in) from −8 to 7 to bytes (out, in / 2)."""
    nibbles = (codes + 8).to(torch.uint8)
    return nibbles[:, 0::2] | nibbles[:, 1::2] << 4


def unpack_int4(q: Tensor) -> Tensor:
    """Bytes (out, in / 2) to codes (out, in) int8 from −8 to 7."""
    return torch.stack([q & 15, q >> 4], dim=2).flatten(1).to(torch.int8) - 8


def check_group_size(width: int, group_size: int) -> None:
    """ValueError unless groups of an even size divide rows of `width` weights."""
    is_whole = isinstance(group_size, int) and not isinstance(group_size, bool)
    if not is_whole or group_size < 2 or group_size % 2 or width % group_size:
        fitting = [n for n in (16, 32, 64, 128, 256) if width % n == 0]
        fitting = fitting or [n for n in range(2, width + 1, 2) if width % n == 0]
        choose = f"Choose from {fitting}" if fitting else "Use int8, which has no groups"
        raise ValueError(
            f"group_size={group_size!r} does not divide rows of {width} weights into even groups. {choose}."
        )


class QuantizedLinear(nn.Module):
    """What Int8Linear and Int4Linear share: x (..., in) to (..., out), in x's dtype; drop-in for nn.Linear without bias.

    The codes `q` and the scales `scale` are buffers: they are saved and moved with the model, and never trained (but
    gradients pass to x). `.to(dtype)` leaves both as they are: they say what the weights are, not what the activations
    are computed in. On a CPU quantized_products.py multiplies; `slow_forward` is what it has to agree with.
    """

    q: Tensor
    scale: Tensor

    def __init__(self, q: Tensor, scale: Tensor):
        super().__init__()
        self.register_buffer("q", q)
        self.register_buffer("scale", scale)
        self.out_features = len(q)

    @staticmethod
    def quantize(weight: Tensor, **options: int) -> tuple[Tensor, Tensor]:
        """weight (out, in) to q and scale."""
        raise NotImplementedError

    @classmethod
    def from_weight(cls, weight: Tensor, **options: int) -> Self:
        """weight (out, in), any float dtype. ValueError as `quantize_int8` and `quantize_int4`."""
        weight = _matrix(weight)
        return cls.from_blocks([weight], len(weight), **options)

    @classmethod
    def from_blocks(cls, blocks: Iterable[Tensor], n_rows: int, **options: int) -> Self:
        """The same from blocks of n_rows rows in all, one after another: a block may be overwritten by the next.

        Rows do not know of each other. Memory for the result is taken before that for the arithmetic, which only ever has
        a few rows in float32, so that no holes are left between what is kept.
        """
        q = scale = None
        at = 0
        for block in blocks:
            for rows in block.split(max(1, AT_ONCE // max(1, block.shape[1]))):
                try:
                    if q is None:
                        q, scale = (
                            part.new_empty(n_rows, *part.shape[1:]) for part in cls.quantize(rows[:1], **options)
                        )
                    q[at : at + len(rows)], scale[at : at + len(rows)] = cls.quantize(rows, **options)
                except NotFinite as error:
                    raise NotFinite(at + error.row) from None
                at += len(rows)
        return cls(q, scale)

    def dequantized(self) -> Tensor:
        """The weights that the codes stand for, (out, in) float32."""
        raise NotImplementedError

    def slow_forward(self, x: Tensor) -> Tensor:
        """x Wᵀ as the formula says: W in floats first."""
        return F.linear(x, self.dequantized().to(x.dtype))

    def fast_product(self, x: Tensor) -> Tensor:
        """x (N, in) to (N, out), on a CPU and without gradients."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        wants_gradient = torch.is_grad_enabled() and x.requires_grad
        if x.device.type != "cpu" or wants_gradient or torch.compiler.is_compiling() or x.numel() == 0:
            return self.slow_forward(x)
        if x.shape[-1] != self.in_features:
            raise ValueError(f"x: given {tuple(x.shape)}; its last axis must be in_features = {self.in_features}.")
        return self.fast_product(x.reshape(-1, self.in_features)).view(*x.shape[:-1], self.out_features)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
        scale = self.scale
        super()._apply(fn, recurse)
        if self.scale.dtype != scale.dtype:  # .to(bfloat16), .half(): only a move is meant for scales
            self.scale = scale.to(self.scale.device)
        return self

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}"


class Int8Linear(QuantizedLinear):
    """y = x Wᵀ with W = scale · q: codes q (out, in) int8, scale (out,) float32."""

    def __init__(self, q: Tensor, scale: Tensor):
        super().__init__(q, scale)
        self.in_features = q.shape[1]

    @staticmethod
    def quantize(weight: Tensor) -> tuple[Tensor, Tensor]:
        return quantize_int8(weight)

    def dequantized(self) -> Tensor:
        return dequantize_int8(self.q, self.scale)

    def slow_forward(self, x: Tensor) -> Tensor:
        """A row's scale is a factor of its sum, so it can wait: codes are exact in 16 bits, scale · code is not."""
        return (F.linear(x, self.q.to(x.dtype)) * self.scale).to(x.dtype)

    def fast_product(self, x: Tensor) -> Tensor:
        return int8_product(x, self.q, self.scale)


class Int4Linear(QuantizedLinear):
    """y = x Wᵀ with W = scale · code in groups along the input: q (out, in / 2) uint8, scale (out, n_groups) bfloat16.

    The first bfloat16 activations on a CPU put both into the order that torch's kernel reads (no copy is kept): q and
    scale are None from then on, and `unpack_()` brings them back.
    """

    packed: Tensor | None
    packed_scale: Tensor | None

    def __init__(self, q: Tensor, scale: Tensor):
        super().__init__(q, scale)
        self.in_features = 2 * q.shape[1]
        self.group_size = self.in_features // scale.shape[1]
        self.register_buffer("packed", None, persistent=False)
        self.register_buffer("packed_scale", None, persistent=False)

    @staticmethod
    def quantize(weight: Tensor, group_size: int = GROUP_SIZE) -> tuple[Tensor, Tensor]:
        return quantize_int4(weight, group_size, torch.bfloat16)

    @classmethod
    def from_weight(cls, weight: Tensor, group_size: int = GROUP_SIZE) -> Self:
        """As for int8, in groups of group_size weights."""
        return super().from_weight(weight, group_size=group_size)

    def dequantized(self) -> Tensor:
        return dequantize_int4(*self.unpack_())

    def fast_product(self, x: Tensor) -> Tensor:
        if x.dtype == torch.bfloat16 and self.pack_():
            return packed_int4_product(x, self.packed, self.packed_scale)
        return int4_product(x, *self.unpack_())

    def pack_(self) -> bool:
        """Into the kernel's order, where there is such a kernel for this matrix; whether it is in that order now."""
        if self.packed is None and can_pack(self.q, self.scale):
            with torch.inference_mode(False), torch.no_grad():
                self.packed, self.packed_scale = pack(unpack_int4(self.q), self.scale)
            self.q = self.scale = None
        return self.packed is not None

    def unpack_(self) -> tuple[Tensor, Tensor]:
        """q and scale, brought back if they were put into another order."""
        if self.packed is not None:
            with torch.inference_mode(False), torch.no_grad():
                codes, self.scale = unpack(self.packed, self.packed_scale)
                self.q = pack_int4(codes)
            self.packed = self.packed_scale = None
        return self.q, self.scale

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
        self.unpack_()  # another device has other kernels
        return super()._apply(fn, recurse)

    def _save_to_state_dict(self, *args) -> None:
        self.unpack_()
        super()._save_to_state_dict(*args)

    def _load_from_state_dict(self, *args) -> None:
        self.unpack_()
        super()._load_from_state_dict(*args)


KINDS: dict[str, type[QuantizedLinear]] = {"int8": Int8Linear, "int4": Int4Linear}


def quantize_(model: Transformer, bits: str) -> Transformer:
    """Replace the model's matrices by quantized ones, one by one, in place; returns the model, now for inference only.

    bits: "int8" or "int4". Embeddings, norms and the routers' gates keep their floats, and so does a head that is tied to
    the embeddings. ValueError names the matrix that cannot be quantized; those before it are then quantized already.
    """
    kind = kind_of(bits)
    for name, module in model.named_modules():
        if isinstance(module, QuantizedLinear) and not isinstance(module, kind):
            raise ValueError(f"{name} is an {type(module).__name__} already: quantize the model it was made from.")
    for name, module in list(model.named_modules()):
        if isinstance(module, nn.Linear) and is_quantized_name(f"{name}.weight"):
            try:
                replacement = kind.from_weight(module.weight.detach())
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
            model.set_submodule(name, replacement.train(module.training))
    return model.requires_grad_(False)


def kind_of(bits: str) -> type[QuantizedLinear]:
    """The module for "int8" or "int4"; ValueError for anything else."""
    if not isinstance(bits, str) or bits not in KINDS:
        raise ValueError(
            f"quantize={bits!r}: choose {' or '.join(map(repr, KINDS))}, or None for the weights as they are."
        )
    return KINDS[bits]


def is_quantized_name(name: str) -> bool:
    """Whether quantizing a model changes this weight of it.

    >>> [is_quantized_name(name) for name in ("output.weight", "layers.0.feed_forward.gate.weight", "norm.weight")]
    [True, False, False]
    """
    return name.split(".")[-2] in ("wq", "wk", "wv", "wo", "w1", "w2", "w3", "output")


class NotFinite(ValueError):
    """A weight that no scale can hold."""

    def __init__(self, row: int):
        super().__init__(f"row {row} holds an infinity or a NaN, and no scale fits that. Is the file damaged?")
        self.row = row


def _checked(weight: Tensor) -> Tensor:
    """The weight as a float32 matrix; ValueError where it is no matrix of floats."""
    return _matrix(weight).float()


def _matrix(weight: Tensor) -> Tensor:
    """The weight without its gradient; ValueError where it is no matrix of floats."""
    if not isinstance(weight, Tensor) or weight.ndim != 2 or not weight.is_floating_point() or not weight.shape[1]:
        given = f"{tuple(weight.shape)} {weight.dtype}" if isinstance(weight, Tensor) else type(weight).__name__
        raise ValueError(f"weight: given {given}; give a matrix (out, in) of floats.")
    return weight.detach()


def _scale(largest_weight: Tensor, largest: int) -> Tensor:
    """largest |w| / largest code; 1 where all weights are 0, or so small that float32 has no scale for them.

    largest_weight (out,) or (out, n_groups). One infinity or NaN makes itself the largest of its row.
    """
    if not largest_weight.isfinite().all():
        raise NotFinite(int(largest_weight.isfinite().logical_not().nonzero()[0, 0]))
    scale = largest_weight / largest
    return torch.where(scale < torch.finfo(torch.float32).tiny, 1.0, scale)
