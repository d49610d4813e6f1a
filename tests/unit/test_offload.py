"""Offloaded experts: the LRU against a slow list, and the same logits as the plain model however few experts fit."""

import random

import pytest

from minimistral.offload import LRU, lru_hits


def slow_lru(keys, capacity):
    """The keys used last, newest at the end; (hits, misses, held)."""
    recent, hits = [], 0
    for key in keys:
        hits += key in recent[-capacity:]
        recent = [other for other in recent if other != key] + [key]
    return hits, len(keys) - hits, recent[-capacity:]


@pytest.mark.parametrize("capacity", [1, 2, 3, 5, 8, 20])
@pytest.mark.parametrize("seed", range(3))
def test_lru_is_the_list_of_the_last_used(capacity, seed):
    draw = random.Random(seed)
    keys = [(draw.randrange(2), min(draw.randrange(8), draw.randrange(8))) for _ in range(400)]
    held, inside = LRU(capacity), {}
    for i, key in enumerate(keys):
        slot, hit = held.use(key)
        assert hit == (inside.get(slot) == key)  # what the slot holds decides, so no two keys share one
        inside[slot] = key
        assert 0 <= slot < capacity
        assert held.keys == slow_lru(keys[: i + 1], capacity)[2]
    hits, misses, _ = slow_lru(keys, capacity)
    assert (held.hits, held.misses) == (hits, misses)
    assert held.hit_rate == hits / 400
    assert lru_hits([[key] for key in keys], capacity) == (hits, misses)


def test_steps_by_hand():
    assert lru_hits([[0, 1], [0, 2], [0, 1]], 2) == (2, 4)
    assert lru_hits([{1, 0}, {2, 0}, {1, 0}], 2) == (2, 4)  # a set goes in ascending order
    assert lru_hits([[1, 0], [2, 0], [1, 0]], 2) == (2, 4)
    assert lru_hits([], 2) == (0, 0)
    assert LRU(2).hit_rate == 0.0


@pytest.mark.parametrize("capacity", [0, -1, True, 2.0])
def test_a_capacity_that_holds_nothing_is_refused(capacity):
    with pytest.raises(ValueError, match="1 or more"):
        lru_hits([[0]], capacity)
