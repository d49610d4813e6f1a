"""What the experiments share: run each setting once a seed, keep every result as it comes, go on after an interruption."""

import json
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import torch
from tqdm import tqdm

STORED = Path(__file__).parents[1] / "minimistral" / "lab" / "stored"


@dataclass(frozen=True)
class Experiment:
    """settings: one dictionary a run, with its seed; run(**setting) gives the run's result as a dictionary for JSON."""

    name: str
    chapter: str
    minutes: int  # on one core
    question: str
    settings: list[dict]
    run: Callable[..., dict]


def repeat(experiment: Experiment, fresh: bool = False) -> None:
    """Run the settings that are not stored yet, on one thread, and write the file after each of them."""
    torch.set_num_threads(1)
    path = STORED / f"{experiment.name}.json"
    stored = json.loads(path.read_text()) if path.exists() and not fresh else {"runs": []}
    done = [{key: run[key] for key in experiment.settings[0]} for run in stored["runs"]]
    todo = [setting for setting in experiment.settings if setting not in done]
    for setting in tqdm(todo, desc=experiment.name, unit="run"):
        started = time.perf_counter()
        result = experiment.run(**setting)
        stored["runs"].append({**setting, **result, "seconds": round(time.perf_counter() - started, 1)})
        write(path, {**about(experiment), "runs": stored["runs"]})


def about(experiment: Experiment) -> dict:
    return {
        "question": experiment.question,
        "repeat": f"python -m experiments {experiment.name}",
        "date": date.today().isoformat(),
        "machine": f"{platform.system()} on {platform.machine()}, one thread",
        "versions": f"torch {torch.__version__}, Python {platform.python_version()}",
    }


def write(path: Path, content: dict) -> None:
    """One run a line, so that a difference can be read; the old file stays until the new one is whole."""
    runs = ",\n".join("  " + json.dumps(run) for run in content["runs"])
    head = json.dumps({key: value for key, value in content.items() if key != "runs"}, indent=1)[:-2]
    draft = path.with_suffix(".part")
    draft.write_text(f'{head},\n "runs": [\n{runs}\n ]\n}}\n')
    draft.replace(path)
