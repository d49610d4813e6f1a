"""01.4: the loss as people write it."""

import math

import torch
import torch.nn.functional as F


def with_cross_entropy(logits, targets, n_bytes):
    return F.cross_entropy(logits, targets, reduction="sum") / math.log(2) / n_bytes


def with_logsumexp(logits, targets, n_bytes):
    chosen = logits.gather(1, targets[:, None]).squeeze(1)
    return ((torch.logsumexp(logits, 1) - chosen).sum() / n_bytes / torch.log(torch.tensor(2.0))).item()


def token_by_token(logits, targets, n_bytes):
    bits = 0.0
    for row, target in zip(logits.double(), targets.tolist()):
        top = row.max().item()
        total = sum(math.exp(value - top) for value in row.tolist())
        bits += math.log2(total) - (row[target].item() - top) * math.log2(math.e)
    return bits / n_bytes


RIGHT = [with_cross_entropy, with_logsumexp, token_by_token]


def natural(logits, targets, n_bytes):
    return F.cross_entropy(logits, targets, reduction="sum") / n_bytes


def multiplied_by_log_two(logits, targets, n_bytes):
    return F.cross_entropy(logits, targets, reduction="sum") * 0.6931472 / n_bytes


def mean_of_tokens(logits, targets, n_bytes):
    return F.cross_entropy(logits, targets) / math.log(2)


def mean_then_bytes(logits, targets, n_bytes):
    return F.cross_entropy(logits, targets) / math.log(2) / n_bytes


def mean_probability(logits, targets, n_bytes):
    p = logits.softmax(1)[torch.arange(len(targets)), targets]
    return -torch.log2(p.mean().clamp(min=1e-45)) * len(targets) / n_bytes


def columns_add_to_one(logits, targets, n_bytes):
    p = torch.log_softmax(logits, dim=0)
    return -sum(p[i, t] for i, t in enumerate(targets)) / math.log(2) / n_bytes


def plus(logits, targets, n_bytes):
    return -with_cross_entropy(logits, targets, n_bytes)


def exp_without_care(logits, targets, n_bytes):
    p = logits.exp() / logits.exp().sum(1, keepdim=True)
    return -p[torch.arange(len(targets)), targets].log2().sum() / n_bytes


def log_of_softmax(logits, targets, n_bytes):
    return -torch.log2(logits.softmax(1).gather(1, targets[:, None])).sum() / n_bytes


def exponential_of_the_mean(logits, targets, n_bytes):
    return F.cross_entropy(logits.double(), targets).exp()


WRONG = {
    "nats, not bits": [natural, multiplied_by_log_two],
    "per token, not per byte": [mean_of_tokens],
    "mean divided again": [mean_then_bytes],
    "probabilities averaged": [mean_probability],
    "softmax over tokens": [columns_add_to_one],
    "sign": [plus],
    "overflow": [exp_without_care],
    "perplexity": [exponential_of_the_mean],
}
