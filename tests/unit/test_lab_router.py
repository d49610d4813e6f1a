"""Chapter 08's tool without a browser, its mixtures in one dimension, and the stored runs."""

import pytest
import torch

from minimistral.lab import Router
from minimistral.lab.mixture_1d import (
    KINDS,
    TASKS,
    features,
    forward,
    inputs,
    losses,
    mix,
    starting_weights,
    target,
    train,
)
from minimistral.lab.stored_results import stored
from minimistral.lab.tools import router as tool
from minimistral.moe import balance_loss, choose_experts

torch.set_num_threads(1)
PRESETS = list(tool.PRESETS.values())


@pytest.mark.parametrize("k", range(1, 9))
@pytest.mark.parametrize("preset", range(len(PRESETS)))
def test_weights_after_the_choice_are_the_library_s(preset, k):
    logits = PRESETS[preset]
    shown = tool.compute(tool.State(tuple(logits), k=k))
    weights, ids = choose_experts(torch.tensor([logits]), k)
    ours = torch.tensor([shown.weights[e] for e in shown.chosen])
    torch.testing.assert_close(ours, weights[0])  # of equal logits either may be chosen: the weights are the same
    assert sorted(logits[e] for e in shown.chosen) == sorted(torch.tensor(logits)[ids[0]].double().numpy().round(6))
    assert sum(w > 0 for w in shown.weights) == k
    assert shown.dropped == pytest.approx(1 - float(torch.tensor(logits).softmax(0)[ids[0]].sum()), abs=1e-6)


def test_before_and_renormalised_is_after_and_without_it_is_less():
    logits = tuple(tool.normal_draw(9))
    after = tool.compute(tool.State(logits, k=3))
    before = tool.compute(tool.State(logits, k=3, order="before"))
    short = tool.compute(tool.State(logits, k=3, order="before", renormalise=False))
    assert before.weights == pytest.approx(after.weights)
    assert sum(short.weights) == pytest.approx(1 - short.dropped) and sum(short.weights) < 0.99


def test_the_output_jumps_exactly_at_the_edge_it_names():
    state = tool.State()
    place, below, above = tool.compute(state).edge
    assert place == pytest.approx(0.9) and tool.compute(state).rival == 2

    def output(own):
        logits = list(state.logits)
        logits[state.expert] = own
        return tool.compute(tool.State(tuple(logits))).output

    assert output(place - 1e-9) == pytest.approx(below, abs=1e-6)
    assert output(place + 1e-9) == pytest.approx(above, abs=1e-6)
    assert abs(above - below) > 1


def test_noise_moves_the_edge_with_it():
    state = tool.State(noise=1.5, draw=2, k=3, expert=5)
    place, below, above = tool.compute(state).edge
    sides = {chosen: out for own, out, chosen in tool.curve(state, 80_001) if abs(own - place) < 2e-4}
    assert sides[False] == pytest.approx(below, abs=1e-3) and sides[True] == pytest.approx(above, abs=1e-3)


def test_one_expert_after_is_flat_and_before_is_not():
    flat = {round(out, 9) for _, out, chosen in tool.curve(tool.State(k=1)) if chosen}
    sloped = {
        round(out, 9) for _, out, chosen in tool.curve(tool.State(k=1, order="before", renormalise=False)) if chosen
    }
    assert len(flat) == 1 and len(sloped) > 10


def test_all_eight_have_no_edge_and_none_is_dropped():
    shown = tool.compute(tool.State(k=8))
    assert shown.edge is None and shown.rival is None and shown.dropped == 0
    assert "jumps" not in repr(Router(k=8))


def test_what_it_says():
    assert repr(Router()).startswith("Experts 0 and 1 of 8 run, weight 0.73 and 0.27, sum 1.00. The others held 26%")
    assert repr(Router(k=1)).startswith("Expert 0 of 8 runs, weight 1.00")
    assert Router().picture().alt == repr(Router())
    assert Router().start()["preset"] == "two nearly alike" and Router([0.5] * 8).start()["preset"] == tool.OWN


@pytest.mark.parametrize(
    "wrong", [dict(logits=(0.0,) * 7), dict(logits=(9.0,) * 8), dict(k=0), dict(k=9), dict(expert=8)]
    + [dict(order="during"), dict(noise=-1.0), dict(draw=99)],
)  # fmt: skip
def test_states_that_cannot_be_are_refused(wrong):
    with pytest.raises(ValueError):
        tool.State(**wrong)


@pytest.mark.parametrize("k", [1, 2, 4])
def test_mixing_is_the_library_s_choice(k):
    logits, outputs = torch.randn(2, 3, 7, 4, generator=torch.Generator().manual_seed(0))
    guess, weights, chosen = mix(logits, outputs, KINDS["soft blend"].__class__(k))
    theirs, ids = choose_experts(logits.flatten(0, 1), k)
    torch.testing.assert_close(guess.flatten(), (theirs * outputs.flatten(0, 1).gather(1, ids)).sum(1))
    assert (chosen.sum(-1) == k).all()


def test_the_balance_loss_is_the_library_s():
    kind, x = KINDS["top-2"], inputs()
    out = forward(starting_weights(3), x, "line", kind)
    _, balance = losses(out, target(x), kind)
    for mine, logits in zip(balance, out["logits"]):
        torch.testing.assert_close(mine, balance_loss(logits, 2))


def test_competing_is_the_likelihood_of_a_mixture():
    kind, x, seeds = KINDS["soft, competing"], inputs(), 2
    out = forward(starting_weights(seeds), x, "line", kind)
    error, _ = losses(out, target(x), kind)
    normal = torch.distributions.Normal(out["experts"].double(), 0.05**0.5)
    likelihood = (out["logits"].double().softmax(-1) * normal.log_prob(target(x)[:, None].double()).exp()).sum(-1)
    constant = 0.5 * torch.log(torch.tensor(2 * torch.pi * 0.05, dtype=torch.float64))
    expected = -0.05 * (likelihood.log() + constant).mean(1)
    torch.testing.assert_close(error.double(), expected, rtol=1e-4, atol=1e-5)


def test_a_seed_is_the_same_alone_and_among_others_and_for_every_kind():
    alone = train(KINDS["top-1 before"], "line", [3], steps=20)
    among = train(KINDS["top-1 before"], "line", 5, steps=20)
    torch.testing.assert_close(alone["gate"][0], among["gate"][3])


@pytest.mark.parametrize("task", TASKS)
def test_one_expert_after_the_choice_leaves_the_gate_where_it_was(task):
    learnt = train(KINDS["top-1 after"], task, 3, steps=30)
    assert torch.equal(learnt["gate"], starting_weights(3)["gate"]) and not learnt["router_gradient"].any()
    assert not torch.equal(learnt["experts"], starting_weights(3)["experts"])


def test_the_pieces_jump_and_the_distractor_says_nothing():
    x = inputs()
    assert ((target(x)[1:] - target(x)[:-1]).abs() > 0.2).sum() == 3
    assert not features(x, "line")[:, 1].any()
    assert abs(torch.corrcoef(torch.stack([features(x, "distractor")[:, 1], target(x)]))[0, 1]) < 0.2
    with pytest.raises(ValueError, match="distractor"):
        features(x, "square")


def test_every_kind_is_stored_for_both_tasks_with_20_seeds():
    runs = {(run["task"], run["kind"]): run for run in stored("routers_1d")["runs"]}
    assert runs.keys() == {(task, kind) for task in TASKS for kind in KINDS}
    for run in runs.values():
        assert len(run["mse"]) == len(run["load"]) == 20
        assert all(abs(sum(load) - 1) < 1e-3 for load in run["load"])
