"""08.2: answers as people write them."""

import torch
import torch.nn.functional as F


def layer_by_layer(router_logits, k):
    losses = []
    for logits in router_logits:
        n_tokens, n_experts = logits.shape
        ids = logits.topk(k).indices.flatten()
        f = torch.bincount(ids, minlength=n_experts) / (n_tokens * k)
        losses.append(n_experts * (f * logits.softmax(-1).mean(0)).sum())
    return sum(losses) / len(losses)


def one_hot(router_logits, k):
    ids = router_logits.softmax(-1).topk(k).indices
    f = F.one_hot(ids, router_logits.shape[-1]).float().mean(dim=(1, 2))
    P = torch.softmax(router_logits, dim=-1).mean(dim=1)
    return torch.einsum("le,le->l", f, P).mean() * router_logits.shape[-1]


RIGHT = [layer_by_layer, one_hot]


def soft_counts(router_logits, k):
    P = router_logits.softmax(-1).mean(1)
    return router_logits.shape[-1] * (P**2).sum(-1).mean()


def both_choices(router_logits, k):
    ids = router_logits.topk(k).indices
    f = F.one_hot(ids, router_logits.shape[-1]).float().sum(2).mean(1)
    return (router_logits.shape[-1] * (f * router_logits.softmax(-1).mean(1)).sum(-1)).mean()


def all_layers_at_once(router_logits, k):
    logits = router_logits.flatten(0, 1)
    f = F.one_hot(logits.topk(k).indices, logits.shape[-1]).float().mean(dim=(0, 1))
    return logits.shape[-1] * (f * logits.softmax(-1).mean(0)).sum()


def as_transformers_does(router_logits, k):
    logits = router_logits.flatten(0, 1)
    tokens_per_expert = F.one_hot(logits.topk(k).indices, logits.shape[-1]).float().mean(0)
    return (tokens_per_expert * logits.softmax(-1).mean(0)).sum() * logits.shape[-1]


def no_scale(router_logits, k):
    return one_hot(router_logits, k) / router_logits.shape[-1]


def added_up(router_logits, k):
    return one_hot(router_logits, k) * len(router_logits)


def only_the_chosen(router_logits, k):
    top, ids = router_logits.topk(k)
    f = F.one_hot(ids, router_logits.shape[-1]).float().mean(dim=(1, 2))
    P = torch.zeros_like(router_logits).scatter(-1, ids, top.softmax(-1)).mean(1)
    return router_logits.shape[-1] * (f * P).sum(-1).mean()


def forgot_softmax(router_logits, k):
    f = F.one_hot(router_logits.topk(k).indices, router_logits.shape[-1]).float().mean(dim=(1, 2))
    return router_logits.shape[-1] * (f * router_logits.mean(1)).sum(-1).mean()


WRONG = {
    "gradient through f": [soft_counts],
    "f over tokens, not over choices": [both_choices],
    "pooled over layers": [all_layers_at_once, as_transformers_does],
    "without E": [no_scale],
    "summed over layers": [added_up],
    "P of the chosen alone": [only_the_chosen],
    "logits for probabilities": [forgot_softmax],
}
