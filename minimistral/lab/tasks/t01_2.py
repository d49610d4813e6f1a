"""01.2, a bug hunt: a chat that is shown while it is written, with lost spaces and half characters."""

import random

from minimistral.lab.exercise import Exercise, Mistake


def mended_stream(pieces: list[str]) -> list[str]:
    shown, waiting, at_start = [], b"", True
    for piece in pieces:
        if piece.startswith("<0x"):
            waiting += bytes([int(piece[3:5], 16)])
        else:
            waiting += piece.replace("▁", " ").encode("utf-8")
        if at_start and waiting:  # the one space that the tokenizer put before the text
            waiting, at_start = waiting.removeprefix(b" "), False
        try:
            text, waiting = waiting.decode("utf-8"), b""
        except UnicodeDecodeError:
            text = ""  # a character is not whole yet: keep its bytes for the next piece
        shown.append(text)
    return shown


def given(pieces: list[str]) -> list[str]:
    shown = []
    for piece in pieces:
        if piece.startswith("<0x"):
            text = bytes([int(piece[3:5], 16)]).decode("utf-8", errors="replace")
        else:
            text = piece.replace("▁", " ").removeprefix(" ")
        shown.append(text)
    return shown


WORDS = ("▁Hello", "▁the", "▁llama", "▁sat", "▁on", "▁a", "▁mat")
SIGNS = ("é", "ß", "\u1200", "\u0e01", "🥹", "🫠", "🦙", "ñ")


def _bytes(sign: str) -> list[str]:
    return [f"<0x{byte:02X}>" for byte in sign.encode()]


def cases(draw: random.Random) -> list[tuple]:
    def words(n: int) -> list[str]:
        return draw.sample(WORDS, n)

    face, other = draw.sample([sign for sign in SIGNS if len(sign.encode()) > 2], 2)
    short = draw.choice([sign for sign in SIGNS if len(sign.encode()) == 2])
    return [
        (words(3),),
        ([*words(1), "▁", *_bytes(face), *words(1), "!"],),
        (["▁", *_bytes(face), *_bytes(short), "a", "ma", *words(1)],),
        (["▁▁", *words(2), "<0x0A>", *words(1), *_bytes(short)],),
        ([*words(2), *_bytes(face), *_bytes(other), "▁"],),
        ([*words(1), *_bytes(face)[:-1]],),  # it was cut short: the half character is never shown
    ]


def _raw(piece: str) -> bytes:
    return bytes([int(piece[3:5], 16)]) if piece.startswith("<0x") else piece.replace("▁", " ").encode()


def _stream(pieces: list[str], strip: str = "first", errors: str | None = None) -> list[str]:
    """The stream in variations: which spaces go ("first", "all", "none"), and whether half characters wait (errors None)."""
    shown, waiting, started = [], b"", False
    for piece in pieces:
        part = _raw(piece)
        if strip == "all" or (strip == "first" and not started):
            part = part.removeprefix(b" ")
        started = True
        if errors:
            shown.append(part.decode("utf-8", errors))
            continue
        waiting += part
        try:
            text, waiting = waiting.decode(), b""
        except UnicodeDecodeError:
            text = ""
        shown.append(text)
    return shown


def _spaces_lost(pieces: list[str]) -> list[str]:
    return _stream(pieces, "all")


def _opening_space_kept(pieces: list[str]) -> list[str]:
    return _stream(pieces, "none")


def _half(pieces: list[str]) -> list[str]:
    return _stream(pieces, "first", "replace")


def _half_opening(pieces: list[str]) -> list[str]:
    return _stream(pieces, "none", "replace")


def _ignored(pieces: list[str]) -> list[str]:
    return _stream(pieces, "first", "ignore")


def _all_at_the_end(pieces: list[str]) -> list[str]:
    return [*[""] * (len(pieces) - 1), "".join(_stream(pieces))]


def _as_code_points(pieces: list[str]) -> list[str]:
    shown = [chr(_raw(piece)[0]) if piece.startswith("<0x") else _raw(piece).decode() for piece in pieces]
    return [shown[0].removeprefix(" "), *shown[1:]]


def _whole_text_each_time(pieces: list[str]) -> list[str]:
    parts = _stream(pieces)
    return ["".join(parts[: i + 1]) for i in range(len(parts))]


def _is_one_string(inputs: tuple, got: object, expected: list) -> bool:
    return isinstance(got, str)


def _left_out(inputs: tuple, got: object, expected: list) -> bool:
    return isinstance(got, list) and len(got) < len(expected) and got == [text for text in expected if text]


EXERCISE = Exercise(
    id="01.2",
    title="Find the bug: half characters in a chat",
    minutes=12,
    difficulty=2,
    cases=cases,
    solution=mended_stream,
    given=given,
    mistakes=(
        Mistake(
            "spaces still lost",
            "Half characters wait now, but the words are glued together. A tokenizer puts *one* space before a *text*: "
            "take it off the first piece only, not off each.",
            wrong=_spaces_lost,
        ),
        Mistake(
            "opening space kept",
            "The text begins with a space that nobody wrote. The tokenizer put it there: take it off the first piece.",
            wrong=_opening_space_kept,
        ),
        Mistake(
            "half a character shown",
            "The spaces are right, but a character of several bytes is shown as �, once a byte. One byte of it is no text: "
            "keep a tail of bytes until it is valid UTF-8.",
            wrong=_half,
        ),
        Mistake(
            "half a character shown",
            "A character of several bytes is shown as �, once a byte: keep a tail of bytes until it is valid UTF-8. "
            "And the first space is the tokenizer's own.",
            wrong=_half_opening,
        ),
        Mistake(
            "characters thrown away",
            "errors='ignore' hides the � and loses the character. Its bytes must be kept until the last one has come.",
            wrong=_ignored,
        ),
        Mistake(
            "all at the end",
            "Everything is there, but only after the last piece. A chat shows each text as soon as it is whole.",
            wrong=_all_at_the_end,
        ),
        Mistake(
            "a byte is not a character",
            "Each byte was turned into a character of its own (chr, or latin-1). In UTF-8 a character takes one to four bytes: "
            "collect them, then decode them together.",
            wrong=_as_code_points,
        ),
        Mistake(
            "the whole text each time",
            "Each entry repeats all that was shown before. Give only what is new with this piece.",
            wrong=_whole_text_each_time,
        ),
        Mistake("one string", "Give a list with one text for each piece, not one string.", seen=_is_one_string),
        Mistake(
            "waiting pieces left out", 'A piece that completes nothing shows "": one entry a piece.', seen=_left_out
        ),
    ),
    nudge='Run the given function on ["▁Hello", "▁the", "▁", "<0xF0>", "<0x9F>", "<0xA5>", "<0xB9>"]. '
    "Which two things went wrong, and at which piece first?",
    shapes="""
| name | type | meaning |
|---|---|---|
| `pieces` | list of str | as the vocabulary spells them: ▁ is a space, `<0xF0>` one byte |
| `waiting` | bytes | what has come and is not a whole character yet |
| `bytes.decode("utf-8")` | str, or UnicodeDecodeError | the error says: not whole yet |
| result | list of str, as long as `pieces` | what to show after each piece; "" where nothing is complete |
""",
    skeleton="""
def mended_stream(pieces):
    shown, waiting, at_start = [], b"", True
    for piece in pieces:
        if piece.startswith("<0x"):
            waiting += bytes([int(piece[3:5], 16)])
        else:
            waiting += piece.replace("▁", " ").encode("utf-8")
        if at_start:
            waiting, at_start = ____, False
        try:
            text, waiting = ____, b""
        except UnicodeDecodeError:
            text = ____
        ...
""",
    explanation="Bytes are collected, text is shown. The tail waits until it is valid UTF-8, and only the first piece of a text "
    "loses its space. The library's `decode_stream` does the same with Python's incremental decoder, which also copes with "
    "bytes that can never become a character.",
    report="Both halves of it were shipped. Spaces: huggingface/transformers#22710 (text generated token by token lost its "
    "whitespace), seen with Mistral in deepjavalibrary/djl-serving#1272. Half characters: ggml-org/llama.cpp#4036, and "
    "mlc-ai/mlc-llm#1142 for emoji.",
)
