"""01.2: repairs as people make them."""

import codecs


def incremental_decoder(pieces):
    decoder = codecs.getincrementaldecoder("utf-8")()
    shown = []
    for i, piece in enumerate(pieces):
        raw = bytes.fromhex(piece[3:5]) if piece.startswith("<0x") else piece.replace("▁", " ").encode()
        shown.append(decoder.decode(raw[1:] if i == 0 and raw[:1] == b" " else raw))
    return shown


def everything_decoded_anew(pieces):
    """As chats do it: decode all so far, show what is new, unless it ends in a replacement character."""
    shown, done, raw = [], "", b""
    for piece in pieces:
        raw += bytes([int(piece[3:5], 16)]) if piece[:3] == "<0x" else piece.replace("▁", " ").encode()
        text = raw.decode("utf-8", errors="replace").removeprefix(" ")
        if text.endswith("\ufffd"):
            shown.append("")
            continue
        shown.append(text[len(done) :])
        done = text
    return shown


def expected_lengths(pieces):
    """The first byte of a character says how many follow."""
    shown, tail = [], b""
    for i, piece in enumerate(pieces):
        if piece.startswith("<0x"):
            tail += bytes([int(piece[3:5], 16)])
            first = tail[0]
            need = 1 if first < 0x80 else 2 if first < 0xE0 else 3 if first < 0xF0 else 4
            shown.append(tail.decode() if len(tail) == need else "")
            tail = b"" if len(tail) == need else tail
        else:
            text = piece.replace("▁", " ")
            shown.append(text[1:] if i == 0 and text[0] == " " else text)
    return shown


RIGHT = [incremental_decoder, everything_decoded_anew, expected_lengths]


def _raw(piece):
    return bytes([int(piece[3:5], 16)]) if piece.startswith("<0x") else piece.replace("▁", " ").encode("utf-8")


def buffer_but_strips_every_piece(pieces):
    decoder = codecs.getincrementaldecoder("utf-8")()
    return [decoder.decode(_raw(p)[1:] if p.startswith("▁") else _raw(p)) for p in pieces]


def buffer_but_keeps_the_first_space(pieces):
    decoder = codecs.getincrementaldecoder("utf-8")()
    return [decoder.decode(_raw(p)) for p in pieces]


def replaces(pieces):
    texts = [_raw(p).decode("utf-8", "replace") for p in pieces]
    return [texts[0].removeprefix(" ")] + texts[1:]


def ignores(pieces):
    texts = [_raw(p).decode("utf-8", "ignore") for p in pieces]
    return [texts[0].removeprefix(" ")] + texts[1:]


def waits_for_the_end(pieces):
    whole = b"".join(map(_raw, pieces)).decode("utf-8", "ignore").removeprefix(" ")
    return [""] * (len(pieces) - 1) + [whole]


def latin_one(pieces):
    texts = [_raw(p).decode("latin-1") if p.startswith("<0x") else p.replace("▁", " ") for p in pieces]
    return [texts[0].removeprefix(" ")] + texts[1:]


def so_far(pieces):
    return [
        b"".join(map(_raw, pieces[: i + 1])).decode("utf-8", "ignore").removeprefix(" ") for i in range(len(pieces))
    ]


def joined(pieces):
    return "".join(expected_lengths(pieces))


def without_empty_ones(pieces):
    return [text for text in incremental_decoder(pieces) if text]


WRONG = {
    "spaces still lost": [buffer_but_strips_every_piece],
    "opening space kept": [buffer_but_keeps_the_first_space],
    "half a character shown": [replaces],
    "characters thrown away": [ignores],
    "all at the end": [waits_for_the_end],
    "a byte is not a character": [latin_one],
    "the whole text each time": [so_far],
    "one string": [joined],
    "waiting pieces left out": [without_empty_ones],
}
