"""From text files to the one long row of token ids that a model is trained on."""

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:  # the tests bring a tokenizer of their own, without sentencepiece
    from minimistral.tokenizer import Tokenizer


def read_tokens(source: str | Path, tokenizer: "Tokenizer") -> Tensor:
    """A text file, or all `.txt` files below a folder in the order of their names, as one 1-D tensor of ids.

    Each file is a document of its own: it begins with bos and ends with eos.
    """
    source = Path(source)
    paths = sorted(source.rglob("*.txt")) if source.is_dir() else [source]
    if not paths:
        raise ValueError(f"{source} holds no .txt file. Give a text file, or a folder with .txt files in it.")
    ids = []
    for path in paths:
        try:
            ids += tokenizer.encode(path.read_text(encoding="utf-8"), bos=True, eos=True)
        except UnicodeDecodeError as error:
            raise ValueError(f"{path} is not UTF-8 text (byte {error.start}). Save it as UTF-8.") from error
    return torch.tensor(ids)
