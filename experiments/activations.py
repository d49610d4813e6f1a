"""Chapter 02: SwiGLU, GEGLU and GELU feed-forward blocks with equally many parameters, each at three learning rates."""

import math

import torch

from experiments.runner import Experiment
from minimistral.config import ModelConfig
from minimistral.data import bundled_texts
from minimistral.lab.gates import HIDDEN_DIMS, with_feed_forward
from minimistral.train import TrainConfig, held_out_loss, train

STEPS = 300
RATES = (8e-3, 1.6e-2, 3.2e-2)
CHOSEN = 1.6e-2  # the best of the three for each kind over the first seeds; only it is run with all of them
SWEEP = {8e-3: 3, 3.2e-2: 2}  # how many seeds the others are tried with
SEEDS = range(5)


def config() -> ModelConfig:
    """Two layers of 4 heads on bytes: 131,904 parameters, of which 66,048 lie in the feed-forward blocks."""
    return ModelConfig(
        dim=64, n_layers=2, n_heads=4, n_kv_heads=4, head_dim=16, hidden_dim=HIDDEN_DIMS["SwiGLU"], vocab_size=256
    )


def text(held_out: bool) -> torch.Tensor:
    joined = "\n".join(document.text for document in bundled_texts("prose", held_out))
    return torch.tensor(list(joined.encode()))


def run(kind: str, rate: float, steps: int, seed: int) -> dict:
    """Held-out bits a byte. The same seed gives every kind the same other weights and the same order of the data."""
    model = with_feed_forward(config(), kind, seed)
    recipe = TrainConfig(
        steps=steps, batch_size=16, context=64, learning_rate=rate, final_learning_rate=0.0, warmup_steps=15, seed=seed
    )
    train(model, text(False), recipe, progress=False)
    held_loss = held_out_loss(model, text(True)[:65_537], TrainConfig(batch_size=128, context=64))
    return {"bits_a_byte": round(held_loss / math.log(2), 4)}


SETTINGS = [
    dict(kind=kind, rate=rate, steps=STEPS, seed=seed)
    for seed in SEEDS
    for rate in RATES
    for kind in ("SwiGLU", "GEGLU", "GELU")
    if rate == CHOSEN or seed < SWEEP[rate]
]
EXPERIMENT = Experiment(
    name="activations",
    chapter="02",
    minutes=4,
    question="SwiGLU, GEGLU or GELU, with equally many parameters: which learns faster?",
    settings=SETTINGS,
    run=run,
)
