"""The tokenizer by itself: streams, wrong arguments, files that are not what they should be."""

import random
import subprocess
import sys

import pytest

from minimistral import CheckpointError, Tokenizer
from minimistral.tokenizer import MISTRAL_V1, find_tokenizer


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.mistral_v1()


def test_a_stream_never_splits_a_character(tokenizer):
    text = "I 🥹 you, 日本語 👩‍👩‍👧!\n"
    ids = tokenizer.encode(text)
    parts = list(tokenizer.decode_stream(ids))
    assert "".join(parts) == text
    assert "\ufffd" not in "".join(parts)
    assert len(parts) < len(ids) - 1, "no id was held back: this text proves nothing"


def test_a_stream_speaks_as_soon_as_it_can(tokenizer):
    ids = tokenizer.encode("Hello there 🥹", bos=False)
    taken = []

    def one_at_a_time():
        for i in ids:
            taken.append(i)
            yield i

    stream = tokenizer.decode_stream(one_at_a_time())
    assert next(stream) == "Hello"
    assert len(taken) == 1


def test_half_a_character_at_the_end_is_shown_as_lost(tokenizer):
    ids = tokenizer.encode("🥹", bos=False)
    assert list(tokenizer.decode_stream(ids[:-1]))[-1].count("\ufffd") == 3


def test_the_first_words_keep_and_lose_the_right_spaces(tokenizer):
    assert tokenizer.encode("Hello", bos=False) == [22557]
    assert tokenizer.encode(" Hello", bos=False) == [28705, 22557]
    assert tokenizer.decode([1, 22557, 22557]) == "Hello Hello"
    assert tokenizer.decode([]) == ""


@pytest.mark.parametrize("ids", [[32_000], [-1], [1.5], ["a"], [None]])
def test_foreign_ids_are_named(tokenizer, ids):
    with pytest.raises(ValueError, match="ids: "):
        tokenizer.decode(ids)


@pytest.mark.parametrize("text", [None, b"bytes", 3, ["a"], "half \ud83d"])
def test_what_is_no_text_is_refused(tokenizer, text):
    with pytest.raises(ValueError, match="text: "):
        tokenizer.encode(text)


@pytest.mark.parametrize(
    "messages",
    ["Hello", [{"role": "user"}], [{"role": "tool", "content": "x"}], [{"role": "user", "content": None}], [None]],
)
def test_malformed_messages_are_named(tokenizer, messages):
    with pytest.raises(ValueError, match="messages"):
        tokenizer.encode_chat(messages)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A vocabulary of our own, trained with sentencepiece's default settings."""
    import sentencepiece

    folder = tmp_path_factory.mktemp("small")
    words = ["the quick brown fox jumps over the lazy dog", "pack my box with five dozen jugs"] * 20
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(words),
        model_prefix=str(folder / "tokenizer"),
        vocab_size=60,
        model_type="bpe",
        minloglevel=2,
    )
    return folder / "tokenizer.model"


def test_a_tokenizer_without_chat_says_so(small):
    tokenizer = Tokenizer(small)
    assert tokenizer.version is None
    assert tokenizer.decode(tokenizer.encode("the lazy dog")) == "the lazy dog"
    with pytest.raises(ValueError, match="no chat template"):
        tokenizer.encode_chat([{"role": "user", "content": "Hello"}])


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git-lfs"),
        (b"<!DOCTYPE html><html>401</html>", "web page"),
        (b'{"model": {}}', "JSON"),
        (b"\x00" * 100, "sentencepiece"),
        (random.Random(1).randbytes(5000), "sentencepiece"),
        (b"\x0a\x03\x0a\x01a", "unknown text"),
    ],
)
def test_other_files_are_recognised(tmp_path, content, reason):
    path = tmp_path / "tokenizer.model"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=reason) as caught:
        Tokenizer(path)
    assert str(path) in str(caught.value)


def test_missing_files_and_folders_are_named(tmp_path):
    with pytest.raises(CheckpointError, match="nothing.model"):
        Tokenizer(tmp_path / "nothing.model")
    with pytest.raises(CheckpointError, match="folder"):
        Tokenizer(tmp_path)


def test_a_file_of_absurd_size_is_not_read(tmp_path):
    path = tmp_path / "tokenizer.model"
    with path.open("wb") as file:
        file.truncate(10**12)
    with pytest.raises(CheckpointError, match="bytes"):
        Tokenizer(path)


FUZZ = """
import random, sys
from minimistral import CheckpointError, Tokenizer
whole, path, draw = open(sys.argv[1], "rb").read(), sys.argv[2], random.Random(int(sys.argv[3]))
refused = 0
for turn in range(60):
    data = bytearray(whole)
    if turn % 2:
        del data[draw.randrange(len(data)):]
    else:
        for _ in range(draw.choice((1, 3, 30))):
            data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    open(path, "wb").write(data)
    try:
        tokenizer = Tokenizer(path)
        tokenizer.decode(tokenizer.encode("Hello, 🙂"))
    except CheckpointError:
        refused += 1
print(refused)
"""


@pytest.mark.parametrize("which", ["bundled", "small"])
def test_damaged_files_are_refused_or_work_and_never_crash(tmp_path, small, which):
    source = MISTRAL_V1 if which == "bundled" else small
    command = [sys.executable, "-c", FUZZ, str(source), str(tmp_path / "t.model"), "0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout) >= 20


def test_the_tokenizer_of_a_folder(tmp_path):
    assert find_tokenizer(tmp_path) is None
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.warns(UserWarning, match="tokenizer.model"):
        assert find_tokenizer(tmp_path) is None
    for name in ("tokenizer.model.v1", "tokenizer.model.v2", "tokenizer.model.v3", "tokenizer.model"):
        (tmp_path / name).touch()
        assert find_tokenizer(tmp_path).name == name
