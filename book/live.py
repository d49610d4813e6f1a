"""Tools that are alive in the book: which output of a chapter is one, and what the page needs to draw it without Python.

A tool drawn in the browser (`minimistral/lab/tools/browser_tool.py`) is one JavaScript module that asks its model for two
things, `start` and `data`. Here both are written down, so that a page can hand them to the same module.
"""

import json
import re
from html import escape
from pathlib import Path

from minimistral import lab
from minimistral.lab import tools
from minimistral.lab.tools.browser_tool import BrowserTool, source

MAKES = re.compile(r"^(?:\w+\s*=\s*)?(?:lab\.|tools\.)*([A-Z]\w+)\((.*)\)$")


def tool_of(code: str) -> BrowserTool | None:
    """The tool that a cell displays, made anew; None where its last line makes none, or one that needs Python."""
    lines = [line for line in code.strip().splitlines() if line.strip()]
    made = MAKES.match(lines[-1].strip()) if lines else None
    kind = _kind(made[1]) if made else None
    if kind is None or (kind.asks and kind.alone is None):
        return None
    return eval(f"kind({made[2]})", {"kind": kind})  # a chapter's own line, with nothing but literals in it


def _kind(name: str) -> type[BrowserTool] | None:
    kind = getattr(lab, name, None) or getattr(tools, name, None)
    return kind if isinstance(kind, type) and issubclass(kind, BrowserTool) else None


def write_module(tool: BrowserTool, folder: Path) -> str:
    """The tool's JavaScript as a file of the site; its name."""
    name = tool.script
    (folder / name).write_text(source(name), encoding="utf-8")
    return name


def live_html(tool: BrowserTool, still: str, module: str) -> str:
    """The still picture in an element that `live.js` fills with the live tool; without scripts the picture stays."""
    first = {"state": tool.start(), **tool.answer(tool.start())} if tool.asks else {}
    known = [{"state": state, **tool.answer(state)} for state in tool.known_states()] if tool.asks else []
    given = {"start": tool.start(), "data": tool.data(), "answer": first, "known": known}
    note = f'<p class="live-note">{escape(tool.alone)}</p>' if tool.asks else ""
    script = json.dumps(given, separators=(",", ":")).replace("</", r"<\/")  # else a text in it could end the script
    return (
        f'<div class="live-tool" data-module="{escape(module)}"><div class="live-still">{still}</div>'
        f'<script type="application/json">{script}</script></div>{note}'
    )
