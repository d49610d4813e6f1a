"""Chapter 11's larger pictures, so that its cells stay short."""

from minimistral.lab import theme
from minimistral.lab.picture import Picture, show
from minimistral.lab.stored_results import Difference

FORMATS = {  # bits of sign, exponent, fraction; of a code
    "float32": (1, 8, 23, 0),
    "bfloat16": (1, 8, 7, 0),
    "float16": (1, 5, 10, 0),
    "int8": (0, 0, 0, 8),
    "int4": (0, 0, 0, 4),
}


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
        axes.set_title("An integer spends no bits on its size")
        return show(figure, "Bits of float32, bfloat16, float16: sign, exponent, fraction; of int8 and int4: a code.")


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
        alt = (
            "What rounding costs in five domains, two models. int8: under 0.0005 bits a byte, up or down. "
            "int4: about 0.016 in groups of 32, 0.027 with a scale a row, 0.21 with one for the matrix."
        )
        return show(figure, alt)


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
            axes.plot(*zip(*line), "o-", color=colour, ms=4)
            axes.text(line[0][0] + 0.06, 1.25 * line[0][1], f"{bits}-bit codes", color=colour)
        axes.set(yscale="log", xlim=(1.8, 7), ylim=(0.0015, 8))
        axes.set(xlabel="bits a weight, scales included", ylabel="bits a byte more")
        axes.set_yticks([0.01, 0.1, 1], ["0.01", "0.1", "1"])
        axes.minorticks_off()
        axes.set_title("First a scale a row, then more bits; smaller groups gain less here")
        alt = (
            "Cost against bits a weight, a line for 2 to 6 bits: steep from one scale for the matrix to one a row, "
            "then flat towards smaller groups."
        )
        return show(figure, alt)
