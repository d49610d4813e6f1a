"""10.3, a bug hunt: each token of the choice is scored by the row that has already read it."""

import random

import torch
from torch import Tensor

from minimistral.lab.exercise import Exercise, Mistake, normal


def mended_score(logits: Tensor, ids: Tensor, n_prompt: int) -> Tensor:
    log_p = logits.log_softmax(dim=-1)  # (T, V)
    choice = ids[n_prompt:]
    rows = log_p[n_prompt - 1 : -1]
    return rows.gather(-1, choice[:, None]).sum()


def given(logits: Tensor, ids: Tensor, n_prompt: int) -> Tensor:
    log_p = logits.log_softmax(dim=-1)  # (T, V)
    choice = ids[n_prompt:]
    rows = log_p[n_prompt:]
    return rows.gather(-1, choice[:, None]).sum()


def cases(draw: random.Random) -> list[tuple]:
    found = []
    for n_prompt, n_choice, vocabulary in ((2, 1, 5), (4, 3, 7), (3, 5, 6), (1, 2, 9)):
        ids = torch.tensor([draw.randrange(vocabulary) for _ in range(n_prompt + n_choice)])
        found.append((2 * normal(draw, len(ids), vocabulary), ids, n_prompt))
    return found


def _picked(logits: Tensor, ids: Tensor) -> Tensor:
    """(T - 1,): what each row says of the token after it."""
    return logits.log_softmax(-1)[:-1].gather(-1, ids[1:, None])[:, 0]


def _prompt_too(logits: Tensor, ids: Tensor, n_prompt: int) -> Tensor:
    return _picked(logits, ids).sum()


def _first_left_out(logits: Tensor, ids: Tensor, n_prompt: int) -> Tensor:
    return _picked(logits, ids)[n_prompt:].sum()


def _last_left_out(logits: Tensor, ids: Tensor, n_prompt: int) -> Tensor:
    return _picked(logits, ids)[n_prompt - 1 : -1].sum()


def _mean(logits: Tensor, ids: Tensor, n_prompt: int) -> Tensor:
    return _picked(logits, ids)[n_prompt - 1 :].mean()


def _raw(logits: Tensor, ids: Tensor, n_prompt: int) -> Tensor:
    return logits[n_prompt - 1 : -1].gather(-1, ids[n_prompt:, None]).sum()


def _two_back(logits: Tensor, ids: Tensor, n_prompt: int) -> Tensor:
    log_p = logits.log_softmax(-1)
    return log_p[n_prompt - 2 : -2].gather(-1, ids[n_prompt:, None]).sum() if n_prompt > 1 else log_p.new_zeros(())


EXERCISE = Exercise(
    id="10.3",
    title="Find the bug: a model that fails every test",
    minutes=10,
    difficulty=2,
    cases=cases,
    solution=mended_score,
    given=given,
    mistakes=(
        Mistake(
            "off by one target",
            "Row i has read token i already, and says what it expects at i + 1. These rows are asked for tokens that they have "
            "just read.",
            wrong=given,
        ),
        Mistake(
            "the prompt is scored too",
            "Rows and tokens fit now, but all of them are counted: the prompt's tokens too. Only the choice's may count.",
            wrong=_prompt_too,
        ),
        Mistake(
            "the choice's first token is left out",
            "Rows and tokens fit, but the first token of the choice is missing. It is predicted by the last row of the prompt.",
            wrong=_first_left_out,
        ),
        Mistake(
            "the choice's last token is left out",
            "Rows and tokens fit, but one is missing at the end. Only the last *row* has nothing to predict.",
            wrong=_last_left_out,
        ),
        Mistake(
            "mean for sum",
            "This is the mean over the choice's tokens: another scoring rule. The sum was asked for.",
            wrong=_mean,
        ),
        Mistake(
            "no softmax",
            "These are logits. Their logarithms of probabilities come from log_softmax over the vocabulary.",
            wrong=_raw,
        ),
        Mistake(
            "shifted the wrong way",
            "Now the rows lie two places before their tokens. One place is right.",
            wrong=_two_back,
        ),
    ),
    nudge="Write down ids 0 1 2 3 4 with two of prompt. Which row is computed from ids 0 and 1? Which token does it speak about?",
    shapes="""
| name | shape | meaning |
|---|---|---|
| `logits` | (T, V) | row i was computed from tokens 0 to i |
| `ids` | (T,) | the prompt's tokens, then the choice's |
| `ids[n_prompt:]` | as many as the choice has | what is scored |
| rows | as many, V | those that speak about them |
""",
    skeleton="""
def mended_score(logits, ids, n_prompt):
    log_p = logits.log_softmax(dim=-1)
    choice = ids[n_prompt:]
    rows = log_p[____ : ____]
    return rows.gather(-1, ____).sum()
""",
    explanation="The row that speaks about a token stands one place before it. So the choice's rows begin with the prompt's last "
    "one, and the very last row predicts a token that is not there. Nothing in the shapes gives the bug away: there are as many "
    "rows as tokens in both versions.",
    report="lingua shipped this kind: bos was counted into the prompt, so the scored part began one place late. Of a "
    "one-letter answer nothing was left, every choice scored 0, and MMLU stayed at 0.229 all through training: "
    "https://github.com/facebookresearch/lingua/issues/28 (2024).",
)
