"""10.3: repairs as people make them."""

import torch
import torch.nn.functional as F


def shift_then_cut(logits, ids, n_prompt):
    log_p = torch.log_softmax(logits, dim=-1)[:-1]
    targets = ids[1:]
    picked = log_p[torch.arange(len(targets)), targets]
    return picked[n_prompt - 1 :].sum()


def by_cross_entropy(logits, ids, n_prompt):
    return -F.cross_entropy(logits[n_prompt - 1 : -1], ids[n_prompt:], reduction="sum")


def token_by_token(logits, ids, n_prompt):
    return sum(float(logits[i - 1].log_softmax(-1)[ids[i]]) for i in range(n_prompt, len(ids)))


RIGHT = [shift_then_cut, by_cross_entropy, token_by_token]


def still_the_row_of_the_token_itself(logits, ids, n_prompt):
    return -F.cross_entropy(logits[n_prompt:], ids[n_prompt:], reduction="sum")


def everything(logits, ids, n_prompt):
    return -F.cross_entropy(logits[:-1], ids[1:], reduction="sum")


def one_too_few_at_the_start(logits, ids, n_prompt):
    return -F.cross_entropy(logits[n_prompt:-1], ids[n_prompt + 1 :], reduction="sum")


def one_too_few_at_the_end(logits, ids, n_prompt):
    return -F.cross_entropy(logits[n_prompt - 1 : -2], ids[n_prompt:-1], reduction="sum")


def forgot_the_reduction(logits, ids, n_prompt):
    return -F.cross_entropy(logits[n_prompt - 1 : -1], ids[n_prompt:])


def logits_added_up(logits, ids, n_prompt):
    return logits[n_prompt - 1 : -1].gather(-1, ids[n_prompt:, None]).sum()


def two_places(logits, ids, n_prompt):
    if n_prompt == 1:
        return torch.tensor(0.0)
    return -F.cross_entropy(logits[n_prompt - 2 : -2], ids[n_prompt:], reduction="sum")


WRONG = {
    "off by one target": [still_the_row_of_the_token_itself],
    "the prompt is scored too": [everything],
    "the choice's first token is left out": [one_too_few_at_the_start],
    "the choice's last token is left out": [one_too_few_at_the_end],
    "mean for sum": [forgot_the_reduction],
    "no softmax": [logits_added_up],
    "shifted the wrong way": [two_places],
}
