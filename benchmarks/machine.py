"""What a result must say about where it was measured."""

import os
import platform
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch


def describe() -> dict:
    return {
        "date": date.today().isoformat(),
        "machine": {
            "system": f"{platform.system()} {platform.machine()}",
            "processor": processor(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)
            if hasattr(os, "sysconf")
            else None,
        }
        | ({"gpu": gpu()} if torch.cuda.is_available() else {}),
        "versions": {"python": platform.python_version()}
        | {name: found for name in ("torch", "transformers", "minimistral") if (found := installed(name))},
    }


def installed(package: str) -> str | None:
    """Its version, or None: a bare GPU machine has few packages, and runs the library from its folder."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def gpu() -> dict:
    """The first CUDA device."""
    properties = torch.cuda.get_device_properties(0)
    return {
        "name": properties.name,
        "memory_gib": round(properties.total_memory / 2**30, 1),
        "multiprocessors": properties.multi_processor_count,
        "cuda": torch.version.cuda,
        "count": torch.cuda.device_count(),
    }


def processor() -> str:
    """The processor's name, where the system says it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or "unknown"


def rounded(value):
    """Numbers with four digits, in whatever holds them."""
    if isinstance(value, dict):
        return {key: rounded(part) for key, part in value.items()}
    if isinstance(value, list):
        return [rounded(part) for part in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value
