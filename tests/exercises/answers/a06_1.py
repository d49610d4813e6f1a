"""06.1: slots as people fill them."""

import torch


def by_formula(n_seen, n_slots):
    slot = torch.arange(n_slots)
    newest = slot + (n_seen - 1 - slot).div(n_slots, rounding_mode="floor") * n_slots
    return torch.where(slot < n_seen, newest, -1)


def only_the_last(n_seen, n_slots):
    held = [-1] * n_slots
    for p in range(max(0, n_seen - n_slots), n_seen):
        held[p % n_slots] = p
    return held


def with_a_pointer(n_seen, n_slots):
    held, pointer = torch.zeros(n_slots, dtype=torch.int64) - 1, 0
    for p in range(n_seen):
        held[pointer] = p
        pointer = 0 if pointer == n_slots - 1 else pointer + 1
    return held


RIGHT = [by_formula, only_the_last, with_a_pointer]


def floor_division(n_seen, n_slots):
    held = [-1] * n_slots
    for p in range(n_seen):
        held[p // n_slots] = p
    return torch.tensor(held)


def shifted(n_seen, n_slots):
    held = []
    for p in range(n_seen):
        held.append(p)
        if len(held) > n_slots:
            held.pop(0)
    return torch.tensor(held + [-1] * (n_slots - len(held)))


def pushed_in_front(n_seen, n_slots):
    held = []
    for p in range(n_seen):
        held = [p, *held][:n_slots]
    return torch.tensor(held + [-1] * (n_slots - len(held)))


def from_zeros(n_seen, n_slots):
    held = torch.zeros(n_slots, dtype=torch.int64)
    for p in range(n_seen):
        held[p % n_slots] = p
    return held


def up_to_n(n_seen, n_slots):
    held = torch.full((n_slots,), -1)
    for p in range(n_seen + 1):
        held[p % n_slots] = p
    return held


def without_the_newest(n_seen, n_slots):
    held = torch.full((n_slots,), -1)
    for p in range(n_seen - 1):
        held[p % n_slots] = p
    return held


def first_come(n_seen, n_slots):
    held = torch.full((n_slots,), -1)
    for p in range(n_seen):
        if held[p % n_slots] < 0:
            held[p % n_slots] = p
    return held


WRONG = {
    "divided, not the remainder": [floor_division],
    "slots in order of time": [shifted],
    "newest first": [pushed_in_front],
    "empty slots look like position 0": [from_zeros],
    "one token too many": [up_to_n],
    "one token too few": [without_the_newest],
    "stops when it is full": [first_come],
}
