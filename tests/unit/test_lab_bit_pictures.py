"""Chapter 11's drawings: codes are those of the library, costs those that are handed in, hits those of the LRU."""

import pytest
import torch

from minimistral.lab import Picture, theme
from minimistral.lab.bit_pictures import draw_budget, draw_costs, draw_formats, draw_lru, draw_pencil, draw_sharing
from minimistral.lab.rounding import rounded
from minimistral.lab.stored_results import Difference
from minimistral.offload import lru_hits
from minimistral.quantize import quantize_int4, unpack_int4

torch.set_num_threads(1)


def test_formats_are_described_by_their_bits():
    alt = draw_formats().alt
    assert "float32 1, 8 and 23" in alt and "bfloat16 1, 8 and 7" in alt and "float16 1, 5 and 10" in alt


@pytest.mark.parametrize("row", [[0.62, -1.4, 0.04, 0.26], [0.62, -1.4, 0.04, 7.0]])
def test_the_pencil_s_codes_and_errors_are_the_library_s(row):
    weight = torch.tensor([row])
    codes = unpack_int4(quantize_int4(weight, group_size=4)[0])[0].tolist()
    off = (rounded(weight, 4, "row") - weight).abs().max()
    alt = draw_pencil([row]).alt
    assert f"codes {codes}" in alt and f"off by up to {off:.2f}." in alt


@pytest.mark.parametrize("bits", [3, 4])
def test_the_zeros_of_shared_scales_are_counted(bits):
    weight = torch.randn(3, 8, generator=torch.Generator().manual_seed(1))
    weight[2, 5] = -9.0
    picture = draw_sharing(weight, bits, ["matrix", "row", 2])
    lost = [int((rounded(weight, bits, group) == 0).sum()) for group in ("matrix", "row", 2)]
    assert isinstance(picture, Picture) and lost == sorted(lost, reverse=True)
    assert f"one scale for all {lost[0]}; a scale for each row {lost[1]}; groups of 2 {lost[2]}." in picture.alt


def test_the_lru_in_the_drawing_is_the_library_s():
    used, asked = [[1, 4], [0, 7], [2, 3]], [4, 5]
    keys = [(layer, expert) for layer, experts in enumerate(used) for expert in experts]
    alt = draw_lru(used, asked, (4, 5, 6)).alt
    for places in (4, 5, 6):
        hits = lru_hits([keys, [(0, expert) for expert in asked]], places)[0]
        assert f"{places} places: {hits} of 2 there" in alt
    with pytest.raises(ValueError, match="9 layers"):
        draw_lru([[0, 1]] * 9, asked, (4,))


def test_costs_and_budget_are_told_with_their_numbers():
    grids, domains = ["eight", "four"], ["drama", "prose"]
    cost = {
        (grid, model, domain): Difference(mean, 0.001, 3, 0.003)
        for grid, mean in zip(grids, (-0.0004, 0.02))
        for model in ("a", "b")
        for domain in domains
    }
    assert "eight: up or down by at most 0.0004. Always worse: four by 0.020 to 0.020." in draw_costs(cost, grids).alt
    groups = ["matrix", "row", 8]
    points = {(bits, group): (bits + i, 0.1 / (bits + i)) for bits in range(2, 7) for i, group in enumerate(groups)}
    points[6, "row"] = (7, -0.1)  # better than before, which a logarithm cannot show
    assert "2-bit codes 0.050, 0.033, 0.025" in draw_budget(points, groups).alt
    assert len(theme.EXPERTS) >= 5
