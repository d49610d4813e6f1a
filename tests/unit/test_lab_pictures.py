"""Pictures: opaque, small, with alt text in every form; and what the receptive field tool computes, without a browser."""

import io

import pytest
import torch
from PIL import Image

from minimistral.lab import Picture, ReceptiveField, show, theme
from minimistral.lab.reach import input_gradient, random_model, reachable, uniform_influence
from minimistral.lab.stored_results import stored
from minimistral.lab.tools import receptive_field as tool


def line():
    with theme.figure() as (figure, axes):
        axes.plot([0, 1], [0, 1])
        return figure


def test_a_picture_has_its_alt_text_in_every_form_and_is_opaque():
    picture = show(line(), 'A line that rises, "steeply".')
    bundle, metadata = picture._repr_mimebundle_()
    assert metadata["image/png"]["alt"] == 'A line that rises, "steeply".'
    assert 'alt="A line that rises, &quot;steeply&quot;."' in bundle["text/html"]
    assert "A line that rises" in bundle["text/plain"] and bundle["image/png"]
    image = Image.open(io.BytesIO(picture.png))
    assert image.size == (936, 390) and "A" not in image.convert("P").mode and "transparency" not in image.info
    assert len(picture.png) < 60_000


def test_a_picture_without_alt_text_or_too_large_is_refused():
    with pytest.raises(ValueError, match="alternative text"):
        Picture(b"", " ")
    with theme.figure(size=(20, 20)) as (figure, axes):
        axes.imshow(torch.rand(900, 900).numpy())
    with pytest.raises(ValueError, match="kB"):
        show(figure, "noise")


@pytest.mark.parametrize("window", [1, 2, 4, None])
@pytest.mark.parametrize("n_layers", [1, 3])
def test_three_ways_to_count_the_reach_agree(n_layers, window):
    theory = reachable(n_layers, window, 15)
    assert theory[14].sum() == min(15, n_layers * ((window or 15) - 1) + 1)
    assert torch.equal(uniform_influence(n_layers, window, 15) > 0, theory)
    tokens = torch.randint(16, (1, 15), generator=torch.Generator().manual_seed(0))
    assert torch.equal(input_gradient(random_model(n_layers, window), tokens, 14) > 0, theory[14])


def test_the_tool_shows_what_the_library_computes():
    shown = tool.compute(tool.State(3, 5, 30, 20))
    assert shown.reached == 13
    assert [value > 0 for value in shown.gradient] == reachable(3, 5, 30)[20].tolist()
    assert shown.recall is None or len(shown.recall) == 30
    picture = ReceptiveField(3, 5, 30, 20).picture()
    assert "13 tokens" in picture.alt and len(picture.png) < 60_000
    assert "text begins" in repr(ReceptiveField(4, 9, 10))


@pytest.mark.parametrize("wrong", [(0, 4, 9, 0), (4, 10, 9, 0), (4, 4, 41, 0), (4, 4, 9, 9), (4, 4, 9, -1)])
def test_the_tool_says_what_it_can_show(wrong):
    with pytest.raises(ValueError, match="shows"):
        tool.State(*wrong)


def test_stored_results_say_where_they_come_from():
    found = stored("window_cliff")
    assert {"date", "runs"} <= found.keys()
    for run in found["runs"]:
        reach = run["n_layers"] * (run["window"] - 1)
        guess = 1 / 16
        beyond = run["recall"][reach + 1 :]
        assert all(abs(share - guess) < 0.04 for share in beyond), "no model can know what it cannot reach"
    with pytest.raises(ValueError, match="window_cliff"):
        stored("window_clif")
