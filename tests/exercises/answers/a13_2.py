"""13.2: answers as people write them."""

import statistics

from minimistral.offload import lru_hits


def own_rate(choices, capacity):
    held, hits = [], 0
    for pair in choices.tolist():
        for expert in pair:
            if expert in held:
                hits += 1
                held.remove(expert)
            elif len(held) == capacity:
                held.pop(0)
            held.append(expert)
    return hits / choices.numel()


def by_hand(choices, capacity, orders):
    return own_rate(choices, capacity) - statistics.mean(own_rate(choices[order], capacity) for order in orders)


def by_hits(choices, capacity, orders):
    hits = lru_hits(choices.tolist(), capacity)[0]
    shuffled = [lru_hits(choices[order].tolist(), capacity)[0] for order in orders.tolist()]
    return (hits - sum(shuffled) / len(shuffled)) / choices.numel()


RIGHT = [by_hand, by_hits]


def whole_rate(choices, capacity, orders):
    return own_rate(choices, capacity)


def beyond_even(choices, capacity, orders):
    return own_rate(choices, capacity) - capacity / 8


def shuffled_only(choices, capacity, orders):
    return statistics.mean(own_rate(choices[order], capacity) for order in orders)


def turned(choices, capacity, orders):
    return -by_hand(choices, capacity, orders)


def first_order(choices, capacity, orders):
    return own_rate(choices, capacity) - own_rate(choices[orders[0]], capacity)


def counts(choices, capacity, orders):
    return by_hand(choices, capacity, orders) * choices.numel()


WRONG = {
    "load taken for order": [whole_rate],
    "an even load": [beyond_even],
    "the load alone": [shuffled_only],
    "wrong sign": [turned],
    "one order": [first_order],
    "hits, not their share": [counts],
}
