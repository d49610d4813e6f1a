"""Every way to multiply by an 8- or 4-bit matrix on this CPU, beside float ones: milliseconds, and bytes of weights a second.

    python -m benchmarks.quantized [--rows 1 8 128] [--seconds 2]

The table in minimistral/quantized_products.py is what this printed. Copies of the matrix take turns, so that none is found
in the cache; the best of the runs counts, as neighbours only ever add.
"""

import argparse
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks import machine
from minimistral import quantized_products as products
from minimistral.quantize import quantize_int4, quantize_int8, unpack_int4

OUT, IN, COPIES = 14336, 4096, 6  # w1 of Mistral 7B; six int8 copies are 350 MB


def ways(x: Tensor) -> dict[str, tuple[Callable[[int], object], int]]:
    """name: (the product with the i-th copy of the matrix, bytes of its weights)."""
    weight = torch.randn(OUT, IN, generator=torch.Generator().manual_seed(0)) * 0.02
    q8, scale8 = quantize_int8(weight)
    q4, scale4 = quantize_int4(weight, scale_dtype=torch.bfloat16)
    eights, fours = [q8.clone() for _ in range(COPIES)], [q4.clone() for _ in range(COPIES)]
    halves, x16, buffer = [weight.bfloat16() for _ in range(3)], x.bfloat16(), torch.zeros(OUT, IN)
    int_x = (x / x.abs().amax(1, keepdim=True) * 127).round().to(torch.int8)
    found = {
        "F.linear, float32": (lambda i: F.linear(x, weight), weight.nbytes),
        "F.linear, bfloat16": (lambda i: F.linear(x16, halves[i % 3]), halves[0].nbytes),
        "int8: Int8Linear, bfloat16": (lambda i: products.int8_product(x16, eights[i], scale8), q8.nbytes),
        "int8: Int8Linear, float32": (lambda i: products.int8_product(x, eights[i], scale8), q8.nbytes),
        "int8: _weight_int8pack_mm, bfloat16": (
            lambda i: torch._weight_int8pack_mm(x16, eights[i], scale8.bfloat16()), q8.nbytes,
        ),
        "int8: whole to float32, then F.linear": (lambda i: F.linear(x, buffer.copy_(eights[i])) * scale8, q8.nbytes),
        "int8: activations too, _int_mm": (lambda i: torch._int_mm(int_x, eights[i].mT), q8.nbytes),
        "int4: blocks, float32": (lambda i: products.int4_product(x, fours[i], scale4), q4.nbytes),
    }  # fmt: skip
    if products.can_pack(q4, scale4):
        packed, packed_scale = products.pack(unpack_int4(q4), scale4)
        packs = [packed.clone() for _ in range(COPIES)]
        found["int4: Int4Linear, bfloat16"] = (
            lambda i: products.packed_int4_product(x16, packs[i], packed_scale), q4.nbytes,
        )  # fmt: skip
        found["int4: _weight_int4pack_mm_for_cpu"] = (
            lambda i: torch.ops.aten._weight_int4pack_mm_for_cpu(x16, packs[i], 32, packed_scale), q4.nbytes,
        )  # fmt: skip
    return found


def best_seconds(way: Callable[[int], object], patience: float) -> float:
    seconds, started = [], time.perf_counter()
    while len(seconds) < 3 or time.perf_counter() - started < patience:
        begin = time.perf_counter()
        way(len(seconds) % COPIES)
        seconds.append(time.perf_counter() - begin)
    return min(seconds)


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quantized", description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 8, 128], help="rows of activations")
    parser.add_argument("--seconds", type=float, default=2, help="spent on each")
    args = parser.parse_args()
    about = machine.describe()["machine"]
    print(f"{about['processor']}, {about['threads']} threads, torch {torch.__version__}, W ({OUT}, {IN})")
    for n_rows in args.rows:
        for name, (way, n_bytes) in ways(torch.randn(n_rows, IN)).items():
            seconds = best_seconds(way, args.seconds)
            print(f"{n_rows:5} rows  {name:40}{1e3 * seconds:10.1f} ms{n_bytes / seconds / 1e9:8.1f} GB/s", flush=True)


if __name__ == "__main__":
    main()
