"""00.2: answers as people write them."""

import torch


def by_hand(logits, temperature):
    exponentials = torch.exp(logits / temperature)
    return exponentials / exponentials.sum()


def with_the_largest_taken_off(logits, temperature):
    scaled = (logits - logits.max()) / temperature
    return scaled.exp() / scaled.exp().sum()


def with_a_list(logits, temperature):
    return [float(p) for p in (logits * (1 / temperature)).softmax(0)]


RIGHT = [by_hand, with_the_largest_taken_off, with_a_list]


def times(logits, temperature):
    return (logits * temperature).softmax(-1)


def too_late(logits, temperature):
    return logits.softmax(-1) / temperature


def at_one(logits, temperature):
    return logits.softmax(-1)


def only_scaled(logits, temperature):
    return logits / temperature


def shares(logits, temperature):
    scaled = logits / temperature
    return scaled / scaled.sum()


def unnormalised(logits, temperature):
    return (logits / temperature).exp()


WRONG = {
    "multiplied": [times],
    "divided after the softmax": [too_late],
    "temperature not used": [at_one],
    "no softmax": [only_scaled],
    "shares of the logits": [shares],
    "not divided by the sum": [unnormalised],
}
