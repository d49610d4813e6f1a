"""The mixture of experts against a loop over tokens; the router's two spellings; the balance loss at its ends."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.testing import assert_close

from minimistral.feed_forward import FeedForward
from minimistral.moe import MoE, balance_loss, choose_experts

torch.set_num_threads(1)


def random_moe(E, K, C=5, F=8, seed=0):
    torch.manual_seed(seed)
    return MoE([FeedForward(C, F) for _ in range(E)], nn.Linear(C, E, bias=False), K)


def slow_moe(moe, x):
    """Each token by itself: all experts' probabilities, the K largest, renormalised, added up."""
    result = torch.zeros_like(x)
    for token, y in zip(x.reshape(-1, x.shape[-1]), result.reshape(-1, x.shape[-1])):
        probabilities = (moe.gate.weight @ token).softmax(-1)
        chosen = probabilities.argsort(descending=True)[: moe.k]
        for e in chosen.tolist():
            y += probabilities[e] / probabilities[chosen].sum() * moe.experts[e](token[None])[0]
    return result


@settings(max_examples=40, deadline=None)
@given(E=st.integers(1, 8), data=st.data(), n=st.integers(0, 9), seed=st.integers(0, 99))
def test_grouped_experts_are_the_loop_over_tokens(E, data, n, seed):
    moe = random_moe(E, data.draw(st.integers(1, E)), seed=seed)
    x = torch.randn(2, n, 5)
    with torch.no_grad():
        assert_close(moe(x), slow_moe(moe, x), rtol=1e-4, atol=1e-6)


def test_each_expert_runs_once_on_all_of_its_tokens_and_an_idle_one_never():
    moe, calls = random_moe(4, 2), []
    with torch.no_grad():
        moe.gate.weight.zero_()
        moe.gate.weight[1], moe.gate.weight[3] = 1.0, 0.5
    for e, expert in enumerate(moe.experts):
        expert.register_forward_hook(lambda module, args, out, e=e: calls.append((e, len(args[0]))))
    moe(torch.rand(3, 7, 5) + 0.1)
    assert calls == [(1, 21), (3, 21)]


def test_any_gate_and_any_experts_will_do():
    moe = MoE([nn.Identity(), nn.Identity()], lambda tokens: torch.zeros(len(tokens), 2), 2)
    x = torch.randn(4, 3)
    assert_close(moe(x), x)


def test_softmax_before_the_choice_and_renormalised_is_softmax_after_it():
    logits = torch.randn(50, 8, generator=torch.Generator().manual_seed(0)) * 3
    weights, ids = choose_experts(logits, 3)
    probabilities = logits.softmax(-1)
    chosen, expected_ids = probabilities.topk(3)
    assert torch.equal(ids, expected_ids)
    assert_close(weights, chosen / chosen.sum(-1, keepdim=True))
    assert not torch.allclose(weights, chosen, atol=1e-2), "not renormalised"


def test_weights_are_float32_and_add_up_to_one_in_bfloat16_too():
    weights, _ = choose_experts(torch.randn(9, 4).bfloat16(), 2)
    assert weights.dtype == torch.float32
    assert_close(weights.sum(-1), torch.ones(9))
    moe = random_moe(4, 2).bfloat16()
    assert moe(torch.randn(3, 5).bfloat16()).dtype == torch.bfloat16


def test_gradients_reach_the_gate_and_only_the_chosen_experts():
    moe = random_moe(3, 1)
    with torch.no_grad():
        moe.gate.weight.zero_()
        moe.gate.weight[2] = 1.0
    x = torch.rand(4, 5) + 0.1
    moe(x).sum().backward()
    used = [any(w.grad is not None and w.grad.abs().sum() > 0 for w in expert.parameters()) for expert in moe.experts]
    assert used == [False, False, True]
    two = random_moe(3, 2)
    two(x).pow(2).sum().backward()
    assert two.gate.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("k", [1, 2])
def test_the_balance_loss_is_one_when_even_and_e_over_k_when_not(k):
    E = 6
    # Token n prefers experts n, n + 1, … by a hair: every expert is chosen equally often.
    even = torch.stack([torch.roll(torch.tensor([2e-4, 1e-4, 0, 0, 0, 0]), n) for n in range(E)])
    assert_close(balance_loss(even, k), torch.tensor(1.0), rtol=1e-3, atol=0)
    all_on_the_first = torch.zeros(E, E)
    all_on_the_first[:, :k] = 50.0
    assert_close(balance_loss(all_on_the_first, k), torch.tensor(E / k))


def test_the_balance_loss_is_its_formula_and_pushes_down_the_busy_expert():
    logits = torch.randn(20, 4, generator=torch.Generator().manual_seed(1))
    logits[:, 2] += 2
    logits.requires_grad_()
    chosen = logits.topk(2).indices
    share = torch.tensor([(chosen == e).sum() / 40 for e in range(4)])
    probability = logits.softmax(-1).mean(0)
    loss = balance_loss(logits, 2)
    assert_close(loss, 4 * (share * probability).sum())
    loss.backward()
    assert logits.grad.sum(0).argmax() == 2 and logits.grad.sum(0)[2] > 0
