"""Measures everything, prints the ratios beside what the project promises, and writes a dated result.

    python -m benchmarks [--rounds 5] [--no-write]

Close other programs first. Exit status 1 where a promise is not kept.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from statistics import median

import torch

from benchmarks import machine, speed, starting

RESULTS = Path(__file__).parent / "results"


def ratios(raw: dict) -> dict[str, tuple[float, float, bool]]:
    """name: (measured, promised, whether more is better)."""
    prefill, decode, start = raw["prefill_seconds"], raw["decode_seconds"], raw["start_seconds"]
    cache = raw["cache_bytes"]
    pairs = zip(prefill["theirs_long"], prefill["ours_long"])
    per_token = [s / speed.SHORT / (n / speed.LONG) for s, n in zip(prefill["ours_short"], prefill["ours_long"])]
    return {
        f"prefill of {speed.LONG} tokens: transformers' time over ours": (median(t / o for t, o in pairs), 1.8, True),
        f"our throughput at {speed.LONG} tokens over that at {speed.SHORT}": (median(per_token), 0.75, True),
        "decoding: transformers' time over ours": (median(t / o for t, o in zip(decode["theirs"], decode["ours"])), 1.0, True),
        "cache bytes at 32 windows over those at one": (cache[str(32 * speed.WINDOW)] / cache[str(speed.WINDOW)], 1.0, False),
        "import minimistral over import torch, seconds": (
            median(start["torch_and_minimistral"]) - median(start["torch"]), 0.3, False,
        ),
        "minimistral --help, seconds": (median(start["help"]), 0.5, False),
    }  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--rounds", type=int, default=5, help="alternating prefills (decoding takes 20 times as many steps)"
    )
    parser.add_argument("--no-write", action="store_true", help="print only")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        ours, theirs = speed.both_models(Path(folder))
        raw = machine.describe() | {
            "start_seconds": starting.measure(),
            "prefill_seconds": speed.prefill(ours, theirs, args.rounds),
            "decode_seconds": speed.decode(ours, theirs, 20 * args.rounds),
            "cache_bytes": speed.cache_bytes(),
        }
    all_kept = True
    for name, (measured, promised, more_is_better) in ratios(raw).items():
        kept = measured >= promised if more_is_better else measured <= promised
        all_kept &= kept
        print(
            f"{'ok ' if kept else 'NOT'}  {measured:6.2f}   {'at least' if more_is_better else 'at most '} {promised:4.2f}   {name}"
        )
    if not args.no_write:
        RESULTS.mkdir(exist_ok=True)
        path = RESULTS / f"{raw['date']}-{raw['machine']['cores']}-cores.json"
        raw["ratios"] = {name: round(measured, 3) for name, (measured, _, _) in ratios(raw).items()}
        path.write_text(json.dumps(machine.rounded(raw), indent=1) + "\n", encoding="utf-8")
        print(f"written to {path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}")
    return 0 if all_kept else 1


if __name__ == "__main__":
    torch.manual_seed(0)
    sys.exit(main())
