"""Chapter 01's tool without a browser: its pieces against sentencepiece itself, its bytes against Python's UTF-8."""

import pytest
from sentencepiece import SentencePieceProcessor

from minimistral.lab import TokenizerLens
from minimistral.lab.declaration import declaration
from minimistral.lab.tools import tokenizer_lens as tool

TEXTS = [
    "",
    " ",
    "Hello",
    "I 🥹 you",
    "👩‍👩‍👧",
    "naïve\ttab\nline",
    "日本語",
    "</s> [INST]",
    "<0x41>",
    *declaration().values(),
]


@pytest.fixture(scope="module", params=list(tool.VOCABULARIES))
def named(request):
    return request.param, SentencePieceProcessor(model_file=str(tool.VOCABULARIES[request.param]))


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: repr(text[:12]))
def test_pieces_are_those_of_sentencepiece_and_their_bytes_spell_the_text(named, text):
    name, oracle = named
    found = tool.pieces(text, name)
    assert [piece.id for piece in found] == oracle.encode(text)
    assert [piece.text for piece in found] == oracle.encode(text, out_type=str)
    assert [piece.is_byte for piece in found] == [oracle.is_byte(piece.id) for piece in found]
    spelt = b"".join(bytes.fromhex(piece.bytes) for piece in found)
    assert spelt == (b" " if text else b"") + text.encode()  # the space that opens a text


def test_an_emoji_falls_into_its_four_bytes():
    found = tool.pieces("🥹", "Mistral 7B")
    assert [piece.bytes for piece in found if piece.is_byte] == ["F0", "9F", "A5", "B9"]
    assert [piece.id for piece in found] == [28705, 243, 162, 168, 188]


def test_the_answer_holds_what_the_browser_draws():
    answer = TokenizerLens().answer({"text": "I 🥹 you"})
    assert set(answer["found"]) == set(tool.VOCABULARIES)
    assert answer["said"].startswith(
        "10 bytes of UTF-8. 7 tokens for Mistral 7B (32,000 pieces), 4 of them single bytes;"
    )


def test_half_a_character_and_a_long_text_do_no_harm():
    tool_for = TokenizerLens()
    assert tool_for.answer({"text": "a\ud83d"})["said"].startswith("2 bytes")
    long = tool_for.answer({"text": "a b " * 1000})
    assert long["said"].startswith(f"{tool.LONGEST} bytes")
    with pytest.raises(ValueError, match="give a str"):
        TokenizerLens(3)


@pytest.mark.parametrize("text", ["", "日本語 🥹", *tool.EXAMPLES.values()])
def test_the_picture_says_and_shows(text):
    picture = TokenizerLens(text).picture()
    assert "bytes of UTF-8" in picture.alt and len(picture.png) < 60_000


def test_the_declaration_is_one_paragraph_in_each_language():
    texts = declaration()
    assert next(iter(texts)) == "English" and len(texts) == 18
    assert all(text and "\n" not in text and "<" not in text and "[" not in text for text in texts.values())
