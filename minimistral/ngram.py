"""The model to beat: n-grams with interpolated Kneser-Ney smoothing, which only count."""

import numpy as np


class KneserNey:
    """Probabilities of the next token from counts of the last n − 1 tokens and it.

    p_n(w | h) = max(c(hw) − d, 0) / c(h) + d · N(h) / c(h) · p_{n−1}(w | shorter h), where c counts occurrences for the
    longest order and distinct tokens before (continuations) for the shorter ones, N(h) is how many different tokens
    follow h, and d = n1 / (n1 + 2 n2) of each order. Below one token stands the uniform distribution.
    Sources: Kneser and Ney, ICASSP 1995; Chen and Goodman 1998 (TR-10-98), section 2.7, for the interpolated form.
    """

    def __init__(self, ids: np.ndarray, order: int, vocab_size: int):
        """ids: the training text, 1-D whole numbers below vocab_size; order: n, 1 or more; vocab_size ** n below 2^63."""
        if order < 1 or vocab_size**order >= 2**63:
            raise ValueError(f"order={order}: give 1 or more, such that {vocab_size} ** order stays below 2^63.")
        if len(ids) < order:
            raise ValueError(f"the text has {len(ids)} tokens, and one {order}-gram needs {order}.")
        self.order, self.vocab_size = order, vocab_size
        grams, counts = np.unique(_windows(ids, order, vocab_size), return_counts=True)
        self._levels = []
        for n in range(order, 0, -1):
            self._levels.append(_Level(grams, counts, vocab_size))
            # What stands behind the first token, counted once for each different first token: continuation counts.
            grams, counts = np.unique(grams % vocab_size ** (n - 1), return_counts=True)

    def bits(self, ids: np.ndarray) -> float:
        """Bits of a whole text, token by token; its first tokens are predicted from what stands before them."""
        ids = np.asarray(ids, dtype=np.int64)
        p = np.full(len(ids), 1 / self.vocab_size)
        for level, n in zip(reversed(self._levels), range(1, self.order + 1)):
            if len(ids) >= n:
                p[n - 1 :] = level.mix(_windows(ids, n, self.vocab_size), p[n - 1 :])
        return float(-np.log2(p).sum())


class _Level:
    """The counts of one order: sorted grams, as numbers in base V, and what is known of each history."""

    def __init__(self, grams: np.ndarray, counts: np.ndarray, vocab_size: int):
        self.grams, self.counts, self.vocab_size = grams, counts, vocab_size
        once, twice = (counts == 1).sum(), (counts == 2).sum()
        self.discount = once / (once + 2 * twice) if once and twice else 0.5
        self.histories, first = np.unique(grams // vocab_size, return_index=True)
        self.totals = np.add.reduceat(counts, first)
        self.followers = np.diff(np.append(first, len(grams)))

    def mix(self, grams: np.ndarray, shorter: np.ndarray) -> np.ndarray:
        """The probability of each gram's last token, given that of the order below; that alone for an unknown history."""
        counts = _look_up(self.grams, self.counts, grams)
        histories = grams // self.vocab_size
        totals = _look_up(self.histories, self.totals, histories)
        followers = _look_up(self.histories, self.followers, histories)
        known = np.maximum(totals, 1)
        mixed = (np.maximum(counts - self.discount, 0) + self.discount * followers * shorter) / known
        return np.where(totals > 0, mixed, shorter)


def _windows(ids: np.ndarray, n: int, vocab_size: int) -> np.ndarray:
    """Every run of n tokens as one number in base V, int64."""
    ids = np.asarray(ids, dtype=np.int64)
    packed = np.zeros(len(ids) - n + 1, dtype=np.int64)
    for i in range(n):
        packed = packed * vocab_size + ids[i : len(ids) - n + 1 + i]
    return packed


def _look_up(keys: np.ndarray, values: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """The values of these keys, 0 where a key is not there; keys are sorted."""
    place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[place] == wanted, values[place], 0)
