"""Chapter 01's tool: what two vocabularies make of a text: pieces, ids, bytes, and what falls back to single bytes."""

from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

from minimistral.lab.counted import counted
from minimistral.lab.tools.browser_tool import BrowserTool
from minimistral.tokenizer import MISTRAL_V1, SPACE, Tokenizer

LONGEST = 160  # characters that the tool looks at
VOCABULARIES = {
    "Mistral 7B": MISTRAL_V1,
    "the bundled tiny model": Path(MISTRAL_V1).parents[1] / "tiny-tokenizer" / "tokenizer.model",
}
EXAMPLES = {
    "English": "The llama costs 2026 pesos 🥹",
    "Spanish": "La llama cuesta 2026 pesos 🥹",
    "Hindi": "लामा की कीमत",
    "Python": "        return x ** 2 + 3.14159",
    "emoji": "🙂 🥹 👩‍👩‍👧",
    "spaces": "Hello  Hello hello",
}


@dataclass(frozen=True)
class Piece:
    """One token: how the vocabulary spells it, its id, the bytes that it stands for, and whether it is a single byte."""

    text: str
    id: int
    bytes: str  # two hexadecimal digits a byte, "F0 9F"
    is_byte: bool


@cache
def vocabulary(name: str) -> Tokenizer:
    return Tokenizer(VOCABULARIES[name])


def pieces(text: str, name: str) -> list[Piece]:
    """The tokens of a text in the vocabulary of this name, without the mark that opens a text."""
    tokenizer, found = vocabulary(name), []
    for id in tokenizer.encode(text, bos=False):
        piece = tokenizer.piece(id)
        is_byte = len(piece) == 6 and piece.startswith("<0x")
        raw = bytes([int(piece[3:5], 16)]) if is_byte else piece.replace(SPACE, " ").encode()
        found.append(Piece(piece, id, raw.hex(" ").upper(), is_byte))
    return found


def cut(text: str) -> str:
    """As much of a text as the tool looks at; half of a surrogate pair, which a keyboard can send, becomes a question mark."""
    return text[:LONGEST].encode("utf-8", "replace").decode()


def describe(text: str) -> str:
    """The sentence that is read out."""
    text, parts = cut(text), []
    for name in VOCABULARIES:
        found = pieces(text, name)
        single = sum(piece.is_byte for piece in found)
        many = counted(len(found), "token")
        bytes_ = "a single byte" if single == 1 else "single bytes"
        parts.append(f"{many} for {name} ({vocabulary(name).vocab_size:,} pieces), {single or 'none'} of them {bytes_}")
    return f"{counted(len(text.encode()), 'byte')} of UTF-8. {'; '.join(parts)}."


class TokenizerLens(BrowserTool):
    """Type a text: its pieces, ids and bytes in two vocabularies. Encoding is done in Python, so it needs a kernel."""

    script = "tokenizer_lens.js"
    asks = True

    def __init__(self, text: str = EXAMPLES["English"]):
        if not isinstance(text, str):
            raise ValueError(f"text={text!r}: give a str.")
        self.text = cut(text)

    def __repr__(self) -> str:
        return describe(self.text)

    def start(self) -> dict:
        return {"text": self.text, "example": ""}

    def data(self) -> dict:
        sizes = {name: vocabulary(name).vocab_size for name in VOCABULARIES}
        return {"sizes": sizes, "examples": EXAMPLES, "longest": LONGEST}

    def answer(self, state: dict) -> dict:
        text = cut(str(state["text"]))
        return {
            "said": describe(text),
            "found": {name: [asdict(piece) for piece in pieces(text, name)] for name in VOCABULARIES},
        }

    def picture(self):
        return draw(self.text)


def draw(text: str):
    """The tokens of both vocabularies as rows of boxes, bytes in another colour."""
    from matplotlib.patches import FancyBboxPatch

    from minimistral.lab import theme
    from minimistral.lab.picture import show

    rows = _rows(text)
    with theme.figure(size=(7.2, 0.5 + 0.46 * len(rows))) as (figure, axes):
        for y, row in enumerate(rows):
            for item in row:
                if len(item) == 2:
                    axes.text(0, -y + 0.1, item[1], fontweight="bold", va="center")
                    continue
                left, width, spelt, piece = item
                colour = theme.AMBER if piece.is_byte else theme.LIGHT
                place, size = (left + 0.05, -y - 0.36), (width - 0.1, 0.72)
                axes.add_patch(
                    FancyBboxPatch(place, *size, boxstyle="round,pad=0.04", fc=colour, ec=theme.GREY, lw=0.6)
                )
                axes.text(left + width / 2, -y + 0.17, spelt, ha="center", va="center", fontsize=9)
                axes.text(left + width / 2, -y - 0.19, str(piece.id), ha="center", va="center", fontsize=7)
        axes.set(xlim=(-0.1, 14.1), ylim=(-len(rows) + 0.4, 0.5))
        axes.axis("off")
        axes.set_title("Pieces, and their ids below; orange: a single byte")
        return show(figure, describe(text))


def _rows(text: str) -> list[list[tuple]]:
    """What stands in each row of the picture: one heading (0, text), or boxes (left, width, spelling, piece)."""
    rows = []
    for name in VOCABULARIES:
        rows.append(
            [(0.0, f"{name}: {vocabulary(name).vocab_size:,} pieces, {counted(len(pieces(text, name)), 'token')}")]
        )
        left, line = 0.0, []
        for piece in pieces(text, name):
            spelt = _spelt(piece.text)
            width = 0.16 * max(len(spelt), len(str(piece.id))) + 0.3
            if left + width > 14 and line:
                rows.append(line)
                left, line = 0.0, []
            line.append((left, width, spelt, piece))
            left += width + 0.08
        rows.append(line)
    return rows


def _spelt(piece: str) -> str:
    """A piece as the picture's font can write it."""
    return "".join(c if (ord(c) < 0x590 or c == SPACE) and c.isprintable() else f"U+{ord(c):X}" for c in piece)
