"""08.3: repairs as people make them."""

import torch
import torch.nn.functional as F


def one_softmax_kept(x, gate, k):
    p = (x @ gate.T).softmax(-1)
    weights, ids = p.topk(k, dim=-1)
    f = torch.bincount(ids.flatten(), minlength=len(gate)) / ids.numel()
    return weights / weights.sum(-1, keepdim=True), len(gate) * (f * p.mean(0)).sum()


def after_the_choice(x, gate, k):
    logits = F.linear(x, gate)
    top, ids = logits.topk(k, dim=-1)
    f = F.one_hot(ids, len(gate)).float().mean(dim=(0, 1))
    return top.softmax(-1), (f @ logits.softmax(-1).mean(0)) * len(gate)


RIGHT = [one_softmax_kept, after_the_choice]


def renamed_but_still_twice(x, gate, k):
    probs = (x @ gate.T).softmax(-1)
    weights, ids = probs.topk(k, dim=-1)
    f = torch.bincount(ids.flatten(), minlength=len(gate)) / ids.numel()
    return weights / weights.sum(-1, keepdim=True), len(gate) * (f * probs.softmax(-1).mean(0)).sum()


def first_softmax_deleted(x, gate, k):
    logits = x @ gate.T
    weights, ids = logits.topk(k, dim=-1)
    f = torch.bincount(ids.flatten(), minlength=len(gate)) / ids.numel()
    return weights / weights.sum(-1, keepdim=True), len(gate) * (f * logits.softmax(-1).mean(0)).sum()


def no_softmax_in_the_loss(x, gate, k):
    logits = x @ gate.T
    weights, ids = logits.softmax(-1).topk(k, dim=-1)
    f = torch.bincount(ids.flatten(), minlength=len(gate)) / ids.numel()
    return weights / weights.sum(-1, keepdim=True), len(gate) * (f * logits.mean(0)).sum()


def softmax_on_top(x, gate, k):
    p = (x @ gate.T).softmax(-1)
    weights, ids = p.topk(k, dim=-1)
    f = torch.bincount(ids.flatten(), minlength=len(gate)) / ids.numel()
    return weights.softmax(-1), len(gate) * (f * p.mean(0)).sum()


def division_lost(x, gate, k):
    p = (x @ gate.T).softmax(-1)
    weights, ids = p.topk(k, dim=-1)
    f = torch.bincount(ids.flatten(), minlength=len(gate)) / ids.numel()
    return weights, len(gate) * (f * p.mean(0)).sum()


def chosen_only(x, gate, k):
    top, ids = (x @ gate.T).topk(k, dim=-1)
    weights = top.softmax(-1)
    f = torch.bincount(ids.flatten(), minlength=len(gate)) / ids.numel()
    P = torch.zeros(len(x), len(gate)).scatter(-1, ids, weights).mean(0)
    return weights, len(gate) * (f * P).sum()


WRONG = {
    "softmax twice": [renamed_but_still_twice],
    "weights from raw logits": [first_softmax_deleted],
    "loss from raw logits": [no_softmax_in_the_loss],
    "softmax twice in the weights": [softmax_on_top],
    "not renormalised": [division_lost],
    "P of the chosen alone": [chosen_only],
}
