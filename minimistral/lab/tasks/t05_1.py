"""05.1: the sliding-window mask."""

import random

import torch
from torch import Tensor

from minimistral.lab.exercise import Exercise, Mistake


def my_window_mask(n_tokens: int, window: int) -> Tensor:
    query = torch.arange(n_tokens)[:, None]  # (T, 1)
    key = torch.arange(n_tokens)[None, :]  # (1, T)
    back = query - key  # (T, T): how far behind the query the key stands
    return (back >= 0) & (back < window)


def cases(draw: random.Random) -> list[tuple]:
    chosen = [(draw.randint(5, 8), draw.randint(2, 3)) for _ in range(3)]
    n_tokens = draw.randint(3, 6)
    return [*chosen, (draw.randint(9, 20), draw.randint(4, 8)), (n_tokens, n_tokens), (n_tokens, n_tokens + 3), (4, 1)]


def _back(n_tokens: int) -> Tensor:
    return torch.arange(n_tokens)[:, None] - torch.arange(n_tokens)[None, :]


def _one_too_many(n_tokens: int, window: int) -> Tensor:
    return (_back(n_tokens) >= 0) & (_back(n_tokens) <= window)


def _one_too_few(n_tokens: int, window: int) -> Tensor:
    return (_back(n_tokens) >= 0) & (_back(n_tokens) < window - 1)


def _not_itself(n_tokens: int, window: int) -> Tensor:
    return (_back(n_tokens) > 0) & (_back(n_tokens) <= window)


def _not_itself_short(n_tokens: int, window: int) -> Tensor:
    return (_back(n_tokens) > 0) & (_back(n_tokens) < window)


def _both_sides(n_tokens: int, window: int) -> Tensor:
    return _back(n_tokens).abs() < window


def _all_future(n_tokens: int, window: int) -> Tensor:
    return _back(n_tokens) < window


def _transposed(n_tokens: int, window: int) -> Tensor:
    return my_window_mask(n_tokens, window).T


def _inverted(n_tokens: int, window: int) -> Tensor:
    return ~my_window_mask(n_tokens, window)


def _no_window(n_tokens: int, window: int) -> Tensor:
    return _back(n_tokens) >= 0


def _is_additive(inputs: tuple, got: object, expected: object) -> bool:
    return isinstance(got, Tensor) and got.is_floating_point() and bool((got < -1).any())


NOT_ITSELF = "A token may always look at itself: the diagonal is True. Print mask.diagonal()."
EXERCISE = Exercise(
    id="05.1",
    title="The sliding-window mask",
    minutes=8,
    difficulty=1,
    cases=cases,
    solution=my_window_mask,
    mistakes=(
        Mistake(
            "window + 1 keys",
            "Each full row has one key too many. The window of W keys counts the token itself, so W - 1 stand behind it. "
            "Print mask.sum(1): it should end in W, not in W + 1.",
            wrong=_one_too_many,
        ),
        Mistake(
            "window - 1 keys",
            "Each full row has one key too few. Print mask.sum(1): with the token itself it should end in W.",
            wrong=_one_too_few,
        ),
        Mistake("not itself", NOT_ITSELF, wrong=_not_itself),
        Mistake("not itself", NOT_ITSELF, wrong=_not_itself_short),
        Mistake(
            "sees the future",
            "Row 0 is the first token, and it sees tokens after itself. A key later than the query is never visible: "
            "the mask has no True above its diagonal.",
            wrong=_both_sides,
        ),
        Mistake(
            "sees the future",
            "The far past is cut off, but the future is open. A key must be at most as late as the query: query - key >= 0.",
            wrong=_all_future,
        ),
        Mistake(
            "rows and columns swapped",
            "This is the right mask turned over its diagonal. Rows are queries and columns are keys: "
            "row 0, the first token, sees one key only.",
            wrong=_transposed,
        ),
        Mistake(
            "True and False swapped",
            "Here True stands for hidden. In this course, as in torch's scaled_dot_product_attention, True means visible.",
            wrong=_inverted,
        ),
        Mistake(
            "no window",
            "This is the plain causal mask: the last row still sees every token. Where does `window` come in?",
            wrong=_no_window,
        ),
        Mistake(
            "numbers to add to the scores",
            "These are numbers to be added to the scores. Return what they were made from: True where a key is visible.",
            seen=_is_additive,
        ),
    ),
    nudge="Write down, for the query at position 5 and a window of 3, which key positions it sees. Then say it with "
    "`query - key`: what is the smallest value allowed, and what is the largest?",
    shapes="""
| name | shape | meaning |
|---|---|---|
| `query` | (T, 1) | the position of each row's token |
| `key` | (1, T) | the position of each column's token |
| `query - key` | (T, T) | how far back the key stands; 0 is the token itself, negative is the future |
| result | (T, T), bool | True where the query may look |
""",
    skeleton="""
def my_window_mask(n_tokens, window):
    query = torch.arange(n_tokens)[:, None]
    key = torch.arange(n_tokens)[None, :]
    return (____ >= 0) & (____ < ____)
""",
    explanation="A comparison of a column (T, 1) with a row (1, T) gives a table (T, T). Two conditions make the band: not in "
    "the future (`back >= 0`), and among the last W, the token itself included (`back < window`).",
)
