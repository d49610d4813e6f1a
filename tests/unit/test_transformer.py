"""The whole model: what it refuses, what it promises about shapes, dtypes and padding, and what it costs on meta."""

import pytest
import torch
from torch.testing import assert_close

from minimistral import ModelConfig, MoEConfig, Transformer
from minimistral.rope import rope_angles

torch.set_num_threads(1)
KINDS = {
    "dense": {},
    "window of one": dict(sliding_window=1),
    "mixture": dict(moe=MoEConfig(5, 2), sliding_window=3),
    "tied": dict(tie_embeddings=True),
}


@pytest.fixture(params=KINDS)
def model(random_model, request):
    return random_model(**KINDS[request.param])


def test_the_model_is_its_equations(model):
    tokens = torch.randint(23, (2, 7))
    angles = rope_angles(torch.arange(7), 6, model.config.rope_theta)
    x = model.tok_embeddings.weight[tokens]
    for layer in model.layers:
        x = x + layer.attention(layer.attention_norm(x), angles.cos(), angles.sin())
        x = x + layer.feed_forward(layer.ffn_norm(x))
    head = model.tok_embeddings if model.config.tie_embeddings else model.output
    assert_close(model(tokens), model.norm(x) @ head.weight.T)


def test_no_token_looks_into_the_future_nor_past_its_window(model):
    tokens = torch.randint(1, 23, (1, 14))
    logits = model(tokens)
    reach = (model.config.sliding_window or 99) * 3 - 2  # L(W − 1) + 1 tokens, itself included
    for changed in (0, 5, 13):
        other = tokens.clone()
        other[0, changed] = 0
        # not != 0: an expert that gets one token more may round the others' last bit differently
        moved = ((model(other) - logits).abs() > 1e-6).any(-1)[0].nonzero().flatten().tolist()
        assert moved and moved[0] == changed and moved[-1] <= changed + reach - 1


@pytest.mark.parametrize("B", [0, 1, 3])
@pytest.mark.parametrize("T", [1, 4])
def test_shapes_and_float32_logits(model, B, T):
    tokens = torch.ones(B, T, dtype=torch.int64)
    for logits in (model(tokens), model(tokens, cache=model.make_cache(B, 9))):
        assert logits.shape == (B, T, 23) and logits.dtype == torch.float32
    assert model(tokens, last_only=True).shape == (B, 1, 23)
    assert model.bfloat16()(tokens).dtype == torch.float32


def test_padding_influences_nothing(model):
    tokens, lengths = torch.randint(1, 23, (3, 6)), torch.tensor([6, 1, 4])
    logits = model(tokens, lengths=lengths)
    last = model(tokens, lengths=lengths, last_only=True)
    for row, n in enumerate(lengths.tolist()):
        alone = model(tokens[row : row + 1, :n])[0]
        assert_close(logits[row, :n], alone, rtol=1e-4, atol=1e-5)
        assert_close(last[row, 0], alone[-1], rtol=1e-4, atol=1e-5)
    assert torch.isfinite(logits).all()


def test_bfloat16_weights_still_tell_positions_apart(random_model):
    model, tokens = random_model(), torch.full((1, 400), 3)
    tokens[0, 0] = 5
    difference = (model.bfloat16()(tokens) - random_model()(tokens)).abs().max()
    assert difference < 0.2  # angles held in bfloat16 would be off by whole turns


@pytest.mark.parametrize(
    ("tokens", "words"),
    [
        ([[1, 2]], ["list", "int64"]),
        (torch.ones(3, dtype=torch.int64), ["(3,)", "(batch, tokens)"]),
        (torch.ones(1, 3), ["float32", "int64"]),
        (torch.ones(1, 3, dtype=torch.int32), ["int32", "int64"]),
        (torch.ones(1, 0, dtype=torch.int64), ["T = 0"]),
        (torch.tensor([[1, 23]]), ["23", "22"]),
        (torch.tensor([[-1, 2]]), ["-1"]),
        (torch.ones(1, 2, dtype=torch.int64, device="meta"), ["meta", "cpu"]),
    ],
)
def test_tokens_that_do_not_fit_are_refused(random_model, tokens, words):
    with pytest.raises(ValueError) as error:
        random_model()(tokens)
    assert all(word in str(error.value) for word in words), error.value


@pytest.mark.parametrize("lengths", [[1], [1, 2, 3], [0, 2], [1, 4], [1.0, 2.0], [True, True], [-1, 2]])
def test_lengths_that_do_not_fit_are_refused(random_model, lengths):
    with pytest.raises(ValueError, match="lengths"):
        random_model()(torch.ones(2, 3, dtype=torch.int64), lengths=torch.tensor(lengths))


def test_on_meta_the_largest_model_costs_nothing_and_names_are_the_checkpoints():
    with torch.device("meta"):
        model = Transformer(ModelConfig.preset("mixtral-8x7b-v0.1"))
    names = dict(model.named_parameters())
    assert names["layers.31.feed_forward.experts.7.w2.weight"].shape == (4096, 14336)
    assert names["layers.0.feed_forward.gate.weight"].shape == (8, 4096)
    assert names["layers.0.attention.wk.weight"].shape == (1024, 4096)
    assert {"tok_embeddings.weight", "norm.weight", "output.weight"} <= names.keys()
    assert not dict(model.named_buffers()), "buffers stay on meta after load_state_dict(assign=True)"
