"""A learner's progress: one JSON file, whole after a crash, right with two notebooks open."""

import json
import os
import time
import warnings
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

SECTIONS = ("exercises", "predictions", "quiz")


def folder() -> Path:
    """Where the file lies: MINIMISTRAL_PROGRESS, else .progress in the folder of the notebook."""
    return Path(os.environ.get("MINIMISTRAL_PROGRESS") or ".progress").expanduser()


def path() -> Path:
    return folder() / "progress.json"


def read() -> dict:
    """All that is kept: {"exercises": {id: {...}}, "predictions": {...}, "quiz": {...}}; empty at the start."""
    kept = {section: {} for section in SECTIONS}
    try:
        found = json.loads(path().read_text(encoding="utf-8"))
    except FileNotFoundError:
        return kept
    except OSError as error:
        warnings.warn(f"your progress cannot be read ({error}); it is treated as empty", stacklevel=2)
        return kept
    except ValueError:
        _set_aside()
        return kept
    if not isinstance(found, dict) or not all(isinstance(found.get(section, {}), dict) for section in SECTIONS):
        _set_aside()
        return kept
    return kept | found


def entry(section: str, id: str) -> dict:
    """What is kept about one exercise, prediction or question; empty where nothing is."""
    found = read()[section].get(id, {})
    return found if isinstance(found, dict) else {}


def record(section: str, id: str, **news: object) -> None:
    """Add to what is kept about one exercise, prediction or question, with the time.

    passed (of an exercise) counts a try and stays True once it was; a folder that cannot be written is a warning, since
    the chapter can go on without it.
    """

    def change(kept: dict) -> None:
        about = kept[section].setdefault(id, {})
        now = datetime.now().astimezone().isoformat(timespec="seconds")
        if "passed" in news:
            about["tries"] = about.get("tries", 0) + 1
            if news["passed"]:
                about.setdefault("first_passed", now)
            if mistake := news.get("mistake"):
                counts = about.setdefault("mistakes", {})
                counts[mistake] = counts.get(mistake, 0) + 1
            about["passed"] = bool(about.get("passed")) or bool(news["passed"])
        if "hints" in news:
            about["hints"] = max(about.get("hints", 0), news["hints"])
        about.update({key: value for key, value in news.items() if key not in ("passed", "mistake", "hints")})
        about["when"] = now

    try:
        update(change)
    except (OSError, Timeout) as error:
        warnings.warn(f"your progress could not be kept ({error}). Everything else goes on as usual.", stacklevel=3)


def update(change: Callable[[dict], None]) -> None:
    """Read, change and write, while no other notebook may; the old file stays until the new one is whole."""
    folder().mkdir(parents=True, exist_ok=True)
    with FileLock(folder() / "progress.lock", timeout=10):
        kept = read()
        change(kept)
        draft = path().with_suffix(".part")  # one name: what a killed notebook left is written over
        with open(draft, "w", encoding="utf-8") as file:
            json.dump(kept, file, ensure_ascii=False, indent=1)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path())


def _set_aside() -> None:
    """A damaged file is renamed, never deleted: someone may be able to mend it."""
    aside = path().with_name(f"progress.damaged-{time.strftime('%Y%m%d-%H%M%S')}.json")
    try:
        os.replace(path(), aside)
    except OSError:
        return
    warnings.warn(f"your progress file was damaged; it is kept as {aside.name}, and a new one begins", stacklevel=3)
