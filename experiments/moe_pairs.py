"""Chapter 09: a mixture of experts beside dense models, at equal active and at equal total parameters, by pairs of seeds."""

import dataclasses
import math

import torch
import torch.nn.functional as F

from experiments.runner import Experiment
from minimistral.config import MoEConfig
from minimistral.lab.first_minute import BATCH_SIZE, CONTEXT, byte_config, byte_text
from minimistral.train import TrainConfig, train
from minimistral.transformer import Transformer

STEPS = 150
EXPERTS = MoEConfig(num_experts=8, num_experts_per_tok=2)
ARMS = {
    "dense": dict(hidden_dim=172),  # as many active weights as the mixture, but for its gate
    "mixture": dict(hidden_dim=86, moe=EXPERTS),
    "dense, all weights": dict(hidden_dim=688),  # as many weights in all as the mixture
}
RATES = (2e-3, 4e-3, 8e-3, 16e-3)  # the best of three lay at the edge, so a fourth


@torch.inference_mode()
def held_out_bits(model: Transformer, text: torch.Tensor) -> float:
    """Bits a byte on rows of CONTEXT bytes, each read from its start."""
    rows = text[: (len(text) - 1) // CONTEXT * CONTEXT + 1].unfold(0, CONTEXT + 1, CONTEXT)
    losses = [
        F.cross_entropy(model(part[:, :-1]).flatten(0, 1), part[:, 1:].flatten(), reduction="sum").item()
        for part in rows.split(64)
    ]
    return sum(losses) / math.log(2) / (len(rows) * CONTEXT)


def run(arm: str, rate: float, seed: int) -> dict:
    text, held_out = byte_text(STEPS)
    torch.manual_seed(seed)
    model = Transformer(dataclasses.replace(byte_config(), **ARMS[arm]))
    config = TrainConfig(steps=STEPS, batch_size=BATCH_SIZE, context=CONTEXT, learning_rate=rate, final_learning_rate=rate / 10,
                         warmup_steps=15, seed=seed)  # fmt: skip
    train(model, text, config, progress=False)
    count = model.config.count_parameters()
    return {"bits": round(held_out_bits(model, held_out), 4), "active": count.active, "total": count.total}


EXPERIMENT = Experiment(
    name="moe_pairs",
    chapter="09",
    minutes=16,
    question="From the same bytes: a mixture of experts, or a dense model of equal active or equal total weights?",
    settings=[dict(arm=arm, rate=rate, seed=seed) for seed in range(5) for arm in ARMS for rate in RATES],
    run=run,
)
