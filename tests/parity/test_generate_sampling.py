"""Temperature, top-k and top-p keep the tokens, with the probabilities, that transformers keeps."""

import pytest
import torch
from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from minimistral.sampling import Sampling

torch.set_num_threads(1)  # vectors of this size only make a second thread wait


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5])
@pytest.mark.parametrize("top_k", [None, 1, 2, 17, 200, 500])
@pytest.mark.parametrize("top_p", [0.01, 0.5, 0.9, 0.999, 1.0])
def test_the_same_tokens_are_kept_with_the_same_probabilities(temperature, top_k, top_p):
    logits = torch.randn(8, 200, generator=torch.Generator().manual_seed(0)) * 4
    scores = TemperatureLogitsWarper(temperature)(None, logits)
    if top_k is not None:
        scores = TopKLogitsWarper(top_k)(None, scores)
    if top_p < 1:
        scores = TopPLogitsWarper(top_p)(None, scores)
    expected = scores.double().softmax(-1)
    for row, probability in zip(logits, expected):
        ours = Sampling(temperature, top_p, top_k).probabilities(row)
        assert torch.equal(ours > 0, probability > 0)
        torch.testing.assert_close(ours, probability, rtol=1e-5, atol=1e-9)


def test_top_p_keeps_the_token_that_crosses_and_top_k_keeps_ties():
    logits = torch.tensor([0.4, 0.3, 0.2, 0.1]).log()
    assert (Sampling(1.0, top_p=0.65).probabilities(logits) > 0).tolist() == [True, True, False, False]
    assert (Sampling(1.0, top_p=0.75).probabilities(logits) > 0).tolist() == [True, True, True, False]
    tied = torch.tensor([1.0, 3.0, 1.0, 0.0])
    assert torch.equal(Sampling(1.0, top_k=2).probabilities(tied) > 0, TopKLogitsWarper(2)(None, tied[None])[0] > -9)


@pytest.mark.parametrize("temperature", [1e-300, 5e-324, 1e-8])
def test_a_tiny_temperature_takes_the_likeliest_and_overflows_nowhere(temperature):
    logits = torch.tensor([-1e4, 3.0, 3e4, 2.0])
    assert Sampling(temperature).probabilities(logits).tolist() == [0.0, 0.0, 1.0, 0.0]
    assert Sampling(temperature).choose(logits, torch.Generator().manual_seed(0)) == 2


def test_a_removed_token_is_never_drawn():
    logits, generator = torch.randn(50, generator=torch.Generator().manual_seed(3)), torch.Generator().manual_seed(0)
    sampling = Sampling(1.5, top_p=0.6, top_k=12)
    allowed = set((sampling.probabilities(logits) > 0).nonzero().flatten().tolist())
    drawn = {sampling.choose(logits, generator) for _ in range(500)}
    assert drawn == allowed and 1 < len(allowed) < 12


class Ends:
    """Stands in for torch.rand: the smallest and the largest number that it can give."""

    def __init__(self, point):
        self.point = point

    def __call__(self, *args, **kwargs):
        return torch.tensor(self.point, dtype=torch.float64)


@pytest.mark.parametrize("point, chosen", [(0.0, 1), (1 - 2**-53, 3)])
def test_the_ends_of_the_line_belong_to_tokens_that_were_kept(point, chosen, monkeypatch):
    logits = torch.tensor([-9.0, 2.0, -9.0, 1.0, -9.0])
    monkeypatch.setattr(torch, "rand", Ends(point))
    assert Sampling(0.7, top_k=2).choose(logits, torch.Generator()) == chosen
