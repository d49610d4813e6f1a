"""Text to ids and back, on sentencepiece; and the chat templates of Mistral's tokenizers v1, v2 and v3."""

import codecs
import os
import warnings
from collections.abc import Iterable, Iterator
from operator import index
from pathlib import Path

from minimistral.chat import chat_ids, chat_version
from minimistral.checkpoints.errors import naming
from minimistral.tokenizer_file import BYTE, CONTROL, UNKNOWN, UNUSED, read_tokenizer_file

SPACE = "▁"  # U+2581, how a piece spells a space
MISTRAL_V1 = Path(__file__).parent / "pretrained" / "mistral-v1-tokenizer" / "tokenizer.model"

# One U+FFFD for each byte that belongs to no character, as sentencepiece writes it; Python alone would write fewer.
codecs.register_error("minimistral.each_byte", lambda error: ("\ufffd" * (error.end - error.start), error.end))


class Tokenizer:
    """A sentencepiece file. CheckpointError names a file that is missing, damaged or something else.

    version: "v1", "v2" or "v3" of Mistral's chat templates, recognised from the pieces; None: no chat.
    path; model_bytes: the file as it is; vocab_size; bos_id, eos_id, unk_id: whole numbers.
    """

    def __init__(self, path: str | os.PathLike):
        from sentencepiece import SentencePieceProcessor  # here: a model without text does not need it

        self.path = Path(path)
        file = read_tokenizer_file(self.path)
        self.model_bytes = file.data
        self._processor = SentencePieceProcessor()
        with naming(self.path):
            self._processor.LoadFromSerializedProto(file.data)
            self._unknown_text = self._processor.decode([file.types.index(UNKNOWN)])
        self._pieces, self._types, self._adds_dummy_prefix = file.pieces, file.types, file.adds_dummy_prefix
        self.vocab_size = len(file.pieces)
        self.bos_id, self.eos_id = file.pieces.index("<s>"), file.pieces.index("</s>")
        self.unk_id = file.types.index(UNKNOWN)
        self.version = chat_version(self._pieces, self._types)

    @classmethod
    def mistral_v1(cls) -> "Tokenizer":
        """The tokenizer of Mistral 7B v0.1 and Mixtral 8x7B: 32,000 pieces, bundled, no download (Apache-2.0)."""
        return cls(MISTRAL_V1)

    def encode(self, text: str, bos: bool = True, eos: bool = False) -> list[int]:
        """The ids of a text, with the ids that open and close a text if asked for.

        Text that spells a control piece ("</s>", "[INST]") becomes ordinary pieces, never the control id.
        ValueError if `text` is not a str, or holds half of a surrogate pair.
        """
        if not isinstance(text, str):
            raise ValueError(f"text: given {type(text).__name__}; give a str.")
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise ValueError(
                f"text: character {error.start} is half of a surrogate pair, which is no character. "
                "Read the text as UTF-8, or clean it: text.encode('utf-8', 'replace').decode()."
            ) from None
        return [self.bos_id] * bool(bos) + self._processor.encode(text) + [self.eos_id] * bool(eos)

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids; control ids have none, bytes that form no character become U+FFFD. ValueError on foreign ids."""
        return "".join(self.decode_stream(ids))

    def decode_stream(self, ids: Iterable[int]) -> Iterator[str]:
        """The same text in parts, each as soon as its characters are whole: what a chat shows while it is written.

        A character outside the vocabulary is spelt in bytes, an id each; they are held back until it is complete.
        """
        decoder = codecs.getincrementaldecoder("utf-8")(errors="minimistral.each_byte")
        at_start = self._adds_dummy_prefix
        for token_id in ids:
            part = self._bytes(token_id)
            if part and at_start:  # the space that was put before the text goes
                part, at_start = part.removeprefix(b" "), False
            if text := decoder.decode(part):
                yield text
        if rest := decoder.decode(b"", final=True):
            yield rest

    def encode_chat(self, messages: list[dict[str, str]]) -> list[int]:
        """The official ids of a conversation, up to where the assistant is to answer.

        messages: {"role": "system" | "user" | "assistant", "content": str} each; a last assistant message with
        "prefix": True is left open, to be continued. ValueError says which message does not fit, or that this tokenizer
        has no chat version. Source: the package mistral_common, versions v1 to v3.
        """
        return chat_ids(self, messages)

    def piece(self, token_id: int) -> str:
        """How the vocabulary spells an id; spaces are written ▁."""
        return self._pieces[self._checked(token_id)]

    def is_control(self, token_id: int) -> bool:
        """Whether an id steers the model and has no text."""
        return self._types[self._checked(token_id)] == CONTROL

    def __len__(self) -> int:
        return self.vocab_size

    def __repr__(self) -> str:
        return f"Tokenizer({str(self.path)!r}: {self.vocab_size:,} pieces, chat version {self.version})"

    def _bytes(self, token_id: int) -> bytes:
        piece, kind = self._pieces[self._checked(token_id)], self._types[index(token_id)]
        if kind == BYTE:
            return bytes([int(piece[3:5], 16)])
        if kind in (CONTROL, UNUSED):
            return b""
        return (self._unknown_text if kind == UNKNOWN else piece.replace(SPACE, " ")).encode("utf-8")

    def _checked(self, token_id: int) -> int:
        try:
            number = index(token_id)
        except TypeError:
            raise ValueError(f"ids: {token_id!r} is a {type(token_id).__name__}; give whole numbers.") from None
        if not 0 <= number < self.vocab_size:
            raise ValueError(
                f"ids: {number} is outside this vocabulary of {self.vocab_size}; allowed are 0 to {self.vocab_size - 1}."
            )
        return number


def find_tokenizer(folder: str | os.PathLike) -> Path | None:
    """The sentencepiece file of a checkpoint's folder; None, with a warning if there is only a tokenizer.json."""
    folder = Path(folder)
    for name in ("tokenizer.model", "tokenizer.model.v3", "tokenizer.model.v2", "tokenizer.model.v1"):
        if (folder / name).exists():
            return folder / name
    if (folder / "tokenizer.json").exists():
        warnings.warn(
            f"{folder} has a tokenizer.json but no tokenizer.model, the sentencepiece file that this library reads: "
            "the model is loaded without a tokenizer. Put tokenizer.model beside it, or use token ids.",
            stacklevel=2,
        )
    return None
