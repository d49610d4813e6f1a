"""From logits to one token id: temperature, top-k, top-p, and a draw that anyone can repeat."""

import math
from dataclasses import dataclass
from numbers import Integral, Real

import torch
from torch import Tensor


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen. Temperature 0 takes the likeliest and ignores the other two."""

    temperature: float = 0.0  # divides the logits; 1 leaves the model's own probabilities
    top_p: float = 1.0  # keep the smallest set of tokens whose probability reaches this
    top_k: int | None = None  # keep this many of the likeliest tokens, before top_p counts

    def __post_init__(self):
        if not _is_number(self.temperature) or not 0 <= self.temperature < math.inf:
            raise ValueError(
                f"temperature={self.temperature!r} is not a finite number ≥ 0. Use 0 for the likeliest token, 0.7 for lively text."
            )
        if not _is_number(self.top_p) or not 0 < self.top_p <= 1:
            raise ValueError(f"top_p={self.top_p!r} is not in (0, 1]. Use 1.0 to keep every token.")
        if self.top_k is not None and (not is_integer(self.top_k) or self.top_k < 1):
            raise ValueError(
                f"top_k={self.top_k!r} is not a whole number ≥ 1. Use None to keep every token, 1 for the likeliest."
            )

    def probabilities(self, logits: Tensor) -> Tensor:
        """The distribution to draw from: logits (V,) to float64 (V,) on the CPU, 0 where a filter removed the token.

        The order is temperature, top_k, top_p, as in transformers.
        """
        if self.temperature == 0:
            raise ValueError(
                "at temperature 0 nothing is drawn: the likeliest token is taken. Choose a temperature > 0."
            )
        # The largest logit is taken off first, so that a tiny temperature sends the others to −inf instead of overflowing.
        scores = logits.detach().float().cpu().double()  # (V,)
        scores = (scores - scores.max()) / self.temperature
        if self.top_k is not None and self.top_k < len(scores):
            kth = scores.topk(self.top_k).values[-1]
            scores = scores.masked_fill(scores < kth, -math.inf)  # ties with the k-th stay
        kept = scores.softmax(dim=-1)
        if self.top_p < 1:
            mass, token_ids = kept.sort(descending=True, stable=True)
            likelier = mass.cumsum(dim=-1) - mass  # what stands before each token: the one that crosses top_p stays
            kept[token_ids[likelier >= self.top_p]] = 0.0
        return kept / kept.sum()

    def choose(self, logits: Tensor, generator: torch.Generator) -> int:
        """The next token's id for one row of logits (V,). One random number a token, from `generator` on the CPU."""
        likeliest = int(logits.argmax())
        if not logits[likeliest].isfinite():  # argmax finds NaN before any number
            raise ValueError(
                f"the model's logits hold {float(logits[likeliest])}: no next token can be chosen. Are its weights damaged, "
                "or too large for their dtype? dtype=torch.float32 in load() tells."
            )
        if self.temperature == 0:
            return likeliest
        # Tokens lie on the line from 0 to 1 in the order of their ids, never sorted by probability: rounding may swap
        # two equal tokens in a sort, and a row must get the same token in every batch.
        edges = self.probabilities(logits).cumsum(dim=-1)  # (V,)
        point = torch.rand((), dtype=torch.float64, generator=generator) * edges[-1]
        return int(torch.searchsorted(edges, point, right=True))


def is_integer(value: object) -> bool:
    """Whether `value` is a whole number, Python's or NumPy's. True and False are not numbers here."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)
