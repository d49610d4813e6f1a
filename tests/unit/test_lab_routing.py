"""Chapter 09 without a browser: the recorded routes against a loop, the statistics against counting, the tool's sentences."""

import itertools
import math
import random

import pytest
import torch

from minimistral import ModelConfig, Transformer, load
from minimistral.config import MoEConfig
from minimistral.lab import RoutingMap
from minimistral.lab import routing as lab
from minimistral.lab.tools import routing_map as tool

torch.set_num_threads(1)
SIZES = dict(dim=12, n_layers=3, n_heads=2, n_kv_heads=1, head_dim=6, hidden_dim=8, vocab_size=11)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def small():
    torch.manual_seed(0)
    return Transformer(ModelConfig(**SIZES, moe=MoEConfig(5, 2)))


def test_routes_are_what_the_gates_say_and_the_output_is_made_of(small):
    tokens = torch.randint(11, (2, 7), generator=seeded())
    ids, weights = lab.route(small, tokens)
    assert ids.shape == weights.shape == (3, 2, 7, 2)
    stream = []
    hook = small.layers[2].feed_forward.register_forward_hook(lambda m, inputs, y: stream.append((inputs[0], y)))
    with torch.inference_mode():
        small(tokens)
        hook.remove()
        (x, y), moe = stream[0], small.layers[2].feed_forward
        for b, t in itertools.product(range(2), range(7)):
            logits = moe.gate(x[b, t])
            ranked = sorted(range(5), key=lambda e: -float(logits[e]))[:2]
            assert ids[2, b, t].tolist() == ranked
            by_hand = sum(w * moe.experts[e](x[b, t][None])[0] for w, e in zip(weights[2, b, t], ranked))
            torch.testing.assert_close(by_hand, y[b, t])
    assert not any(layer.feed_forward.gate._forward_hooks for layer in small.layers)


def test_a_dense_model_has_no_routes():
    with pytest.raises(ValueError, match="no experts"):
        lab.route(Transformer(ModelConfig(**SIZES)), torch.zeros(1, 2, dtype=torch.int64))


def test_rows_are_held_out_and_as_many_of_each_domain():
    _, tokenizer = load("tiny-mixtral")
    tokens, domains = lab.text_rows(tokenizer, rows=3, length=64)
    assert tokens.shape == (15, 64) and domains.tolist() == [d for d in range(5) for _ in range(3)]
    held_out = " ".join(" ".join(d.text for d in lab.bundled_texts("spanish", held_out=True)).split())
    for row in tokens[domains == 2]:  # the edges may cut a character
        assert " ".join(tokenizer.decode(row.tolist()[2:-2]).strip("�").split()) in held_out
    with pytest.raises(ValueError, match="rows of 256"):
        lab.text_rows(tokenizer, rows=10_000)


def test_information_is_entropy_of_a_copy_and_zero_of_what_is_independent():
    a = torch.tensor([0, 0, 0, 1, 1, 2, 7, 7])
    entropy = -sum(p * math.log2(p) for p in (3 / 8, 2 / 8, 1 / 8, 2 / 8))
    assert lab.information(a, a * 3 + 1) == pytest.approx(entropy)
    both = torch.cartesian_prod(torch.arange(3), torch.arange(4))
    assert lab.information(both[:, 0], both[:, 1]) == pytest.approx(0, abs=1e-12)


def test_information_against_entropies():
    draw = random.Random(0)
    pairs = [(draw.randrange(4), draw.choice([0, 0, 1, 5])) for _ in range(300)]

    def entropy(labels):
        return -sum(labels.count(x) / 300 * math.log2(labels.count(x) / 300) for x in set(labels))

    a, b = [p[0] for p in pairs], [p[1] for p in pairs]
    assert lab.information(torch.tensor(a), torch.tensor(b)) == pytest.approx(entropy(a) + entropy(b) - entropy(pairs))


def test_shuffling_keeps_what_each_group_holds_and_moves_things():
    groups = torch.tensor([4, 4, 9, 4, 9, 9, 2, 4])
    labels = torch.arange(16).view(2, 8)
    moved = 0
    for seed in range(20):
        result = lab.shuffled_within(labels, groups, seeded(seed))
        for group in (2, 4, 9):
            assert sorted(result[0, groups == group].tolist()) == sorted(labels[0, groups == group].tolist())
        assert torch.equal(result[1] - result[0], torch.full((8,), 8))  # both rows in the same way
        moved += int((result != labels).any())
    assert moved >= 15


def test_neighbours_against_a_loop_and_against_chance():
    ids = torch.rand(2, 3, 40, 6, generator=seeded()).argsort(-1)[..., :2]  # (L, B, T, K): two different experts
    for layer, only_first in itertools.product(range(2), (True, False)):
        n = 1 if only_first else 2
        same = [
            bool(set(ids[layer, b, t, :n].tolist()) & set(ids[layer, b, t + 1, :n].tolist()))
            for b in range(3)
            for t in range(39)
        ]
        found = lab.neighbours_agree(ids, first_only=only_first)[layer]
        assert float(found) == pytest.approx(sum(same) / len(same))
    many = torch.rand(1, 1, 40_000, 8, generator=seeded()).argsort(-1)[..., :2]
    assert float(lab.neighbours_agree(many)) == pytest.approx(1 / 8, abs=0.01)
    assert float(lab.neighbours_agree(many, first_only=False)) == pytest.approx(1 - 15 / 28, abs=0.01)


def test_only_some_experts_run_and_afterwards_all_again(small):
    tokens = torch.randint(11, (1, 9), generator=seeded(1))
    before = small(tokens)
    allowed = torch.zeros(3, 5, dtype=torch.bool)
    allowed[:, [1, 4]] = True
    with lab.only(small, allowed, k=1):
        ids, weights = lab.route(small, tokens)
        assert set(ids.unique().tolist()) <= {1, 4} and ids.shape[-1] == 1 and (weights == 1).all()
    torch.testing.assert_close(small(tokens), before)
    with pytest.raises(KeyError), lab.only(small, allowed, k=2):
        raise KeyError
    torch.testing.assert_close(small(tokens), before)


def test_the_tool_says_and_answers_what_the_model_routes():
    model, tokenizer = tool.bundled("tiny-mixtral")
    text = "And it came to pass"
    ids, weights = lab.route(model, torch.tensor([tokenizer.encode(text, bos=True)]))
    found = RoutingMap().answer({"text": text})["found"]
    assert len(found) == ids.shape[2] - 1
    assert [one["experts"] for one in found] == ids[:, 0, 1:].transpose(0, 1).tolist()
    first, second = ids[3, 0, 2].tolist()
    said = repr(RoutingMap(text, layer=4, token=2))
    assert said.startswith(
        f"Layer 4: token 2 of {len(found)}, “{found[1]['piece']}”, goes to expert {first} (weight 0."
    )
    assert f" and expert {second} (" in said
    assert f"uses {len(ids[3, :, 1:].unique())} of 8 experts in layer 4." in said
    assert RoutingMap(text, 4, 2).picture().alt == said


def test_texts_that_cannot_be_and_states_that_cannot_be():
    assert repr(RoutingMap("")) == "Type a word or two."
    assert RoutingMap("").picture().alt == "Type a word or two."
    assert len(RoutingMap().answer({"text": "a \ud83d b " * 500})["found"]) == tool.LONGEST
    assert "token 1 of 1" in repr(RoutingMap("a", token=9))  # past the end: the last
    for wrong in (dict(text=3), dict(layer=0), dict(layer=7), dict(token=0), dict(token=99)):
        with pytest.raises(ValueError, match="give a str"):
            RoutingMap(**wrong)
