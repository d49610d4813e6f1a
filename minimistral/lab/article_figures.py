"""`show_figure`: one of the article's nine figures in a notebook, from the `figures` folder of this repository."""

import sys
from importlib import import_module, util
from pathlib import Path
from types import ModuleType

from minimistral.lab.picture import Picture

FOLDER = Path(__file__).parents[2] / "figures"


def show_figure(name: str | int, **options) -> Picture:
    """A figure of the article, drawn anew, with its caption: by name ("sliding_window") or number (4).

    Some take options: `show_figure("sliding_window", window=5)`. ValueError lists the names.
    """
    return figures().article_figure(name).show(**options)


def figures() -> ModuleType:
    """The package in figures/: a notebook runs in chapters/ or my-course/, where `import figures` would not find it."""
    if "figures" in sys.modules or not (FOLDER / "__init__.py").exists():
        return import_module("figures")  # there already, or installed beside minimistral
    spec = util.spec_from_file_location("figures", FOLDER / "__init__.py", submodule_search_locations=[str(FOLDER)])
    sys.modules["figures"] = package = util.module_from_spec(spec)
    spec.loader.exec_module(package)
    return package
