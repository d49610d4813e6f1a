"""Chapter 00's drawings: a column of logits for every token, and the loop that writes."""

import torch
from torch import Tensor, nn

from minimistral.lab import theme
from minimistral.lab.picture import Picture, show
from minimistral.sampling import Sampling
from minimistral.tokenizer import Tokenizer

MOST_COLUMNS = 8  # of tokens; more would not be readable side by side


def turns(model: nn.Module, ids: list[int], n: int) -> list[tuple[Tensor, int]]:
    """The first n turns of greedy writing after ids: each the probabilities (V,) at temperature 1, and the piece taken."""
    ids, found = list(ids), []
    for _ in range(n):
        with torch.inference_mode():
            logits = model(torch.tensor([ids]))[0, -1]  # (V,)
        taken = int(logits.argmax())
        found.append((Sampling(1.0).probabilities(logits), taken))
        ids.append(taken)
    return found


def draw_turns(model: nn.Module, tokenizer: Tokenizer, ids: list[int], n: int = 3, bars: int = 5) -> Picture:
    """n turns of the loop side by side: the likeliest pieces as bars; the piece taken is orange.

    model: takes tokens (B, T), gives logits (B, T, V). Raises ValueError for fewer than 1 or more than 4 turns.
    """
    if not 1 <= n <= 4:
        raise ValueError(f"n={n}: the drawing has room for 1 to 4 turns.")
    found, written = turns(model, ids, n), list(ids)
    widest = max(float(p.max()) for p, _ in found)
    with theme.figure(1, n, size=(5.6, 2.7), sharex=True, squeeze=False) as (figure, [panels]):
        for axes, (p, taken) in zip(panels, found):
            best = p.topk(bars)
            shares, pieces = best.values.tolist(), best.indices.tolist()
            colours = [theme.ORANGE if i == taken else theme.BLUE for i in pieces]
            axes.barh(range(bars), shares, color=colours, height=0.75)
            for y, share in enumerate(shares):
                axes.text(share + 0.01, y, f"{share:.0%}", va="center", fontsize=10.5)
            axes.set_yticks(range(bars), [_plain(_name(tokenizer, i)) for i in pieces], fontsize=10.5)
            axes.text(0, bars - 0.1, f"{len(p) - bars:,} others: {1 - sum(shares):.0%}", va="center", fontsize=10)
            axes.set(xlim=(0, 1.45 * widest), ylim=(bars + 0.4, -0.6), xticks=[])
            axes.spines[["bottom", "left"]].set_visible(False)
            axes.tick_params(length=0)
            axes.set_title(_plain(f"… {' '.join(tokenizer.decode(written[-3:]).split())} ▁"), fontsize=11)
            written.append(taken)
        figure.suptitle("Take the longest bar, put it behind the text, ask again", x=0.01, ha="left", fontsize=11)
        figure.supxlabel("probability of the next piece", fontsize=10)
        said = "; ".join(
            f"after “{tokenizer.decode(written[: len(ids) + at]).strip()}” comes “{_name(tokenizer, taken)}” "
            f"({float(p[taken]):.0%})"
            for at, (p, taken) in enumerate(found)
        )
        return show(figure, f"Turns of the loop, the likeliest piece taken each time: {said}.")


def draw_columns(logits: Tensor, tokenizer: Tokenizer, ids: list[int], rows: int = 4) -> Picture:
    """The table of logits (1, T, V): a column for each of T tokens, its V numbers cut short; the last answers.

    Shown are the rows of the last column's `rows` best pieces, and of a longer text the last 8 columns.
    """
    _, n_tokens, v = logits.shape
    n = min(n_tokens, MOST_COLUMNS)
    best = logits[0, -1].topk(rows).indices.tolist()
    with theme.figure(size=(5.8, 2.8)) as (figure, axes):
        for at, token in enumerate(ids[-n:]):
            is_last = at == n - 1
            colour = theme.ORANGE if is_last else theme.GREY
            name = _name(tokenizer, token) if tokenizer.decode([token]) else "(start)"
            axes.text(at, 0.9, _plain(name), ha="center", va="center", fontsize=10.5, color=theme.INK)
            axes.text(at, 0.35, "↓", ha="center", va="center", color=colour)
            axes.add_patch(_column(at, rows, colour, 3 if is_last else 1))
            for row, piece in enumerate(best):
                axes.text(
                    at,
                    -row - 0.2,
                    f"{float(logits[0, n_tokens - n + at, piece]):.1f}".replace("-", "−"),
                    ha="center",
                    va="center",
                    fontsize=10,
                )
            axes.text(at, -rows - 0.15, "…", ha="center", va="center", color=colour)
        for row, piece in enumerate(best):
            axes.text(
                -0.75, -row - 0.2, _name(tokenizer, piece), ha="right", va="center", fontsize=10.5, color=theme.BLUE
            )
        axes.text(-0.75, -rows - 0.15, f"… {v:,} in all", ha="right", va="center", fontsize=10, color=theme.BLUE)
        if n < n_tokens:
            axes.text(-0.75, 0.9, "…", ha="right", va="center", fontsize=10.5)
        axes.set(xlim=(-2.7, n - 0.4), ylim=(-rows - 0.7, 1.3))
        axes.set_axis_off()
        axes.set_title(
            f"{n_tokens} tokens, {n_tokens} columns of {v:,} logits; the last tells what comes next", fontsize=10.5
        )
        words = ", ".join(f"{_name(tokenizer, i)} {float(logits[0, -1, i]):.1f}" for i in best)
        return show(
            figure, f"{n_tokens} tokens read, each with a column of {v:,} logits. Largest in the last column: {words}."
        )


def _name(tokenizer: Tokenizer, piece: int) -> str:
    return tokenizer.decode([piece]).strip() or "␣"


def _plain(words: str) -> str:
    """As it stands: matplotlib would read what is between two $ as a formula."""
    return words.replace("$", r"\$")


def _column(at: int, rows: int, colour: str, width: float):
    from matplotlib.patches import Rectangle

    return Rectangle((at - 0.45, -rows - 0.5), 0.9, rows + 0.6, facecolor="none", edgecolor=colour, lw=width)
