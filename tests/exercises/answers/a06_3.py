"""06.3: repairs as people make them."""

import torch


def rolled(keys, n_seen):
    return keys.roll(-(n_seen % len(keys)), 0) if n_seen > len(keys) else keys[:n_seen]


def two_pieces(keys, n_seen):
    if n_seen < len(keys):
        return keys[:n_seen]
    start = n_seen % len(keys)
    return torch.cat([keys[start:], keys[:start]])


def one_by_one(keys, n_seen):
    past = [keys[p % len(keys)] for p in range(max(0, n_seen - len(keys)), n_seen)]
    return torch.stack(past) if past else keys[:0]


RIGHT = [rolled, two_pieces, one_by_one]


def slot_order(keys, n_seen):
    return keys[:n_seen]


def wrong_direction(keys, n_seen):
    return keys.roll(n_seen, 0) if n_seen > len(keys) else keys[:n_seen]


def always_rolled(keys, n_seen):
    return keys.roll(-n_seen, 0)[:n_seen]


def from_the_newest(keys, n_seen):
    if n_seen <= len(keys):
        return keys[:n_seen]
    start = (n_seen - 1) % len(keys)
    return torch.cat([keys[start:], keys[:start]])


def from_the_second(keys, n_seen):
    if n_seen < len(keys):
        return keys[:n_seen]
    start = (n_seen + 1) % len(keys)
    return torch.cat([keys[start:], keys[:start]])


def backwards(keys, n_seen):
    past = [p % len(keys) for p in range(n_seen - 1, max(0, n_seen - len(keys)) - 1, -1)]
    return keys[torch.tensor(past, dtype=torch.int64)]


def whole_buffer(keys, n_seen):
    return torch.cat([keys[n_seen % len(keys) :], keys[: n_seen % len(keys)]]) if n_seen > len(keys) else keys


def since_the_wrap(keys, n_seen):
    return keys[: n_seen % len(keys)] if n_seen % len(keys) else keys[:n_seen]


WRONG = {
    "still in the order of the slots": [slot_order],
    "turned the wrong way": [wrong_direction],
    "turned before it is full": [always_rolled],
    "the newest comes first": [from_the_newest],
    "turned one slot too far": [from_the_second],
    "newest first": [backwards],
    "empty slots are returned": [whole_buffer],
    "only this lap": [since_the_wrap],
}
