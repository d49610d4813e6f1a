"""What `minimistral download` shows and asks; the work is done in checkpoints/hub.py."""

import re
import shlex
import sys
from collections.abc import Callable

from minimistral.checkpoints.hub import download
from minimistral.checkpoints.hub_client import Hub
from minimistral.checkpoints.known_models import KNOWN_MODELS
from minimistral.checkpoints.preflight import preflight
from minimistral.doctor import Finding
from minimistral.memory import in_bytes


def table() -> str:
    """The known models, one a line."""
    width = max(map(len, KNOWN_MODELS))
    lines = [
        f"{m.name:<{width}}  {m.n_bytes / 1e9:5.1f} GB  {m.licence}  {'chat' if m.is_chat else 'base'}  {m.repo}"
        for m in KNOWN_MODELS.values()
    ]
    return "\n".join(lines)


def parse_layers(text: str | None) -> list[int] | None:
    """Layers from the command line.

    >>> parse_layers("0,3-5")
    [0, 3, 4, 5]
    """
    if text is None:
        return None
    layers: list[int] = []
    for part in text.replace(" ", "").split(","):
        found = re.fullmatch(r"(\d{1,4})(?:-(\d{1,4}))?", part)
        if found is None or int(found[2] or found[1]) < int(found[1]):
            raise ValueError(f"--layers {text!r}: write numbers with commas between them, or runs, such as 0,1 or 0-3.")
        layers += range(int(found[1]), int(found[2] or found[1]) + 1)
    return sorted(set(layers))


def get(
    model: str,
    to: str | None,
    layers: list[int] | None,
    is_only_asked: bool,
    agreed: Callable[[str], bool],
    show: Callable[[Finding], None],
    say: Callable[..., None],
) -> str:
    """Checks, asks, downloads; the line that says what can be done with it. ValueError where something is missing."""
    checked = preflight(model, to, layers, hub=Hub(say=say))
    for finding in checked.findings:
        show(finding)
    if not checked.is_ready:
        raise ValueError(checked.problem)
    if is_only_asked:
        return "Nothing was fetched."
    if not checked.is_done:
        if not agreed(f"Fetch {in_bytes(checked.n_missing)} to {checked.target}?"):
            return "Nothing was fetched."
        download(model, to, layers, hub=Hub(say=say), progress=sys.stderr.isatty())
    if layers is None:
        return f"The model is in {checked.target}. Try it: minimistral chat {shlex.quote(str(checked.target))}"
    return f"The layers are in {checked.target}. In Python: load({str(checked.target)!r}, layers={layers})"
