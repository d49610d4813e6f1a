"""Whether an Apple GPU computes rightly is asked of a small model; here a CPU stands in for it, with the known mistakes put in."""

import pytest
import torch
import torch.nn.functional as F

from minimistral import apple
from minimistral.apple import agrees_with_cpu, has_apple_gpu

torch.set_num_threads(1)
CPU = torch.device("cpu")


@pytest.fixture
def some_gpu(monkeypatch):
    """Lets torch say that there is one, and tells nobody later."""
    has_apple_gpu.cache_clear()
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(apple, "agrees_with_cpu", lambda device: agrees_with_cpu(CPU))
    yield
    has_apple_gpu.cache_clear()


def test_a_right_one_is_taken_and_nobodys_random_numbers_change(some_gpu):
    torch.manual_seed(7)
    state = torch.random.get_rng_state()
    assert has_apple_gpu() and torch.equal(torch.random.get_rng_state(), state)


def on_the_gpu(monkeypatch, spoil):
    """Spoil what the second of each pair of models computes: that is the one on the GPU."""
    right, calls = apple._logits, []

    def logits(model, tokens):
        calls.append(model)
        with monkeypatch.context() as patch:
            if len(calls) % 2 == 0:
                spoil(patch)
            return right(model, tokens)

    monkeypatch.setattr(apple, "_logits", logits)


def leaks(attend):
    def wrong(q, k, v, attn_mask=None, is_causal=False, enable_gqa=False):
        if is_causal and q.dtype == torch.bfloat16:  # four queries at a time under one mask: issue 195910
            last = torch.arange(q.shape[2]) // 4 * 4 + 3
            return attend(q, k, v, attn_mask=torch.arange(k.shape[2]) <= last[:, None], enable_gqa=enable_gqa)
        return attend(q, k, v, attn_mask=attn_mask, is_causal=is_causal, enable_gqa=enable_gqa)

    return wrong


def loses_masks(attend):
    def wrong(q, k, v, attn_mask=None, is_causal=False, enable_gqa=False):
        attn_mask = None if attn_mask is not None and q.shape[2] <= 8 else attn_mask  # issue 182285
        return attend(q, k, v, attn_mask=attn_mask, is_causal=is_causal, enable_gqa=enable_gqa)

    return wrong


def reads_beyond(attend):
    def wrong(q, k, v, attn_mask=None, is_causal=False, enable_gqa=False):
        if q.shape[2] <= 8 and k.shape[2] % 32 and attn_mask is None and not is_causal:  # pull request 169222
            k, v = (F.pad(x, (0, 0, 0, 32 - x.shape[2] % 32), value=1.0) for x in (k, v))
        return attend(q, k, v, attn_mask=attn_mask, is_causal=is_causal, enable_gqa=enable_gqa)

    return wrong


@pytest.mark.parametrize("mistake", [leaks, loses_masks, reads_beyond])
def test_known_mistakes_in_attention_are_seen(mistake, monkeypatch, some_gpu):
    wrong = mistake(F.scaled_dot_product_attention)
    on_the_gpu(monkeypatch, lambda patch: patch.setattr(F, "scaled_dot_product_attention", wrong))
    with pytest.warns(UserWarning, match="device='auto' takes the CPU"):
        assert not has_apple_gpu()
    assert not has_apple_gpu()  # asked once


def test_a_sort_of_whole_numbers_that_ends_too_early_is_seen(monkeypatch, some_gpu):
    sort = torch.Tensor.argsort

    def wrong(x, **how):  # issue 155560
        order = sort(x, **how)
        return torch.cat([order[:256], torch.zeros_like(order[256:])])

    on_the_gpu(monkeypatch, lambda patch: patch.setattr(torch.Tensor, "argsort", wrong))
    with pytest.warns(UserWarning, match="Apple GPU"):
        assert not has_apple_gpu()


def test_an_operation_that_is_missing_is_no_crash(monkeypatch, some_gpu):
    def missing(device):
        raise NotImplementedError("The operator 'aten::bincount' is not currently implemented for the MPS device.")

    monkeypatch.setattr(apple, "agrees_with_cpu", missing)
    with pytest.warns(UserWarning, match="Apple GPU"):
        assert not has_apple_gpu()


def test_without_one_nothing_is_tried(monkeypatch):
    has_apple_gpu.cache_clear()
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(apple, "agrees_with_cpu", lambda device: pytest.fail("tried"))
    assert not has_apple_gpu()
    has_apple_gpu.cache_clear()
