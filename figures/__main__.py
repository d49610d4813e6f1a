"""`python -m figures`: draw all of the article's figures into figures/drawn; `python -m figures NAME …`: these."""

import argparse
import json
import sys

import matplotlib

from . import NAMES, article_figure
from .article_figure import DRAWN

MANIFEST = DRAWN / "manifest.json"


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m figures", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of: {', '.join(NAMES)}; none: all")
    options = parser.parse_args(arguments)
    unknown = set(options.names) - set(NAMES)
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}. Choose from {', '.join(NAMES)}.")
    DRAWN.mkdir(exist_ok=True)
    kept = json.loads(MANIFEST.read_text())["figures"] if MANIFEST.exists() else {}
    for name in options.names or NAMES:
        kept[name] = article_figure(name).store()
        print(f"Figure {article_figure(name).number}: {name}")
    manifest = {"matplotlib": matplotlib.__version__, "figures": {name: kept[name] for name in NAMES if name in kept}}
    MANIFEST.write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
