"""The nine figures of the article, drawn anew from sourced tables and from the library itself.

    python -m figures                 draw all into figures/drawn (make figures)
    python -m figures sliding_window  draw one

In a notebook: `from minimistral.lab import show_figure`, then `show_figure("sliding_window")`.
"""

from importlib import import_module
from pkgutil import iter_modules

from .article_figure import ArticleFigure

MODULES = sorted(module.name for module in iter_modules(__path__) if module.name.startswith("fig"))
NAMES = [name.split("_", 1)[1] for name in MODULES]  # in the article's order: "mmlu" is Figure 1


def article_figure(name: str | int) -> ArticleFigure:
    """A figure by its name ("sliding_window") or by its number in the article (4); ValueError lists them."""
    if name in range(1, len(NAMES) + 1):
        name = NAMES[int(name) - 1]
    if name not in NAMES:
        listed = ", ".join(f"{number} {known}" for number, known in enumerate(NAMES, start=1))
        raise ValueError(f"no figure is called {name!r}. Choose from {listed}.")
    return import_module(f"{__name__}.{MODULES[NAMES.index(name)]}").FIGURE


def article_figures() -> list[ArticleFigure]:
    """All of them, in the article's order."""
    return [article_figure(name) for name in NAMES]
