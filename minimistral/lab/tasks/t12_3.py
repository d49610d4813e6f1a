"""12.3, a bug hunt: nonsense past the window. Which keys a chunk of new tokens sees, behind a rolling cache."""

import random

import torch
from torch import Tensor

from minimistral.lab.exercise import Exercise, Mistake


def mended_mask(n_seen: int, n_new: int, window: int) -> Tensor:
    n_cached = min(n_seen, window)
    queries = n_seen + torch.arange(n_new)[:, None]
    keys = n_seen - n_cached + torch.arange(n_cached + n_new)[None, :]
    return (keys <= queries) & (keys > queries - window)


def given(n_seen: int, n_new: int, window: int) -> Tensor:
    n_cached = min(n_seen, window)
    queries = n_seen + torch.arange(n_new)[:, None]
    keys = torch.arange(n_cached + n_new)[None, :]
    return (keys <= queries) & (keys > queries - window)


def cases(draw: random.Random) -> list[tuple[int, int, int]]:
    w = draw.randint(4, 7)
    return [(0, 3, w), (2, 3, w), (w, 2, w), (w + 1, 1, w), (5 * w + 2, 3, w), (3 * w, w + 2, w), (9, 2, 1)]


def _relative(n_seen: int, n_new: int, window: int) -> Tensor:
    n_cached = min(n_seen, window)
    queries = n_cached + torch.arange(n_new)[:, None]
    keys = torch.arange(n_cached + n_new)[None, :]
    return (keys <= queries) & (keys > queries - window)


def _no_window(n_seen: int, n_new: int, window: int) -> Tensor:
    n_cached = min(n_seen, window)
    return torch.ones(n_new, n_cached + n_new, dtype=torch.bool).tril(n_cached)


def _one_more(n_seen: int, n_new: int, window: int) -> Tensor:
    n_cached = min(n_seen, window)
    queries = n_cached + torch.arange(n_new)[:, None]
    keys = torch.arange(n_cached + n_new)[None, :]
    return (keys <= queries) & (keys >= queries - window)


def _sees_the_future(n_seen: int, n_new: int, window: int) -> Tensor:
    n_cached = min(n_seen, window)
    queries = n_cached + torch.arange(n_new)[:, None]
    keys = torch.arange(n_cached + n_new)[None, :]
    return keys > queries - window


def _forgets_the_cache(n_seen: int, n_new: int, window: int) -> Tensor:
    mask = _relative(n_seen, n_new, window).clone()
    mask[:, : min(n_seen, window)] = False
    return mask


EXERCISE = Exercise(
    id="12.3",
    title="Find the bug: nonsense past the window",
    minutes=12,
    difficulty=2,
    cases=cases,
    solution=mended_mask,
    given=given,
    mistakes=(
        Mistake(
            "as given",
            "As it was: print it for 100 tokens seen and a window of 4. Which keys are left to see?",
            wrong=given,
        ),
        Mistake(
            "window lost",
            "Now every cached key is seen by every new token. The later ones must drop the oldest.",
            wrong=_no_window,
        ),
        Mistake("one key too many", "Count a row: it may have W keys, the token's own among them.", wrong=_one_more),
        Mistake(
            "future seen", "The first new token sees the second. What did `keys <= queries` do?", wrong=_sees_the_future
        ),
        Mistake(
            "cache unused", "New tokens see each other only; the cache is read by nobody.", wrong=_forgets_the_cache
        ),
    ),
    nudge="The queries know their position in the text. Do the keys? The first cached key: which token of the text was it?",
    shapes=(
        "| name | shape |\n|---|---|\n| `n_seen` | tokens before this chunk, the last min(n_seen, W) of them cached |\n"
        "| result | (n_new, n_cached + n_new) bool |"
    ),
    skeleton=(
        "def mended_mask(n_seen, n_new, window):\n    n_cached = min(n_seen, window)\n"
        "    queries = n_seen + torch.arange(n_new)[:, None]\n"
        "    keys = ____ + torch.arange(n_cached + n_new)[None, :]\n"
        "    return (keys <= ____) & (keys > ____)"
    ),
    explanation=(
        "The oldest cached key stands at position n_seen − n_cached, not at 0. Up to the window both are the same, so short "
        "texts were fine."
    ),
    report="Text that turned to nonsense past 4,096 tokens of prompt was reported for vLLM with Mistral and Mixtral "
    "(vllm-project/vllm#2064), and for mistral-inference (mistralai/mistral-inference#102).",
)
