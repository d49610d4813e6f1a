"""01.4: cross-entropy by hand: bits a byte from logits."""

import math
import random

import torch
from torch import Tensor

from minimistral.lab.exercise import Exercise, Mistake, normal


def my_bits_a_byte(logits: Tensor, targets: Tensor, n_bytes: int) -> float:
    shifted = logits - logits.max(dim=1, keepdim=True).values  # the same probabilities, and exp cannot overflow
    log_p = shifted - shifted.exp().sum(dim=1, keepdim=True).log()  # (T, V)
    chosen = log_p[torch.arange(len(targets)), targets]  # (T,)
    bits = -chosen / math.log(2)
    return bits.sum().item() / n_bytes


def cases(draw: random.Random) -> list[tuple]:
    found = []
    for n_tokens, n_vocab, scale in ((1, 2, 1.0), (3, 4, 1.5), (6, 6, 2.0), (5, 9, 2.0), (4, 5, 300.0)):
        targets = torch.tensor([draw.randrange(n_vocab) for _ in range(n_tokens)])
        found.append((normal(draw, n_tokens, n_vocab) * scale, targets, n_tokens * 2 + draw.randint(1, 5)))
    return found


def _log_p(logits: Tensor, targets: Tensor, axis: int = 1) -> Tensor:
    return logits.log_softmax(axis)[torch.arange(len(targets)), targets]


def _nats(logits: Tensor, targets: Tensor, n_bytes: int) -> float:
    return -_log_p(logits, targets).sum().item() / n_bytes


def _divided_twice(logits: Tensor, targets: Tensor, n_bytes: int) -> float:
    return -_log_p(logits, targets).sum().item() * math.log(2) / n_bytes


def _per_token(logits: Tensor, targets: Tensor, n_bytes: int) -> float:
    return -_log_p(logits, targets).mean().item() / math.log(2)


def _mean_over_bytes(logits: Tensor, targets: Tensor, n_bytes: int) -> float:
    return _per_token(logits, targets, n_bytes) / n_bytes


def _not_divided(logits: Tensor, targets: Tensor, n_bytes: int) -> float:
    return -_log_p(logits, targets).sum().item() / math.log(2)


def _averaged(logits: Tensor, targets: Tensor, n_bytes: int) -> float:
    p = _log_p(logits, targets).exp().mean().clamp(min=1e-45)
    return -math.log2(p.item()) * len(targets) / n_bytes


def _averaged_only(logits: Tensor, targets: Tensor, n_bytes: int) -> float:
    return -math.log2(_log_p(logits, targets).exp().mean().clamp(min=1e-45).item())


def _wrong_axis(logits: Tensor, targets: Tensor, n_bytes: int) -> float:
    return -_log_p(logits, targets, 0).sum().item() / math.log(2) / n_bytes


def _negative(logits: Tensor, targets: Tensor, n_bytes: int) -> float:
    return -my_bits_a_byte(logits, targets, n_bytes)


def _no_softmax(logits: Tensor, targets: Tensor, n_bytes: int) -> float:
    return -logits[torch.arange(len(targets)), targets].sum().item() / math.log(2) / n_bytes


def _is_perplexity(inputs: tuple, got: object, expected: float) -> bool:
    logits, targets, _ = inputs
    number, perplexity = _number(got), math.exp(min(-_log_p(logits, targets).mean().item(), 80.0))
    return len(targets) == 6 and number is not None and abs(number / perplexity - 1) < 1e-3


def _entropy(logits: Tensor, targets: Tensor, n_bytes: int) -> float:
    p = logits.softmax(1)
    return -(p * logits.log_softmax(1)).sum().item() / math.log(2) / n_bytes


def _number(value: object) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError):
        return None


def _overflowed(inputs: tuple, got: object, expected: float) -> bool:
    number = _number(got)
    return inputs[0].abs().max() > 89 and number is not None and not math.isfinite(number)


EXERCISE = Exercise(
    id="01.4",
    title="Bits a byte, by hand",
    minutes=10,
    difficulty=2,
    cases=cases,
    solution=my_bits_a_byte,
    mistakes=(
        Mistake(
            "nats, not bits",
            "This is in nats. log is the natural logarithm; for bits divide by log(2), or use log2.",
            wrong=_nats,
        ),
        Mistake(
            "nats, not bits",
            "The step from nats to bits goes the other way: a nat is 1.44 bits, so *divide* by log(2) = 0.693.",
            wrong=_divided_twice,
        ),
        Mistake(
            "per token, not per byte",
            "These are bits a *token*. Add the bits of all tokens, and divide by n_bytes: a vocabulary with longer pieces must "
            "not look worse only because it has fewer of them.",
            wrong=_per_token,
        ),
        Mistake(
            "mean divided again",
            "You took the mean over tokens and then divided by bytes as well. *Add up* the bits, then divide by n_bytes.",
            wrong=_mean_over_bytes,
        ),
        Mistake("not divided", "These are the bits of the whole text. Divide by n_bytes.", wrong=_not_divided),
        Mistake(
            "probabilities averaged",
            "You averaged the probabilities and then took the logarithm. A text's probability is a *product*, so its bits add "
            "up: first the logarithm of each, then the sum.",
            wrong=_averaged,
        ),
        Mistake(
            "probabilities averaged",
            "You averaged the probabilities. Take the logarithm of each first, add them up, and divide by n_bytes.",
            wrong=_averaged_only,
        ),
        Mistake(
            "softmax over tokens",
            "The probabilities of one *row* add up to 1: one row is one place in the text, its columns are the pieces that "
            "could come next. Softmax goes over axis 1.",
            wrong=_wrong_axis,
        ),
        Mistake(
            "sign",
            "Bits are never negative: a probability is below 1, so its logarithm needs a minus.",
            wrong=_negative,
        ),
        Mistake("no softmax", "Logits are not probabilities. Softmax first.", wrong=_no_softmax),
        Mistake(
            "perplexity",
            "This is the perplexity, exp of the nats a token. Bits a byte were asked for.",
            seen=_is_perplexity,
        ),
        Mistake(
            "targets not used",
            "This is what the model expects to need (its entropy). The loss asks how likely the piece was that *really* came: "
            "pick the target's column in each row.",
            wrong=_entropy,
        ),
        Mistake(
            "overflow",
            "For logits in the hundreds exp overflows (exp(89) is too large for float32), or a probability becomes 0 and its "
            "logarithm infinite. Subtract the largest logit of each row, and stay with logarithms: log p = logit - log(sum exp).",
            seen=_overflowed,
        ),
    ),
    nudge="Two tokens, two pieces, logits 0 and 0 in both rows: p is 1/2 each time, so 1 bit each. "
    "Four bytes in all: what should come out?",
    shapes="""
| name | shape | meaning |
|---|---|---|
| `logits` | (T, V) | a row for each place, a number for each piece that could come next |
| `targets` | (T,) | the id that really came |
| `logits.softmax(1)` | (T, V) | probabilities; each row adds up to 1 |
| `p[torch.arange(T), targets]` | (T,) | one number from each row |
| result | a number | bits of all tokens together, divided by `n_bytes` |
""",
    skeleton="""
def my_bits_a_byte(logits, targets, n_bytes):
    log_p = logits - ____.exp().sum(dim=____, keepdim=True).log()   # mind overflow
    chosen = log_p[torch.arange(len(targets)), ____]
    bits = -chosen / ____
    ...
""",
    explanation="The logarithm turns the product of probabilities into a sum. Subtracting the largest logit changes nothing "
    "(it divides numerator and denominator alike) and keeps exp small; `log_softmax` and `F.cross_entropy` do it for you.",
    rtol=4e-3,
)
