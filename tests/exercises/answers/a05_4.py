"""05.4: repairs as people make them."""

import torch


def with_a_count(position, n_slots):
    return torch.arange(n_slots) < min(position + 1, n_slots)


def two_cases(position, n_slots):
    if position >= n_slots:
        return torch.ones(n_slots, dtype=torch.bool)
    return torch.arange(n_slots) <= position


def token_by_token(position, n_slots):
    visible = [False] * n_slots
    for p in range(position + 1):
        visible[p % n_slots] = True
    return visible


RIGHT = [with_a_count, two_cases, token_by_token]


def still_wrapped(position, n_slots):
    newest = position % n_slots
    return torch.tensor([slot <= newest for slot in range(n_slots)])


def everything(position, n_slots):
    return torch.arange(n_slots) >= 0


def all_but_itself(position, n_slots):
    visible = torch.arange(n_slots) <= position
    visible[position % n_slots] = False
    return visible


def one_late(position, n_slots):
    return torch.arange(n_slots) < min(position, n_slots)


def wrap_one_late(position, n_slots):
    if position <= n_slots:
        return torch.arange(n_slots) <= position % n_slots
    return torch.ones(n_slots, dtype=torch.bool)


WRONG = {
    "slot taken for position": [still_wrapped],
    "reads slots that were never written": [everything],
    "not itself": [all_but_itself],
    "one slot late": [one_late],
    "wrong exactly at the wrap": [wrap_one_late],
}
