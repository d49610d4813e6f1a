"""Chapter 05: how often a trained model names the first token, by distance, for many depths, windows and seeds."""

from experiments.runner import Experiment
from minimistral.lab.recall import recall_by_distance, recall_config, train_recall

STEPS = 300
BEYOND = 5  # distances past the edge that are trained and measured too


def run(n_layers: int, window: int, seed: int) -> dict:
    n_tokens = n_layers * (window - 1) + 1 + BEYOND
    model = train_recall(recall_config(n_layers, window), n_tokens, STEPS, seed)
    return {"recall": [round(share, 4) for share in recall_by_distance(model, n_tokens).tolist()]}


SETTINGS = [dict(n_layers=4, window=4, seed=seed) for seed in range(20)]
SETTINGS += [
    dict(n_layers=n_layers, window=window, seed=seed)
    for n_layers in (1, 2, 3, 4)
    for window in (2, 3, 4, 5, 6, 8)
    for seed in range(3)
    if (n_layers, window) != (4, 4)
]
EXPERIMENT = Experiment(
    name="window_cliff",
    chapter="05",
    minutes=20,
    question="How often does a trained model name the first token, by distance?",
    settings=SETTINGS,
    run=run,
)
