"""One paragraph in many languages: what it costs in tokens can be compared, because it says the same."""

import json
from pathlib import Path

FILE = Path(__file__).parents[1] / "texts" / "declaration.json"


def declaration() -> dict[str, str]:
    """Article 1 of the Universal Declaration of Human Rights by language, English first (texts/README.md says from where)."""
    return json.loads(FILE.read_text(encoding="utf-8"))
