"""Chapter 10's drawings: windows are those of windowed_perplexity, splits those of the paired test."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from minimistral.evaluate import windowed_perplexity
from minimistral.lab.score_pictures import counted, draw_pairs, draw_rows, draw_windows
from minimistral.statistics import compare


class Reads(nn.Module):
    """A model that is the surer of token 0 the more tokens it sees: so each guess tells how many those were."""

    config = SimpleNamespace(vocab_size=3)

    def __init__(self):
        super().__init__()
        self.tok_embeddings = nn.Embedding(3, 1)

    def forward(self, ids):
        logits = torch.zeros(*ids.shape, 3)
        logits[:, :, 0] = torch.arange(1.0, ids.shape[1] + 1)
        return logits


@pytest.mark.parametrize("n_tokens, window, stride", [(48, 16, 16), (48, 16, 4), (40, 16, 16), (41, 16, 5), (9, 16, 4)])
def test_windows_are_those_of_windowed_perplexity(n_tokens, window, stride):
    plan = counted(n_tokens, window, stride)
    assert [token for _, new, end in plan for token in range(new, end)] == list(range(n_tokens))
    assert all(end - begin <= window for begin, _, end in plan)
    sees = [token - begin + 1 for begin, new, end in plan for token in range(new, end)]
    wanted = math.exp(sum(math.log(1 + 2 * math.exp(-n)) for n in sees) / n_tokens)
    assert windowed_perplexity(Reads(), [0] * (n_tokens + 1), window, stride) == pytest.approx(wanted, rel=1e-5)
    alt = draw_windows(n_tokens, [(window, stride)]).alt
    assert f"{len(plan)} windows" in alt
    if len(plan) > 1:
        assert f"sees {min(new - begin + 1 for begin, new, _ in plan[1:])} token" in alt


def test_the_sum_of_the_drawn_rows_is_told_and_every_token_needs_its_own():
    alt = draw_rows(["a", "b"], ["c", "d"], [-1.0, -2.5]).alt
    assert "“c” -1.0, “d” -2.5: sum -3.5" in alt and "last piece “b”" in alt
    for given, scored, log_p in ((["a"], ["c"], []), ([], ["c"], [-1.0]), (["a"], [], [])):
        with pytest.raises(ValueError, match="one for each scored"):
            draw_rows(given, scored, log_p)


def test_pairs_are_split_as_the_test_splits_them():
    a, b = [True, True, True, False, False, True], [True, False, False, True, False, False]
    alt = draw_pairs(1, 1, compare(a, b), ("one", "two")).alt
    assert "Of 6 questions both are right in 1 and both wrong in 1." in alt
    assert "Of the 4 others only one is right in 3, only two in 1." in alt
    with pytest.raises(ValueError, match="agree on every question"):
        draw_pairs(1, 0, compare([True], [True]), ("one", "two"))
