"""Chapter 03: a model trained at 64 positions, read at 128 and 256: RoPE as it is, interpolated, NTK, and cut to a window."""

import copy

import torch

from experiments.runner import Experiment
from minimistral.data import bundled_texts
from minimistral.lab.lengths import KINDS, bits_by_position, ntk_theta, text_config, train_positions, with_window
from minimistral.train import TrainConfig
from minimistral.transformer import Transformer

L, STEPS, TUNING = 64, 250, 20  # trained length in bytes, steps of training, steps of tuning
BANDS = {"32-64": (32, 64), "64-128": (64, 128), "128-256": (128, 256)}
N_ROWS = 96  # held-out rows of 256 bytes


def text(held_out: bool) -> torch.Tensor:
    joined = "\n".join(document.text for document in bundled_texts("prose", held_out))
    return torch.tensor(list(joined.encode()))


def bands(by_position: torch.Tensor) -> dict[str, float]:
    """Mean bits a byte in each band of positions that was read."""
    return {name: round(by_position[a:b].mean().item(), 4) for name, (a, b) in BANDS.items() if b <= len(by_position)}


def ways(model: Transformer, factor: int) -> dict[str, tuple[Transformer, dict]]:
    """How to read factor · L positions: (model, arguments of `forward`). A window of L is the null: nothing new is met."""
    config = model.config
    return {
        "unchanged": (copy.deepcopy(model), {}),
        "interpolated": (copy.deepcopy(model), {"factor": factor}),
        "NTK": (copy.deepcopy(model), {"theta": ntk_theta(config.rope_theta, factor, config.head_dim)}),
        "window": (with_window(model, L), {}),
    }


def run(seed: int) -> dict:
    tokens, held = text(False), text(True)
    rows = held[: N_ROWS * 256 + 1].unfold(0, 257, 256)  # (N_ROWS, 257)
    recipe = TrainConfig(
        steps=STEPS, batch_size=32, context=L, learning_rate=3e-3, final_learning_rate=3e-4, warmup_steps=10, seed=seed
    )
    result = {"kinds": {}}
    for kind in KINDS:
        torch.manual_seed(seed)
        model = Transformer(text_config())  # RoPE comes last, so that it is the one that goes on
        for _ in train_positions(model, tokens, recipe, kind):
            pass
        result["kinds"][kind] = bands(bits_by_position(model, rows, kind))
    for factor in (2, 4):
        part = rows[:, : factor * L + 1]
        tuning = TrainConfig(
            steps=TUNING, batch_size=32 // factor, context=factor * L, learning_rate=1e-3, final_learning_rate=1e-3,
            warmup_steps=2, seed=1_000 + seed,
        )  # fmt: skip
        for name, (copied, how) in ways(model, factor).items():
            before = bands(bits_by_position(copied, part, **how))
            for _ in train_positions(copied, tokens, tuning, **how):
                pass
            result.setdefault(f"x{factor}", {})[name] = [before, bands(bits_by_position(copied, part, **how))]
    return result


EXPERIMENT = Experiment(
    name="rope_lengths",
    chapter="03",
    minutes=7,
    question="What does a model trained at 64 positions lose at 128 and 256, and what do interpolation and NTK give back?",
    settings=[dict(seed=seed) for seed in range(5)],
    run=run,
)
