"""What `minimistral doctor` looks at, and what it makes of it."""

import os
import platform
import shutil
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

OLDEST_PYTHON, NEWEST_PYTHON, OLDEST_TORCH = (3, 11), (3, 14), (2, 9)
NEEDED = {
    "safetensors": "reads and writes checkpoints",
    "sentencepiece": "turns text into tokens",
    "numpy": "needed by safetensors",
    "tqdm": "draws progress bars",
}
OPTIONAL = {
    "jupyterlab": "opens the chapters",
    "ipywidgets": "the chapters' sliders",
    "anywidget": "the chapters' live pictures",
    "matplotlib": "the chapters' pictures",
    "huggingface_hub": "downloads the real models",
}
REAL_MODELS = {"Mistral 7B": "mistral-7b-v0.1", "Mixtral 8x7B": "mixtral-8x7b-v0.1"}
GIB = 2**30


@dataclass(frozen=True)
class Finding:
    """One line of the report. is_fine: True, False (something needed is missing), or None (worth knowing)."""

    what: str
    found: str
    is_fine: bool | None


def examine() -> list[Finding]:
    """Every check, in the order in which a person would want to know."""
    return [
        _python(),
        *[_package(name, purpose, is_needed=True) for name, purpose in NEEDED.items()],
        *_torch(),
        _memory(),
        _disk(),
        _bundled_files(),
        *[_package(name, purpose, is_needed=False) for name, purpose in OPTIONAL.items()],
    ]


def _python() -> Finding:
    ours = f"{platform.python_version()} on {platform.system()} ({platform.machine()})"
    if sys.version_info[:2] < OLDEST_PYTHON:
        return Finding("Python", f"{ours}: too old, install {_dotted(OLDEST_PYTHON)} or newer", False)
    if sys.version_info[:2] > NEWEST_PYTHON:
        return Finding("Python", f"{ours}: newer than {_dotted(NEWEST_PYTHON)}, which is the newest tested", None)
    return Finding("Python", ours, True)


def _package(name: str, purpose: str, is_needed: bool) -> Finding:
    try:
        return Finding(name, f"{version(name)} ({purpose})", True)
    except PackageNotFoundError:
        return Finding(name, f"not installed ({purpose}): pip install {name}", False if is_needed else None)


def _torch() -> list[Finding]:
    try:
        import torch
    except ImportError as error:
        return [Finding("torch", f"cannot be imported ({error}): pip install torch", False)]
    release = tuple(int(part) for part in torch.__version__.split("+")[0].split(".")[:2])
    if release < OLDEST_TORCH:
        return [Finding("torch", f"{torch.__version__}: too old, install {_dotted(OLDEST_TORCH)} or newer", False)]
    threads = f"{torch.get_num_threads()} threads on {os.cpu_count()} cores"
    found = Finding("torch", f"{torch.__version__}, {threads}", True)
    return [found, _device(torch), _arithmetic(torch), _real_models()]


def _device(torch) -> Finding:
    if torch.cuda.is_available():
        card = torch.cuda.get_device_properties(0)
        return Finding("device", f"{card.name}, {card.total_memory / GIB:.0f} GiB (cuda)", True)
    if torch.backends.mps.is_available():
        from minimistral.apple import has_apple_gpu

        if has_apple_gpu():
            return Finding("device", "Apple GPU (mps)", True)
        return Finding("device", f"the CPU: torch {torch.__version__} computes wrongly on this Apple GPU", None)
    return Finding("device", "the CPU: no GPU that torch can use; every chapter runs without one", True)


def _arithmetic(torch) -> Finding:
    """A model of a few thousand weights, read at once and token by token: both must agree."""
    from minimistral.config import ModelConfig, MoEConfig
    from minimistral.transformer import Transformer

    sizes = dict(dim=16, n_layers=2, n_heads=4, n_kv_heads=2, head_dim=6, hidden_dim=20, vocab_size=32)
    with torch.random.fork_rng(devices=[]), torch.inference_mode():
        torch.manual_seed(0)
        model = Transformer(ModelConfig(**sizes, sliding_window=3, moe=MoEConfig(4, 2)))
        tokens = torch.arange(12)[None]
        cache = model.make_cache(1, 12)
        by_token = torch.cat([model(tokens[:, i : i + 1], cache=cache) for i in range(12)], dim=1)
        difference = float((by_token - model(tokens)).abs().max())
    if difference < 1e-4:
        return Finding("arithmetic", f"a small mixture of experts agrees with itself to {difference:.0e}", True)
    return Finding(
        "arithmetic", f"a small model read token by token is off by {difference:.1e}: reinstall torch", False
    )


def _real_models() -> Finding:
    """How the published models would run here; without measuring, which takes a second."""
    from minimistral.machine import machine
    from minimistral.plan import plan

    here = machine(measure=False)
    ways = [f"{name}: {plan(preset, here).short()}" for name, preset in REAL_MODELS.items()]
    return Finding("real models", f"{'; '.join(ways)} (more: minimistral plan)", True)


def memory_bytes() -> int | None:
    """This machine's memory; None where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf
        return None


def _memory() -> Finding:
    total = memory_bytes()
    if total is None:
        return Finding("memory", "this system does not say; the chapters need 4 GiB", None)
    if total < 4 * GIB:
        return Finding("memory", f"{total / GIB:.1f} GiB: the chapters want 4 GiB, so close other programs", None)
    return Finding("memory", f"{total / GIB:.0f} GiB", True)


def _disk() -> Finding:
    free = shutil.disk_usage(Path.cwd()).free
    if free < 1 * GIB:
        return Finding("disk", f"{free / GIB:.1f} GiB free here: make room for 1 GiB", False)
    return Finding("disk", f"{free / GIB:.0f} GiB free here (the real 7B takes 14)", True)


def _bundled_files() -> Finding:
    here = Path(__file__).parent
    tokenizers = sorted(path for path in here.rglob("*.model*") if path.stat().st_size)
    if not tokenizers:
        return Finding("bundled files", "the tokenizer file is missing: install minimistral again", False)
    return Finding("bundled files", ", ".join(str(path.relative_to(here)) for path in tokenizers), True)


def _dotted(release: tuple[int, int]) -> str:
    return ".".join(map(str, release))
