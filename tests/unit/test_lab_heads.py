"""Chapter 04's tool without a browser, and the conversion of trained heads."""

import json

import pytest
import torch

from minimistral import ModelConfig, Transformer
from minimistral.lab import Heads
from minimistral.lab.sharing import convert, pool_heads
from minimistral.lab.tools import heads as tool


def test_only_divisors_can_be_chosen():
    assert tool.divisors(32) == [1, 2, 4, 8, 16, 32] and tool.divisors(7) == [1, 7]
    with pytest.raises(ValueError, match=r"Choose from \[1, 2, 3, 4, 6, 12\]"):
        Heads(12, 5)
    for wrong in (dict(n_heads=65, n_kv_heads=65), dict(n_tokens=1000), dict(n_tokens=2**18)):
        with pytest.raises(ValueError, match="2\\^|power of two"):
            Heads(**wrong)


@pytest.mark.parametrize(
    ("name", "bytes_a_token"),
    [("Mistral 7B", 131_072), ("Llama 2 7B", 524_288), ("Llama 2 13B", 819_200), ("Llama 2 70B", 327_680)],
)
def test_presets_have_the_published_cache(name, bytes_a_token):
    n_layers, n_heads, n_kv_heads, head_dim = tool.PRESETS[name]
    state = tool.State(n_heads, n_kv_heads, n_layers, head_dim)
    assert state.preset == name and tool.compute(state).cache_bytes == bytes_a_token


def test_cache_bytes_are_those_of_a_real_cache():
    config = ModelConfig(
        dim=12, n_layers=3, n_heads=6, n_kv_heads=2, head_dim=4, hidden_dim=8, vocab_size=5, sliding_window=None
    )
    cache = Transformer(config).to(torch.bfloat16).make_cache(batch_size=1, max_context=2**10)
    shown = tool.compute(tool.State(6, 2, 3, 4, power=10))
    assert shown.read_bytes == cache.nbytes and shown.mha_cache_bytes == 3 * shown.cache_bytes


def test_sharing_changes_the_bytes_and_not_the_scores():
    shown = [tool.compute(tool.State(32, n)) for n in tool.divisors(32)]
    assert len({s.scores for s in shown}) == 1
    assert [s.cache_bytes // shown[0].cache_bytes for s in shown] == [1, 2, 4, 8, 16, 32]
    assert shown[2].shared == torch.arange(4).repeat_interleave(8).tolist()


def test_it_says_and_shows_the_same():
    for n_kv_heads, kind in ((32, "MHA"), (8, "GQA"), (1, "MQA")):
        heads = Heads(32, n_kv_heads)
        text = repr(heads)
        assert text.startswith(kind + ": 32 query heads")
        bundle, _ = heads._repr_mimebundle_()
        assert text in bundle["text/plain"] and 0 < len(bundle["image/png"]) * 3 / 4 < 60_000
        json.dumps([heads.start(), heads.data()])
    assert Heads(12, 4).start()["choice"] == 3 and Heads(12, 4).start()["preset"] == tool.OWN


def test_pooling_takes_means_of_neighbours():
    weight = torch.randn(6 * 4, 5)
    rows = weight.reshape(6, 4, 5)
    expected = torch.cat([(rows[3 * g] + rows[3 * g + 1] + rows[3 * g + 2]) / 3 for g in range(2)])
    torch.testing.assert_close(pool_heads(weight, 2, 4), expected)
    torch.testing.assert_close(pool_heads(weight, 2, 4, "first"), torch.cat([rows[0], rows[3]]))
    assert torch.equal(pool_heads(weight, 6, 4), weight)
    drawn = pool_heads(weight, 2, 4, "random")
    assert drawn.shape == (8, 5) and drawn.abs().max() <= 5**-0.5
    for wrong in (dict(n_kv_heads=4), dict(n_kv_heads=2, way="median")):
        with pytest.raises(ValueError, match="divisors|choose from"):
            pool_heads(weight, head_dim=4, **wrong)


def test_a_model_whose_heads_are_equal_loses_nothing_by_pooling():
    torch.manual_seed(0)
    few = Transformer(ModelConfig(dim=12, n_layers=2, n_heads=6, n_kv_heads=2, head_dim=4, hidden_dim=8, vocab_size=7))
    weights = few.state_dict()
    for name in weights:
        if name.endswith(("wk.weight", "wv.weight")):
            weights[name] = weights[name].reshape(2, 4, 12).repeat_interleave(3, 0).reshape(24, 12)
    many = Transformer(ModelConfig(dim=12, n_layers=2, n_heads=6, n_kv_heads=6, head_dim=4, hidden_dim=8, vocab_size=7))
    many.load_state_dict(weights)
    tokens = torch.randint(7, (2, 9))
    torch.testing.assert_close(many(tokens), few(tokens))
    torch.testing.assert_close(convert(many, 2)(tokens), few(tokens))
    assert not torch.allclose(convert(many, 2, "random")(tokens), few(tokens))
    assert convert(many, 2).config.n_kv_heads == 2
