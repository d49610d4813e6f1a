"""Packs the bundled part of the corpus into minimistral/texts: every held-out document, and some of each domain's others.

python scripts/bundle_texts.py --packages FOLDER
"""

import argparse
import dataclasses
import hashlib
import json
import lzma
import random
import zipfile
from pathlib import Path

from minimistral.data import SLICE, sources_table
from minimistral.sources import DOMAINS, Document, documents, fetch

BYTES = dict(drama=1_150_000, prose=500_000, spanish=850_000, python=1_200_000, mathematics=1_400_000)
MAX_BYTES = 1_600_000
README = """# The bundled texts

`slice.jsonl.xz` holds {n_documents} documents of five domains ({size:,} bytes packed, sha256 `{digest}`): every document that
is held out from training, and for each domain a part of the rest, chosen with a fixed seed. It is read by
`minimistral.data.bundled_texts`; `minimistral data FOLDER` writes it out as text files, and with `--packages` the whole corpus.

| domain | what | bytes to train on | bytes held out |
|---|---|---|---|
| drama | Shakespeare's plays; held out: The Tempest, Macbeth | {drama} |
| prose | Moby-Dick and the King James Bible; held out: the last eight chapters, the Gospel of Mark | {prose} |
| spanish | the Reina-Valera Bible of 1909, the same books and verses as the English one here | {spanish} |
| python | networkx without its tests; held out: algorithms/community | {python} |
| mathematics | set.mm of Metamath, sentence and formula of each theorem; held out: every 32nd hundred | {mathematics} |

## Where they come from

{table}
The licence of networkx is in `networkx-LICENSE.txt`. Texts were cleaned (mark-up, notes, contributors' names removed) by
`minimistral/sources.py`.
"""


def choose(all_documents: list[Document]) -> list[Document]:
    """Held-out documents, and others in shuffled order up to BYTES; the English books are those chosen in Spanish."""
    chosen = [document for document in all_documents if document.held_out]
    for domain in DOMAINS:
        left = BYTES[domain]
        candidates = [d for d in all_documents if d.domain == domain and not d.held_out]
        if domain == "prose":
            candidates = [d for d in candidates if not d.verses]
        for document in random.Random(0).sample(candidates, len(candidates)):
            if len(document.text.encode()) <= left:
                chosen.append(document)
                left -= len(document.text.encode())
    spanish = {document.verses for document in chosen if document.domain == "spanish"}
    return [d for d in all_documents if d in chosen or (d.domain == "prose" and d.verses in spanish)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--packages", type=Path, required=True, help="where downloaded packages are kept")
    packages = parser.parse_args().packages
    chosen = choose(list(documents(packages)))
    lines = "".join(json.dumps(dataclasses.asdict(document), ensure_ascii=False) + "\n" for document in chosen)
    packed = lzma.compress(lines.encode(), preset=9 | lzma.PRESET_EXTREME)
    assert len(packed) <= MAX_BYTES, f"{len(packed):,} bytes packed"
    SLICE.parent.mkdir(exist_ok=True)
    SLICE.write_bytes(packed)
    with zipfile.ZipFile(fetch("networkx", packages)) as wheel:
        licence = next(name for name in wheel.namelist() if name.endswith("LICENSE.txt"))
        (SLICE.parent / "networkx-LICENSE.txt").write_bytes(wheel.read(licence))
    sizes = {
        domain: " | ".join(
            f"{sum(len(d.text.encode()) for d in chosen if d.domain == domain and d.held_out is held_out):,}"
            for held_out in (False, True)
        )
        for domain in DOMAINS
    }
    readme = README.format(
        n_documents=len(chosen),
        size=len(packed),
        digest=hashlib.sha256(packed).hexdigest(),
        table=sources_table(),
        **sizes,
    )
    (SLICE.parent / "README.md").write_text(readme, encoding="utf-8")
    print(readme)


if __name__ == "__main__":
    main()
