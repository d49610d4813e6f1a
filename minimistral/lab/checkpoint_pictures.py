"""Chapters 12's and 13's pictures of size: a file's bytes, what they are for, what a token reads, how long, how much memory."""

from collections.abc import Iterable
from dataclasses import replace
from math import prod

from minimistral.config import ModelConfig
from minimistral.lab import theme
from minimistral.lab.picture import Picture, show
from minimistral.memory import cache_bytes, in_bytes, weight_bytes

COLOURS = {
    "embeddings": theme.PINK,
    "attention": theme.BLUE,
    "feed-forward": theme.ORANGE,
    "head": theme.GREEN,
    "norms, gates": theme.GREY,
}
PER_ROW = 32  # bytes
GB = 1e9


def part_of(name: str) -> str:
    """What a tensor is for, by its name in any published layout; a key of COLOURS.

    >>> part_of("model.layers.3.mlp.gate_proj.weight"), part_of("layers.3.attention_norm.weight")
    ('feed-forward', 'norms, gates')
    """
    owner = name.removesuffix(".weight").split(".")[-1]
    if "norm" in owner or owner == "gate":
        return "norms, gates"
    if "embed" in owner:
        return "embeddings"
    if owner in ("output", "lm_head"):
        return "head"
    return "attention" if ".attention." in name or ".self_attn." in name else "feed-forward"


def by_part(sizes: Iterable[tuple[str, int]]) -> dict[str, int]:
    """Sizes of tensors, (name, size), summed by what they are for."""
    found = dict.fromkeys(COLOURS, 0)
    for name, size in sizes:
        found[part_of(name)] += size
    return found


def draw_file() -> Picture:
    """Every byte of a safetensors file with one tensor, 2 × 3 float32 numbers from 1 to 6, as the format's library writes it."""
    import torch
    from safetensors.torch import save

    data = save({"w": torch.arange(1.0, 7.0).view(2, 3)})
    start = 8 + int.from_bytes(data[:8], "little")
    numbers = torch.frombuffer(bytearray(data[start:]), dtype=torch.float32).tolist()
    cells = [(i, 1, str(byte), theme.SKY) for i, byte in enumerate(data[:8])]
    cells += [(i, 1, chr(data[i]), theme.LIGHT) for i in range(8, start)]
    cells += [(start + 4 * i, 4, f"{number:.1f}", theme.AMBER) for i, number in enumerate(numbers)]
    with theme.figure(size=(7.2, 2.2)) as (figure, axes):
        for at, width, word, colour in cells:
            row, x = divmod(at, PER_ROW)
            axes.barh(-row, width - 0.08, left=x, height=0.62, align="center", color=colour)
            axes.text(x + (width - 0.08) / 2, -row, word, ha="center", va="center", family="DejaVu Sans Mono")
        axes.text(0, 0.42, f"8 bytes: the table has {start - 8}")
        axes.text(8, 0.42, "   the table, spaces at its end")
        axes.text(start % PER_ROW, -(start // PER_ROW) - 0.42, "the numbers, four bytes each", va="top")
        axes.set(xlim=(0, PER_ROW), ylim=(-len(data) / PER_ROW + 0.05, 1))
        axes.set_axis_off()
        alt = (
            f"All {len(data)} bytes of a file: 8 that say {start - 8}, the length of the table; the table, "
            f"{data[8:start].decode().strip()}, filled up with spaces; and {len(numbers)} numbers of four bytes."
        )
        return show(figure, alt)


def draw_parts(models: dict[str, dict[str, int]], title: str) -> Picture:
    """models: name of each to bytes by part, as `by_part` gives them; one bar each, in percent of all its bytes."""
    with theme.figure(size=(7.2, 1.2 + 0.75 * len(models))) as (figure, axes):
        said, visible = [], {}
        for row, (name, parts) in enumerate(models.items()):
            total, left, words = sum(parts.values()), 0.0, []
            for part, n_bytes in parts.items():
                share = 100 * n_bytes / total
                axes.barh(-row, share, left=left, height=0.45, color=COLOURS[part], edgecolor=theme.PAPER)
                if share > 6:
                    axes.text(left + share / 2, -row, f"{share:.0f} %", ha="center", va="center", color=theme.PAPER)
                visible[part] = max(share, visible.get(part, 0))
                words.append(f"{part} {share:.0f} %")
                left += share
            axes.text(0, 0.3 - row, f"{name}: {in_bytes(total)}")
            said.append(f"{name}, {in_bytes(total)}: {', '.join(words)}")
        x = 0.0
        for part in (part for part, share in visible.items() if share > 0.5):
            axes.text(x, -len(models) + 0.35, part, color=COLOURS[part], weight="bold", va="center")
            x += 6 + 1.85 * len(part)
        axes.set(xlim=(0, 100), ylim=(-len(models), 0.7), title=title)
        axes.set_axis_off()
        return show(figure, f"Bytes by part, in percent. {'; '.join(said)}.")


def draw_bound(rows: dict[str, tuple[int, float, float]]) -> Picture:
    """rows: name to (bytes a token, bytes a second, seconds measured): the time that the bound leaves, beside the measured."""
    with theme.figure(size=(7.2, 1.3 + 0.42 * len(rows))) as (figure, axes):
        said = []
        for row, (name, (n_bytes, bandwidth, seconds)) in enumerate(rows.items()):
            least, ms = 1000 * n_bytes / bandwidth, 1000 * seconds
            axes.plot([least, ms], [-row, -row], color=theme.LIGHT, lw=6, zorder=1)
            axes.plot(least, -row, "|", color=theme.BLUE, ms=16, mew=3)
            axes.plot(ms, -row, "o", color=theme.ORANGE, ms=8)
            axes.annotate(
                f"{ms / least:.1f} times", (max(least, ms), -row), (10, 0), textcoords="offset points", va="center"
            )
            said.append(f"{name.strip()}, at least {least:.3g} ms, measured {ms:.3g}, {ms / least:.1f} times as long")
        times = [t for n, rate, seconds in rows.values() for t in (1000 * n / rate, 1000 * seconds)]
        axes.set(xscale="log", xlim=(min(times) / 1.6, max(times) * 3.5), ylim=(-len(rows) + 0.4, 0.6))
        axes.set_yticks([-row for row in range(len(rows))], [name.strip() for name in rows])
        axes.set_xlabel("milliseconds a token (log scale)")
        axes.set_title("The bound", color=theme.BLUE)
        axes.set_title("and what was measured", color=theme.ORANGE, loc="center")
        _plain(axes, times)
        return show(figure, f"Time a token, bound and measured: {'; '.join(said)}.")


def draw_memory(config: ModelConfig, context: int) -> Picture:
    """Weights in 16, 8, 4 bits and the cache of a text of `context` tokens; dotted, the cache if there were no window."""
    unlimited = replace(config, sliding_window=None)
    kept, grown = (cache_bytes(one, "bfloat16", context) / GB for one in (config, unlimited))
    with theme.figure(size=(7.2, 2.6)) as (figure, axes):
        said = []
        for row, (bits, name) in enumerate(((None, "16 bits"), ("int8", "8 bits"), ("int4", "4 bits"))):
            held = weight_bytes(config, "bfloat16", bits) / GB
            axes.barh(-row, held, height=0.5, color=theme.BLUE)
            axes.barh(-row, kept, left=held, height=0.5, color=theme.ORANGE)
            axes.barh(-row, grown, left=held, height=0.5, fill=False, ls=":", lw=1.2, edgecolor=theme.ORANGE)
            axes.text(held / 2, -row, f"{held:.1f}", ha="center", va="center", color=theme.PAPER)
            axes.text(held + grown + 0.2, -row, f"+ {kept:.1f}, or {grown:.1f}", va="center")
            said.append(f"{name} {held:.1f} GB")
        axes.set_yticks([0, -1, -2], ["16 bits", "8 bits", "4 bits"])
        axes.set(xlabel=f"GB, for a text of {context:,} tokens", ylim=(-2.4, 0.9), xlim=(0, 23))
        axes.text(0.1, 0.42, "weights", color=theme.BLUE, weight="bold")
        axes.text(5, 0.42, "cache; dotted: if there were no window", color=theme.ORANGE, weight="bold")
        axes.set_title("Bits shrink the weights, the window shrinks the cache")
        alt = (
            f"Weights: {', '.join(said)}. The cache of {context:,} tokens beside them: {kept:.1f} GB with the window, "
            f"{grown:.1f} without."
        )
        return show(figure, alt)


def draw_read(shapes: dict[str, tuple[int, ...]], n_experts: int, chosen: int, n_bytes: int = 2) -> Picture:
    """A mixture's bytes by part, its experts one by one (the e-th of every layer together), and what one token reads of them."""
    parts = by_part((name, n_bytes * prod(shape)) for name, shape in shapes.items())
    each = parts.pop("feed-forward") / n_experts
    order = ["attention", "head", "embeddings"]
    blocks = [(name, parts[name], name != "embeddings", COLOURS[name]) for name in order]
    blocks += [("", each, e < chosen, COLOURS["feed-forward"]) for e in range(n_experts)]
    rest = parts["norms, gates"]
    total, read = sum(size for _, size, _, _ in blocks) + rest, sum(size for _, size, on, _ in blocks if on) + rest
    with theme.figure(size=(7.2, 2.3)) as (figure, axes):
        left = 0.0
        for _, size, on, colour in blocks:
            for row, shown in ((0, colour), (-1, colour if on else theme.LIGHT)):
                axes.barh(row, size / GB, left=left, height=0.5, align="center", color=shown, edgecolor=theme.PAPER)
            left += size / GB
        shared = sum(parts[name] for name in order) / GB
        axes.text(0, 0.36, "attention", color=theme.BLUE, weight="bold")
        middle = dict(ha="center", color=theme.ORANGE, weight="bold")
        axes.text((shared + left) / 2, 0.36, f"the {n_experts} experts of all layers", **middle)
        axes.text(left + 1, 0, f"{total / GB:.1f} GB", va="center")
        axes.text(left + 1, -1, f"{read / GB:.1f} GB", va="center")
        axes.set_yticks([0, -1], ["all weights", "one token reads"])
        axes.set(xlabel="GB (two bytes a weight)", ylim=(-1.4, 0.8), xlim=(0, 1.15 * left))
        axes.set_title(f"Of {n_experts} experts a token reads {chosen}, and of the rest nearly all")
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        alt = (
            f"Of {total / GB:.1f} GB, the {n_experts} experts of every layer take {each * n_experts / GB:.1f}. One token reads "
            f"{read / GB:.1f} GB: {chosen} experts a layer, attention and head."
        )
        return show(figure, alt)


def _plain(axes, times: list[float]) -> None:
    """Ticks of a log axis as plain numbers: 1, 2 and 5 of each ten that the times span."""
    from matplotlib.ticker import FixedLocator, NullLocator

    low, high = axes.get_xlim()
    ticks = [digit * 10.0**power for power in range(-4, 7) for digit in (1, 2, 5)]
    ticks = [tick for tick in ticks if low <= tick <= high]
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticklabels([f"{tick:g}" for tick in ticks])
