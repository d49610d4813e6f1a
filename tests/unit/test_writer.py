"""A Writer against `stream` and against a plain conversation: the same tokens, plain and fast, also after an answer cut short."""

import gc
import weakref

import pytest
import torch
from torch._dynamo.exc import SkipFrame

from minimistral import MoEConfig, Tokenizer, conversation, generate
from minimistral import writer as writer_module
from minimistral.conversation import Conversation
from minimistral.offload import offload
from minimistral.writer import Writer, why_not_compiled

torch.set_num_threads(1)

SIZES = dict(dim=16, n_layers=2, n_heads=4, n_kv_heads=2, head_dim=6, hidden_dim=20)


@pytest.mark.parametrize("fast", [None, True, False])
def test_the_tokens_of_stream(random_model, fast):
    model = random_model(SIZES | dict(vocab_size=40))
    writer = Writer(model, fast)
    how = dict(temperature=1.0, seed=4, stop_ids=())
    assert writer.is_fast is bool(fast)
    assert list(writer.stream([1, 2, 3], 12, **how)) == generate(model, [[1, 2, 3]], 12, **how)[0]
    assert writer.n_tokens == 12 and writer.describe().startswith("12 tokens, ") and "second" in writer.describe()
    assert list(writer.stream([5], 1, **how)) and writer.describe().startswith("13 tokens")
    with pytest.raises(ValueError, match="ids is empty"):
        writer.stream([], 3)  # at the call
    with pytest.raises(ValueError, match="temperature"):
        writer.stream([1], 3, temperature=-1)


@pytest.mark.parametrize("fast", [True, False])
def test_a_step_to_time_is_a_step_of_greedy_decoding(random_model, fast):
    model = random_model(SIZES | dict(vocab_size=40), sliding_window=5)
    step, new = Writer(model, fast).make_step(12), [3]
    for _ in range(12):
        new.append(step(new[-1]))
    assert new[1:] == generate(model, [[3]], 12, stop_ids=())[0]


@pytest.mark.parametrize("window", [None, 7])
def test_a_fast_conversation_is_the_plain_one(random_model, monkeypatch, window):
    monkeypatch.setattr(conversation, "FIRST_CACHE", 16)  # a decoder rounds it up to 256, and must grow
    model = random_model(SIZES | dict(vocab_size=32_000), sliding_window=window)
    tokenizer = Tokenizer.mistral_v1()
    chats = [Conversation(model, tokenizer), Conversation(model, tokenizer, writer=Writer(model, fast=True))]
    said = []
    for chat in chats:
        begun = chat.answer("Hello", 40, temperature=1.0, seed=3)
        said.append([next(begun), next(begun)])
        begun.close()  # the reader stops there
        assert chat._cache.position == int(chat._cache.positions[0]) == chat.n_tokens > 0
        for question in ("And?", "word " * 300, "So"):
            said[-1].append("".join(chat.answer(question, 6, temperature=1.0, seed=3)))
    assert said[0] == said[1] and chats[0].messages == chats[1].messages
    assert len(set(said[0])) > 2 and chats[1].writer.n_tokens >= 18


def test_a_step_that_only_the_device_has_taken_is_forgotten(random_model):
    """An interrupt between a step and Python's note of it: the cache must not go on one token further than it says."""
    model = random_model(SIZES | dict(vocab_size=32_000))
    chat = Conversation(model, Tokenizer.mistral_v1(), writer=Writer(model, fast=True))
    begun = chat.answer("Hello", 40, temperature=1.0, seed=3)
    next(begun)
    chat._cache.positions.add_(1)
    begun.close()
    assert chat.n_tokens == 0 == chat._cache.position == int(chat._cache.positions[0])


def test_what_cannot_be_fast_is_told_or_left_plain(random_model, monkeypatch):
    model = random_model(SIZES | dict(vocab_size=40))
    assert not Writer(model).is_fast and Writer(model).note is None  # on a CPU
    with pytest.raises(ValueError, match="made last"):
        Writer(model, fast=True).stream([1], 3, model.make_cache(1, 8))
    mixture = random_model(SIZES | dict(vocab_size=40), moe=MoEConfig(4, 2))
    offload(mixture, 10**6, "cpu")
    writer = Writer(mixture)
    assert not writer.is_fast
    assert len(list(writer.stream([1], 3, stop_ids=()))) == 3 and "found in place: " in writer.describe()
    with pytest.raises(ValueError, match="offloaded"):
        Writer(mixture, fast=True)
    model.draw_seed = lambda: 1  # as a part of a model under torchrun has
    assert not Writer(model).is_fast


@pytest.mark.parametrize("fast", [True, False])
def test_a_new_cache_takes_the_place_of_the_old_one_in_memory(random_model, fast):
    writer = Writer(random_model(SIZES | dict(vocab_size=40)), fast)
    gc.disable()
    try:
        old = weakref.ref(writer.make_cache(8))
        writer.make_cache(16)
        assert old() is None
    finally:
        gc.enable()


def fails(error):
    def backend(graph, inputs):
        raise error

    return backend


@pytest.mark.parametrize(
    "error, told",
    [
        (RuntimeError("Failed to find C compiler. Please specify via CC."), "Failed to find C compiler"),
        (SkipFrame("BF16 is not supported"), "BF16 is not supported"),  # a Turing card: T4, RTX 20
        (TypeError("an internal\nmatter"), "an internal matter"),
    ],
    ids=["no compiler", "old card", "whatever"],
)
def test_a_gpu_for_which_nothing_can_be_compiled_writes_plainly_and_says_why(random_model, monkeypatch, error, told):
    monkeypatch.setattr(writer_module, "_on_gpu", lambda model: True)
    model = random_model(SIZES | dict(vocab_size=40))
    compile = torch.compile
    torch.compiler.reset()
    why_not_compiled.cache_clear()
    monkeypatch.setattr(torch, "compile", lambda function, **how: compile(function, backend="eager", **how))
    assert Writer(model).is_fast and Writer(model).note is None and not Writer(model, fast=False).is_fast
    model.draw_seed = lambda: 1  # as a part of a model under torchrun has
    assert not Writer(model).is_fast
    del model.draw_seed
    why_not_compiled.cache_clear()
    torch.compiler.reset()
    monkeypatch.setattr(torch, "compile", lambda function, **how: compile(function, backend=fails(error), **how))
    writer = Writer(model)
    assert not writer.is_fast and told in writer.note and "TORCHDYNAMO" not in writer.note
    assert len(list(writer.stream([1, 2], 3, stop_ids=()))) == 3
    assert not Writer(model, fast=False).is_fast
    with pytest.raises(ValueError, match=told):
        Writer(model, fast=True)
    torch.compiler.reset()
    why_not_compiled.cache_clear()
