"""What only a GPU can show: the same logits there, and how near decoding comes to the memory's bandwidth. No network.

    python -m benchmarks.gpu_check [--part compiled_7b] [--out FOLDER] [--no-write]
    python -m benchmarks.gpu_check --tiny        every part on tiny shapes on the CPU: that it runs, nothing about speed

Needs torch, safetensors, numpy, sentencepiece, typer and tqdm. Weights are random, made on the GPU in the real shapes, so
nothing is downloaded. Each part takes less than 8 minutes on an H100 and adds what it found to a dated file under
benchmarks/results. A model that does not fit the GPU is left out: 80 GB hold all of them, 24 the dense one. Exit status: 0,
all promises kept; 1, one was not, or a part failed; 2, there is no GPU here.
"""

import argparse
import gc
import json
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks import machine
from minimistral.config import ModelConfig, MoEConfig
from minimistral.fast import FastDecoder, fast_generate, fast_stream
from minimistral.generation import generate, read, stream
from minimistral.memory import available_bytes, whole_bytes
from minimistral.offload import offload
from minimistral.quantize import is_quantized_name, kind_of, quantize_
from minimistral.transformer import Transformer

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Setting:
    """On what, and how large."""

    device: torch.device
    dtype: torch.dtype
    dense: ModelConfig
    mixture: ModelConfig
    few_layers: ModelConfig  # the mixture for the offload part, which host memory must hold
    new_tokens: int = 128
    prompt: int = 16
    long_prompt: int = 32_768
    probe_bytes: int = 2**31  # read and copied to measure the bandwidth


_TINY = dict(dim=64, n_layers=2, n_heads=4, n_kv_heads=2, head_dim=16, hidden_dim=96, vocab_size=64)


def real() -> Setting:
    mixture = ModelConfig.preset("mixtral-8x7b-v0.1")
    few = ModelConfig(**{**mixture.__dict__, "n_layers": 8})
    return Setting(torch.device("cuda"), torch.bfloat16, ModelConfig.preset("mistral-7b-v0.1"), mixture, few)


def tiny() -> Setting:
    mixture = ModelConfig(**_TINY, moe=MoEConfig(4, 2))
    dense = ModelConfig(**_TINY, sliding_window=32)
    return Setting(torch.device("cpu"), torch.float32, dense, mixture, mixture, 6, 4, 200, 2**22)


class Findings(dict):
    """What a part found, by name; promises among it are printed with what was promised."""

    def __init__(self):
        super().__init__()
        self.broken: list[str] = []

    def promise(self, name: str, measured: float, promised: float, more_is_better: bool = True) -> None:
        kept = measured >= promised if more_is_better else measured <= promised
        self[name] = measured
        if not kept:
            self.broken.append(name)
        print(
            f"{'ok ' if kept else 'NOT'}  {measured:9.4g}   {'at least' if more_is_better else 'at most '} {promised:g}   {name}"
        )

    def note(self, name: str, measured: float | str | dict) -> None:
        self[name] = measured
        print(f"     {measured:9.4g}   {name}" if isinstance(measured, float) else f"     {name}: {measured}")


# --- parts -----------------------------------------------------------------------------------------------------------


def parity(setting: Setting, found: Findings) -> None:
    """The same logits on both devices, by the fast step, in bfloat16, quantized and offloaded."""
    sizes = dict(
        dim=256, n_layers=3, n_heads=8, n_kv_heads=2, head_dim=32, hidden_dim=512, vocab_size=1000, sliding_window=40
    )
    if setting.device.type == "cpu":
        sizes |= _TINY
    for name, moe in (("dense", None), ("mixture", MoEConfig(8, 2))):
        config = ModelConfig(**sizes, moe=moe)
        torch.manual_seed(0)
        here = random_model(config, torch.device("cpu"), torch.float32, std=0.06)
        tokens = torch.randint(config.vocab_size, (3, 90))
        with torch.no_grad():
            expected = here(tokens)
            there = random_model(config, setting.device, torch.float32)
            there.load_state_dict(here.state_dict())
            difference = (there(tokens.to(setting.device)).cpu() - expected).abs().max()
        found.promise(f"{name}: device against CPU, float32, largest difference", float(difference), 1e-3, False)
        for batch_size, by_rows in ((1, True), (1, False), (3, False)):  # several rows have one way only
            worst = _fast_against_plain(there, tokens[:batch_size], by_rows)
            how = f"{name}: fast against plain, batch {batch_size}, {'rows' if by_rows else 'library'}"
            found.promise(f"{how}, largest difference", worst, 1e-3, False)
        prompts = tokens[:, :50].tolist()
        same = fast_generate(there, prompts, 20, stop_ids=()) == generate(there, prompts, 20, stop_ids=())
        found.promise(f"{name}: the same 60 greedy ids, fast and plain", float(same), 1)
        _other_numbers(setting, found, name, config, here, tokens, expected)


def _fast_against_plain(model: Transformer, tokens: Tensor, by_rows: bool) -> float:
    """The largest difference of the logits while the last tokens are read one by one, past the window."""
    tokens = tokens.to(model.tok_embeddings.weight.device)
    decoder = FastDecoder(model, len(tokens), tokens.shape[1], by_rows=by_rows)
    cache, half = model.make_cache(len(tokens), tokens.shape[1]), tokens.shape[1] // 2
    read(model, tokens[:, :half].tolist(), cache)
    read(model, tokens[:, :half].tolist(), decoder.cache)
    worst = 0.0
    with torch.no_grad():
        for step in tokens[:, half:].T:
            worst = max(worst, float((decoder.step(step) - model(step[:, None], cache=cache)[:, 0]).abs().max()))
    return worst


def _other_numbers(setting, found, name, config, here, tokens, expected) -> None:
    """bfloat16, int8 and int4: the fast step against the plain model in the same numbers, and how far float32 is.

    Of the last tokens the median: rounding may send a token of a mixture to another expert, whose answer is another one.
    """

    def off(logits: Tensor, of: Tensor) -> float:
        distance = (logits.cpu().float() - of.cpu().float()).pow(2).mean(-1).sqrt() / of.cpu().float().pow(2).mean(
            -1
        ).sqrt()
        return float(distance.median())

    last = 10
    with torch.no_grad():
        for what in (None, "int8", "int4"):
            model = random_model(config, setting.device, torch.bfloat16)
            model.load_state_dict(here.state_dict())
            if what:
                quantize_(model, what)
            plain = model(tokens.to(setting.device))
            decoder = FastDecoder(model, len(tokens), tokens.shape[1])
            read(model, tokens[:, :-last].tolist(), decoder.cache)
            steps = [decoder.step(step) for step in tokens[:, -last:].to(setting.device).T]
            fast = torch.stack(steps, dim=1)  # (B, 10, V)
            bits = what or "bfloat16"
            found.promise(f"{name} in {bits}: fast against plain", off(fast, plain[:, -last:]), 0.03, False)
            found.note(f"{name} in {bits}: fast against float32", off(fast, expected[:, -last:]))
            if config.moe is not None:
                cache = offload(model, 4 * 3 * config.dim * config.hidden_dim * 2, setting.device)
                moved = model(tokens.to(setting.device))
                found.promise(f"{name} in {bits}: offloaded against plain", off(moved, plain), 0.01, False)
                found.note(f"{name} in {bits}: hit rate", cache.hit_rate)


def compiled_7b(setting: Setting, found: Findings) -> None:
    """The dense model in 16 bits, at batch 1: tokens a second, and how near to the bandwidth."""
    _decoding(setting, found, setting.dense, None, promised=0.8, plain=True)


def compiled_7b_int8(setting: Setting, found: Findings) -> None:
    """The same with 8-bit weights."""
    _decoding(setting, found, setting.dense, "int8")


def compiled_7b_int4(setting: Setting, found: Findings) -> None:
    """The same with 4-bit weights."""
    _decoding(setting, found, setting.dense, "int4")


def mixtral_int8(setting: Setting, found: Findings) -> None:
    """Mixtral in 8 bits, made and quantized matrix by matrix on the GPU: only the chosen experts count as read."""
    _decoding(setting, found, setting.mixture, "int8")


def mixtral_int4(setting: Setting, found: Findings) -> None:
    """Mixtral in 4 bits."""
    _decoding(setting, found, setting.mixture, "int4")


def prefill_32k(setting: Setting, found: Findings) -> None:
    """A prompt of 32K tokens through the dense model with its window: the last tokens as fast as those in the middle."""
    if not has_room(setting, found, setting.dense, None):
        return
    model = random_model(setting.dense, setting.device, setting.dtype)
    n = setting.long_prompt
    cache, ids = model.make_cache(1, n), torch.randint(setting.dense.vocab_size, (n,)).tolist()
    read(model, [ids[: n // 8]], cache)  # warms up
    cache.reset()
    reset_peak(setting.device)
    seconds = []
    for start in range(0, n, n // 8):
        seconds.append(timed(setting.device, lambda start=start: read(model, [ids[start : start + n // 8]], cache)))
    found.note("tokens a second", n / sum(seconds))
    found.note("seconds by eighth of the prompt", {str(i): round(s, 4) for i, s in enumerate(seconds, start=1)})
    allowed = 1.2 if setting.device.type == "cuda" else float("inf")  # tiny steps take as long as Python does
    found.promise("the last eighth's time over the third's", seconds[-1] / seconds[2], allowed, False)
    found.promise("bytes of the cache over those of one window", cache.nbytes / window_bytes(model), 1.0, False)
    found.note("peak memory, GB", peak_bytes(setting.device) / 1e9)


def offloaded(setting: Setting, found: Findings) -> None:
    """Eight layers of Mixtral in 4 bits, their experts in host memory, half of them on the GPU."""
    model = random_model(setting.few_layers, setting.device, setting.dtype, "int4").to("cpu")
    clear(setting.device)
    reset_peak(setting.device)
    experts = sum(part.nbytes for layer in model.layers for part in layer.feed_forward.experts.state_dict().values())
    cache = offload(model, experts // 2, setting.device)
    list(stream(model, [1] * setting.prompt, 2, stop_ids=()))
    cache.reset_counts()
    seconds = timed(setting.device, lambda: list(stream(model, [1, 2], setting.new_tokens, stop_ids=())))
    slot, source = cache._slots[0], torch.empty(cache.record.nbytes, dtype=torch.uint8)
    source = source.pin_memory() if setting.device.type == "cuda" else source
    transfer = source.nbytes / min(
        timed(setting.device, lambda: slot.copy_(source, non_blocking=True)) for _ in range(5)
    )
    found.note("tokens a second, 8 of 32 layers", setting.new_tokens / seconds)
    found.note("hit rate with half of the experts on the device", cache.hit_rate)
    found.note("host to device, GB/s", transfer / 1e9)
    found.note("share of the time that the transfers need at that rate", cache.bytes_moved / transfer / seconds)
    found.note("an expert, MB", cache.record.nbytes / 1e6)
    found.note("peak memory, GB", peak_bytes(setting.device) / 1e9)
    on_device = cache.nbytes + sum(tensor.nbytes for tensor in model.state_dict().values())
    found.promise("bytes of slots over half of the experts'", cache.nbytes / (experts / 2), 1.05, False)
    found.note("slots and the rest of the model, GB", on_device / 1e9)


PARTS: dict[str, Callable[[Setting, Findings], None]] = {
    part.__name__: part
    for part in (
        parity, compiled_7b, compiled_7b_int8, compiled_7b_int4, mixtral_int8, mixtral_int4, prefill_32k, offloaded,
    )
}  # fmt: skip


# --- what they share -------------------------------------------------------------------------------------------------


def _decoding(
    setting: Setting,
    found: Findings,
    config: ModelConfig,
    bits: str | None,
    promised: float | None = None,
    plain: bool = False,
) -> None:
    """One text, token by token. Share of bandwidth: bytes that a step must read, times steps a second, over what was measured."""
    if not has_room(setting, found, config, bits):
        return
    bandwidth = measured_bandwidth(setting)
    clear(setting.device)
    found.note("bandwidth, GB/s", {name: round(value / 1e9, 1) for name, value in bandwidth.items()})
    seconds = time.perf_counter()
    model = random_model(config, setting.device, setting.dtype, bits)
    found.note("seconds to make the model", time.perf_counter() - seconds)
    found.note("weights, GB", sum(tensor.nbytes for tensor in model.state_dict().values()) / 1e9)
    if plain:
        found.note("plain model, tokens a second", rate(setting, lambda ids, n: stream(model, ids, n, stop_ids=())))
    seconds = time.perf_counter()
    decoder = FastDecoder(model, 1, setting.prompt + 2 * setting.new_tokens)
    list(fast_stream(decoder, [1] * setting.prompt, 2, stop_ids=()))
    found.note("seconds to compile, try and record", time.perf_counter() - seconds)
    for by_rows, step in getattr(decoder, "seconds_by_way", {}).items():
        found.note(f"a step, ms, multiplied {'by rows' if by_rows else 'by the library'}", 1e3 * step)
    reset_peak(setting.device)

    def run(ids: list[int], n: int) -> Iterator[int]:
        decoder.reset()
        return fast_stream(decoder, ids, n, stop_ids=())

    per_second = rate(setting, run)
    found.note("fast, tokens a second", per_second)
    found.note("bytes a step reads, GB", decoder.nbytes_read / 1e9)
    found.note("peak memory, GB", peak_bytes(setting.device) / 1e9)
    share = decoder.nbytes_read * per_second / max(bandwidth.values())
    if promised is not None and setting.device.type == "cuda":
        found.promise("share of the measured bandwidth", share, promised)
    else:
        found.note("share of the measured bandwidth", share)


def has_room(setting: Setting, found: Findings, config: ModelConfig, bits: str | None) -> bool:
    """Whether the GPU can hold the model; a part that is too large for it says so, and neither keeps nor breaks a promise."""
    needed, free = whole_bytes(config, setting.dtype, bits), available_bytes(setting.device)
    if setting.device.type == "cpu" or needed <= free:
        return True
    found.note("left out", f"needs {needed / 1e9:.1f} GB, and {free / 1e9:.1f} are free")
    return False


def rate(setting: Setting, run: Callable[[list[int], int], Iterator[int]]) -> float:
    """Tokens a second from the first to the last of a text; the best of three, as whatever else happens only adds."""
    best = 0.0
    for _ in range(3):
        tokens = run([1] * setting.prompt, setting.new_tokens)
        next(tokens)
        best = max(best, (setting.new_tokens - 1) / timed(setting.device, lambda tokens=tokens: list(tokens)))
    return best


@torch.no_grad()
def random_model(
    config: ModelConfig, device: torch.device, dtype: torch.dtype, bits: str | None = None, std: float = 0.02
) -> Transformer:
    """Random weights, made on the device one matrix at a time, and each quantized before the next is made."""
    with torch.device("meta"):
        model = Transformer(config).to(dtype)
    for name, module in list(model.named_modules()):
        for part, old in list(module.named_parameters(recurse=False)):
            weight = torch.empty(old.shape, dtype=dtype, device=device)
            weight = weight.normal_(std=std) if weight.ndim > 1 else weight.fill_(1.0)
            if bits is not None and isinstance(module, nn.Linear) and is_quantized_name(f"{name}.{part}"):
                model.set_submodule(name, kind_of(bits).from_weight(weight))
            else:
                setattr(module, part, nn.Parameter(weight, requires_grad=False))
    return model.requires_grad_(False).eval()


def measured_bandwidth(setting: Setting) -> dict[str, float]:
    """Bytes a second: copying a block (read and written), and adding up all of it (only read)."""
    source = torch.zeros(setting.probe_bytes // 4, device=setting.device)
    target = torch.empty_like(source)
    repeats = 10

    def best(work: Callable[[], object]) -> float:
        def all_of_them() -> None:
            for _ in range(repeats):
                work()

        all_of_them()
        return min(timed(setting.device, all_of_them) for _ in range(3)) / repeats

    return {"copy": 2 * source.nbytes / best(lambda: target.copy_(source)), "read": source.nbytes / best(source.sum)}


def timed(device: torch.device, work: Callable[[], object]) -> float:
    synchronize(device)
    started = time.perf_counter()
    work()
    synchronize(device)
    return time.perf_counter() - started


def window_bytes(model: Transformer) -> int:
    with torch.device("meta"):
        return (
            Transformer(model.config)
            .to(model.tok_embeddings.weight.dtype)
            .make_cache(1, model.config.sliding_window)
            .nbytes
        )


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def clear(device: torch.device) -> None:
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def reset_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_bytes(device: torch.device) -> int:
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0


def write(folder: Path, part: str, found: Findings, seconds: float, device: torch.device) -> Path:
    """Add a part's findings to the file of this day and GPU."""
    about = machine.describe()
    gpu = about["machine"]["gpu"]["name"] if device.type == "cuda" else "tiny on a CPU"
    path = folder / f"{about['date']}-gpu-{'-'.join(gpu.lower().replace('/', ' ').split())}.json"
    folder.mkdir(parents=True, exist_ok=True)
    parts = json.loads(path.read_text(encoding="utf-8"))["parts"] if path.exists() else {}
    parts[part] = {name: machine.rounded(value) for name, value in found.items()} | {"seconds": round(seconds, 1)}
    path.write_text(json.dumps(about | {"parts": parts}, indent=1) + "\n", encoding="utf-8")
    return path


def run_part(name: str, setting: Setting, folder: Path | None) -> bool:
    """Whether the part ran and kept its promises."""
    print(f"\n{name}: {PARTS[name].__doc__}", flush=True)
    found, started = Findings(), time.perf_counter()
    torch.manual_seed(0)
    try:
        PARTS[name](setting, found)
    except Exception:  # the parts after it can still say something
        found["failed"] = traceback.format_exc().splitlines()[-1]
        found.broken.append("failed")
        traceback.print_exc()
    seconds = time.perf_counter() - started
    found.promise("seconds", seconds, 480, more_is_better=False)
    if folder is not None:
        print(f"     in {write(folder, name, found, seconds, setting.device)}")
    clear(setting.device)
    return not found.broken


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_check", description=__doc__.splitlines()[0])
    parser.add_argument("--part", action="append", choices=list(PARTS), help="only this part (may be repeated)")
    parser.add_argument("--tiny", action="store_true", help="tiny shapes on the CPU: whether every part runs")
    parser.add_argument("--out", type=Path, default=RESULTS, help="the folder for the dated file")
    parser.add_argument("--no-write", action="store_true", help="print only")
    args = parser.parse_args(arguments)
    if not args.tiny and not torch.cuda.is_available():
        print(
            "No CUDA GPU here: nothing measured. `python -m benchmarks.gpu_check --tiny` tries every part on the CPU."
        )
        return 2
    setting = tiny() if args.tiny else real()
    tiny_results_stay_out = args.tiny and args.out == RESULTS
    folder = None if args.no_write or tiny_results_stay_out else args.out
    kept = [run_part(name, setting, folder) for name in args.part or PARTS]
    return 0 if all(kept) else 1


if __name__ == "__main__":
    sys.exit(main())
