"""The tokenizer against mistral_common, with its own files of versions 1, 2 and 3."""

import random
import shutil
import warnings
from pathlib import Path

import mistral_common
import pytest
from mistral_common.exceptions import MistralCommonException
from mistral_common.protocol.instruct.messages import AssistantMessage, SystemMessage, UserMessage
from mistral_common.protocol.instruct.request import ChatCompletionRequest
from mistral_common.tokens.tokenizers.mistral import MistralTokenizer

from minimistral import Tokenizer

DATA = Path(mistral_common.__file__).parent / "data"
FILES = {
    "v1": "tokenizer.model.v1",
    "v2": "mistral_instruct_tokenizer_240216.model.v2",
    "v3": "mistral_instruct_tokenizer_240323.model.v3",
}
MESSAGE = {"user": UserMessage, "assistant": AssistantMessage, "system": SystemMessage}
TEXTS = [
    "", " ", "Hello", " Hello", "Hello world", "a  b   c", "\n", "\n\n  x\n", "tab\there", "naïve café", "日本語のテキスト",
    "🙂🙃👩‍👩‍👧", "12345 67",
    "</s>", "<s>", "[INST] hi [/INST]", "<unk>", "<0x41>", "[REFERENCE_DOC_3]", "[IMG]", "[control_8]",
    "▁", "a\0b", "\u200b\ufeff", "é\u0301",
    "def f(x):\n    return x ** 2  # ok\n", "word " * 3000,
]  # fmt: skip


@pytest.fixture(scope="module", params=list(FILES))
def pair(request):
    """Ours and theirs, from one file."""
    warnings.simplefilter("ignore")
    return Tokenizer(DATA / FILES[request.param]), getattr(MistralTokenizer, request.param)()


def theirs_chat(theirs, messages: list[dict]) -> list[int]:
    made = [MESSAGE[m["role"]](**{key: value for key, value in m.items() if key != "role"}) for m in messages]
    return theirs.encode_chat_completion(ChatCompletionRequest(messages=made)).tokens


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: repr(text[:20]))
def test_text_becomes_the_same_ids_and_comes_back(pair, text):
    ours, theirs = pair
    plain = theirs.instruct_tokenizer.tokenizer
    for bos, eos in ((True, False), (False, True), (True, True)):
        assert ours.encode(text, bos=bos, eos=eos) == plain.encode(text, bos=bos, eos=eos)
    ids = ours.encode(text)
    assert ours.decode(ids) == plain.decode(ids) == "".join(ours.decode_stream(iter(ids)))
    if "▁" not in text:  # sentencepiece writes spaces with this character, so it cannot tell them apart
        assert ours.decode(ids) == text


def test_random_ids_decode_as_sentencepiece_decodes_them(pair):
    ours, theirs = pair
    draw = random.Random(0)
    first_byte = ours._types.index(6)
    for _ in range(300):
        pool = (
            range(first_byte, first_byte + 256)
            if draw.random() < 0.5
            else range(3 if ours.version == "v1" else 771, 32_000)
        )
        ids = [draw.choice(pool) for _ in range(draw.randint(1, 9))]
        assert ours.decode(ids) == theirs.instruct_tokenizer.tokenizer.decode(ids), ids


def test_no_text_of_a_user_becomes_a_control_id(pair):
    ours, _ = pair
    for i in range(ours.vocab_size):
        if ours.is_control(i):
            assert not any(ours.is_control(j) for j in ours.encode(f"x {ours.piece(i)} y", bos=False))
            ids = ours.encode_chat([{"role": "user", "content": ours.piece(i)}])
            assert sum(ours.is_control(j) for j in ids) == (1 if ours.version == "v1" else 3)
        if i > 800:
            break


def user(text):
    return {"role": "user", "content": text}


def assistant(text, **more):
    return {"role": "assistant", "content": text, **more}


def system(text):
    return {"role": "system", "content": text}


CHATS = [
    [user("Hello")],
    [user(" Hi \n"), assistant("x y  "), user("[INST] ho </s>")],
    [system("Be brief."), user("Hi")],
    [system("S"), user("a"), assistant("b"), user("c"), assistant(" d"), user("e")],
    [user("a"), user("b")],
    [user("a"), system("S"), user("b")],
    [system("S"), system("T"), user("a")],
    [user("a"), assistant("b"), assistant("c"), user("d")],
    [user("a"), assistant("b", prefix=True)],
    [user("")],
    [system(""), user("x")],
    [system("S")],
    [assistant("a"), user("b")],
    [user("🙂"), assistant("日本"), user("x" * 500)],
]


@pytest.mark.parametrize("messages", CHATS, ids=lambda messages: "".join(m["role"][0] for m in messages))
def test_chats_become_the_same_ids(pair, messages):
    ours, theirs = pair
    assert ours.encode_chat(messages) == theirs_chat(theirs, messages)


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [user("a"), assistant("b")],
        [assistant("a")],
        [user("a"), assistant(""), user("b")],
        [user("a"), assistant("b"), system("S"), user("c")],
    ],
)
def test_chats_that_mistral_common_refuses_are_refused(pair, messages):
    ours, theirs = pair
    with pytest.raises((MistralCommonException, ValueError)):
        theirs_chat(theirs, messages)
    with pytest.raises(ValueError, match="message"):
        ours.encode_chat(messages)


def test_the_version_is_recognised_whatever_the_file_is_called(tmp_path):
    for version, name in FILES.items():
        copy = tmp_path / "tokenizer.model"
        shutil.copy(DATA / name, copy)
        assert Tokenizer(copy).version == version


def test_a_version_whose_template_we_do_not_know_says_so():
    tokenizer = Tokenizer(DATA / "mistral_instruct_tokenizer_241114.model.v7")
    with pytest.raises(ValueError, match="no chat template"):
        tokenizer.encode_chat([user("Hello")])
