"""Chapter 03's task for reach: four drawers are filled once each, somewhere in a text, and asked for again and again."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from minimistral.config import ModelConfig
from minimistral.lab.lengths import forward
from minimistral.transformer import Transformer

N_KEYS, N_VALUES = 4, 8  # so a guess is right once in 8 times
FILL, ASK = (
    N_VALUES,
    N_VALUES + N_KEYS * N_VALUES,
)  # ids: 0 to 7 noise and answers, then "drawer k holds v", then "drawer k?"
NOT_ASKED = -100  # F.cross_entropy leaves these out


def retrieval_config() -> ModelConfig:
    """Two layers of 2 heads with D = 16."""
    return ModelConfig(dim=32, n_layers=2, n_heads=2, n_kv_heads=2, head_dim=16, hidden_dim=64, vocab_size=ASK + N_KEYS)


def draw_texts(n_texts: int, n_tokens: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """tokens, targets and distances, each (B, T): the value asked for, and how far back it stands; NOT_ASKED elsewhere."""
    place = torch.rand(n_texts, n_tokens, generator=generator).argsort(1)[
        :, :N_KEYS
    ]  # (B, N_KEYS): where each is filled
    value = torch.randint(N_VALUES, (n_texts, N_KEYS), generator=generator)
    asked = torch.randint(N_KEYS, (n_texts, n_tokens), generator=generator)  # (B, T): which drawer, if any
    noise = torch.randint(N_VALUES, (n_texts, n_tokens), generator=generator)
    back = torch.arange(n_tokens) - place.gather(1, asked)  # (B, T)
    is_asked = (back > 0) & (torch.rand(n_texts, n_tokens, generator=generator) < 0.5)
    filled = torch.zeros(n_texts, n_tokens, dtype=torch.bool).scatter(1, place, True)
    is_asked &= ~filled
    tokens = torch.where(is_asked, ASK + asked, noise)
    tokens.scatter_(1, place, FILL + torch.arange(N_KEYS) * N_VALUES + value)
    targets = value.gather(1, asked).masked_fill(~is_asked, NOT_ASKED)
    return tokens, targets, back.masked_fill(~is_asked, NOT_ASKED)


def train_retrieval(
    model: Transformer, n_tokens: int, steps: int, seed: int, rate: float = 6e-3, batch_size: int = 64, **scaling: float
) -> Iterator[float]:
    """Train the model in place on fresh texts, and give the loss of each step (nats). The rate rises and falls (OneCycleLR)."""
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps, pct_start=0.1)
    for _ in range(steps):
        tokens, targets, _ = draw_texts(batch_size, n_tokens, generator)
        loss = F.cross_entropy(forward(model, tokens, **scaling).flatten(0, 1), targets.flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        yield loss.item()


@torch.no_grad()
def found_by_distance(
    model: Transformer, n_tokens: int, edges: list[int], n_texts: int = 256, seed: int = 10_000, **scaling: float
) -> list[float]:
    """The share of right answers where the value stands edges[i] to edges[i+1] − 1 back, for each i, on fresh texts."""
    right, asked = torch.zeros(len(edges) - 1), torch.zeros(len(edges) - 1)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(n_texts // 32):
        tokens, targets, distance = draw_texts(32, n_tokens, generator)
        answers = forward(model, tokens, **scaling).argmax(-1)  # (B, T)
        for i, (near, far) in enumerate(zip(edges, edges[1:])):
            here = (distance >= near) & (distance < far)
            asked[i] += here.sum()
            right[i] += (answers[here] == targets[here]).sum()
    return [round(share, 4) for share in (right / asked).tolist()]
