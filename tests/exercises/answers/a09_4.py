"""09.4: answers as people write them."""

import math

import torch


def one_by_one(p, n_tokens):
    return sum(1 - (1 - chance) ** n_tokens for chance in p.tolist())


def all_but_the_idle(p, n_tokens):
    return len(p) - torch.exp(n_tokens * torch.log1p(-p)).sum()


def token_by_token(p, n_tokens):
    idle = torch.ones_like(p)
    for _ in range(n_tokens):
        idle = idle * (1 - p)
    return (1 - idle).sum()


RIGHT = [one_by_one, all_but_the_idle, token_by_token]


def the_formula_of_the_text(p, n_tokens):
    return 8 * (1 - (3 / 4) ** n_tokens) if len(p) == 8 else len(p) * (1 - (1 - p.mean()) ** n_tokens)


def choices(p, n_tokens):
    return p.sum() * n_tokens


def choices_at_most_all(p, n_tokens):
    return min(len(p), math.fsum(p.tolist()) * n_tokens)


def nobody(p, n_tokens):
    return torch.pow(1 - p, n_tokens).sum()


def everybody(p, n_tokens):
    return torch.pow(p, n_tokens).sum()


def one_minus_everybody(p, n_tokens):
    return len(p) - torch.pow(p, n_tokens).sum()


def mean_for_sum(p, n_tokens):
    return (1 - (1 - p) ** n_tokens).mean()


def not_added_up(p, n_tokens):
    return 1 - (1 - p) ** n_tokens


WRONG = {
    "as if the load were even": [the_formula_of_the_text],
    "choices counted, not experts": [choices, choices_at_most_all],
    "the idle ones": [nobody],
    "chosen by every token": [everybody],
    "not chosen by every token": [one_minus_everybody],
    "a share of E": [mean_for_sum],
    "a chance for each": [not_added_up],
}
