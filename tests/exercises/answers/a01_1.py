"""01.1: a merge step as people write it."""

import itertools
from collections import Counter


def _replace(ids, pair, new_id):
    merged = []
    i = 0
    while i < len(ids):
        if i < len(ids) - 1 and ids[i] == pair[0] and ids[i + 1] == pair[1]:
            merged.append(new_id)
            i += 2
        else:
            merged.append(ids[i])
            i += 1
    return merged


def by_the_shortest_row(ids, new_id):
    pairs = list(dict.fromkeys(zip(ids, ids[1:])))
    best = min(pairs, key=lambda pair: len(_replace(ids, pair, new_id)))
    return best, _replace(ids, best, new_id)


def by_runs(ids, new_id):
    """Runs of equal ids: n equal ones hold n // 2 pairs, and one pair stands at each border."""
    runs = [(key, len(list(group))) for key, group in itertools.groupby(ids)]
    counts = Counter()
    for n, (key, length) in enumerate(runs):
        if length > 1:
            counts[key, key] += length // 2
        if n + 1 < len(runs):
            counts[key, runs[n + 1][0]] += 1
    best = counts.most_common(1)[0][0]
    return [best, _replace(ids, best, new_id)]


def remembering_the_last_place(ids, new_id):
    counts, used = Counter(), {}
    for i, pair in enumerate(zip(ids, ids[1:])):
        if used.get(pair) != i - 1:
            counts[pair] += 1
            used[pair] = i
    best = max(counts, key=counts.get)
    return best, _replace(ids, best, new_id)


RIGHT = [by_the_shortest_row, by_runs, remembering_the_last_place]


def _choice(ids):
    return by_the_shortest_row(ids, -1)[0]


def counter_of_zip(ids, new_id):
    best = Counter(zip(ids, ids[1:])).most_common(1)[0][0]
    return best, _replace(ids, best, new_id)


def least_common(ids, new_id):
    counts = Counter(zip(ids, ids[1:]))
    best = min(counts, key=counts.get)
    return best, _replace(ids, best, new_id)


def larger_pair_wins(ids, new_id):
    runs = {pair: len(ids) - len(_replace(ids, pair, new_id)) for pair in zip(ids, ids[1:])}
    best = max(sorted(runs, reverse=True), key=runs.get)
    return best, _replace(ids, best, new_id)


def later_wins(ids, new_id):
    best, most = None, 0
    for pair in dict.fromkeys(zip(ids, ids[1:])):
        gain = len(ids) - len(_replace(ids, pair, new_id))
        if gain >= most:
            best, most = pair, gain
    return best, _replace(ids, best, new_id)


def first_occurrence_only(ids, new_id):
    best = _choice(ids)
    for i in range(len(ids) - 1):
        if (ids[i], ids[i + 1]) == best:
            return best, ids[:i] + [new_id] + ids[i + 2 :]


def forgot_to_skip(ids, new_id):
    best = _choice(ids)
    return best, [new_id if (a, b) == best else a for a, b in zip(ids, [*ids[1:], None])]


def stops_early(ids, new_id):
    best, merged, i = _choice(ids), [], 0
    while i < len(ids) - 1:
        if (ids[i], ids[i + 1]) == best:
            merged.append(new_id)
            i += 2
        else:
            merged.append(ids[i])
            i += 1
    return best, merged


def only_counted(ids, new_id):
    return _choice(ids), ids


def no_pair(ids, new_id):
    return _replace(ids, _choice(ids), new_id)


WRONG = {
    "overlapping pairs counted twice": [counter_of_zip],
    "the rarest pair": [least_common],
    "ties broken otherwise": [larger_pair_wins, later_wins],
    "merged only once": [first_occurrence_only],
    "second half still there": [forgot_to_skip],
    "last id lost": [stops_early],
    "pair found, row unchanged": [only_counted],
    "only the row": [no_pair],
}
