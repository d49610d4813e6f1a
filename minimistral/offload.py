"""Experts that do not fit the device: kept in host memory or in a file, the last used ones in a few slots on the device."""

from collections import OrderedDict
from collections.abc import Collection, Hashable, Iterable


class LRU:
    """Which of `capacity` slots holds which key; a new key takes a free slot, else that of the key unused the longest."""

    def __init__(self, capacity: int):
        if isinstance(capacity, bool) or not isinstance(capacity, int) or capacity < 1:
            raise ValueError(
                f"capacity={capacity!r}: give a whole number of 1 or more, how many experts are held at once."
            )
        self.capacity = capacity
        self.hits = self.misses = 0
        self._slots: OrderedDict[Hashable, int] = OrderedDict()  # key: its slot; the key unused the longest comes first

    def use(self, key: Hashable) -> tuple[int, bool]:
        """The key's slot, and whether the key was there already (a hit) or has to be brought into it (a miss)."""
        if key in self._slots:
            self.hits += 1
            self._slots.move_to_end(key)
            return self._slots[key], True
        self.misses += 1
        is_full = len(self._slots) == self.capacity
        slot = self._slots.popitem(last=False)[1] if is_full else len(self._slots)
        self._slots[key] = slot
        return slot, False

    def __contains__(self, key: Hashable) -> bool:
        return key in self._slots

    @property
    def keys(self) -> list[Hashable]:
        """What is held, the key unused the longest first."""
        return list(self._slots)

    @property
    def hit_rate(self) -> float:
        """The share of uses that found their key; 0.0 before the first."""
        return self.hits / max(1, self.hits + self.misses)


def lru_hits(choices: Iterable[Collection[Hashable]], capacity: int) -> tuple[int, int]:
    """How often an expert would have been on the device, and how often not: (hits, misses).

    choices: for each step (a token, or a token in a layer) the keys that it uses: expert ids, or (layer, expert) pairs
    when all layers share the slots. A list is used in its order, a set in ascending order, as `MoE` runs its experts.

    >>> lru_hits([[0, 1], [0, 2], [0, 1]], capacity=2)  # 0 stays, 2 takes the slot of 1, and then 1 that of 2
    (2, 4)
    """
    held = LRU(capacity)
    for step in choices:
        for key in sorted(step) if isinstance(step, (set, frozenset)) else step:
            held.use(key)
    return held.hits, held.misses
