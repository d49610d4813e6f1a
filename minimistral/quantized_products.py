"""x Wᵀ with 8- or 4-bit W on a CPU, as fast as torch allows without a compiler; quantize.py has the readable twin.

Two ways, chosen by the number of rows of x. Few rows (decoding): torch's kernels that turn weights back into floats in
registers; both want bfloat16 activations. Many rows (reading a prompt), or other dtypes: turn a block of W that fits the
cache back into floats, multiply, go on to the next. A block is read once from memory as codes; the whole of W as floats
would be written to memory and read again, which takes most of the time.

Measured on one core of a Xeon (Sapphire Rapids, AMX) with neighbours, torch 2.13, W (14336, 4096), milliseconds, best of
several (`python -m benchmarks.quantized` repeats it; GB/s count the codes):

    rows of x                                   1             8           128
    F.linear, float32 weights                  14.9          48.8         254
    F.linear, bfloat16 weights                  9.3           9.7          54
    int8: _weight_int8pack_mm, bfloat16         4.9 (12 GB/s) 20.8        471      few rows
    int8: the same, float32                    43.4           472       6,490      (a scalar loop)
    int8: blocks, bfloat16 on AMX              47            48            41      many rows, where there is AMX
    int8: blocks, float32                      26            40           345      many rows, elsewhere
    int8: whole W to float32, then F.linear    76            83           310
    int8: activations in int8 too, _int_mm      9.1           9.2          28      not used: rounds the activations
    int4: _weight_int4pack_mm_for_cpu           4.1 (7 GB/s)  19.4        415      few rows
    int4: the same, float32                    91         1,450        22,461      (a scalar loop)
    int4: blocks, float32                     100           129           300      many rows

torchao 0.18 brings no kernels of its own for a CPU: its wheel has CUDA ones, and on a CPU it calls those above.
On a GPU fast.py compiles the products; without it quantize.py's twin is used there.
"""

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

FEW_ROWS = {"int8": 16, "int4": 32}  # up to here the kernels are faster than blocks
INT8_BLOCK = {torch.bfloat16: 512, torch.float32: 64}  # rows of W turned back at a time: what a core's cache holds
INT4_BLOCK = 64
# torch checks neither of these two: with other widths its int8 kernel reads beyond the matrix, with other places it crashes.
INT8_STEP = 16  # weights of a row that the int8 kernel takes at a time
ALIGNED = 64  # bytes: what its loads of x need, and where torch puts fresh memory
KERNEL_GROUPS = (32, 64, 128, 256)  # what the int4 kernel was written for
INNER_TILES = 2  # an argument of the packing that the CPU ignores


def int8_product(x: Tensor, q: Tensor, scale: Tensor) -> Tensor:
    """x (N, in) times the rows of scale · q, q (out, in) int8: (N, out), in x's dtype. On a CPU."""
    few = x.dtype == torch.bfloat16 and len(x) <= FEW_ROWS["int8"]
    if few and q.shape[1] % INT8_STEP == 0 and has_int8_kernel():
        x = x.contiguous()
        x = x if x.data_ptr() % ALIGNED == 0 else x.clone()
        return torch._weight_int8pack_mm(x, q, scale.to(x.dtype))
    dtype = torch.bfloat16 if x.dtype == torch.bfloat16 and has_amx() else torch.promote_types(x.dtype, torch.float32)
    step = INT8_BLOCK.get(dtype, 64)
    x_work, result = x.to(dtype), x.new_empty(len(x), len(q))
    block = x.new_empty(min(step, len(q)), q.shape[1], dtype=dtype)
    for start in range(0, len(q), step):
        rows = slice(start, min(start + step, len(q)))
        weight = block[: rows.stop - start].copy_(q[rows])  # codes up to 127 are exact in bfloat16
        result[:, rows] = F.linear(x_work, weight) * scale[rows]  # in float32, as the scale is
    return result


def int4_product(x: Tensor, q: Tensor, scale: Tensor) -> Tensor:
    """x (N, in) times the rows that q (out, in / 2) uint8 and scale (out, n_groups) stand for: (N, out), in x's dtype."""
    dtype = torch.promote_types(x.dtype, torch.float32)
    n_in, n_groups = 2 * q.shape[1], scale.shape[1]
    x_work, result = x.to(dtype), x.new_empty(len(x), len(q))
    codes, weights = q.new_empty(INT4_BLOCK, n_in), x.new_empty(INT4_BLOCK, n_in, dtype=dtype)
    for start in range(0, len(q), INT4_BLOCK):
        rows = slice(start, min(start + INT4_BLOCK, len(q)))
        n = rows.stop - start
        codes[:n, 0::2] = q[rows] & 15
        codes[:n, 1::2] = q[rows] >> 4
        weight = weights[:n].copy_(codes[:n]).sub_(8)
        weight.view(n, n_groups, -1).mul_(scale[rows, :, None])
        result[:, rows] = F.linear(x_work, weight)
    return result


# --- int4 as torch's kernel wants it ---------------------------------------------------------------------------------


def can_pack(q: Tensor, scale: Tensor) -> bool:
    """Whether the int4 kernel takes such a matrix, here, and computes what it should."""
    return (
        q.device.type == "cpu"
        and kernel_rows() is not None
        and len(q) % kernel_rows() == 0
        and 2 * q.shape[1] // scale.shape[1] in KERNEL_GROUPS
        and has_int4_kernel()
    )


def pack(codes: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Codes (out, in) from −8 to 7 and scale (out, n_groups) to the kernel's two tensors.

    The first (out, in / 2) uint8: blocks of 64 rows (AVX2: 32), in each the columns one after another, in each of those
    all rows, two a byte. The second (n_groups, out, 2) bfloat16: each scale, and what is added, here 0.
    """
    rows = 32 * kernel_rows()  # at a time: the packing wants four bytes a code
    parts = [
        torch.ops.aten._convert_weight_to_int4pack_for_cpu(part.int() + 8, INNER_TILES) for part in codes.split(rows)
    ]
    scale = scale.to(torch.bfloat16).mT
    return torch.cat(parts), torch.stack([scale, torch.zeros_like(scale)], dim=2)


def unpack(packed: Tensor, packed_scale: Tensor) -> tuple[Tensor, Tensor]:
    """Back to codes (out, in) int8 and scale (out, n_groups) bfloat16."""
    n_rows = kernel_rows()
    codes = torch.empty(len(packed), 2 * packed.shape[1], dtype=torch.int8)
    blocks = packed.view(-1, codes.shape[1], n_rows // 2)  # (blocks, in, bytes)
    order = row_order()
    codes = codes.view(-1, n_rows, codes.shape[1])
    for target, block in zip(codes, blocks):
        target[order] = torch.cat([block & 15, block >> 4], dim=1).mT.to(torch.int8) - 8
    return codes.flatten(0, 1), packed_scale[..., 0].mT.contiguous()


def packed_int4_product(x: Tensor, packed: Tensor, packed_scale: Tensor) -> Tensor:
    """x (N, in) in bfloat16 times a packed matrix: (N, out) bfloat16."""
    n_groups = len(packed_scale)
    if len(x) <= FEW_ROWS["int4"]:
        group_size = x.shape[1] // n_groups
        return torch.ops.aten._weight_int4pack_mm_for_cpu(x.contiguous(), packed, group_size, packed_scale)
    n_rows, order, x_work = kernel_rows(), row_order(), x.float()
    result = x.new_empty(len(x), len(packed))
    codes = packed.new_empty(x.shape[1], 2, n_rows // 2)
    weight = x.new_empty(x.shape[1], n_rows, dtype=torch.float32)  # transposed: (in, rows of the block)
    for at, block in enumerate(packed.view(-1, x.shape[1], n_rows // 2)):
        rows = order + at * n_rows
        codes[:, 0], codes[:, 1] = block & 15, block >> 4
        weight.copy_(codes.flatten(1)).sub_(8)
        weight.view(n_groups, -1, n_rows).mul_(packed_scale[:, rows, :1].mT.float())
        result[:, rows] = (x_work @ weight).to(x.dtype)
    return result


# --- what this machine and this torch can do: asked once --------------------------------------------------------------


@cache
def has_amx() -> bool:
    """Whether bfloat16 matrix products have units of their own; without them they are slower than float32."""
    return bool(getattr(torch.cpu, "_is_amx_tile_supported", bool)())


@cache
def has_int8_kernel() -> bool:
    """Whether torch's private kernel is there, and right on a small matrix."""
    generator = torch.Generator().manual_seed(0)
    q = torch.randint(-127, 128, (64, 96), generator=generator).to(torch.int8)
    x = torch.randn(3, 96, generator=generator).bfloat16()
    return _is_right(lambda: torch._weight_int8pack_mm(x, q, torch.ones(64).bfloat16()), x.float() @ q.float().mT)


@cache
def has_int4_kernel() -> bool:
    """Whether the packing can be undone, and the kernel is right on a small matrix."""
    generator = torch.Generator().manual_seed(0)
    codes = torch.randint(-7, 8, (128, 128), generator=generator).to(torch.int8)
    scale = torch.rand(128, 4, generator=generator).bfloat16()
    x = torch.randn(3, 128, generator=generator).bfloat16()
    weight = (codes.float().view(128, 4, 32) * scale.float()[..., None]).flatten(1)

    def attempt() -> Tensor:
        packed = pack(codes, scale)
        if not all(map(torch.equal, unpack(*packed), (codes, scale))):
            return torch.full((3, 128), torch.nan)
        return packed_int4_product(x, *packed)

    return _is_right(attempt, x.float() @ weight.mT)


@cache
def kernel_rows() -> int | None:
    """Rows of a block of the int4 kernel: four vectors of float32 (aten/src/ATen/native/cpu/int4mm_kernel.cpp)."""
    return {"AVX512": 64, "AVX2": 32}.get(torch.backends.cpu.get_cpu_capability())


@cache
def row_order() -> Tensor:
    """Which row of a block each half byte of a column is: low halves of all bytes, then the high ones. (rows,)

    Asked of the packing itself, since it differs by processor: two matrices that hold their rows' numbers go through it.
    """
    n_rows = kernel_rows()
    digits = []
    for number in (torch.arange(n_rows) % 16, torch.arange(n_rows) // 16):
        codes = number.int()[:, None].expand(-1, 32).contiguous()
        packed = torch.ops.aten._convert_weight_to_int4pack_for_cpu(codes, INNER_TILES).view(32, n_rows // 2)[0]
        digits.append(torch.cat([packed & 15, packed >> 4]).long())
    return digits[0] + 16 * digits[1]


def _is_right(attempt, expected: Tensor) -> bool:
    try:
        with torch.inference_mode(False), torch.no_grad():
            found = attempt().float()
    except (RuntimeError, AttributeError, NotImplementedError):
        return False
    return bool((found - expected).abs().max() <= 0.02 * expected.abs().max())
