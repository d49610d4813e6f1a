"""Chapter 09: a mixture of experts beside dense models: at equal active weights (as many bytes, then as much time) and at equal
total weights, by pairs of seeds."""

import dataclasses
import math

import torch
import torch.nn.functional as F

from experiments.runner import Experiment
from minimistral.config import MoEConfig
from minimistral.lab.first_minute import BATCH_SIZE, CONTEXT, byte_config, byte_text
from minimistral.train import TrainConfig, train
from minimistral.transformer import Transformer

EXPERTS = MoEConfig(num_experts=8, num_experts_per_tok=2)
ARMS = {  # what differs in the model, and the number of steps
    "dense": (dict(hidden_dim=172), 480),  # as many active weights as the mixture, but for its gate
    "dense, as much time": (
        dict(hidden_dim=172),
        640,
    ),  # a step of the mixture costs about 4/3 of the dense model's here
    "mixture": (dict(hidden_dim=86, moe=EXPERTS), 480),
    "dense, all weights": (dict(hidden_dim=688), 480),  # as many weights in all as the mixture
}
RATES = (5e-3, 1e-2, 2e-2)  # with two seeds: the middle one is best, or as good as best, for all four
RATE = 1e-2  # with the other seeds
EVERY = 40  # steps between two points of a learning curve, measured on the first 16,384 held-out bytes


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
    fields, steps = ARMS[arm]
    text, held_out = byte_text(steps)
    torch.manual_seed(seed)
    model = Transformer(dataclasses.replace(byte_config(), **fields))
    config = TrainConfig(steps=steps, batch_size=BATCH_SIZE, context=CONTEXT, learning_rate=rate, final_learning_rate=rate / 10,
                         warmup_steps=20, seed=seed)  # fmt: skip
    curve = []

    def measure(record: dict) -> None:
        if (record["step"] + 1) % EVERY == 0:
            curve.append(round(held_out_bits(model, held_out[:16_384]), 4))

    train(model, text, config, on_step=measure, progress=False)
    count = model.config.count_parameters()
    return {"steps": steps, "bits": round(held_out_bits(model, held_out), 4), "curve": curve,
            "active": count.active, "total": count.total}  # fmt: skip


EXPERIMENT = Experiment(
    name="moe_pairs",
    chapter="09",
    minutes=24,
    question="From the same bytes: a mixture of experts, or a dense model of equal active or equal total weights?",
    settings=[dict(arm=arm, rate=rate, seed=seed) for seed in range(2) for arm in ARMS for rate in RATES]
    + [dict(arm=arm, rate=RATE, seed=seed) for seed in range(2, 10) for arm in ARMS],
    run=run,
)
