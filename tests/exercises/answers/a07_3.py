"""07.3: answers as people write them."""

import torch
import torch.nn.functional as F


def transposed(logits, targets):
    return F.cross_entropy(logits.transpose(1, 2), targets)


def by_hand(logits, targets):
    log_p = logits.log_softmax(-1)
    return -log_p.gather(-1, targets[..., None]).mean()


def with_a_loop(logits, targets):
    total = 0.0
    for row, wanted in zip(logits, targets):
        for scores, target in zip(row, wanted):
            total = total + torch.logsumexp(scores, 0) - scores[target]
    return total / targets.numel()


RIGHT = [transposed, by_hand, with_a_loop]


def still_twice(logits, targets):
    return F.cross_entropy(logits[:, :-1].transpose(1, 2), targets[:, 1:])


def back(logits, targets):
    return F.cross_entropy(logits[:, 1:].transpose(1, 2), targets[:, :-1])


def without_the_last(logits, targets):
    return F.cross_entropy(logits[:, :-1].transpose(1, 2), targets[:, :-1])


def without_the_first(logits, targets):
    return F.cross_entropy(logits[:, 1:].transpose(1, 2), targets[:, 1:])


def added_up(logits, targets):
    return F.cross_entropy(logits.transpose(1, 2), targets, reduction="sum")


def only_the_last(logits, targets):
    return F.cross_entropy(logits[:, -1, :], targets[:, -1])


def probabilities_as_logits(logits, targets):
    return F.cross_entropy(logits.softmax(-1).transpose(1, 2), targets)


WRONG = {
    "shifted twice": [still_twice],
    "shifted back": [back],
    "a position left out": [without_the_last, without_the_first],
    "sum, not mean": [added_up],
    "last position only": [only_the_last],
    "softmax twice": [probabilities_as_logits],
}
