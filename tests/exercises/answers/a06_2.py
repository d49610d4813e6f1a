"""06.2: ragged batches as people store them."""

import torch


def all_at_once(k, lengths, n_slots):
    step = torch.arange(k.shape[1])
    kept = (step < lengths[:, None]) & (step >= lengths[:, None] - n_slots)
    rows, steps = kept.nonzero(as_tuple=True)
    stored = k.new_zeros(len(k), n_slots, k.shape[-1])
    stored[rows, steps % n_slots] = k[rows, steps]
    return stored


def row_by_row(k, lengths, n_slots):
    rows = []
    for keys, n in zip(k, lengths):
        n = int(n)
        row = torch.zeros(n_slots, k.shape[-1])
        first = max(0, n - n_slots)
        row[torch.arange(first, n) % n_slots] = keys[first:n]
        rows.append(row)
    return torch.stack(rows)


def column_by_column(k, lengths, n_slots):
    stored = torch.zeros(len(k), n_slots, k.shape[-1])
    for p in range(k.shape[1]):
        real = p < lengths
        stored[real, p % n_slots] = k[real, p]
    return stored


RIGHT = [all_at_once, row_by_row, column_by_column]


def as_if_full(k, lengths, n_slots):
    stored = torch.zeros(len(k), n_slots, k.shape[-1])
    for p in range(k.shape[1]):
        stored[:, p % n_slots] = k[:, p]
    return stored


def masked_first(k, lengths, n_slots):
    k = k.clone()
    for row, n in enumerate(lengths.tolist()):
        k[row, n:] = 0
    return as_if_full(k, lengths, n_slots)


def tail_of_the_batch(k, lengths, n_slots):
    stored = torch.zeros(len(k), n_slots, k.shape[-1])
    for p in range(max(0, k.shape[1] - n_slots), k.shape[1]):
        real = p < lengths
        stored[real, p % n_slots] = k[real, p]
    return stored


def packed(k, lengths, n_slots):
    stored = torch.zeros(len(k), n_slots, k.shape[-1])
    for row, n in enumerate(lengths.tolist()):
        last = k[row, :n][-n_slots:]
        stored[row, : len(last)] = last
    return stored


def head(k, lengths, n_slots):
    stored = torch.zeros(len(k), n_slots, k.shape[-1])
    for row, n in enumerate(lengths.tolist()):
        n = min(n, n_slots)
        stored[row, :n] = k[row, :n]
    return stored


def shortest(k, lengths, n_slots):
    stored = torch.zeros(len(k), n_slots, k.shape[-1])
    for p in range(min(lengths.tolist())):
        stored[:, p % n_slots] = k[:, p]
    return stored


def from_the_right(k, lengths, n_slots):
    stored = torch.zeros(len(k), n_slots, k.shape[-1])
    for row, n in enumerate(lengths.tolist()):
        for p in range(k.shape[1] - n, k.shape[1]):
            stored[row, p % n_slots] = k[row, p]
    return stored


WRONG = {
    "padding is stored": [as_if_full],
    "padding erases": [masked_first, tail_of_the_batch],
    "slots in order of time": [packed],
    "keeps the oldest": [head],
    "one length for all": [shortest],
    "padding in front": [from_the_right],
}
