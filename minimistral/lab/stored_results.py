"""Results of the longer runs, measured once and kept with the lab: tools and chapters look them up."""

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import NormalDist, fmean, stdev


@cache
def stored(name: str) -> dict:
    """The results that `python -m experiments NAME` wrote, with their date and versions under "runs", "date", …"""
    path = Path(__file__).parent / "stored" / f"{name}.json"
    if not path.exists():
        there = ", ".join(sorted(file.stem for file in path.parent.glob("*.json")))
        raise ValueError(f"no stored result is called {name!r}. There are: {there}.")
    return json.loads(path.read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Difference:
    """a − b over pairs that share their seed. `could_show`: the smallest true difference that so many pairs would have
    found four times in five, in a two-sided test at 5 %: a difference below it may be there and not have shown."""

    mean: float
    standard_error: float
    n: int
    could_show: float

    def __str__(self) -> str:
        return (
            f"{self.mean:+.3g} ± {self.standard_error:.2g} (one standard error, {self.n} pairs; "
            f"from {self.could_show:.2g} on it would have shown)"
        )


def paired(runs: Iterable[dict], key: str, a: dict, b: dict) -> Difference:
    """The difference a − b of `key` between the runs whose settings are `a` and those whose are `b`, seed by seed.

    >>> runs = [dict(arm=arm, seed=seed, loss=seed + (arm == "old") / 2)
    ...         for arm in ("old", "new") for seed in range(3)]
    >>> paired(runs, "loss", a=dict(arm="new"), b=dict(arm="old")).mean
    -0.5

    ValueError where a seed has no partner, where a setting leaves several runs of one seed, and for fewer than 3 pairs.
    """
    runs = list(runs)
    left, right = _by_seed(runs, key, a), _by_seed(runs, key, b)
    if left.keys() != right.keys():
        raise ValueError(f"no pairs: {a} has seeds {sorted(left)}, {b} has {sorted(right)}. Run the missing ones.")
    if len(left) < 3:
        raise ValueError(
            f"{a} and {b} make {len(left)} pairs; a spread needs 3 or more. Are the settings spelled right?"
        )
    differences = [left[seed] - right[seed] for seed in left]
    error = stdev(differences) / math.sqrt(len(differences))
    degrees = len(differences) - 1
    reach = student_quantile(0.975, degrees) + student_quantile(0.8, degrees)
    return Difference(fmean(differences), error, len(differences), reach * error)


def _by_seed(runs: list[dict], key: str, setting: dict) -> dict[int, float]:
    """Seed to figure; a run that trained all seeds at once has a list of figures, in the order of its seeds."""
    found: dict[int, float] = {}
    for run in runs:
        if all(run.get(name) == value for name, value in setting.items()):
            figures = {run["seed"]: run[key]} if "seed" in run else dict(enumerate(run[key]))
            if found.keys() & figures.keys():
                raise ValueError(
                    f"{setting} leaves several runs of one seed: name the other settings too, as in {run}."
                )
            found |= figures
    return found


def student_quantile(p: float, degrees: int) -> float:
    """Of Student's t with so many degrees of freedom: within 4 % from 2 on, within 0.3 % from 4 on.

    Source: Abramowitz and Stegun, Handbook of Mathematical Functions (1964), 26.7.5.
    """
    z = NormalDist().inv_cdf(p)
    terms = [
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92_160,
    ]
    return z + sum(term / degrees**power for power, term in enumerate(terms, start=1))
