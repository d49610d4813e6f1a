"""How fast a model reads and writes on this machine: what `minimistral bench` prints."""

import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median

import torch
from torch import Tensor, nn
from tqdm import tqdm

from minimistral.apple import has_apple_gpu
from minimistral.checkpoints.room import check_room
from minimistral.config import PRESETS, ModelConfig
from minimistral.generation import read
from minimistral.quantize import KINDS, is_quantized_name, kind_of
from minimistral.transformer import Transformer

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Speed:
    """Medians of a few runs; tokens count all rows of the batch."""

    read_per_second: float  # prompt tokens
    written_per_second: float  # new tokens
    cache_bytes: int
    weight_bytes: int
    where: str  # device, dtype and threads

    def describe(self) -> str:
        return "\n".join(
            [
                f"reading  {self.read_per_second:12,.0f} tokens/s",
                f"writing  {self.written_per_second:12,.1f} tokens/s",
                f"weights  {self.weight_bytes / 1e6:12,.1f} MB",
                f"cache    {self.cache_bytes / 1e6:12,.1f} MB",
                f"on       {self.where}",
            ]
        )


def prepare(name: str, device: str = "auto", dtype: str = "auto", quantize: str | None = None) -> Transformer:
    """The model in a folder, or a preset with random weights: speed does not depend on what the weights say."""
    if Path(name).is_dir() or name not in PRESETS:
        from minimistral import load  # brings in the readers, which random weights do without

        return load(name, device=device, dtype=dtype, quantize=quantize)[0]
    config = ModelConfig.preset(name)
    device = torch.device(best_device() if device == "auto" else device)
    usual = "float32" if device.type == "cpu" and quantize is None else "bfloat16"
    dtype = DTYPES.get(usual if dtype == "auto" else dtype)
    if dtype is None:
        raise ValueError(f"that dtype is unknown. Choose from auto, {', '.join(DTYPES)}.")
    if quantize is not None:
        kind_of(quantize)  # ValueError for what is none
    check_room(name, config, device, dtype, quantize)
    with torch.device("meta"):
        model = Transformer(config).to(dtype)
    if quantize is not None:
        randomly_quantized_(model, quantize, device)
        return model
    model.to_empty(device=device)
    with torch.no_grad():
        for weight in model.parameters():
            weight.normal_(std=0.02) if weight.ndim > 1 else weight.fill_(1.0)
    return model


@torch.no_grad()
def randomly_quantized_(model: Transformer, quantize: str, device: torch.device) -> None:
    """Give a model that is on meta random weights, its matrices as codes: without the floats, which may not fit."""
    kind = kind_of(quantize)
    for name, module in list(model.named_modules()):
        if isinstance(module, nn.Linear) and is_quantized_name(f"{name}.weight"):
            n_out, n_in = module.weight.shape
            some_rows = kind.from_weight(torch.randn(min(n_out, 64), n_in, device=device) * n_in**-0.5)
            times = -(-n_out // 64)
            model.set_submodule(
                name, kind(some_rows.q.repeat(times, 1)[:n_out], _repeated(some_rows.scale, times)[:n_out])
            )
    for module in model.modules():
        for name, weight in list(module.named_parameters(recurse=False)):
            values = torch.randn if weight.ndim > 1 else torch.ones
            fresh = nn.Parameter(values(weight.shape, dtype=weight.dtype, device=device), requires_grad=False)
            setattr(module, name, fresh)
    model.eval()


def _repeated(scale: Tensor, times: int) -> Tensor:
    return scale.repeat(times, *[1] * (scale.ndim - 1))


def measure(model: Transformer, prompt_tokens: int = 512, new_tokens: int = 64, batch_size: int = 1) -> Speed:
    """Read random prompts and write on from them, three times after a warm-up, less often when that takes long."""
    for name, value in (("prompt_tokens", prompt_tokens), ("new_tokens", new_tokens), ("batch_size", batch_size)):
        if value < 1:
            raise ValueError(f"{name}={value}: give 1 or more.")
    weight = model.tok_embeddings.weight
    prompts = torch.randint(model.config.vocab_size, (batch_size, prompt_tokens)).tolist()
    reading, writing, started = [], [], time.perf_counter()
    with tqdm(total=4 * new_tokens, unit="step", delay=2, leave=False) as bar:
        while len(reading) < 4 and (len(reading) < 2 or time.perf_counter() - started < 30):
            cache = model.make_cache(batch_size, prompt_tokens + new_tokens)
            marks = [time.perf_counter()]
            logits = read(model, prompts, cache)
            for _ in range(new_tokens):
                marks.append(time.perf_counter())
                logits = read(model, logits.argmax(-1, keepdim=True).tolist(), cache)
                bar.update()
            marks.append(time.perf_counter())
            reading.append(marks[1] - marks[0])
            writing += [later - earlier for earlier, later in pairwise(marks[1:])]
    return Speed(
        read_per_second=batch_size * prompt_tokens / median(reading[1:]),  # the first run only warms up
        written_per_second=batch_size / median(writing[new_tokens:]),
        cache_bytes=cache.nbytes,
        weight_bytes=sum(tensor.nbytes for tensor in (*model.parameters(), *model.buffers())),
        where=f"{weight.device}, {_numbers(model)}, {torch.get_num_threads()} CPU threads",
    )


def _numbers(model: Transformer) -> str:
    """The dtype, and that of quantized weights."""
    dtype = str(model.tok_embeddings.weight.dtype).removeprefix("torch.")
    kinds = [name for name, kind in KINDS.items() if any(isinstance(module, kind) for module in model.modules())]
    return dtype + "".join(f" with {name} weights" for name in kinds)


def best_device() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if has_apple_gpu() else "cpu"
