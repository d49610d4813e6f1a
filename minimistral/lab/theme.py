"""One look for every picture: fixed colours for fixed things, sizes, and matplotlib's settings.

The colours are those of Okabe and Ito (Color Universal Design, 2008), told apart with any common colour vision.
"""

from contextlib import contextmanager

import matplotlib

INK, PAPER, GREY, LIGHT = "#1a1a1a", "#ffffff", "#6b6b6b", "#e3e3e3"
BLUE, ORANGE, GREEN, PINK = "#0072b2", "#d55e00", "#007a5a", "#b0578d"
SKY, AMBER, YELLOW, BLACK = "#56b4e9", "#e69f00", "#f0e442", "#000000"

QUERY, KEY, VALUE, WINDOW = BLUE, ORANGE, GREEN, SKY
THEORY, GRADIENT, TRAINED = SKY, ORANGE, GREEN
EXPERTS = (BLUE, ORANGE, GREEN, PINK, SKY, AMBER, YELLOW, BLACK)

WIDE, HALF = (7.2, 3.0), (4.2, 3.0)  # inches; at DPI a wide picture is 936 pixels across
DPI = 130
SETTINGS = {
    "figure.dpi": DPI,
    "figure.facecolor": PAPER,
    "savefig.facecolor": PAPER,
    "axes.facecolor": PAPER,
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "axes.labelsize": 10,
    "axes.prop_cycle": matplotlib.cycler(color=EXPERTS),
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "font.family": "DejaVu Sans",  # comes with matplotlib, so that every machine draws the same
    "font.size": 10,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "figure.constrained_layout.use": True,
}


@contextmanager
def figure(*grid: int, size: tuple[float, float] = WIDE, **options):
    """`with figure(1, 2) as (fig, axes):` a figure in the course's look that no backend shows by itself."""
    from matplotlib.figure import Figure

    with matplotlib.rc_context(SETTINGS):
        drawing = Figure(figsize=size)
        yield drawing, drawing.subplots(*grid, **options)


def two_colours(off: str, on: str):
    """A colour map for a mask: one colour for False, one for True."""
    from matplotlib.colors import ListedColormap

    return ListedColormap([off, on])
