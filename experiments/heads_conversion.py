"""Chapter 04: a trained MHA model converted to GQA and MQA and trained on; and MQA trained from scratch beside MHA."""

import math

import torch

from experiments.runner import Experiment
from minimistral.config import ModelConfig
from minimistral.data import bundled_texts
from minimistral.lab.sharing import convert
from minimistral.train import TrainConfig, held_out_loss, train
from minimistral.transformer import Transformer

STEPS = 240
MARKS = (12, 24, 60, 120)  # 5, 10, 25 and 50 % of them
BRANCHES = {"MHA": (4, "mean"), "GQA mean": (2, "mean"), "GQA random": (2, "random"), "MQA mean": (1, "mean"),
            "MQA random": (1, "random")}  # fmt: skip


WIDE = 172 + 32  # with this hidden_dim MQA has as many parameters as MHA with 172


def config(n_kv_heads: int, hidden_dim: int = 172) -> ModelConfig:
    """Two layers of 4 heads on bytes: 131,904 parameters with n_kv_heads = 4."""
    return ModelConfig(
        dim=64, n_layers=2, n_heads=4, n_kv_heads=n_kv_heads, head_dim=16, hidden_dim=hidden_dim, vocab_size=256
    )


def text(held_out: bool) -> torch.Tensor:
    joined = "\n".join(document.text for document in bundled_texts("prose", held_out))
    return torch.tensor(list(joined.encode()))


def recipe(steps: int, seed: int) -> TrainConfig:
    """The rate is the same in every phase: 3e-3, after a short climb."""
    return TrainConfig(
        steps=steps, batch_size=32, context=64, learning_rate=3e-3, final_learning_rate=3e-3, warmup_steps=10, seed=seed
    )


def bits(model: Transformer, held: torch.Tensor) -> float:
    """Bits a byte on the held-out text."""
    return round(held_out_loss(model, held, TrainConfig(batch_size=128, context=64)) / math.log(2), 4)


def from_scratch(shape: ModelConfig, tokens: torch.Tensor, seed: int) -> Transformer:
    torch.manual_seed(seed)
    model = Transformer(shape)
    train(model, tokens, recipe(STEPS, seed), progress=False)
    return model


def train_on(model: Transformer, tokens: torch.Tensor, held: torch.Tensor, seed: int) -> list[float]:
    """Bits a byte at once, and after each of MARKS further steps, in an order of the data not seen before."""
    found = [bits(model, held)]

    def on_step(record: dict) -> None:
        if record["step"] + 1 in MARKS:
            found.append(bits(model, held))

    train(model, tokens, recipe(MARKS[-1], 1_000 + seed), on_step=on_step, progress=False)
    return found


def run(seed: int, part: str) -> dict:
    """part: "scratch" trains MHA and MQA, "convert" converts and trains on too, "wide" trains MQA at equal parameters."""
    tokens, held = text(False), text(True)[:65_537]
    if part == "wide":
        return {"scratch": {"MQA wide": bits(from_scratch(config(1, WIDE), tokens, seed), held)}}
    trained = from_scratch(config(4), tokens, seed)
    result = {"scratch": {"MHA": bits(trained, held), "MQA": bits(from_scratch(config(1), tokens, seed), held)}}
    if part == "convert":
        torch.manual_seed(seed)
        branches = {name: convert(trained, *how) for name, how in BRANCHES.items()}
        result["first head"] = [bits(convert(trained, n, "first"), held) for n in (2, 1)]
        result["further"] = {name: train_on(model, tokens, held, seed) for name, model in branches.items()}
    return result


EXPERIMENT = Experiment(
    name="heads_conversion",
    chapter="04",
    minutes=12,
    question="How much does a trained model lose when its key/value heads are pooled, and how much comes back?",
    settings=[dict(seed=seed, part="convert" if seed < 5 else "scratch") for seed in range(8)]
    + [dict(seed=seed, part="wide") for seed in range(8)],
    run=run,
)
