"""13.3, a bug hunt: Mixtral read with Mistral's settings, theta 10⁴ or a window that it never had."""

import random

from minimistral.lab.exercise import Exercise, Mistake


def mended_settings(entries: dict) -> tuple[float, int | None]:
    window = entries.get("sliding_window")
    theta = entries.get("rope_theta")
    if theta is None:
        theta = 1_000_000.0 if window is None else 10_000.0
    return theta, window


def given(entries: dict) -> tuple[float, int | None]:
    window = entries.get("sliding_window") or 4096
    theta = entries.get("rope_theta") or 10_000.0
    return theta, window


def cases(draw: random.Random) -> list[tuple[dict]]:
    """Mixtral's file, Mistral's of three versions, and others: what is not stated, null, or a number."""
    size, moe = dict(dim=draw.choice((64, 4096))), dict(moe=dict(num_experts=8, num_experts_per_tok=2))
    window, theta = draw.choice((512, 4096)), float(draw.choice((5, 20)) * 10**5)
    files = [size | moe, size | moe | dict(sliding_window=None), size | dict(sliding_window=window)]
    files += [size | moe | dict(rope_theta=theta), size | dict(rope_theta=theta, sliding_window=None)]
    files += [size, size | dict(sliding_window=window, rope_theta=theta), size | moe | dict(sliding_window=window)]
    return [(entries,) for entries in files]


def _theta_only(entries: dict) -> tuple[float, int | None]:
    return mended_settings(entries)[0], given(entries)[1]


def _window_only(entries: dict) -> tuple[float, int | None]:
    return entries.get("rope_theta") or 10_000.0, entries.get("sliding_window")


def _always_large(entries: dict) -> tuple[float, int | None]:
    return entries.get("rope_theta") or 1_000_000.0, entries.get("sliding_window")


def _ignores_stated(entries: dict) -> tuple[float, int | None]:
    window = entries.get("sliding_window")
    return 1_000_000.0 if window is None else 10_000.0, window


def _by_experts(entries: dict) -> tuple[float, int | None]:
    return entries.get("rope_theta") or (1_000_000.0 if "moe" in entries else 10_000.0), entries.get("sliding_window")


def _swapped(entries: dict) -> tuple[int | None, float]:
    return mended_settings(entries)[::-1]


EXERCISE = Exercise(
    id="13.3",
    title="Find the bug: the little brother's settings",
    minutes=12,
    difficulty=2,
    cases=cases,
    solution=mended_settings,
    given=given,
    rtol=0,
    atol=0,
    mistakes=(
        Mistake("as given", "As it was: what does it make of a file that states neither?", wrong=given),
        Mistake(
            "still a window",
            "theta is right now. But `or 4096` turns null, and nothing stated, into a window.",
            wrong=_theta_only,
        ),
        Mistake(
            "theta of the other", "No window any more; but theta is still 10,000 where none is.", wrong=_window_only
        ),
        Mistake(
            "large for all",
            "Now Mistral 7B v0.1, which has a window and states no theta, gets Mixtral's.",
            wrong=_always_large,
        ),
        Mistake("stated and ignored", "Where the file states a theta, that one holds.", wrong=_ignores_stated),
        Mistake(
            "told by the experts",
            "Not the experts tell, but the window: a dense model without one means 1,000,000 too.",
            wrong=_by_experts,
        ),
        Mistake("swapped", "First theta, then the window.", wrong=_swapped),
    ),
    nudge="Call it with {} and with a window of None. Which of the two `or` say something that the file does not?",
    shapes=(
        '| file | theta | window |\n|---|---|---|\n| {} | 1,000,000 | None |\n| {"sliding_window": 4096} | 10,000 | 4096 |\n'
        '| {"rope_theta": 5e5} | 500,000 | None |'
    ),
    skeleton=(
        "def mended_settings(entries):\n    window = entries.get(____)\n    theta = entries.get(____)\n"
        "    if theta is None:\n        theta = ____ if window is None else ____\n    return ____, ____"
    ),
    explanation="`x or default` also replaces null. A window that is not there is None, and theta goes with it.",
    report="transformers' MixtralConfig had a window of 4,096 as its default, where the published config says null: "
    "huggingface/transformers#29436.",
)
