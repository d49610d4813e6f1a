"""A small drawing for each chapter, on its card and beside its question: what it is about, and not what is found."""

from math import cos, pi, sin

import torch

from minimistral.lab.theme import BLUE, GREEN, ORANGE, SKY
from minimistral.masks import visible

GREY = "#8a8a8a"  # seen on white and on black
WIDTH, HEIGHT = 120, 80


def emblem(chapter: str) -> str:
    """The drawing of a chapter ("05") as SVG; "" where there is none. Nothing in it needs to be read out."""
    draw = DRAWINGS.get(chapter)
    if draw is None:
        return ""
    return f'<svg class="emblem" viewBox="0 0 {WIDTH} {HEIGHT}" aria-hidden="true" focusable="false">{draw()}</svg>'


def box(x: float, y: float, width: float, height: float, fill: str = GREY, more: str = "") -> str:
    return f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="2" fill="{fill}" {more}/>'


def line(x1: float, y1: float, x2: float, y2: float, stroke: str = GREY, width: float = 1) -> str:
    ends = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
    return f'<line {ends} stroke="{stroke}" stroke-width="{width}" stroke-linecap="round"/>'


def dot(x: float, y: float, r: float, fill: str = GREY, more: str = "") -> str:
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{r:g}" fill="{fill}" {more}/>'


def next_token() -> str:
    """A text goes on: three pieces, and the guesses for the fourth."""
    pieces = "".join(box(x, 32, 22, 16) for x in (2, 28, 54))
    return pieces + "".join(
        box(82, 12 + 15 * i, width, 10, colour)
        for i, (width, colour) in enumerate(zip((36, 22, 12, 6), (BLUE, *[SKY] * 3)))
    )


def tokens() -> str:
    """Lines of text, cut."""
    drawn, colours = "", (BLUE, SKY)
    for row, widths in enumerate(((26, 10, 34, 22, 12), (8, 40, 14, 30), (34, 18, 8, 24, 20))):
        x = 2
        for i, width in enumerate(widths):
            drawn += box(x, 14 + 20 * row, width, 13, colours[(i + row) % 2])
            x += width + 3
    return drawn


def block() -> str:
    """The residual path, and the two parts that add to it."""
    drawn = line(30, 78, 30, 2, GREY, 3)
    for y, colour in ((46, BLUE), (10, ORANGE)):
        drawn += line(30, y + 26, 74, y + 26, GREY, 2) + line(74, y + 26, 74, y, GREY, 2) + line(74, y, 30, y, GREY, 2)
        drawn += box(52, y + 6, 44, 15, colour) + dot(30, y, 5, GREY)
    return drawn


def dial() -> str:
    """A key and a query as hands of a clock."""
    x, y, r = 60, 40, 35
    drawn = f'<circle cx="{x}" cy="{y}" r="{r}" fill="none" stroke="{GREY}" stroke-width="1.5"/>'
    for turn, colour in ((0.55, BLUE), (1.6, ORANGE)):
        drawn += line(x, y, x + 0.86 * r * cos(turn), y - 0.86 * r * sin(turn), colour, 4)
    return drawn + dot(x, y, 3.5)


def heads() -> str:
    """Eight queries, two keys."""
    drawn = ""
    for i in range(8):
        x, key = 11 + 14 * i, 32 + 56 * (i // 4)
        drawn += line(x, 18, key, 62, GREY, 1.5) + dot(x, 16, 5, BLUE)
    return drawn + dot(32, 64, 8, ORANGE) + dot(88, 64, 8, ORANGE)


def window() -> str:
    """The library's own mask."""
    mask = visible(torch.arange(7), torch.arange(7), window=3)
    return "".join(
        box(
            25 + 10 * key,
            5 + 10 * query,
            8.5,
            8.5,
            SKY if mask[query, key] else GREY,
            "" if mask[query, key] else 'opacity="0.25"',
        )
        for query in range(7)
        for key in range(7)
    )


def ring() -> str:
    """Slots in a circle; the next token takes the oldest's."""
    drawn = ""
    for i in range(12):
        a = 2 * pi * i / 12
        drawn += dot(60 + 30 * sin(a), 40 - 30 * cos(a), 6.5, ORANGE if i == 2 else SKY)
    return drawn


def tower() -> str:
    """Six layers between embedding and head."""
    layers = "".join(box(34, 60 - 10 * i, 52, 7, BLUE) for i in range(6))
    return box(26, 71, 68, 7) + layers + box(26, 1, 68, 6)


def router() -> str:
    """One token, eight experts, two of them chosen."""
    drawn = ""
    for i in range(8):
        chosen = i in (2, 5)
        drawn += line(14, 40, 96, 5 + 10 * i, ORANGE if chosen else GREY, 3 if chosen else 1)
        drawn += box(96, 1.5 + 10 * i, 18, 7, ORANGE if chosen else GREY)
    return drawn + dot(14, 40, 7, BLUE)


def experts() -> str:
    """Tokens in rows, experts in columns, two chosen in each row."""
    chosen = ((1, 4), (0, 4), (4, 6), (1, 2), (2, 6), (3, 7))
    return "".join(
        box(9 + 13 * e, 3 + 13 * row, 11, 11, ORANGE if e in pair else GREY, "" if e in pair else 'opacity="0.25"')
        for row, pair in enumerate(chosen)
        for e in range(8)
    )


def scores() -> str:
    """Bars with what chance alone would do."""
    drawn = line(8, 76, 112, 76, GREY, 2)
    for x, top, error, colour in ((18, 26, 9, BLUE), (50, 20, 13, SKY), (82, 40, 7, GREEN)):
        middle = x + 11
        drawn += box(x, top, 22, 76 - top, colour) + line(middle, top - error, middle, top + error, GREY, 2.5)
        drawn += "".join(line(middle - 5, y, middle + 5, y, GREY, 2.5) for y in (top - error, top + error))
    return drawn


def steps() -> str:
    """A curve, and the few values that are left of it."""
    curve = " ".join(f"{x},{40 - 32 * sin((x - 60) / 36):.1f}" for x in range(6, 115, 2))
    stairs, step = "", 13.5
    for i in range(8):
        x = 6 + step * i
        y = 40 - round(32 * sin((x + step / 2 - 60) / 36) / 16) * 16
        stairs += line(x, y, x + step, y, ORANGE, 4)
    return f'<polyline points="{curve}" fill="none" stroke="{GREY}" stroke-width="1.5"/>{stairs}'


def layers() -> str:
    """32 layers."""
    return "".join(box(14, 2 + 2.4 * i, 92, 1.4, BLUE) for i in range(32))


def mixture() -> str:
    """32 layers of eight experts; in each the path of one token."""
    return "".join(
        dot(6 + 3.5 * layer, 8 + 9 * e, 1.6, ORANGE if e in ((layer * 5) % 8, (layer * 3 + 1) % 8) else GREY)
        for layer in range(32)
        for e in range(8)
    )


DRAWINGS = {f"{n:02}": draw for n, draw in enumerate((next_token, tokens, block, dial, heads, window, ring))}
DRAWINGS |= {
    f"{n:02}": draw for n, draw in enumerate((tower, router, experts, scores, steps, layers, mixture), start=7)
}
