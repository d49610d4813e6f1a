"""Results of the longer runs, measured once and kept with the lab: tools and chapters look them up."""

import json
from functools import cache
from pathlib import Path


@cache
def stored(name: str) -> dict:
    """The results that `python -m experiments NAME` wrote, with their date and versions under "runs", "date", …"""
    path = Path(__file__).parent / "stored" / f"{name}.json"
    if not path.exists():
        there = ", ".join(sorted(file.stem for file in path.parent.glob("*.json")))
        raise ValueError(f"no stored result is called {name!r}. There are: {there}.")
    return json.loads(path.read_text(encoding="utf-8"))
