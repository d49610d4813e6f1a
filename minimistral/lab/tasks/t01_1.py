"""01.1: one merge of byte pair encoding, on a row of ids."""

import random
from collections import Counter
from collections.abc import Callable

from minimistral.lab.exercise import Exercise, Mistake


def my_merge_step(ids: list[int], new_id: int) -> tuple[tuple[int, int], list[int]]:
    counts, i = {}, 0
    while i + 1 < len(ids):
        pair = (ids[i], ids[i + 1])
        counts[pair] = counts.get(pair, 0) + 1
        # in a run such as 7 7 7 the middle one belongs to one pair only
        i += 2 if ids[i : i + 3] == [ids[i]] * 3 else 1
    best = max(counts, key=counts.get)  # of equals, the one that was met first
    merged, i = [], 0
    while i < len(ids):
        if tuple(ids[i : i + 2]) == best:
            merged.append(new_id)
            i += 2
        else:
            merged.append(ids[i])
            i += 1
    return best, merged


def cases(draw: random.Random) -> list[tuple]:
    """Small ones first. Letters are drawn anew; the patterns are chosen so that each mistake shows."""
    found = []
    for pattern in ("abcabda", "aaabbcbbcdb", "bceabfcdgbchabicd", "aaaaaxyxyzxyq", "aaaqaaab", "abbaabqbac", "aaaa"):
        names = dict(zip(sorted(set(pattern)), sorted(draw.sample(range(97, 123), len(set(pattern))))))
        found.append(([names[letter] for letter in pattern], 256 + draw.randrange(10)))
    return found


def _overlapping(ids: list[int]) -> Counter:
    return Counter(zip(ids, ids[1:]))


def _counted(ids: list[int]) -> dict:
    counts, i = {}, 0
    while i + 1 < len(ids):
        counts[ids[i], ids[i + 1]] = counts.get((ids[i], ids[i + 1]), 0) + 1
        i += 2 if ids[i : i + 3] == [ids[i]] * 3 else 1
    return counts


def _replaced(ids: list[int], pair: tuple, new_id: int) -> list[int]:
    merged, i = [], 0
    while i < len(ids):
        hit = tuple(ids[i : i + 2]) == pair
        merged.append(new_id if hit else ids[i])
        i += 2 if hit else 1
    return merged


def _with(choose: Callable) -> Callable:
    """The step with another way to choose the pair."""

    def step(ids: list[int], new_id: int) -> tuple:
        pair = choose(ids)
        return pair, _replaced(ids, pair, new_id)

    return step


def _best(ids: list[int]) -> tuple:
    counts = _counted(ids)
    return max(counts, key=counts.get)


def _most_overlapping(ids: list[int]) -> tuple:
    counts = _overlapping(ids)
    return max(counts, key=counts.get)


def _rarest(ids: list[int]) -> tuple:
    counts = _counted(ids)
    return min(counts, key=counts.get)


def _rarest_overlapping(ids: list[int]) -> tuple:
    counts = _overlapping(ids)
    return min(counts, key=counts.get)


def _last_of_equals(ids: list[int]) -> tuple:
    counts = _counted(ids)
    return max(reversed(counts), key=counts.get)


def _largest_of_equals(ids: list[int]) -> tuple:
    counts = _counted(ids)
    return max(counts, key=lambda pair: (counts[pair], pair))


def _smallest_of_equals(ids: list[int]) -> tuple:
    counts = _counted(ids)
    return min(counts, key=lambda pair: (-counts[pair], pair))


def _once(ids: list[int], new_id: int) -> tuple:
    pair = _best(ids)
    at = next(i for i in range(len(ids)) if tuple(ids[i : i + 2]) == pair)
    return pair, [*ids[:at], new_id, *ids[at + 2 :]]


def _not_skipped(ids: list[int], new_id: int) -> tuple:
    pair, merged, i = _best(ids), [], 0
    for i in range(len(ids)):
        merged.append(new_id if tuple(ids[i : i + 2]) == pair else ids[i])
    return pair, merged


def _last_dropped(ids: list[int], new_id: int) -> tuple:
    pair, merged, i = _best(ids), [], 0
    while i + 1 < len(ids):
        hit = tuple(ids[i : i + 2]) == pair
        merged.append(new_id if hit else ids[i])
        i += 2 if hit else 1
    return pair, merged


def _from_the_right(ids: list[int], new_id: int) -> tuple:
    pair = _best(ids)
    return pair, _replaced(ids[::-1], pair[::-1], new_id)[::-1]


def _not_merged(ids: list[int], new_id: int) -> tuple:
    return _best(ids), list(ids)


def _only_the_row(inputs: tuple, got: object, expected: tuple) -> bool:
    return isinstance(got, list) and got == expected[1]


OVERLAP = (
    "You counted overlapping pairs twice: in 7 7 7 the middle 7 can be merged only once, so (7, 7) occurs once, not twice. "
    "Print the pair you chose and its count, and count on paper."
)
TIES = (
    "Of several pairs that are equally frequent, take the one that is met first in the row. max over a dict does that."
)
EXERCISE = Exercise(
    id="01.1",
    title="One merge",
    minutes=8,
    difficulty=1,
    cases=cases,
    solution=my_merge_step,
    mistakes=(
        Mistake("overlapping pairs counted twice", OVERLAP, wrong=_with(_most_overlapping)),
        Mistake(
            "the rarest pair",
            "This is a rare pair. The merge that shortens the row most is the most frequent one: print the pair you chose.",
            wrong=_with(_rarest),
        ),
        Mistake(
            "the rarest pair",
            "This is a rare pair. The most frequent one is merged: print the pair you chose, and its count.",
            wrong=_with(_rarest_overlapping),
        ),
        Mistake("ties broken otherwise", TIES, wrong=_with(_last_of_equals)),
        Mistake("ties broken otherwise", TIES, wrong=_with(_largest_of_equals)),
        Mistake("ties broken otherwise", TIES, wrong=_with(_smallest_of_equals)),
        Mistake(
            "merged only once",
            "Only the first occurrence was merged. Every occurrence of the pair becomes new_id.",
            wrong=_once,
        ),
        Mistake(
            "second half still there",
            "Each new_id is followed by the second half of the pair it stands for. After a merge, go on two places, not one.",
            wrong=_not_skipped,
        ),
        Mistake(
            "last id lost",
            "The last id is missing: your loop stops one early. It has no right neighbour, yet it must be copied.",
            wrong=_last_dropped,
        ),
        Mistake(
            "merged from the right",
            "In 7 7 7 the *left* two are merged first. Go through the row from left to right.",
            wrong=_from_the_right,
        ),
        Mistake(
            "pair found, row unchanged",
            "The pair is right, but the row is as it was. Replace each occurrence of the pair by new_id.",
            wrong=_not_merged,
        ),
        Mistake("only the row", "Return both: the pair that you chose, and the new row.", seen=_only_the_row),
    ),
    nudge="Do it on paper for 7 7 7 5 5 9 5 5 9. How often can (7, 7) be merged, and how often (5, 5)? Which pair do you take?",
    shapes="""
| name | type | meaning |
|---|---|---|
| `ids` | list of T whole numbers | the text so far |
| `counts` | dict, pair to number | how often each pair *can be merged*, from left to right |
| `best` | (left, right) | the pair with the largest count; of equals the first met |
| result | `(best, new row)` | the row is shorter by the count of `best` |
""",
    skeleton="""
def my_merge_step(ids, new_id):
    counts, i = {}, 0
    while i + 1 < len(ids):
        pair = (ids[i], ids[i + 1])
        counts[pair] = counts.get(pair, 0) + 1
        i += ____ if ids[i : i + 3] == [ids[i]] * 3 else 1
    best = ____
    merged, i = [], 0
    while i < len(ids):
        ...                     # the pair here? then new_id, and ____ places on
""",
    explanation="Two passes: count, then replace. Both go from left to right and skip what they have used, so the count is the "
    "number of merges that will really happen.",
)
