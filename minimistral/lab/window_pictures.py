"""Chapter 05's drawings: the mask's two comparisons, the band, a symbol's way back in hops, the key a buffer has lost."""

import torch
from torch import Tensor

from minimistral.attention import QUERY_BLOCK
from minimistral.lab import theme
from minimistral.lab.picture import Picture, show
from minimistral.masks import window_mask


def draw_two_comparisons(n_tokens: int, window: int) -> Picture:
    """`back` of each query and key, where each comparison holds, and the library's mask (T, T), with its row sums."""
    places, mask = torch.arange(n_tokens), window_mask(n_tokens, window)
    back = places[:, None] - places[None, :]  # (T, S)
    panels = (
        (back >= 0, "0 ≤ back: no future"),
        (back < window, f"back < {window}: not too far"),
        (mask, "both: the mask"),
    )
    with theme.figure(1, 3, size=(7.2, 2.9)) as (figure, axes):
        for ax, (holds, title) in zip(axes, panels):
            ax.imshow(holds.numpy(), cmap=theme.two_colours(theme.PAPER, theme.WINDOW), vmin=0, vmax=1)
            for row, column in torch.cartesian_prod(places, places).tolist():
                word = str(int(back[row, column])).replace("-", "−")
                colour = theme.INK if holds[row, column] else theme.GREY
                ax.text(column, row, word, ha="center", va="center", fontsize=9, color=colour)
            lines = [n + 0.5 for n in range(n_tokens - 1)]
            ax.hlines(lines, -0.5, n_tokens - 0.5, color=theme.GREY, lw=0.6)
            ax.vlines(lines, -0.5, n_tokens - 0.5, color=theme.GREY, lw=0.6)
            ax.set(xticks=places, yticks=places, xlabel="key")
            ax.set_title(title, fontsize=10)
        axes[0].set_ylabel("query")
        sums = mask.sum(1).tolist()
        for row, n in enumerate(sums):
            axes[2].text(n_tokens - 0.25, row, f"{n}", va="center", color=theme.BLUE)
        axes[2].text(n_tokens - 0.25, n_tokens - 0.1, "keys", va="center", color=theme.BLUE)
        return show(
            figure,
            f"How far keys stand behind queries, {n_tokens} by {n_tokens} tokens. First: not negative. Second: below {window}. "
            f"Both together are the mask, with {', '.join(map(str, sums))} keys a row.",
        )


def draw_band(n_tokens: int, window: int) -> Picture:
    """The scores that are computed, beside those that count: by a mask over the whole square, and block by block."""
    blocks = []  # as banded_attention cuts them: first and last query, first key
    for start in range(0, n_tokens, QUERY_BLOCK):
        blocks.append((start, min(start + QUERY_BLOCK, n_tokens), max(0, start - window + 1)))
    counts = int(window_mask(n_tokens, window).sum())
    ways = {"one mask": [(0, n_tokens, 0, n_tokens)], "a band": [(a, b, first, b) for a, b, first in blocks]}
    computed = {name: sum((b - a) * (end - first) for a, b, first, end in parts) for name, parts in ways.items()}
    with theme.figure(1, 2, size=(7.2, 3.1), sharey=True) as (figure, panels):
        for axes, (name, parts) in zip(panels, ways.items()):
            for a, b, first, end in parts:
                axes.fill_between([first, end], a, b, color=theme.AMBER, alpha=0.45, lw=0)
                axes.plot([first, end, end, first, first], [a, a, b, b, a], color=theme.GREY, lw=1)
            corners = [(0, 0), (n_tokens, n_tokens), (n_tokens - window, n_tokens), (0, window)]
            axes.fill(*zip(*corners), color=theme.BLUE, lw=0)
            axes.set(xlim=(0, n_tokens * 1.02), ylim=(n_tokens * 1.02, -0.02 * n_tokens), xlabel="key", aspect="equal")
            axes.set_title(f"{name}: {computed[name]:,}\nscores computed", fontsize=10)
        panels[0].set_ylabel("query")
        panels[0].text(n_tokens * 0.97, n_tokens * 0.2, "computed,\nthen hidden", ha="right", va="center")
        panels[0].text(n_tokens * 0.04, n_tokens * 0.85, f"blue: {counts:,}\nthat count", va="center")
        return show(
            figure,
            f"{n_tokens} tokens, a window of {window}: {counts:,} scores count. One mask over the whole square computes "
            f"{computed['one mask']:,}; the band, in {len(blocks)} blocks, {computed['a band']:,}.",
        )


def draw_hops(recall: Tensor, n_layers: int, window: int, guess: float) -> Picture:
    """Measured recall (T,) by distance, and above it the longest way back that the layers' hops can make."""
    reach = n_layers * (window - 1)
    inside = window_mask(len(recall), window).double().matrix_power(n_layers)[-1].flip(0) > 0  # (T,), by distance
    with theme.figure(size=(7.2, 2.9)) as (figure, axes):
        colours = [theme.TRAINED if reached else theme.GREY for reached in inside.tolist()]
        axes.bar(range(len(recall)), recall.tolist(), width=0.7, color=colours)
        axes.axhline(guess, color=theme.INK, lw=1, ls=":")
        axes.text(reach + 0.5, guess + 0.03, f"a guess: {guess:g}", va="bottom")
        for hop in range(n_layers):
            start, end = hop * (window - 1), (hop + 1) * (window - 1)
            axes.annotate(
                "", (end, 1.12), (start, 1.12),
                arrowprops={"arrowstyle": "->", "color": theme.ORANGE, "lw": 1.8, "shrinkA": 0, "shrinkB": 0},
            )  # fmt: skip
            axes.text((start + end) / 2, 1.17, f"layer {n_layers - hop}", ha="center", color=theme.ORANGE, fontsize=9)
        axes.text(reach + 0.5, 1.12, "no hop left", va="center", color=theme.GREY)
        axes.set(xlim=(-0.6, len(recall) - 0.3), ylim=(0, 1.32), xticks=range(0, len(recall), 3))
        axes.set_yticks([0, 0.25, 0.5, 0.75, 1])
        axes.set(xlabel="distance of the first token (tokens back)", ylabel="named it (share)")
        axes.set_title(f"{n_layers} hops of {window - 1} end {reach} back, and so does what it knows")
        return show(
            figure,
            f"Share of texts in which the model names the first token, by distance. {n_layers} hops of {window - 1} reach "
            f"{reach} back: {recall[reach]:.2f} there, {recall[reach - 1]:.2f} before it, {recall[reach + 1]:.2f} after it; "
            f"a guess is {guess:g}.",
        )


def draw_slots_and_masks(window: int, query: int) -> Picture:
    """What a buffer of W slots holds when token `query` looks, and what masks of W and of W + 1 keys ask for."""
    held = sorted({token % window: token for token in range(query + 1)}.values())
    rows = {f"a buffer of {window} slots holds": (held, theme.GREEN)}
    for keys in (window, window + 1):
        asked = window_mask(query + 1, keys)[-1].nonzero()[:, 0].tolist()
        rows[f"a mask of {keys} keys allows"] = (asked, theme.BLUE)
    gone = sorted(set(asked) - set(held))
    with theme.figure(size=(7.2, 2.1)) as (figure, axes):
        for row, (name, (tokens, colour)) in enumerate(rows.items()):
            for token in tokens:
                tint = theme.ORANGE if token in gone else colour
                axes.barh(row, 0.86, left=token - 0.43, height=0.76, color=tint)
                axes.text(token, row, token, ha="center", va="center", color=theme.PAPER, weight="bold")
            axes.text(-0.7, row, name, ha="right", va="center")
        for token in gone:
            axes.text(
                token, 2.5, f"gone: token {token + window} lies in its slot", ha="left", va="top", color=theme.ORANGE
            )
        axes.set(xlim=(-4.4, query + 1.5), ylim=(3.1, -0.6))
        axes.axis("off")
        axes.set_title(f"Token {query} looks back, itself included")
        return show(
            figure,
            f"When token {query} looks, {window} slots hold tokens {held[0]} to {held[-1]}. A mask of {window} keys lets it see "
            f"just these; one of {window + 1} also {', '.join(map(str, gone)) or 'nothing more'}.",
        )
