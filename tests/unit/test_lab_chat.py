"""The chat tool: the same text as `generate`, a stop between two tokens, template ids, and conversations."""

import threading
import time
from dataclasses import replace

import pytest
import torch

from minimistral import ModelConfig, Tokenizer, Transformer, generate, load
from minimistral.lab.tools.chat import LONGEST, Chat, Speaker
from minimistral.writer import Writer


@pytest.fixture(scope="module")
def tiny():
    return load("tiny-mistral", device="cpu", dtype="float32")


def last(states):
    return list(states)[-1]


def never():
    return False


def test_it_writes_what_generate_writes(tiny):
    model, tokenizer = tiny
    text = "And it came to pass"
    ids = tokenizer.encode(text, bos=True)
    said = last(Speaker(model, tokenizer).say(text, temperature=0.0, most=20, stop=never))
    [new] = generate(model, [ids], max_new_tokens=20)
    assert text + said.text == tokenizer.decode(ids + new)  # the space between them is not lost
    assert said.ids == ids and said.ended == "enough tokens" and said.n_tokens == len(new)
    assert said.position == len(ids) + len(new) and said.n_slots == min(64, len(ids) + 20)


def test_a_compiled_step_writes_the_same_and_serves_again(tiny):
    """As on a GPU, where the step is made once for its cache: text after text, a stop between, a conversation."""
    writer = Writer(tiny[0], fast=True)
    fast, plain = Speaker(*tiny, writer=writer), Speaker(*tiny)
    last(fast.say("In the beginning", temperature=0.0, most=70, stop=iter([False] * 9 + [True]).__next__))
    made = writer._decoder
    for text, most in (("And it came to pass", 20), ("HAMLET:\nTo be", 70), ("In the beginning", 5)):
        states = [list(speaker.say(text, 0.7, most, never, seed=3)) for speaker in (fast, plain)]
        assert [(said.text, said.position, said.n_tokens) for said in states[0]] == [
            (said.text, said.position, said.n_tokens) for said in states[1]
        ]
    assert writer._decoder is made
    last(fast.say("word " * 400, temperature=0.0, most=3, stop=never))  # its window rolls: any length fits
    assert writer._decoder is made


def test_a_compiled_step_is_made_once_whatever_the_slider_says():
    sizes = dict(dim=32, n_layers=1, n_heads=2, n_kv_heads=1, head_dim=16, hidden_dim=48, vocab_size=32_000)
    model, tokenizer = Transformer(ModelConfig(**sizes)), Tokenizer.mistral_v1()  # without a window
    speaker = Speaker(model, tokenizer, chat=False, writer=Writer(model, fast=True))
    last(speaker.say("Hello", temperature=0.0, most=2, stop=never))
    made = speaker.writer._decoder
    last(speaker.say("Hello", temperature=0.0, most=LONGEST, stop=iter([False] * 3 + [True]).__next__))
    assert speaker.writer._decoder is made


def test_memory_is_told_while_it_writes(tiny):
    model, tokenizer = tiny
    for said in Speaker(model, tokenizer).say("And it came to pass", temperature=0.0, most=80, stop=never):
        assert "weights 9.9 MB, cache 0.2 MB" in said.describe()
    assert said.weight_bytes == 4 * 2_484_672 and said.cache_bytes == 4 * 2 * 6 * 2 * 32 * 64
    said = replace(said, weight_bytes=14_483_464_192, device_bytes=15_100_000_000)
    assert "weights 14.48 GB, cache 0.2 MB, 15.10 GB of the GPU's memory in all; enough tokens." in said.describe()


def test_of_offloaded_experts_those_in_place_count():
    from minimistral.offload import load_offloaded

    one = 3 * 192 * 160 * 4
    model, tokenizer = load_offloaded("tiny-mixtral", 7 * one, device="cpu", dtype="float32")
    said = last(Speaker(model, tokenizer).say("And", temperature=0.0, most=2, stop=never))
    whole = 4 * model.config.count_parameters().total
    assert said.weight_bytes == whole - (48 - 7) * one


def test_stop_ends_before_the_next_token(tiny):
    calls = []

    def third():
        calls.append(1)
        return len(calls) == 3

    said = last(Speaker(*tiny).say("In the beginning", temperature=1.0, most=50, stop=third, seed=1))
    assert said.ended == "stopped" and said.n_tokens <= 5  # a part may be several byte tokens


def test_the_widget_writes_in_a_thread_and_stops(tiny):
    tool = Chat(*tiny, most=300)
    tool.widget()
    before = threading.active_count()
    tool.start()
    assert threading.active_count() >= before and tool._write.disabled
    time.sleep(0.3)
    tool.stop()
    tool.wait()
    assert "stopped" in tool._said.value and not tool._write.disabled and tool._halt.disabled
    tool._text.value = "   "
    tool.start()
    tool.wait()
    assert "write something first" in tool._said.value and not tool._write.disabled


def test_a_model_without_a_chat_format_says_so_and_shows_the_official_ids(tiny):
    told = Speaker(*tiny).template("Hello")
    assert "never taught to chat" in told
    for token_id in (733, 16289, 28793, 22557, 28748):  # mistral_common's v1 for a user's "Hello"
        assert f"{token_id}\N{NO-BREAK SPACE}" in told


def test_a_chat_model_holds_a_conversation():
    torch.manual_seed(0)
    tokenizer = Tokenizer.mistral_v1()
    sizes = dict(
        dim=32, n_layers=2, n_heads=2, n_kv_heads=1, head_dim=16, hidden_dim=48, vocab_size=tokenizer.vocab_size
    )
    speaker = Speaker(Transformer(ModelConfig(**sizes)), tokenizer)
    first = last(speaker.say("Hello", temperature=0.0, most=5, stop=never))
    assert first.ids == [1, 733, 16289, 28793, 22557, 733, 28748, 16289, 28793]
    second = last(speaker.say("Hello", temperature=0.0, most=5, stop=never))
    assert second.ids[: len(first.ids)] == first.ids and len(second.ids) > 2 * len(first.ids) - 2
    assert "never taught" not in speaker.template("Hello")


def test_the_still_picture_says_what_was_written(tiny):
    tool = Chat(*tiny, most=8)
    assert tool.first().text in repr(tool) and tool.picture().alt == repr(tool)


@pytest.mark.parametrize("wrong", [dict(temperature=-1), dict(most=0), dict(most=10_000)])
def test_arguments_are_checked(wrong):
    with pytest.raises(ValueError, match="the tool takes"):
        Chat(**wrong)


def test_a_base_model_with_a_tokenizer_that_has_a_format_continues_texts(tiny):
    tokenizer = Tokenizer.mistral_v1()
    sizes = dict(dim=32, n_layers=1, n_heads=2, n_kv_heads=1, head_dim=16, hidden_dim=48, vocab_size=32_000)
    speaker = Speaker(Transformer(ModelConfig(**sizes)), tokenizer, chat=False)
    said = last(speaker.say("Hello", temperature=0.0, most=3, stop=never))
    assert said.ids == tokenizer.encode("Hello", bos=True) and "never taught to chat" in speaker.template("Hello")
    with pytest.raises(ValueError, match="no chat format"):
        Speaker(*tiny, chat=True)
