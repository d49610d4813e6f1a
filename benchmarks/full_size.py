"""A model of the real size, in the real layout, with random weights: what it takes in memory and how fast it decodes.

    python -m benchmarks.full_size                  # 14.5 GB of Mistral 7B: 15 GB of disk, 12 GB of memory, 5 minutes
    python -m benchmarks.full_size --layers 2       # the same with 2 of 32 layers, as a trial; writes no result

Written under a temporary folder (TMPDIR chooses the disk) and deleted afterwards. Every part runs in a process of its own:
loading in bfloat16 from the mapped file, loading in int8, and int8 beside transformers in float32 on some of the layers.
Memory counted is what the process has for itself (RssAnon in /proc/self/status), so Linux only. Close other
programs first. Exit status 1 where a promise is not kept.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median

import torch
from torch import Tensor, nn

from benchmarks import machine
from benchmarks.machine import rounded
from minimistral import ModelConfig, Transformer, load
from minimistral.checkpoints.hub_config import write_config
from minimistral.checkpoints.names import hub_pieces, native_pieces
from minimistral.checkpoints.native_config import write_params
from minimistral.memory import weight_bytes

RESULTS = Path(__file__).parent / "results"
SHARD = 5 * 10**9  # bytes, as the hub's files are cut
BLOCK = 2**25  # random numbers that are drawn once and written again and again
NEW = 16  # tokens decoded
FORMS = {"native": (native_pieces, "params.json", "consolidated"), "hub": (hub_pieces, "config.json", "model")}


def write_random(folder: Path, config: ModelConfig, layout: str) -> int:
    """A checkpoint with N(0, 0.02) weights in bfloat16, and norms of ones; bytes written. Native: one file, as Mistral's."""
    pieces_of, config_name, stem = FORMS[layout]
    folder.mkdir(parents=True)
    stated = write_params(config) if layout == "native" else write_config(config, "bfloat16", 1, 2)
    (folder / config_name).write_text(json.dumps(stated))
    shards, sizes = [[]], [0]
    for piece in pieces_of(config):
        n_bytes = 2 * torch.Size(piece.shape).numel()
        if layout == "hub" and shards[-1] and sizes[-1] + n_bytes > SHARD:
            shards.append([])
            sizes.append(0)
        shards[-1].append((piece.name, piece.shape, n_bytes))
        sizes[-1] += n_bytes
    values = torch.randn(BLOCK, generator=torch.Generator().manual_seed(0)).mul_(0.02).bfloat16()
    placed = {}
    for i, shard in enumerate(shards, start=1):
        name = f"{stem}.safetensors" if len(shards) == 1 else f"{stem}-{i:05}-of-{len(shards):05}.safetensors"
        placed |= dict.fromkeys((tensor for tensor, *_ in shard), name)
        _write_shard(folder / name, shard, values)
    if len(shards) > 1:
        index = {"metadata": {"total_size": sum(sizes)}, "weight_map": placed}
        (folder / f"{stem}.safetensors.index.json").write_text(json.dumps(index))
    return sum(sizes)


def _write_shard(path: Path, tensors: list[tuple[str, tuple[int, ...], int]], values: Tensor) -> None:
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for name, shape, n_bytes in tensors:
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [at, at + n_bytes]}
        at += n_bytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    random = memoryview(values.view(torch.uint8).numpy())
    ones = memoryview(torch.ones(2**16, dtype=torch.bfloat16).view(torch.uint8).numpy())
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for _, shape, n_bytes in tensors:
            source = random if len(shape) > 1 else ones
            for start in range(0, n_bytes, len(source)):
                file.write(source[: n_bytes - start])


def private_bytes() -> int:
    """What this process has for itself: neither mapped files nor libraries. (smaps_rollup would count page by page.)"""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("RssAnon:"))


def while_watching(call: Callable[[], object]) -> tuple[object, int]:
    """The result, and the most private memory meanwhile, looked at every 5 ms."""
    peak, is_done = [private_bytes()], threading.Event()

    def watch() -> None:
        while not is_done.wait(0.005):
            peak[0] = max(peak[0], private_bytes())

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        return call(), max(peak[0], private_bytes())
    finally:
        is_done.set()
        thread.join()


def loading(folder: Path, quantize: str | None, new_tokens: int) -> dict:
    """Load, then decode: bytes and seconds."""
    load("tiny-mistral", device="cpu", quantize=quantize)  # what the first load allocates for good is not the model's
    before, started = private_bytes(), time.perf_counter()
    (model, _), peak = while_watching(lambda: load(folder, device="cpu", quantize=quantize))
    seconds = time.perf_counter() - started
    after = private_bytes()
    result = {
        "load_seconds": seconds,
        "peak_private_bytes": peak - before,
        "private_bytes": after - before,
        "weight_bytes": sum(t.nbytes for t in (*model.parameters(), *model.buffers())),
        "read_bytes_a_token": weight_bytes(model.config, "bfloat16", quantize) - model.tok_embeddings.weight.nbytes,
    }
    result["seconds_a_token"] = decode_steps(lambda: plain_step(model, new_tokens), new_tokens)
    result["read_bytes_a_second"] = result["read_bytes_a_token"] / median(result["seconds_a_token"])
    result["private_bytes_after_decoding"] = private_bytes() - before
    return result


def plain_step(model: Transformer, new_tokens: int) -> Callable[[], None]:
    cache = model.make_cache(1, 8 + new_tokens)
    state = {"token": model(torch.arange(8)[None], cache=cache, last_only=True).argmax(-1)}

    def step() -> None:
        state["token"] = model(state["token"], cache=cache).argmax(-1)

    return step


def their_step(model: nn.Module) -> Callable[[], None]:
    state = model(torch.arange(8)[None], use_cache=True)

    def step() -> None:
        nonlocal state
        token = state.logits[:, -1:].argmax(-1)
        state = model(token, past_key_values=state.past_key_values, use_cache=True)

    return step


@torch.inference_mode()
def decode_steps(start: Callable[[], Callable[[], None]], n: int) -> list[float]:
    step, seconds = start(), []
    for _ in range(n):
        started = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - started)
    return seconds[1:]


@torch.inference_mode()
def beside_transformers(folder: Path, new_tokens: int) -> dict:
    """Seconds a token: ours in int8, theirs in float32, one step of each in turn."""
    from transformers import MistralForCausalLM

    ours = plain_step(load(folder, device="cpu", quantize="int8")[0], new_tokens)
    theirs = their_step(MistralForCausalLM.from_pretrained(folder, dtype=torch.float32).eval())
    times: dict[str, list[float]] = {"ours": [], "theirs": []}
    for _ in range(new_tokens):
        for name, step in (("ours", ours), ("theirs", theirs)):
            started = time.perf_counter()
            step()
            times[name].append(time.perf_counter() - started)
    return {name: seconds[1:] for name, seconds in times.items()}


def in_a_process(part: str, folder: Path, new_tokens: int) -> dict:
    command = [sys.executable, "-m", "benchmarks.full_size", "--part", part, "--folder", str(folder)]
    done = subprocess.run([*command, "--new-tokens", str(new_tokens)], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"part {part} failed with status {done.returncode}")
    return json.loads(done.stdout.splitlines()[-1])


def promises(raw: dict) -> dict[str, tuple[float, float, bool]]:
    """name: (measured, promised, whether more is better)."""
    found = {}
    for layout in FORMS:
        plain = raw[f"bfloat16 {layout}"]
        share = plain["private_bytes"] / raw["file_bytes"]
        found[f"bfloat16, {layout} layout: private memory, share of the file"] = (share, 0.03, False)
    for layout in FORMS:
        small = raw[f"int8 {layout}"]
        found[f"int8, {layout} layout: peak over result"] = (
            small["peak_private_bytes"] / small["weight_bytes"], 1.15, False,
        )  # fmt: skip
    found["int8: GB of weights a second when decoding"] = (raw["int8 native"]["read_bytes_a_second"] / 1e9, 11.0, True)
    pairs = zip(raw["beside"]["theirs"], raw["beside"]["ours"])
    found["int8: transformers' float32 time over ours"] = (median(t / o for t, o in pairs), 2.0, True)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.full_size", description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, help="a trial with fewer layers")
    parser.add_argument("--beside-layers", type=int, default=4, help="layers of the model run beside transformers")
    parser.add_argument("--new-tokens", type=int, default=NEW)
    parser.add_argument("--note", default="", help="kept in the result: what else the machine was doing")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.part == "beside":
        print(json.dumps(beside_transformers(args.folder, args.new_tokens)))
        return 0
    if args.part:
        print(json.dumps(loading(args.folder, None if args.part == "bfloat16" else args.part, args.new_tokens)))
        return 0
    config = ModelConfig.preset("mistral-7b-v0.1")
    config = config if args.layers is None else replace(config, n_layers=args.layers)
    raw = machine.describe() | {"note": args.note, "layers": config.n_layers}
    for layout in FORMS:
        with tempfile.TemporaryDirectory(prefix="full-size-") as base:
            started = time.perf_counter()
            raw["file_bytes"] = write_random(Path(base) / "model", config, layout)
            print(
                f"{layout}: {raw['file_bytes'] / 1e9:.1f} GB written in {time.perf_counter() - started:.0f} s",
                flush=True,
            )
            # float weights need a second or more for a token: a few tell as much
            raw[f"bfloat16 {layout}"] = in_a_process("bfloat16", Path(base) / "model", min(4, args.new_tokens))
            raw[f"int8 {layout}"] = in_a_process("int8", Path(base) / "model", args.new_tokens)
            if layout == "native":
                raw["int4 native"] = in_a_process("int4", Path(base) / "model", args.new_tokens)
    with tempfile.TemporaryDirectory(prefix="full-size-") as base:
        write_random(Path(base) / "model", replace(config, n_layers=args.beside_layers), "hub")
        raw["beside"] = in_a_process("beside", Path(base) / "model", args.new_tokens)
    all_kept = True
    for name, (measured, promised, more) in promises(raw).items():
        kept = measured >= promised if more else measured <= promised
        all_kept &= kept
        print(
            f"{'ok ' if kept else 'NOT'}  {measured:6.3f}   {'at least' if more else 'at most '} {promised:5.2f}   {name}"
        )
    if args.layers is None:
        RESULTS.mkdir(exist_ok=True)
        path = RESULTS / f"{raw['date']}-{raw['machine']['cores']}-cores-full-size.json"
        raw["promises"] = {name: round(measured, 4) for name, (measured, _, _) in promises(raw).items()}
        path.write_text(json.dumps(rounded(raw), indent=1) + "\n", encoding="utf-8")
        print(f"written to benchmarks/results/{path.name}")
    return 0 if all_kept else 1


if __name__ == "__main__":
    sys.exit(main())
