"""How long `import minimistral` and `minimistral --help` take, in processes of their own."""

import subprocess
import sys
import time

IMPORT = "import minimistral; [getattr(minimistral, name) for name in ('ModelConfig', 'Transformer', 'generate')]"


def seconds(*command: str, rounds: int = 7) -> list[float]:
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        subprocess.run([sys.executable, *command], check=True, capture_output=True)
        times.append(time.perf_counter() - started)
    return times


def measure() -> dict[str, list[float]]:
    return {
        "torch": seconds("-c", "import torch"),
        "torch_and_minimistral": seconds("-c", f"import torch; {IMPORT}"),
        "help": seconds("-m", "minimistral", "--help"),
        "python": seconds("-c", "pass"),
    }
