"""Chapter 03's forward pass with its positions in the open, and its retrieval task, against the library and by hand."""

import pytest
import torch

from minimistral.lab.length_pictures import retrieval_picture, text_picture
from minimistral.lab.lengths import bits_by_position, forward, ntk_theta, sinusoids, text_config, with_window
from minimistral.lab.retrieval import (
    ASK,
    FILL,
    N_KEYS,
    N_VALUES,
    NOT_ASKED,
    draw_texts,
    found_by_distance,
    retrieval_config,
)
from minimistral.lab.stored_results import stored
from minimistral.transformer import Transformer


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return Transformer(text_config()).eval()


TOKENS = torch.randint(256, (2, 20), generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def test_rotated_is_the_librarys_own_forward(model):
    torch.testing.assert_close(forward(model, TOKENS), model(TOKENS), rtol=1e-4, atol=1e-4)
    assert sum(p.numel() for p in model.parameters()) == 131_904


@torch.no_grad()
def test_without_positions_order_is_not_seen_in_one_layer(model):
    shallow = Transformer(text_config().__class__(**{**text_config().__dict__, "n_layers": 1})).eval()
    shuffled = TOKENS.clone()
    shuffled[:, :19] = TOKENS[:, torch.randperm(19, generator=torch.Generator().manual_seed(1))]
    last = forward(shallow, TOKENS, "none")[:, -1]
    torch.testing.assert_close(forward(shallow, shuffled, "none")[:, -1], last, rtol=1e-4, atol=1e-4)
    for kind in ("added", "rotated"):
        change = forward(shallow, shuffled, kind)[:, -1] - forward(shallow, TOKENS, kind)[:, -1]
        assert change.abs().max() > 1e-3


@torch.no_grad()
def test_interpolation_by_1_and_the_models_own_theta_change_nothing(model):
    plain = forward(model, TOKENS)
    assert torch.equal(forward(model, TOKENS, factor=1.0, theta=10_000.0), plain)
    assert not torch.allclose(forward(model, TOKENS, factor=4.0), plain, atol=1e-3)
    with pytest.raises(ValueError, match="none, added, rotated"):
        forward(model, TOKENS, "learned")


def test_ntk_slows_the_slowest_pair_by_the_factor_and_the_fastest_not_at_all():
    for head_dim in (4, 16, 128):
        slowest = -(head_dim - 2) / head_dim
        ratio = ntk_theta(1e4, 4, head_dim) ** slowest / 1e4**slowest
        assert ratio == pytest.approx(1 / 4)
    with pytest.raises(ValueError, match="fastest"):
        ntk_theta(1e4, 4, 2)


def test_sinusoids_are_those_of_the_paper():
    table = sinusoids(torch.arange(5), 6)
    for position in range(5):
        for i in range(3):
            angle = torch.tensor(position / 10_000 ** (2 * i / 6))
            torch.testing.assert_close(table[position, 2 * i : 2 * i + 2], torch.stack([angle.sin(), angle.cos()]))


def test_a_window_copy_leaves_the_model_alone(model):
    cut = with_window(model, 3)
    assert cut.layers[0].attention.window == 3 and model.layers[0].attention.window is None
    rows = torch.randint(256, (3, 9), generator=torch.Generator().manual_seed(2))
    whole, windowed = bits_by_position(model, rows), bits_by_position(cut, rows)
    torch.testing.assert_close(whole[:3], windowed[:3])
    assert whole.shape == (8,) and not torch.allclose(whole[5:], windowed[5:])


def test_every_question_has_its_answer_that_far_back():
    tokens, targets, distance = draw_texts(20, 40, torch.Generator().manual_seed(3))
    asked = 0
    for row in range(20):
        for place in range(40):
            token = int(tokens[row, place])
            assert (token >= ASK) == (targets[row, place] != NOT_ASKED) == (distance[row, place] != NOT_ASKED)
            if token >= ASK:
                asked += 1
                assert 0 < distance[row, place] <= place  # filled before it is asked for
                filled = int(tokens[row, place - distance[row, place]])
                assert (filled - FILL) // N_VALUES == token - ASK and (filled - FILL) % N_VALUES == targets[row, place]
        fills = tokens[row][(tokens[row] >= FILL) & (tokens[row] < ASK)]
        assert sorted(((fills - FILL) // N_VALUES).tolist()) == list(range(N_KEYS))
    assert asked > 100


def test_an_untrained_model_guesses():
    torch.manual_seed(1)
    [share] = found_by_distance(Transformer(retrieval_config()), 40, [1, 40], n_texts=64)
    assert share < 0.3


def test_the_pictures_of_stored_runs_say_their_means():
    runs, lengths = stored("rope_retrieval")["runs"], stored("rope_lengths")["runs"]
    far = [torch.tensor([run["NTK"][when][-1] for run in runs]).mean() for when in (0, 1)]
    assert f"NTK {far[0]:.2f} and {far[1]:.2f};" in retrieval_picture().alt
    first, last, tuned = (
        torch.tensor([run["x4"]["unchanged"][when][band] for run in lengths]).mean()
        for when, band in ((0, "32-64"), (0, "128-256"), (1, "128-256"))
    )
    assert f"unchanged {first:.2f} to {last:.2f}, then {tuned:.2f};" in text_picture().alt
