"""The form that every chapter keeps, so that a reader finds the same things in the same way in all of them."""

import re
from pathlib import Path

import nbformat
import pytest

from minimistral.lab.claims import claims

ROOT = Path(__file__).parents[2]
CHAPTERS = sorted((ROOT / "chapters").glob("*.ipynb"))
BANNED = re.compile(r"/home/|/root/|/tmp/|/Users/|/work/|C:\\|localhost:\d|127\.0\.0\.1")
SECTIONS = (
    "Predict",
    "See it",
    "Build it",
    "Play with it",
    "Measure it",
    "At full size",
    "Exercises",
    "Check yourself",
    "Recap",
)


@pytest.fixture(params=CHAPTERS, ids=lambda path: path.stem)
def chapter(request):
    return nbformat.read(request.param, 4)


def markdown(chapter):
    return [cell.source for cell in chapter.cells if cell.cell_type == "markdown"]


def outputs(chapter):
    return [output for cell in chapter.cells if cell.cell_type == "code" for output in cell.outputs]


def test_executed_in_order_and_without_errors(chapter):
    counts = [cell.execution_count for cell in chapter.cells if cell.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1))
    assert not [output for output in outputs(chapter) if output.output_type == "error"]


def test_nothing_of_one_run_or_one_machine_is_kept(chapter):
    assert "widgets" not in chapter.metadata
    for cell in chapter.cells:
        assert "execution" not in cell.metadata
    for output in outputs(chapter):
        assert "application/vnd.jupyter.widget-view+json" not in output.get("data", {})
    text = nbformat.writes(chapter)
    assert not BANNED.search(re.sub(r"data:image/png;base64,[^\"\\]+|\"image/png\": \"[^\"]+\"", "", text))


def test_pictures_have_alternative_text_and_are_small(chapter):
    for output in outputs(chapter):
        if "image/png" in output.get("data", {}):
            assert len(output.data["image/png"]) * 3 / 4 <= 60_000
            alt = output.metadata["image/png"]["alt"]
            assert len(alt) > 20 and alt in output.data["text/plain"]
            assert re.search(r'<img alt="[^"]{20,}"', output.data["text/html"])


def test_cells_and_paragraphs_are_short(chapter):
    for cell in chapter.cells:
        if cell.cell_type == "code":
            assert len(cell.source.splitlines()) <= 25, cell.source.splitlines()[0]
    for text in markdown(chapter):
        for paragraph in re.split(r"\n\s*\n", text):
            if not paragraph.lstrip().startswith(("|", "$$", "```", "<")):
                assert len(paragraph.split()) <= 90, paragraph[:80]


def test_it_has_the_parts_of_a_chapter_in_their_order(chapter):
    headings = re.findall(r"^## \d+ (.+)$", "\n".join(markdown(chapter)), re.MULTILINE)
    places = [next(i for i, heading in enumerate(headings) if heading.startswith(part)) for part in SECTIONS]
    assert places == sorted(places)
    for section in re.split(r"^(?=## \d)", "\n".join(markdown(chapter)), flags=re.MULTILINE)[1:]:
        marks = re.findall(r"^##+ .*· (core|further), .*\d+ min$", section, re.MULTILINE)
        assert marks, f"core or further? {section.splitlines()[0]}"


def test_the_core_path_takes_about_45_minutes(chapter):
    text = "\n".join(markdown(chapter))
    minutes = [int(n) for n in re.findall(r"^##+ .*· core, .*?(\d+) min$", text, re.MULTILINE)]
    assert 40 <= sum(minutes) <= 48, minutes


def test_claims_stand_in_the_recap_and_are_settled_in_asserting_cells(chapter):
    recap = next(text for text in markdown(chapter) if re.search(r"^## \d+ Recap", text, re.MULTILINE))
    rows = re.findall(r"^\| (C\d\d) \|.*\| (correct|misleading|wrong|uncheckable) \|.*\| (.+) \|$", recap, re.MULTILINE)
    measured = {claim for claim, _, where in rows if where != "sources"}
    tagged = {}
    for cell in chapter.cells:
        for claim in claims().values():
            if claim.cell in cell.metadata.get("tags", []):
                tagged.setdefault(claim.id, []).append(cell.source)
    assert measured == set(tagged)
    for claim, cells in tagged.items():
        assert any("assert" in source for source in cells), claim
    title = re.match(r"# (\d\d) ", markdown(chapter)[0])[1]
    due = {id for id, claim in claims().items() if title in claim.chapters}
    assert due <= {claim for claim, _, _ in rows}, "claims of this chapter that its recap leaves out"
    for claim, verdict, _ in rows:
        assert verdict == claims()[claim].verdict, claim


def test_answer_cells_have_their_check_right_behind(chapter):
    roles = [cell.metadata.get("minimistral", {}) for cell in chapter.cells]
    answers = [role["exercise"] for role in roles if role.get("role") == "answer"]
    assert answers
    for index, role in enumerate(roles):
        if role.get("role") == "answer":
            assert roles[index + 1] == {"exercise": role["exercise"], "role": "check"}
            assert chapter.cells[index + 1].source.startswith(f'check("{role["exercise"]}", ')
            assert f"Exercise {role['exercise']}: not attempted yet" in str(chapter.cells[index + 1].outputs)


def test_links_lead_somewhere(chapter):
    for text in markdown(chapter):
        for target in re.findall(r"\]\(([^)]+)\)", text):
            assert target.startswith("https://") or (ROOT / "chapters" / target).exists(), target
