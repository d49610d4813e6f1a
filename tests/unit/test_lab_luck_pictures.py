"""Chapter 09's drawings: the bits and the agreements that they say are those of the chapter's own functions."""

import pytest
import torch

from minimistral.lab.luck_pictures import bits_told, draw_shuffles, draw_told_apart
from minimistral.lab.routing import neighbours_agree

TEXT, HALVES = [",", "word", ",", "word"], ["first", "first", "second", "second"]


def test_the_token_tells_one_bit_and_the_half_none():
    picture = draw_told_apart(TEXT, "ABAB", {"the token": TEXT, "the half": HALVES})
    assert "told the token “,”, it is A; told the token “word”, it is B: 1 bit;" in picture.alt
    assert picture.alt.endswith("told the half “second”, it is A or B: 0 bits.")


def test_bits_told_in_part():
    assert bits_told("AABB", "xxxy") == pytest.approx(0.311, abs=1e-3)  # 1 − ¾ · h(⅓)
    assert bits_told("AAAA", "abcd") == 0


def test_agreements_are_those_of_the_measurement():
    rows = torch.randint(3, (4, 12), generator=torch.Generator().manual_seed(0))
    alt = draw_shuffles(["a"] * 12, dict(zip("wxyz", rows))).alt
    for name, row in zip("wxyz", rows):
        agree = round(float(neighbours_agree(row[None, :, None])) * 11)
        assert f"{name}: {' '.join(map(str, row.tolist()))}, {agree} of 11 neighbours agree" in alt


@pytest.mark.parametrize("n_pieces, n_experts", [(17, 17), (3, 2)])
def test_too_many_tokens_and_rows_that_do_not_fit_are_refused(n_pieces, n_experts):
    with pytest.raises(ValueError, match=f"{n_pieces} pieces, rows of \\[{n_experts}\\] experts: give up to 16"):
        draw_shuffles(["a"] * n_pieces, {"as it was": torch.zeros(n_experts, dtype=torch.int64)})
