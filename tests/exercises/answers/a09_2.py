"""09.2: answers as people write them."""

from collections import Counter

import torch


def counters(choices, n_experts):
    chances = []
    for text in choices.tolist():
        chances.append(sum((n / len(text)) ** 2 for n in Counter(text).values()))
    return sum(chances) / len(chances)


def bincount(choices, n_experts):
    f = torch.stack([torch.bincount(text, minlength=n_experts) / len(text) for text in choices])
    return torch.einsum("be,be->b", f, f).mean()


def all_pairs_of_different_tokens(choices, n_experts):
    agree = choices[:, :, None] == choices[:, None, :]
    T = choices.shape[1]
    return (agree.float().sum((1, 2)) - T).mean() / (T * (T - 1))


RIGHT = [counters, bincount, all_pairs_of_different_tokens]


def twelve_and_a_half(choices, n_experts):
    return torch.full((n_experts,), 1 / n_experts).square().sum()


def one_pot(choices, n_experts):
    f = torch.bincount(choices.flatten(), minlength=n_experts) / choices.numel()
    return (f**2).sum()


def count_the_repeats(choices, n_experts):
    pairs = [a == b for text in choices.tolist() for a, b in zip(text, text[1:])]
    return sum(pairs) / len(pairs)


def the_busiest(choices, n_experts):
    return sum(max(Counter(t).values()) / len(t) for t in choices.tolist()) / len(choices)


def mean_for_sum(choices, n_experts):
    f = torch.stack([torch.bincount(t, minlength=n_experts) / len(t) for t in choices])
    return f.pow(2).mean()


def norm(choices, n_experts):
    f = torch.stack([torch.bincount(t, minlength=n_experts) / len(t) for t in choices])
    return f.norm(dim=-1).mean()


def only_the_loads(choices, n_experts):
    return torch.bincount(choices.flatten(), minlength=n_experts) / choices.numel()


WRONG = {
    "the same whatever the load": [twelve_and_a_half],
    "all texts in one pot": [one_pot],
    "what happened": [count_the_repeats],
    "the favourite alone": [the_busiest],
    "a mean of squares": [mean_for_sum],
    "a root": [norm],
    "loads, no chance": [only_the_loads],
}
