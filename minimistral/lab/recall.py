"""The task of chapter 05, "what was the first token?": a model that answers it from afar must relay it, hop by hop."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from minimistral.config import ModelConfig
from minimistral.transformer import Transformer

N_SYMBOLS = 16  # so a guess is right once in 16 times
BATCH_SIZE = 64
PEAK_RATE = 6e-3


def recall_config(n_layers: int, window: int | None) -> ModelConfig:
    """A small model for the task: 2 heads of 16 numbers in each layer, one key/value head a query head."""
    return ModelConfig(
        dim=32, n_layers=n_layers, n_heads=2, n_kv_heads=2, head_dim=16, hidden_dim=64, vocab_size=N_SYMBOLS,
        sliding_window=window,
    )  # fmt: skip


def train_recall(
    config: ModelConfig, n_tokens: int, steps: int, seed: int, report: Callable[[int, float], None] | None = None
) -> Transformer:
    """A model trained to name, at every position, the first of n_tokens random symbols.

    The learning rate rises for a tenth of the steps and then falls (torch's OneCycleLR). report(step, loss) is called
    after each step.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Transformer(config)
        optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK_RATE, weight_decay=0.01)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_RATE, total_steps=steps, pct_start=0.1)
        for step in range(steps):
            texts = torch.randint(N_SYMBOLS, (BATCH_SIZE, n_tokens))  # (B, T)
            first = texts[:, :1].expand(-1, n_tokens)  # (B, T): the answer is the same at every position
            loss = F.cross_entropy(model(texts).transpose(1, 2), first)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            if report:
                report(step, loss.item())
    return model


@torch.inference_mode()
def recall_by_distance(model: Transformer, n_tokens: int, n_texts: int = 2_000, seed: int = 1_000) -> Tensor:
    """The share of n_texts fresh texts whose first symbol the model names, by distance from it: float32 (n_tokens,).

    Of a share p the standard error is sqrt(p (1 - p) / n_texts).
    """
    texts = torch.randint(N_SYMBOLS, (n_texts, n_tokens), generator=torch.Generator().manual_seed(seed))
    return (model(texts).argmax(-1) == texts[:, :1]).float().mean(0)
