"""Chapter 03's two pictures of stored runs: what reading past the trained length loses, for retrieval and for text."""

from statistics import fmean

from minimistral.lab import theme
from minimistral.lab.picture import Picture, show
from minimistral.lab.stored_results import stored

COLOURS = {
    "unchanged": theme.ORANGE,
    "interpolated": theme.BLUE,
    "NTK": theme.GREEN,
    "window": theme.GREY,
    "none": theme.PINK,
    "added": theme.AMBER,
}
WAYS = ("unchanged", "interpolated", "NTK", "window")
BANDS = ("32-64", "64-128", "128-256")
# where the name of each line stands, before and after tuning: the lines end close together
RETRIEVAL_NAMES = (
    {"interpolated": 1.03, "unchanged": 0.64, "NTK": 0.53, "window": 0.17},
    {"interpolated": 1.03, "NTK": 0.92, "unchanged": 0.80, "window": 0.17},
)
TEXT_NAMES = (
    {"unchanged": 4.27, "interpolated": 4.11, "added": 3.72, "none": 3.54, "NTK": 3.33, "window": 3.05},
    {"interpolated": 3.33, "unchanged": 3.21, "NTK": 3.10, "window": 2.99},
)


def retrieval_picture() -> Picture:
    """The share of values found by distance: a thin line a seed, a thick one their mean."""
    runs, middle = stored("rope_retrieval")["runs"], [17, 48, 80, 112, 160, 224]
    with theme.figure(1, 2, size=(7.2, 3.4), sharey=True) as (figure, panels):
        for when, (axes, title) in enumerate(zip(panels, ("as trained on 64 tokens", "after 20 steps on 256"))):
            axes.axvspan(0, 64, color=theme.LIGHT)
            for name in WAYS:
                _lines(axes, middle, [run[name][when] for run in runs], COLOURS[name])
                axes.text(232, RETRIEVAL_NAMES[when][name], name, color=COLOURS[name], va="center")
            axes.set(xlim=(0, 340), ylim=(0, 1.1), xticks=[0, 64, 128, 192, 256])
            axes.set_xlabel("distance to the value (tokens)")
            axes.set_title(title, fontsize=10)
        panels[0].set_ylabel("share found (a guess: 0.125)")
        figure.suptitle(
            "Past the trained distances (grey), only interpolation keeps finding the value",
            x=0.01,
            ha="left",
            fontsize=11,
        )
        far = "; ".join(
            f"{name} {fmean(run[name][0][-1] for run in runs):.2f} and {fmean(run[name][1][-1] for run in runs):.2f}"
            for name in WAYS
        )
        return show(
            figure,
            f"Share of values found by distance, {len(runs)} seeds. Up to 64 back all find nearly all. Past 192, before and "
            f"after 20 steps of tuning: {far}; a guess is 1 in 8.",
        )


def text_picture() -> Picture:
    """Bits a byte in three stretches of text: a thin line a seed, a thick one their mean."""
    runs = stored("rope_lengths")["runs"]
    with theme.figure(1, 2, size=(7.2, 3.6), sharey=True) as (figure, panels):
        for when, (axes, title) in enumerate(zip(panels, ("as trained on 64 bytes", "after 20 steps on 256"))):
            lines = {way: [[run["x4"][way][when][band] for band in BANDS] for run in runs] for way in WAYS}
            if when == 0:
                lines |= {k: [[run["kinds"][k][band] for band in BANDS] for run in runs] for k in ("none", "added")}
            for name, values in lines.items():
                _lines(axes, range(3), values, COLOURS[name])
                axes.text(2.08, TEXT_NAMES[when][name], name, color=COLOURS[name], va="center")
            axes.set(xlim=(-0.2, 3.5), ylim=(2.8, 4.9), xlabel="place in the text (bytes)")
            axes.set_xticks(range(3), BANDS)
            axes.set_title(title, fontsize=10)
        panels[0].set_ylabel("bits a byte (lower is better)")
        figure.suptitle(
            "For this text and model, not looking further back than in training is best", x=0.01, ha="left", fontsize=11
        )
        ways = "; ".join(
            f"{way} {fmean(run['x4'][way][0][BANDS[0]] for run in runs):.2f} to "
            f"{fmean(run['x4'][way][0][BANDS[-1]] for run in runs):.2f}, then "
            f"{fmean(run['x4'][way][1][BANDS[-1]] for run in runs):.2f}"
            for way in WAYS
        )
        return show(
            figure,
            f"Bits a byte, {len(runs)} seeds, from the first stretch of the text to the last, and in the last after 20 steps of "
            f"tuning: {ways}. At the end the window is the lowest.",
        )


def _lines(axes, x, values: list[list[float]], colour: str) -> None:
    for seed in values:
        axes.plot(x, seed, color=colour, lw=0.7, alpha=0.45)
    axes.plot(x, [sum(column) / len(values) for column in zip(*values)], "o-", ms=3.5, color=colour, lw=2.2)
