"""Chapter 03's model with its positions in the open: none, added as sinusoids, or rotated, and rotated with scaled positions."""

import copy
import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from minimistral.config import ModelConfig
from minimistral.rope import rope_angles
from minimistral.train import TrainConfig, draw_batch, learning_rate, make_optimizer
from minimistral.transformer import Transformer

KINDS = ("none", "added", "rotated")


def text_config() -> ModelConfig:
    """Two layers of 4 heads with D = 16, on bytes: 131,904 parameters, and no window."""
    return ModelConfig(dim=64, n_layers=2, n_heads=4, n_kv_heads=4, head_dim=16, hidden_dim=172, vocab_size=256)


def ntk_theta(theta: float, factor: float, head_dim: int) -> float:
    """The base with which the slowest pair turns `factor` times slower, and pair 0 as before: theta · factor^(D/(D-2)).

    Source: Su's article on RoPE and number bases, kexue.fm/archives/9675, after a post by the user bloc97.

    >>> round(ntk_theta(10_000.0, 8, 128), 1)
    82684.6
    """
    if head_dim < 4:
        raise ValueError(f"head_dim={head_dim}: with one pair the fastest is the slowest. Choose 4 or more.")
    return theta * factor ** (head_dim / (head_dim - 2))


def sinusoids(positions: Tensor, dim: int, theta: float = 10_000.0) -> Tensor:
    """The vector added to an embedding at each position: (T,) to (T, dim), sin and cos side by side for each frequency.

    Source: Vaswani and others, arXiv 1706.03762, section 3.5.
    """
    angles = rope_angles(positions, dim, theta)  # (T, dim/2): the same frequencies as RoPE's
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(-2)  # (T, dim)


def forward(
    model: Transformer, tokens: Tensor, kind: str = "rotated", factor: float = 1.0, theta: float | None = None
) -> Tensor:
    """The logits (B, T, V) of the library's model, its positions divided by `factor`, its base replaced by `theta`.

    kind: "none" leaves order out, "added" puts sinusoids on the embeddings, "rotated" is RoPE. ValueError on others.
    """
    if kind not in KINDS:
        raise ValueError(f"kind={kind!r}: choose from {', '.join(KINDS)}.")
    config = model.config
    positions = torch.arange(tokens.shape[1], device=tokens.device) / factor  # (T,)
    turned = positions if kind == "rotated" else torch.zeros_like(positions)  # an angle of 0 turns nothing
    angles = rope_angles(turned, config.head_dim, theta or config.rope_theta)  # (T, D/2)
    x = model.tok_embeddings(tokens)  # (B, T, C)
    if kind == "added":
        x = x + sinusoids(positions, config.dim)
    for layer in model.layers:
        x = layer(x, angles.cos(), angles.sin())
    return F.linear(model.norm(x), model.output.weight)  # (B, T, V)


def train_positions(
    model: Transformer, tokens: Tensor, recipe: TrainConfig, kind: str = "rotated", **scaling: float
) -> Iterator[float]:
    """Train the model in place on a text, 1-D ids, and give the loss of each step, in bits a token."""
    optimizer = make_optimizer(model, recipe)
    for step in range(recipe.steps):
        batch = draw_batch(tokens, recipe, step)  # (B, T + 1)
        loss = F.cross_entropy(forward(model, batch[:, :-1], kind, **scaling).flatten(0, 1), batch[:, 1:].flatten())
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(recipe, step)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.clip_norm)
        optimizer.step()
        yield loss.item() / math.log(2)


def with_window(model: Transformer, window: int) -> Transformer:
    """A copy of the model in which every layer sees the last `window` tokens only."""
    model = copy.deepcopy(model)
    for layer in model.layers:
        layer.attention.window = window
    return model


@torch.no_grad()
def bits_by_position(model: Transformer, rows: Tensor, kind: str = "rotated", **scaling: float) -> Tensor:
    """Mean bits at each position of rows (B, T + 1): float32 (T,)."""
    total = torch.zeros(rows.shape[1] - 1)
    for batch in rows.split(16):
        logits = forward(model, batch[:, :-1], kind, **scaling)
        total += F.cross_entropy(logits.transpose(1, 2), batch[:, 1:], reduction="none").sum(0)
    return total / len(rows) / math.log(2)
