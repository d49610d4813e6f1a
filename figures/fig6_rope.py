"""Figure 6: RoPE. The angles are those of the library: turned pairs, fast and slow ones, and scores by distance."""

import math

import torch
from torch import Tensor

from minimistral.rope import rope_angles, rotate_pairs

from .article_figure import ArticleFigure
from .look import Look, rounded

STEPS = 6  # positions drawn on the circles
DISTANCES = (0, 1, 5, 10, 50, 100)
SHIFT = 32_000


def pairs(head_dim: int) -> list[int]:
    """Those drawn on the circles: the fastest, and one that is a sixteenth of the head further on; 0 and 8 of 128 numbers."""
    return sorted({0, min(max(1, head_dim // 16), head_dim // 2 - 1)})


def turns(head_dim: int, theta: float, n_tokens: int) -> Tensor:
    """How many times each pair goes round in n_tokens; (D/2,)."""
    return rope_angles(torch.tensor(n_tokens), head_dim, theta) / (2 * math.pi)


def unfinished(head_dim: int, theta: float, n_tokens: int) -> int:
    """Pairs that never complete a turn within n_tokens."""
    return int((turns(head_dim, theta, n_tokens) < 1).sum())


def scores(head_dim: int, theta: float, distances: Tensor, shift: int) -> Tensor:
    """q · k / D of a query at `shift` + distance and a key at `shift`, both all ones before they are turned; (distances,)."""
    ones = torch.ones(len(distances), head_dim)
    q, k = (_turned(ones, positions, theta) for positions in (distances + shift, torch.full_like(distances, shift)))
    return (q * k).sum(-1) / head_dim


def _turned(x: Tensor, positions: Tensor, theta: float) -> Tensor:
    angles = rope_angles(positions, x.shape[-1], theta)
    return rotate_pairs(x, angles.cos(), angles.sin())


def draw(look: Look, head_dim: int = 128, theta: float = 1e4, other_theta: float = 1e6, n_tokens: int = 8192):
    if head_dim < 2 or head_dim % 2 or min(theta, other_theta) <= 0 or n_tokens < 1:
        raise ValueError(
            f"head_dim={head_dim}, theta={theta}, other_theta={other_theta}, n_tokens={n_tokens}: head_dim is even, as "
            "it is turned in pairs, both theta are above 0, and there is at least one token."
        )
    with look.figure(1, 3, size=(7.2, 3.0), width_ratios=(0.85, 1.05, 1.05)) as (figure, (left, middle, right)):
        _circles(left, look, head_dim, theta)
        _turns(middle, look, head_dim, (theta, other_theta), n_tokens)
        _scores(right, look, head_dim, theta)
        figure.suptitle(
            "Position turns each pair; what two tokens see of it is their distance", x=0.01, ha="left", fontsize=11
        )
        return figure


def _circles(axes, look: Look, head_dim: int, theta: float) -> None:
    """The pair (1, 0) at successive positions: outside pair 0, inside a slower one."""
    around = torch.linspace(0, 2 * math.pi, 100)
    angles = rope_angles(torch.arange(STEPS), head_dim, theta)
    for pair, radius, label, colour in zip(pairs(head_dim), (1.0, 0.68), (1.2, 0.72), (look.blue, look.orange)):
        axes.plot(radius * around.cos(), radius * around.sin(), color=look.faint, lw=1)
        x, y = radius * angles[:, pair].cos(), radius * angles[:, pair].sin()
        axes.plot(x, y, "o", ms=5, color=colour)
        for position in range(STEPS):
            axes.text(
                label * x[position],
                label * y[position],
                str(position),
                ha="center",
                va="center",
                fontsize=8,
                color=colour,
            )
    axes.set(xlim=(-1.35, 1.35), ylim=(-1.35, 1.35), aspect="equal")
    axes.axis("off")
    axes.set_title("a pair at positions 0 to 5", fontsize=9)
    for y, pair, colour in zip((-1.5, -1.8), pairs(head_dim), (look.blue, look.orange)):
        axes.text(
            0, y, f"pair {pair}: {float(angles[1, pair]):.2f} rad a step", color=colour, fontsize=8.5, ha="center"
        )


def _turns(axes, look: Look, head_dim: int, thetas: tuple[float, float], n_tokens: int) -> None:
    places = ((0.98, 0.92, "right"), (0.03, 0.06, "left"))
    for theta, colour, (x, y, side) in zip(thetas, (look.blue, look.pink), places):
        axes.plot(range(head_dim // 2), turns(head_dim, theta, n_tokens), color=colour)
        text = f"θ = {theta:,.0f}:\n{unfinished(head_dim, theta, n_tokens)} pairs below"
        axes.text(
            x, y, text, color=colour, fontsize=8.5, transform=axes.transAxes, ha=side, va="top" if y > 0.5 else "bottom"
        )
    axes.axhline(1, color=look.grey, lw=1, ls=":")
    axes.text(0, 0.7, "one turn", fontsize=8.5, color=look.grey, va="top")
    axes.set(yscale="log", xlabel="pair i", ylabel="turns (log scale)")
    axes.set_title(f"turns in {n_tokens:,} tokens", fontsize=9)


def _scores(axes, look: Look, head_dim: int, theta: float) -> None:
    distances = torch.arange(0, 101)
    axes.plot(distances, scores(head_dim, theta, distances, 0), color=look.blue, lw=5)
    axes.plot(distances, scores(head_dim, theta, distances, SHIFT), color=look.amber, lw=1.5, ls="--")
    axes.text(98, 0.92, "thick: key at 0", color=look.blue, fontsize=8, ha="right")
    axes.text(98, 0.82, f"dashed: at {SHIFT:,}", fontsize=8, ha="right")
    axes.set(ylim=(0, 1.05), xlabel="distance, tokens", ylabel="q · k / D")
    axes.set_title("score by distance, q = k", fontsize=9)


def caption(head_dim: int = 128, theta: float = 1e4, other_theta: float = 1e6, n_tokens: int = 8192) -> str:
    degrees = float(rope_angles(torch.tensor(n_tokens), head_dim, theta)[-1]) * 180 / math.pi
    return (
        f"Figure 6, drawn anew with the library's `rope_angles`, D = {head_dim}. Within {n_tokens:,} tokens "
        f"{unfinished(head_dim, theta, n_tokens)} of {head_dim // 2} pairs never complete a turn at θ = "
        f"{theta:,.0f} (the slowest turns {degrees:.0f} degrees), "
        f"{unfinished(head_dim, other_theta, n_tokens)} at θ = {other_theta:,.0f}. The score depends on the "
        f"distance alone: moved by {SHIFT:,} tokens it is the same. That it falls is not RoPE's doing alone: q "
        "and k are equal here. Source: arXiv 2104.09864."
    )


def alt(head_dim: int = 128, theta: float = 1e4, other_theta: float = 1e6, n_tokens: int = 8192) -> str:
    near = scores(head_dim, theta, torch.tensor([0, 10, 100]), 0)
    said = ", ".join(rounded(value, 2) for value in near.tolist())
    return (
        f"Left, a pair of numbers on a circle at positions 0 to 5: pair {pairs(head_dim)[0]} turns fast, pair "
        f"{pairs(head_dim)[-1]} slowly. Middle, turns of each of {head_dim // 2} pairs in {n_tokens:,} tokens, "
        f"falling on a logarithmic axis; {unfinished(head_dim, theta, n_tokens)} stay below one turn at θ = "
        f"{theta:,.0f}, {unfinished(head_dim, other_theta, n_tokens)} at θ = {other_theta:,.0f}. Right, the "
        f"score of two equal vectors at distance 0, 10 and 100: {said}; the curve for positions {SHIFT:,} "
        "further on lies on it."
    )


def table(head_dim: int = 128, theta: float = 1e4, other_theta: float = 1e6, n_tokens: int = 8192) -> list[dict]:
    def row(what: str, first: str, second: str) -> dict:
        return {"what": what, f"θ = {theta:,.0f}": first, f"θ = {other_theta:,.0f}": second}

    both = (theta, other_theta)
    listed = [
        row(
            f"pair {pair}: radians a step",
            *(rounded(float(rope_angles(torch.tensor(1), head_dim, t)[pair]), 2) for t in both),
        )
        for pair in pairs(head_dim)
    ]
    listed.append(row(f"pairs of {head_dim // 2} without a full turn in {n_tokens:,} tokens",
                      *(str(unfinished(head_dim, t, n_tokens)) for t in both)))  # fmt: skip
    slowest = [float(rope_angles(torch.tensor(n_tokens), head_dim, t)[-1]) * 180 / math.pi for t in both]
    listed.append(row(f"degrees of the slowest pair in {n_tokens:,} tokens", *(f"{value:.0f}" for value in slowest)))
    for shift in (0, SHIFT):
        values = [scores(head_dim, t, torch.tensor(DISTANCES), shift).tolist() for t in both]
        for i, distance in enumerate(DISTANCES):
            listed.append(
                row(
                    f"q · k / D at distance {distance}, key at {shift:,}", *(rounded(column[i], 2) for column in values)
                )
            )
    return listed


FIGURE = ArticleFigure(
    6, "rope", "Rotary position embedding", draw, caption, alt, table,
    ("minimistral.rope.rope_angles", "minimistral.rope.rotate_pairs"),
)  # fmt: skip
