"""12.3: answers as people write them."""

import torch


def relative(n_seen, n_new, window):
    n_cached = min(n_seen, window)
    queries = n_cached + torch.arange(n_new)[:, None]
    keys = torch.arange(n_cached + n_new)[None, :]
    return (keys <= queries) & (keys > queries - window)


def by_loops(n_seen, n_new, window):
    positions = list(range(max(0, n_seen - window), n_seen + n_new))
    rows = [[n_seen + i - window < p <= n_seen + i for p in positions] for i in range(n_new)]
    return torch.tensor(rows)


RIGHT = [relative, by_loops]


def counted_from_zero(n_seen, n_new, window):
    n_cached = min(n_seen, window)
    return torch.tensor(
        [[n_seen + i - window < key <= n_seen + i for key in range(n_cached + n_new)] for i in range(n_new)]
    )


def all_cached(n_seen, n_new, window):
    n_cached = min(n_seen, window)
    return torch.cat([torch.ones(n_new, n_cached), torch.ones(n_new, n_new).tril()], dim=1).bool()


def wide(n_seen, n_new, window):
    positions = list(range(max(0, n_seen - window), n_seen + n_new))
    return torch.tensor([[n_seen + i - window <= p <= n_seen + i for p in positions] for i in range(n_new)])


def not_causal(n_seen, n_new, window):
    positions = list(range(max(0, n_seen - window), n_seen + n_new))
    return torch.tensor([[n_seen + i - window < p for p in positions] for i in range(n_new)])


def alone(n_seen, n_new, window):
    mask = relative(n_seen, n_new, window)
    return torch.cat([torch.zeros_like(mask[:, : min(n_seen, window)]), mask[:, min(n_seen, window) :]], dim=1)


WRONG = {
    "as given": [counted_from_zero],
    "window lost": [all_cached],
    "one key too many": [wide],
    "future seen": [not_causal],
    "cache unused": [alone],
}
