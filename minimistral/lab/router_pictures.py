"""Chapter 08's drawings: one token's choice step by step, tokens sorted by expert, and softmax before or after the choice."""

from collections.abc import Sequence

import torch
from torch import Tensor

from minimistral.lab import theme
from minimistral.lab.picture import Picture, show
from minimistral.moe import choose_experts

MOST_EXPERTS = len(theme.EXPERTS)


def draw_choice(logits: Sequence[float], says: Sequence[float], k: int = 2) -> Picture:
    """One token: a column an expert, from its logit (E,) to its weight, what it says (E,), and the weighted sum.

    What an expert that is not chosen would say is not drawn: it never runs. Raises ValueError for more than 8 experts.
    """
    _check(len(logits))
    weights, ids = (found[0].tolist() for found in choose_experts(torch.tensor([list(map(float, logits))]), k))
    held = dict(zip(ids, weights))
    total = sum(weight * says[e] for e, weight in held.items())
    order = sorted(held)
    with theme.figure(size=(5.6, 2.9)) as (figure, axes):
        names = ["logit", f"the {k} largest", "softmax: weight", "expert says", "weight × says"]
        for row, name in enumerate(names):
            axes.text(-0.75, -row, name, ha="right", va="center", fontsize=11)
        for e, logit in enumerate(logits):
            is_kept, colour = e in held, theme.EXPERTS[e]
            axes.text(e, 0.75, f"expert {e}", ha="center", color=colour if is_kept else theme.GREY, fontsize=10)
            weight, said = held.get(e, 0.0), "not run"
            cells = [f"{logit:g}", "−∞", "0", said, ""]
            if is_kept:
                cells = [f"{logit:g}", f"{logit:g}", f"{weight:.2f}", f"{says[e]:g}", f"{weight * says[e]:.2f}"]
            for row, cell in enumerate(cells):
                filled = is_kept and row in (1, 2)
                axes.text(
                    e, -row, cell.replace("-", "−"), ha="center", va="center", fontsize=11,
                    color=theme.PAPER if filled else theme.INK if is_kept or row == 0 else theme.GREY,
                    bbox=dict(boxstyle="round,pad=0.3", facecolor=colour, edgecolor="none") if filled else None,
                )  # fmt: skip
        n = len(logits)
        axes.text(n - 1, -4, f"sum {total:.2f}".replace("-", "−"), ha="center", va="center", fontsize=11, weight="bold")
        axes.set(xlim=(-2.7, n - 0.4), ylim=(-4.5, 1.1))
        axes.set_axis_off()
        axes.set_title(f"{k} of {n} are kept; the others weigh exactly 0 and never run")
        parts = ", ".join(f"expert {e} weighs {held[e]:.2f} and says {says[e]:g}" for e in order)
        return show(figure, f"Logits {', '.join(f'{v:g}' for v in logits)}. Kept: {parts}. The sum is {total:.2f}.")


def groups(router_logits: Tensor, k: int) -> list[list[int]]:
    """For each expert the tokens that chose it, in their order: router_logits (N, E), k chosen experts a token."""
    ids = choose_experts(router_logits, k)[1]  # (N, K)
    return [(ids == e).any(dim=1).nonzero()[:, 0].tolist() for e in range(router_logits.shape[1])]


def draw_dispatch(router_logits: Tensor, k: int) -> Picture:
    """Left, the weights of N tokens (N, E), a token a row; right, the same choices sorted: a row is one run of an expert.

    Raises ValueError for more than 8 experts.
    """
    n_tokens, n_experts = router_logits.shape
    _check(n_experts)
    weights, ids = choose_experts(router_logits, k)  # (N, K) each
    sorted_tokens = groups(router_logits, k)
    runs = sum(bool(tokens) for tokens in sorted_tokens)
    with theme.figure(1, 2, size=(5.6, 2.9)) as (figure, (left, right)):
        for token in range(n_tokens):
            for weight, e in zip(weights[token].tolist(), ids[token].tolist()):
                _square(left, e, token, f"{weight:.2f}".removeprefix("0"), theme.EXPERTS[e])
        for e, tokens in enumerate(sorted_tokens):
            for place, token in enumerate(tokens):
                _square(right, place, e, f"t{token}", theme.EXPERTS[e])
        left.set_xticks(range(n_experts), [f"e{e}" for e in range(n_experts)])
        left.set_yticks(range(n_tokens), [f"t{token}" for token in range(n_tokens)])
        left.set(xlim=(-0.55, n_experts - 0.45), ylim=(n_tokens - 0.45, -0.55), xlabel="expert", ylabel="token")
        longest = max(len(tokens) for tokens in sorted_tokens)
        right.set_yticks(range(n_experts), [f"e{e}" for e in range(n_experts)])
        right.set(xlim=(-0.55, longest - 0.45), ylim=(n_experts - 0.45, -0.55), xticks=[], ylabel="expert")
        right.set_xlabel("its tokens, all in one run")
        left.set_title(f"asked by token:\n{_runs(n_tokens * k, 'small ')}")
        right.set_title(f"asked by expert:\n{_runs(runs, 'larger ')}")
        for axes in (left, right):
            axes.tick_params(length=0, labelsize=10)
            axes.spines[["left", "bottom"]].set_visible(False)
        rows = "; ".join(
            f"expert {e}: tokens {', '.join(map(str, tokens)) or 'none'}" for e, tokens in enumerate(sorted_tokens)
        )
        return show(
            figure,
            f"{n_tokens} tokens choose {k} of {n_experts} experts. Sorted by expert, they take {_runs(runs)}: {rows}.",
        )


def shares(logits: Sequence[float], k: int) -> dict[str, Tensor]:
    """Four ways to weigh E experts by their logits, each (E,) in float64: over all, cut to k, cut and divided, after."""
    values = torch.tensor(list(logits), dtype=torch.float64)
    every, chosen = values.softmax(dim=0), values.topk(k).indices
    kept = torch.zeros_like(every).index_copy(0, chosen, every[chosen])
    after = torch.zeros_like(every).index_copy(0, chosen, values[chosen].softmax(dim=0))
    return {"over all": every, "cut": kept, "cut, divided": kept / kept.sum(), "after": after}


def draw_before_after(logits: Sequence[float], k: int = 2) -> Picture:
    """Bars of the four of `shares`, with their sums: what is cut and divided is what softmax after the choice gives."""
    _check(len(logits))
    found = shares(logits, k)
    with theme.figure(1, 4, size=(6.0, 2.4), sharey=True) as (figure, panels):
        for axes, (name, weights) in zip(panels, found.items()):
            axes.bar(range(len(weights)), weights.tolist(), color=theme.EXPERTS[: len(weights)], width=0.8)
            for e, weight in enumerate(weights.tolist()):
                axes.text(e, weight, f"{weight:.2f}" if weight else "0", ha="center", va="bottom", fontsize=9)
            axes.set_title(f"{name}\nsum {weights.sum():.2f}", fontsize=11)
            axes.set(xticks=range(len(weights)), xlabel="expert", ylim=(0, 0.9))
        panels[0].set_ylabel("weight")
        sums = "; ".join(f"{name} {weights.sum():.2f}" for name, weights in found.items())
        return show(figure, f"Weights four ways; sums: {sums}. The last two are the same.")


def _square(axes, x: int, y: int, word: str, colour: str) -> None:
    from matplotlib.patches import Rectangle

    axes.add_patch(Rectangle((x - 0.47, y - 0.44), 0.94, 0.88, facecolor=colour))
    axes.text(x, y, word, ha="center", va="center", color=_ink_on(colour), fontsize=10)


def _ink_on(colour: str) -> str:
    light = (theme.SKY, theme.AMBER, theme.YELLOW)
    return theme.INK if colour in light else theme.PAPER


def _runs(n: int, word: str = "") -> str:
    return f"{n} {word}run{'s' if n != 1 else ''}"


def _check(n_experts: int) -> None:
    if not 1 <= n_experts <= MOST_EXPERTS:
        raise ValueError(f"{n_experts} experts; the drawings have colours for 1 to {MOST_EXPERTS}.")
