"""Chapter 11's larger pictures, so that its cells stay short."""

from collections.abc import Sequence

import torch
from torch import Tensor

from minimistral.lab import theme
from minimistral.lab.picture import Picture, show
from minimistral.lab.rounding import Group, grouped, largest_code, largest_weight
from minimistral.lab.stored_results import Difference
from minimistral.offload import LRU

FORMATS = {  # bits of sign, exponent, fraction; of a code
    "float32": (1, 8, 23, 0),
    "bfloat16": (1, 8, 7, 0),
    "float16": (1, 5, 10, 0),
    "int8": (0, 0, 0, 8),
    "int4": (0, 0, 0, 4),
}
FLOOR = 0.0015  # bits a byte: on so few tokens smaller costs are hardly to be told from nothing


def draw_formats() -> Picture:
    """The bits of five formats as squares, coloured by what they mean."""
    colours = (theme.INK, theme.ORANGE, theme.BLUE, theme.GREEN)
    with theme.figure(size=(7.2, 2.5)) as (figure, axes):
        for row, parts in enumerate(FORMATS.values()):
            left = 0
            for n, colour in zip(parts, colours):
                axes.barh([-row] * n, [0.86] * n, left=[left + i for i in range(n)], height=0.6, color=colour)
                left += n
            axes.text(left + 0.4, -row, f"{left} bits", va="center")
        for x, text, colour in ((0, "sign", 0), (2.5, "exponent", 1), (16, "fraction", 2)):
            axes.text(x, 0.42, text, color=colours[colour])
        axes.text(12.5, -3.13, "a code, times a scale shared with others", color=theme.GREEN)
        axes.set(xlim=(-0.3, 36), ylim=(-4.6, 1), xticks=[])
        axes.set_yticks([-row for row in range(len(FORMATS))], list(FORMATS))
        axes.spines[["left", "bottom"]].set_visible(False)
        axes.tick_params(length=0)
        axes.set_title("Floats spend bits on an exponent; integers have none, and share a scale")
        alt = "Bits of sign, exponent and fraction: " + "; ".join(
            f"{name} {parts[0]}, {parts[1]} and {parts[2]}" for name, parts in FORMATS.items() if parts[0]
        )
        return show(figure, alt + ". All bits of int8 and int4 are a code, read with a scale shared with others.")


def draw_pencil(rows: Sequence[Sequence[float]], bits: int = 4, edge: float = 1.6) -> Picture:
    """Rows of a few weights, each with one scale: what each becomes on its grid, seen from -edge to edge."""
    said = []
    with theme.figure(len(rows), 1, size=(7.2, 1.5 * len(rows)), squeeze=False) as (figure, panels):
        for axes, row in zip(panels[:, 0], rows):
            codes, step = _codes(torch.tensor([row], dtype=torch.float64), bits, "row")
            codes, step = codes[0].long().tolist(), float(step)
            for code in range(-largest_code(bits), largest_code(bits) + 1):
                if abs(code * step) <= edge:
                    axes.plot([code * step] * 2, [0, 0.34], color=theme.GREY, lw=1)
                    axes.text(code * step, -0.14, _minus(code), color=theme.GREY, ha="center", va="top", fontsize=9)
            inside = [(w, code * step) for w, code in zip(row, codes) if abs(w) <= edge]
            for w, back in inside:
                axes.annotate("", (back, 0.3), (w, 0.85), arrowprops=dict(arrowstyle="->", color=theme.ORANGE, lw=1.4))
                axes.plot(w, 0.9, "o", color=theme.BLUE, ms=6)
                axes.text(w, 1.06, _minus(f"{w:.2f}"), color=theme.BLUE, ha="center", fontsize=9)
            for w, code in zip(row, codes):
                if abs(w) > edge:
                    axes.text(
                        edge + 0.05,
                        0.9,
                        f"{w:.1f}, far to the right: {_minus(code)}",
                        color=theme.BLUE,
                        ha="right",
                        fontsize=9,
                    )
            axes.plot([-edge, edge], [0, 0], color=theme.GREY, lw=1)
            axes.text(-edge - 0.1, -0.14, "code", color=theme.GREY, va="top", fontsize=9)
            off = max(abs(w - back) for w, back in inside)
            axes.set(xlim=(-edge - 0.12, edge + 0.12), ylim=(-0.5, 1.3))
            axes.set_axis_off()
            axes.set_title(f"largest {max(map(abs, row)):g}: one step is {step:g}; the others off by up to {off:.2f}")
            said.append(
                f"Weights {', '.join(f'{w:g}' for w in row)}: step {step:g}, codes {codes}, off by up to {off:.2f}."
            )
        return show(figure, " ".join(said) + " The large weight has made the grid coarse for all.")


def draw_sharing(weight: Tensor, bits: int, groups: Sequence[Group]) -> Picture:
    """The codes of a small matrix (rows, columns), a panel for each way to share scales, framed; code 0 is left pale."""
    from matplotlib.patches import Rectangle

    n_rows, n_columns = weight.shape
    outlier = int(weight.abs().argmax())
    said = []
    with theme.figure(1, len(groups), size=(7.2, 0.29 * n_rows + 0.55), squeeze=False) as (figure, panels):
        for axes, group in zip(panels[0], groups):
            codes = _codes(weight, bits, group)[0].long().view_as(weight).tolist()
            high, wide = {"matrix": (n_rows, n_columns), "row": (1, n_columns)}.get(group, (1, group))
            for y, row in enumerate(codes):
                for x, code in enumerate(row):
                    is_outlier = y * n_columns + x == outlier
                    colour = theme.ORANGE if is_outlier else theme.SKY if code else theme.PAPER
                    axes.add_patch(Rectangle((x, y), 1, 1, facecolor=colour, edgecolor=theme.LIGHT, lw=0.6))
                    ink = theme.PAPER if is_outlier else theme.INK if code else theme.GREY
                    axes.text(x + 0.5, y + 0.52, _minus(code), ha="center", va="center", fontsize=9, color=ink)
            for y in range(0, n_rows, high):
                for x in range(0, n_columns, wide):
                    axes.add_patch(Rectangle((x, y), wide, high, fill=False, edgecolor=theme.INK, lw=1.6))
            lost = sum(code == 0 for row in codes for code in row)
            name = {"matrix": "one scale for all", "row": "a scale for each row"}.get(group, f"groups of {group}")
            axes.set(xlim=(-0.1, n_columns + 0.1), ylim=(n_rows + 0.1, -0.1), aspect="equal")
            axes.set_axis_off()
            axes.set_title(f"{name}:\n{lost} of {n_rows * n_columns} become 0", fontsize=10)
            said.append(f"{name} {lost}")
        alt = f"Codes of a matrix of {n_rows} × {n_columns} weights with one outlier. Weights that become 0: "
        return show(figure, alt + "; ".join(said) + ". The outlier ruins only those who share its scale.")


def _codes(weight: Tensor, bits: int, group: Group) -> tuple[Tensor, Tensor]:
    """Codes (n_groups, weights a group) and scales (n_groups,), as `rounding.rounded` takes them."""
    rows = grouped(weight, group)
    scale = largest_weight(rows, bits)
    return (rows / scale[:, None]).round(), scale


def _minus(number: float | str) -> str:
    return str(number).replace("-", "−")


def draw_lru(used: list[list[int]], asked: list[int], places: Sequence[int]) -> Picture:
    """Which uses an LRU over all layers still holds when the first layer is asked again.

    used: the experts of each layer for one token, in their order; asked: the first layer's for the next token. Raises
    ValueError for more layers than there are colours.
    """
    if len(used) > len(theme.EXPERTS):
        raise ValueError(f"{len(used)} layers; the drawing has colours for 1 to {len(theme.EXPERTS)}.")
    from matplotlib.patches import Rectangle

    keys = [(layer, expert) for layer, experts in enumerate(used) for expert in experts]
    n, said = len(keys), []
    with theme.figure(size=(7.2, 0.42 * len(places) + 1.35)) as (figure, axes):
        for x, (layer, expert) in enumerate(keys + [(0, expert) for expert in asked]):
            x += 1.0 * (x >= n)  # a gap before the next token
            colour = theme.EXPERTS[layer]
            ink = theme.INK if colour in (theme.SKY, theme.AMBER, theme.YELLOW) else theme.PAPER
            axes.add_patch(Rectangle((x + 0.04, 0.04), 0.92, 0.92, facecolor=colour))
            axes.text(x + 0.5, 0.48, f"e{expert}", color=ink, ha="center", va="center", fontsize=10)
        for layer in range(len(used)):
            at = sum(map(len, used[:layer]))
            axes.text(at + 0.06, 1.15, f"layer {layer}", fontsize=9)
        axes.text(n + 1.06, 1.15, "layer 0 again", fontsize=9)
        for row, capacity in enumerate(places):
            held, hits = LRU(capacity), 0
            for key in keys:
                held.use(key)
            kept = max(0, n - capacity)
            y = -0.55 - 0.75 * row
            axes.plot([kept + 0.05, n - 0.05], [y, y], color=theme.INK, lw=4, solid_capstyle="butt")
            axes.text(kept - 0.15, y, f"{capacity} places", ha="right", va="center", fontsize=9)
            for expert in asked:
                hits += held.use((0, expert))[1]
            word = f"{hits} of {len(asked)} there"
            axes.text(n + 1.06, y, word, va="center", fontsize=9, color=theme.GREEN if hits else theme.ORANGE)
            said.append(f"{capacity} places: {word}")
        axes.set(xlim=(-1.9, n + len(asked) + 1.3), ylim=(-0.95 - 0.75 * (len(places) - 1), 1.6))
        axes.set_axis_off()
        axes.set_title("What is still held when layer 0 is asked again: only the last uses")
        alt = f"A token used {n} experts in {len(used)} layers, two boxes a layer; below, a bar over those still held. "
        return show(figure, alt + "; ".join(said) + ".")


def draw_costs(cost: dict[tuple[str, str, str], Difference], grids: list[str]) -> Picture:
    """What rounding costs, by (grid, model, domain), two standard errors to each side: the first grid left, others right."""
    domains = list(dict.fromkeys(domain for _, _, domain in cost))
    with theme.figure(1, 2, size=(7.2, 3.0), sharey=True) as (figure, (left, right)):
        _differences(left, cost, grids[:1], 1000)
        left.axvline(0, color=theme.GREY, lw=0.8)
        left.set(title="int8: up or down, by nearly nothing", xlabel="thousandths of a bit a byte more")
        left.set_yticks([-row for row in range(len(domains))], domains)
        left.text(-0.45, 0.5, "tiny-mistral", color=theme.BLUE)
        left.text(0.1, 0.5, "tiny-mixtral", color=theme.ORANGE)
        _differences(right, cost, grids[1:], 1)
        right.set(title="int4: more, and always worse", xlabel="bits a byte more", xscale="log")
        right.set(ylim=(-4.6, 1.0), xlim=(0.009, 0.4))
        right.set_xticks([0.01, 0.03, 0.1, 0.3], ["0.01", "0.03", "0.1", "0.3"])
        right.minorticks_off()
        for x, text in ((0.0095, "groups\nof 32"), (0.024, "a scale\na row"), (0.13, "one for\nthe matrix")):
            right.text(x, 0.35, text, fontsize=9)
        means = {name: [found.mean for (grid, _, _), found in cost.items() if grid == name] for name in grids}
        most = max(map(abs, means[grids[0]]))
        alt = f"What rounding costs in bits a byte, two models, {len(domains)} domains. {grids[0]}: up or down by at most "
        alt += f"{most:.4f}. Always worse: " + "; ".join(
            f"{name} by {min(means[name]):.3f} to {max(means[name]):.3f}" for name in grids[1:]
        )
        return show(figure, alt + ".")


def _differences(axes, cost: dict, grids: list[str], scale: float) -> None:
    models = list(dict.fromkeys(model for _, model, _ in cost))
    domains = list(dict.fromkeys(domain for _, _, domain in cost))
    for name in grids:
        for m, model in enumerate(models):
            for row, domain in enumerate(domains):
                found = cost[name, model, domain]
                axes.errorbar(
                    scale * found.mean, 0.15 - 0.3 * m - row, xerr=2 * scale * found.standard_error,
                    fmt="o", color=(theme.BLUE, theme.ORANGE)[m], ms=4,
                )  # fmt: skip


def draw_budget(points: dict[tuple[int, int | str], tuple[float, float]], groups: list[int | str]) -> Picture:
    """points: (bits of a code, group) to (bits a weight, bits a byte more); a line for each number of bits from 2 to 6."""
    with theme.figure(size=(7.2, 3.4)) as (figure, axes):
        for bits, colour in zip(range(2, 7), theme.EXPERTS):
            line = [points[bits, group] for group in groups]
            below = [i for i, (_, cost) in enumerate(line) if cost < FLOOR]
            drawn = line[: below[0] + 1] if below else line  # where a line has left the picture it does not come back
            axes.plot(*zip(*drawn), "o-", color=colour, ms=4)
            axes.text(line[0][0] + 0.06, 1.25 * line[0][1], f"{bits}-bit codes", color=colour)
        axes.set(yscale="log", xlim=(1.8, 7.2), ylim=(FLOOR, 8))
        axes.set(xlabel="bits a weight, scales included", ylabel="bits a byte more")
        axes.set_yticks([0.01, 0.1, 1], ["0.01", "0.1", "1"])
        axes.minorticks_off()
        axes.set_title("First a scale a row, then more bits; smaller groups gain less here")
        told = "; ".join(
            f"{bits}-bit codes "
            + ", ".join(f"{points[bits, group][1]:.3f}" for group in (groups[0], "row", groups[-1]))
            for bits in range(2, 7)
        )
        alt = f"Bits a byte more with one scale for the matrix, one a row, groups of {groups[-1]}: {told}. "
        return show(figure, alt + "From 3 bits on the step to a scale a row is the steep one, then each line is flat.")
