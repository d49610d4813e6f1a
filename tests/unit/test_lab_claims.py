"""The ledger of claims: complete, counted, and each with a chapter."""

import re
from collections import Counter

from minimistral.lab.claims import KINDS, VERDICTS, claims


def test_there_are_seventy_in_order_with_the_verdicts_that_the_course_announces():
    assert list(claims()) == [f"C{number:02}" for number in range(1, 71)]
    counts = Counter(claim.verdict for claim in claims().values())
    assert counts == {"correct": 30, "misleading": 29, "wrong": 9, "uncheckable": 2} and set(counts) == set(VERDICTS)


def test_each_says_what_is_true_and_where_it_is_settled():
    for claim in claims().values():
        assert len(claim.claim) > 8 and len(claim.truth) > 8, claim.id
        assert claim.chapters and all(len(chapter) == 2 and chapter.isdigit() for chapter in claim.chapters), claim.id
        assert all(source.startswith(("arXiv ", "kexue.fm")) for source in claim.sources), claim.id
        for text in (claim.claim, claim.truth, claim.known):
            assert "**" not in text and not re.search(r"M7B|MX |SW \d|Check whether|State the", text), claim.id
            assert not re.search(r"\w\. (?:the|an?) ", text), claim.id  # a sentence begins with a capital


def test_each_says_in_a_few_sentences_how_it_is_known():
    counts = Counter(claim.kind for claim in claims().values())
    assert set(counts) == set(KINDS) and counts["uncheckable"] == 2
    for claim in claims().values():
        assert 40 < len(claim.known) < 400 and claim.known.endswith("."), claim.id
