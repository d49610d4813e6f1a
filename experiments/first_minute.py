"""Chapter 07: a model's first minute of training beside n-grams that count the same bytes."""

from experiments.runner import Experiment
from minimistral.lab.first_minute import BYTES_A_STEP, counting, race

STEPS, EVERY = 500, 25


def run(kind: str, seed: int) -> dict:
    if kind == "model":
        curve = race(STEPS, seed, EVERY)
    else:
        marks = [step * BYTES_A_STEP for step in range(EVERY, STEPS + 1, EVERY * 2)] + [STEPS * BYTES_A_STEP]
        curve = [(n, counting(n, int(kind[0]), STEPS)) for n in sorted(set(marks))]
    return {"bytes": [n for n, _ in curve], "bits": [round(bits, 4) for _, bits in curve]}


EXPERIMENT = Experiment(
    name="first_minute",
    chapter="07",
    minutes=5,
    question="After how many bytes does a small model know prose better than 2- to 5-grams do?",
    settings=[dict(kind="model", seed=seed) for seed in range(5)]
    + [dict(kind=f"{n}-gram", seed=0) for n in (2, 3, 4, 5)],
    run=run,
)
