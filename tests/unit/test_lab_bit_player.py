"""Chapter 11's tool without a browser, against the library's rounding."""

import pytest
import torch

from minimistral.lab import BitPlayer
from minimistral.lab.rounding import bits_a_weight, rounded
from minimistral.lab.stored_results import stored
from minimistral.lab.tools import bit_player as tool


@pytest.mark.parametrize("bits", range(2, 9))
@pytest.mark.parametrize("group", tool.GROUPS)
def test_it_rounds_as_the_library_does(bits, group):
    shown = tool.compute(tool.State(bits, group, 7.5))
    weights = torch.tensor([shown.weights])
    torch.testing.assert_close(torch.tensor([shown.rounded]), rounded(weights, bits, group), rtol=1e-5, atol=1e-5)
    assert shown.bits_a_weight == bits_a_weight(bits, group, (1, 64))
    assert shown.weights[tool.OUTLIER] == 7.5


def test_an_outlier_ruins_its_group_and_no_other():
    calm, wild = (tool.compute(tool.State(4, 8, size)) for size in (1.0, 10.0))
    places = range(tool.OUTLIER // 8 * 8, tool.OUTLIER // 8 * 8 + 8)
    for i in set(range(64)) - set(places):
        assert calm.rounded[i] == wild.rounded[i]
    assert wild.error_there > 4 * calm.error_there and wild.error_elsewhere == calm.error_elsewhere
    assert [a == b for a, b in zip(calm.steps, wild.steps)].count(False) == 1


def test_the_whole_row_has_no_other_group():
    assert tool.compute(tool.State(group=64)).error_elsewhere is None
    assert "other groups" not in repr(BitPlayer(group=64)) and "one group of 64" in repr(BitPlayer(group=64))


def test_what_it_says():
    assert repr(BitPlayer()).startswith("15 codes, groups of 16: the typical error is 0.338 beside weight 21, 0.070 in")
    assert "5.00 bits a weight, scales included. All of tiny-mistral so: 1.573 bits a byte, as stored 1.559." in repr(
        BitPlayer()
    )
    assert BitPlayer().picture().alt == repr(BitPlayer())


def test_the_row_is_ordinary_and_every_setting_is_stored():
    row = torch.tensor(tool.ROW)
    assert len(row) == 64 and row.abs().max() <= 2.5 and 0.8 < row.std() < 1.2
    runs = {(run["bits"], run["group"]): run["bits_a_byte"] for run in stored("quantized_grid")["runs"]}
    for bits in range(tool.LEAST_BITS, tool.MOST_BITS + 1):
        for group in tool.GROUPS:
            assert tool.text_bits()[f"{bits},{group}"] == runs[bits, group]


@pytest.mark.parametrize("wrong", [dict(bits=1), dict(bits=9), dict(group=7), dict(outlier=-1.0), dict(outlier=10.5)])
def test_states_that_cannot_be_are_refused(wrong):
    with pytest.raises(ValueError, match="bits are 2 to 8"):
        BitPlayer(**wrong)
