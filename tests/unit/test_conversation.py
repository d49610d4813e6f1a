"""A conversation gives the answers of one whose history is read anew each time, and reads only what is new."""

from pathlib import Path

import pytest
import torch

from minimistral import ModelConfig, Tokenizer, Transformer, generate, load
from minimistral.conversation import Conversation

torch.set_num_threads(1)

SIZES = dict(dim=16, n_layers=2, n_heads=4, n_kv_heads=2, head_dim=6, hidden_dim=20)
QUESTIONS = ["Who are you?", "And what\ndo you do?  ", "[INST] Why? [/INST]"]


def tokenizer_of(version):
    if version == "v1":
        return Tokenizer.mistral_v1()
    data = Path(pytest.importorskip("mistral_common").__file__).parent / "data"
    name = {"v2": "mistral_instruct_tokenizer_240216.model.v2", "v3": "mistral_instruct_tokenizer_240323.model.v3"}
    return Tokenizer(data / name[version])


@pytest.fixture(scope="module")
def make_model():
    def make(tokenizer, **changes):
        torch.manual_seed(1)
        config = ModelConfig(**SIZES | dict(vocab_size=tokenizer.vocab_size) | changes)
        model = Transformer(config).eval().requires_grad_(False)
        for name, weight in model.named_parameters():
            weight.fill_(1.0) if "norm" in name else weight.normal_(std=weight.shape[-1] ** -0.5)
        return model

    return make


def by_hand(tokenizer, system, turns, question):
    """The ids of a conversation written out; turns: questions, and the ids of their answers."""
    ids, asked = [1], [question for question, _ in turns] + [question]
    told = 0 if tokenizer.version == "v1" else len(asked) - 1
    for i, text in enumerate(asked):
        text = f"{system}\n\n{text}" if system and i == told else text
        if tokenizer.version == "v1":
            ids += tokenizer.encode(f"[INST] {text} [/INST]", bos=False)
        else:
            ids += [3, *tokenizer.encode(text, bos=False), 4]
        if i < len(turns):
            ids += [*turns[i][1], 2]
    return ids


class Counted:
    """Counts the tokens that a model is given."""

    def __init__(self, model):
        self.n = 0
        model.register_forward_pre_hook(self.count)

    def count(self, module, inputs):
        self.n += inputs[0].shape[1]


@pytest.mark.parametrize("window", [None, 7, 5000])
@pytest.mark.parametrize("system", ["", "Be brief."])
@pytest.mark.parametrize("version", ["v1", "v2", "v3"])
def test_answers_are_those_of_a_history_read_anew(make_model, version, system, window):
    tokenizer = tokenizer_of(version)
    model = make_model(tokenizer, sliding_window=window)
    conversation, turns = Conversation(model, tokenizer, system), []
    counted = Counted(model)
    options = dict(max_new_tokens=6, temperature=0.8, top_p=0.9)
    for i, question in enumerate(QUESTIONS):
        ids = by_hand(tokenizer, system, turns, question)
        expected = generate(model, [ids], seed=4 + i, **options)[0]
        held, counted.n = conversation.n_tokens, 0
        text = "".join(conversation.answer(question, seed=4, **options))
        said = conversation.messages[-1]["ids"]
        assert said == expected and text == tokenizer.decode(said)
        assert conversation.n_tokens == len(ids) + len(said)
        is_moved = system and version != "v1" and i > 0  # the format moved the system's words, so all is read again
        assert counted.n == len(ids) + len(said) - (0 if is_moved else held)
        turns.append((question, said))
    assert len(conversation.messages) == 2 * len(QUESTIONS) + bool(system)
    conversation.reset()
    assert "".join(conversation.answer(QUESTIONS[0], seed=4, **options)) == tokenizer.decode(turns[0][1])


@pytest.fixture
def chat(make_model):
    tokenizer = tokenizer_of("v1")
    return Conversation(make_model(tokenizer), tokenizer)


def whole_answer(chat, turns, question, n):
    return generate(chat.model, [by_hand(chat.tokenizer, "", turns, question)], max_new_tokens=n)[0]


def test_an_answer_that_is_stopped_stays_as_far_as_it_was_heard_and_nothing_is_read_again(chat):
    parts = chat.answer("Tell me", max_new_tokens=30)
    heard = next(parts) + next(parts)
    parts.close()
    said = chat.messages[-1]["ids"]
    assert chat.tokenizer.decode(said) == heard == chat.messages[-1]["content"]
    assert 2 <= len(said) < 30 and said == whole_answer(chat, [], "Tell me", len(said))
    held, counted = chat.n_tokens, Counted(chat.model)
    list(chat.answer("Go on", max_new_tokens=5))
    assert chat.messages[-1]["ids"] == whole_answer(chat, [("Tell me", said)], "Go on", 5)
    assert chat.n_tokens - held <= counted.n - len(by_hand(chat.tokenizer, "", [("Tell me", said)], "Go on"))


@pytest.mark.parametrize("call", [1, 2, 5])
def test_an_interrupt_in_the_middle_of_a_token_leaves_a_consistent_chat(chat, call):
    """Call 1 reads the question, the others write tokens: each is interrupted between the two layers' caches."""
    list(chat.answer("First", max_new_tokens=3))
    first, before = chat.messages[-1]["ids"], list(chat.messages)
    calls = iter(range(1, 100))

    def interrupt(module, inputs):
        if next(calls) == call:
            raise KeyboardInterrupt

    hook = chat.model.layers[1].register_forward_pre_hook(interrupt)
    heard = ""
    with pytest.raises(KeyboardInterrupt):
        for part in chat.answer("Second", max_new_tokens=20):
            heard += part
    hook.remove()
    turns = [("First", first)]
    if call == 1:
        assert chat.messages == before and heard == ""
    else:
        said = chat.messages[-1]["ids"]
        assert said == whole_answer(chat, turns, "Second", 20)[: call - 2] if call > 2 else chat.messages == before
        turns += [("Second", said)] if call > 2 else []
    list(chat.answer("Third", max_new_tokens=6))
    assert chat.messages[-1]["ids"] == whole_answer(chat, turns, "Third", 6)


def test_a_stop_id_ends_an_answer_and_stands_between_it_and_the_next_question(chat):
    free = whole_answer(chat, [], "Hello", 8)
    position = next(i for i in range(2, 8) if free[i] not in free[:i])
    chat.tokenizer.eos_id = free[position]
    list(chat.answer("Hello", max_new_tokens=8))
    assert chat.messages[-1]["ids"] == free[:position] and not chat.was_cut
    ids = [i if i != 2 else free[position] for i in by_hand(chat.tokenizer, "", [("Hello", free[:position])], "And?")]
    list(chat.answer("And?", max_new_tokens=4))
    assert chat.messages[-1]["ids"] == generate(chat.model, [ids], 4, stop_ids=(free[position],))[0]
    assert chat.was_cut == (len(chat.messages[-1]["ids"]) == 4)


def test_a_model_that_says_nothing_was_not_asked(chat):
    chat.tokenizer.eos_id = whole_answer(chat, [], "Hello", 1)[0]
    assert list(chat.answer("Hello")) == [] and chat.messages == []


def test_the_cache_grows_with_the_conversation_and_answers_stay(make_model, monkeypatch):
    monkeypatch.setattr("minimistral.conversation.FIRST_CACHE", 4)
    tokenizer = tokenizer_of("v1")
    for window in (None, 40):
        chat, turns = Conversation(make_model(tokenizer, sliding_window=window), tokenizer), []
        sizes = []
        for question in ["a", "b", "c", "d", "e", "f"]:
            list(chat.answer(question, max_new_tokens=4))
            said = chat.messages[-1]["ids"]
            assert said == whole_answer(chat, turns, question, 4)
            turns.append((question, said))
            sizes.append(chat._cache.n_slots)
        assert sizes == sorted(sizes) and len(set(sizes)) > 2
        assert (max(sizes) == 40) == (window == 40)


def test_a_full_context_says_so_changes_nothing_and_goes_on_after_a_reset(make_model):
    tokenizer = tokenizer_of("v1")
    chat = Conversation(make_model(tokenizer, max_position_embeddings=30), tokenizer)
    assert chat.max_context == 30
    list(chat.answer("Hello", max_new_tokens=100))
    assert chat.n_tokens == 30 and chat.was_cut
    before = list(chat.messages)
    with pytest.raises(ValueError, match="has 4. tokens, and its context is 30"):
        chat.answer("Is there room?")
    assert chat.messages == before
    chat.reset()
    assert len("".join(chat.answer("Hello", max_new_tokens=2))) > 0
    rolling = Conversation(make_model(tokenizer, max_position_embeddings=30, sliding_window=8), tokenizer)
    assert rolling.max_context is None
    for _ in range(3):
        list(rolling.answer("Hello there, how are you?", max_new_tokens=20))
    assert rolling.n_tokens > 60


def test_a_model_without_a_chat_format_is_refused_and_so_is_nonsense(make_model):
    with pytest.raises(ValueError, match="chat format"):
        Conversation(*load("tiny-mistral"))
    tokenizer = tokenizer_of("v1")
    with pytest.raises(ValueError, match=r"no tokenizer\.model"):
        Conversation(make_model(tokenizer), None)
    with pytest.raises(ValueError, match="max_context"):
        Conversation(make_model(tokenizer), tokenizer, max_context=0)
    with pytest.raises(ValueError, match="temperature"):
        Conversation(make_model(tokenizer), tokenizer).answer("Hello", temperature=-1)
