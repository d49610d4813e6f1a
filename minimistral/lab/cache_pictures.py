"""Chapter 06's drawings: keys by step in three ways, slots in any order, a chunk that looks before it is written, bytes."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from minimistral.cache import RollingCache
from minimistral.config import ModelConfig
from minimistral.lab import theme
from minimistral.lab.picture import Picture, show
from minimistral.masks import visible, window_mask


def draw_three_ways(n_tokens: int, window: int, turned: dict[str, int]) -> Picture:
    """A row a step, a column a key, for the three ways to write; `turned`: how many keys each has turned, as counted."""
    causal, seen = window_mask(n_tokens, None), window_mask(n_tokens, window)
    new = torch.eye(n_tokens, dtype=torch.bool)
    ways = {  # turned in this step, kept from earlier ones, how many are kept after the last
        "no cache": (causal, torch.zeros_like(causal), 0),
        "full cache": (new, causal & ~new, n_tokens),
        "buffer": (new, seen & ~new, int(seen[-1].sum())),
    }
    with theme.figure(1, 3, size=(7.2, 3.0), sharey=True) as (figure, panels):
        for axes, (name, (made, kept, n_kept)) in zip(panels, ways.items()):
            _squares(axes, kept, theme.WINDOW)
            _squares(axes, made, theme.ORANGE)
            axes.set(xlim=(-0.7, n_tokens - 0.3), ylim=(n_tokens - 0.3, -0.7), xlabel="key of token")
            axes.set(xticks=range(0, n_tokens, 3), yticks=range(0, n_tokens, 3), aspect="equal")
            axes.set_title(f"{name}: {turned[f'keys, {name}']} turned,\n{n_kept} kept at the end", fontsize=10)
        panels[0].set_ylabel("step: token written")
        panels[0].text(n_tokens - 0.5, 1.3, "turned in\nthis step", color=theme.ORANGE, ha="right", va="center")
        panels[1].text(n_tokens - 0.5, 1.3, "kept from\nbefore", color=theme.BLUE, ha="right", va="center")
        counts = ", ".join(f"{name} {turned[f'keys, {name}']}" for name in ways)
        return show(
            figure,
            f"Keys by step for {n_tokens} tokens. Turned: {counts}. Without a cache every step turns all keys anew; with one "
            f"it turns its own. The full cache keeps all {n_tokens}, the buffer the last {window}.",
        )


def _squares(axes, mask: Tensor, colour: str) -> None:
    rows, columns = mask.nonzero(as_tuple=True)
    axes.scatter(columns, rows, marker="s", s=62, color=colour, linewidths=0)


def draw_any_order(query: Tensor, keys: Tensor, values: Tensor, order: Tensor) -> Picture:
    """The weights of the keys (S, D), laid end to end, as the slots stand and in another order; and the output's start."""
    rows = {"slots in order of time": torch.arange(len(keys)), "the same, in another order": order}
    outputs = []
    with theme.figure(size=(7.2, 2.4)) as (figure, axes):
        for row, (name, places) in enumerate(rows.items()):
            weights = (keys[places] @ query / len(query) ** 0.5).softmax(0)
            outputs.append(
                ", ".join(f"{value:.2f}" for value in (weights @ values[places])[:3].tolist()).replace("-", "−")
            )
            left = 0.0
            for place, weight in zip(places.tolist(), weights.tolist()):
                axes.barh(row, weight, left=left, height=0.5, color=theme.EXPERTS[place], ec=theme.PAPER, lw=2)
                axes.text(
                    left + weight / 2, row, f"{place}", ha="center", va="center", color=theme.PAPER, weight="bold"
                )
                left += weight
            axes.text(0, row - 0.32, name, va="bottom")
            axes.text(1.02, row, f"output begins\n{outputs[-1]}", va="center")
        axes.set(xlim=(0, 1.42), ylim=(1.4, -0.75), yticks=[], xlabel="weight: each piece is one key's share")
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1.0])
        axes.spines[["left", "bottom"]].set_visible(False)
        axes.set_title("Each key keeps its weight and its value, wherever it lies")
        return show(
            figure,
            f"The weights of {len(keys)} keys end to end, in two orders: each key's share is the same, all add up to 1, "
            f"and the output begins {outputs[0]} and {outputs[1]}.",
        )


def draw_chunk(first: int, n_new: int, window: int) -> Picture:
    """Which keys each token of a chunk needs, and which would be gone, had the chunk been written before it looked."""
    queries = torch.arange(first, first + n_new)
    keys = torch.arange(max(0, first - window + 1), first + n_new)
    needed = visible(queries, keys, window)  # (T, S)
    gone = (keys + window < first + n_new).expand_as(needed) & needed  # token p + W of the chunk takes the slot of p
    lost = sorted({int(keys[column]) for column in gone.nonzero()[:, 1]})
    with theme.figure(size=(7.2, 2.5)) as (figure, axes):
        for row, query in enumerate(queries.tolist()):
            for key, need, over in zip(keys.tolist(), needed[row].tolist(), gone[row].tolist()):
                if need:
                    colour = theme.ORANGE if over else theme.WINDOW
                    axes.barh(row, 0.86, left=key - 0.43, height=0.8, color=colour, alpha=0.55, ec=theme.GREY)
                    axes.text(key, row, f"{key}", ha="center", va="center")
            axes.text(int(keys[0]) - 0.75, row, f"token {query} looks at", ha="right", va="center")
        for key in lost:
            axes.text(key, n_new - 0.35, f"gone: {key + window}\ntakes slot {key % window}", ha="center", va="top",
                      color=theme.ORANGE, fontsize=9)  # fmt: skip
        axes.axvline(first - 0.5, color=theme.INK, lw=1.2, ls="--")
        axes.text(first - 0.6, -0.6, "past: in the buffer", ha="right", va="bottom")
        axes.text(first - 0.4, -0.6, "the chunk itself", ha="left", va="bottom")
        axes.set(xlim=(int(keys[0]) - 2.6, int(keys[-1]) + 0.6), ylim=(n_new + 0.35, -1.0), xticks=[], yticks=[])
        axes.spines[["left", "bottom"]].set_visible(False)
        axes.set_title("Orange: needed, and overwritten if the chunk is written first")
        return show(
            figure,
            f"A chunk of tokens {first} to {first + n_new - 1} with a window of {window}. Written first, it would overwrite "
            f"keys that it still needs: {', '.join(map(str, lost)) or 'none'}.",
        )


def draw_bytes(config: ModelConfig, sizes: Sequence[int]) -> Picture:
    """kB of the library's cache against the tokens so far, rolling and full, for a config with a window."""
    kinds = {"full": replace(config, sliding_window=None), "rolling": config}
    nbytes = {
        name: [RollingCache(kind, 1, n, device="meta").nbytes / 1000 for n in sizes] for name, kind in kinds.items()
    }
    window = config.sliding_window
    with theme.figure(size=(7.2, 2.6)) as (figure, axes):
        for (name, found), colour in zip(nbytes.items(), (theme.BLUE, theme.GREEN)):
            axes.plot(sizes, found, "o-", color=colour, ms=4)
            axes.text(sizes[-1], found[-1], f"  {name}: {found[-1]:,.0f} kB", color=colour, va="center")
        axes.axvline(window, color=theme.GREY, ls=":")
        axes.text(window + 2, 0.9 * nbytes["full"][-1], f"W = {window}", color=theme.GREY)
        axes.set(xlim=(0, sizes[-1] * 1.32), ylim=(0, None), xlabel="tokens so far", ylabel="bytes kept (kB)")
        axes.set_xticks([n for n in sizes if n % window == 0])
        axes.set_title("Alike up to W; then one rises and one is flat")
        return show(
            figure,
            f"Bytes of the cache: alike up to {window} tokens. At {sizes[-1]:,} the full one has {nbytes['full'][-1]:,.0f} kB, "
            f"the rolling one still {nbytes['rolling'][-1]:,.0f} kB.",
        )
