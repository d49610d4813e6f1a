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
    """settings: one dictionary a run, all with the same keys, `seed` among them; run(**setting) gives its result for JSON.

    Where all seeds are trained at once, `seeds` says how many, and each result is a list, one figure a seed. An experiment
    that draws nothing at random (it reads a fixed model on fixed texts) says so with is_random=False and needs no seed.
    """

    name: str
    chapter: str
    minutes: int  # on one core
    question: str
    settings: list[dict]
    run: Callable[..., dict]
    is_random: bool = True


def repeat(experiment: Experiment, fresh: bool = False) -> None:
    """Run the settings that are not stored yet, on one thread, and write the file after each of them.

    With `fresh`, run all of them again. Until they are through, the results stand in a file of their own, from which the
    next such call goes on, and what was stored stays as it is. A run whose setting is no longer asked for is dropped.
    """
    torch.set_num_threads(1)
    stored = STORED / f"{experiment.name}.json"
    path = stored.with_suffix(".unfinished") if fresh else stored
    settings = json.loads(json.dumps(experiment.settings))  # as they will be read again: tuples are lists there
    runs = json.loads(path.read_text(encoding="utf-8"))["runs"] if path.exists() else []
    runs = [run for run in runs if _setting(run, settings) in settings]
    done = [_setting(run, settings) for run in runs]
    todo = [setting for setting in settings if setting not in done]
    for setting in tqdm(todo, desc=f"{experiment.name}, about {experiment.minutes} min", unit="run"):
        started = time.process_time()  # of the processor: what others do on the machine does not count
        result = experiment.run(**setting)
        runs.append({**setting, **result, "seconds": round(time.process_time() - started, 1)})
        write(path, {**about(experiment), "runs": runs})
    if fresh and path.exists():
        path.replace(stored)


def _setting(run: dict, settings: list[dict]) -> dict:
    return {key: run.get(key) for key in settings[0]}


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
    draft.write_text(f'{head},\n "runs": [\n{runs}\n ]\n}}\n', encoding="utf-8")
    draft.replace(path)
