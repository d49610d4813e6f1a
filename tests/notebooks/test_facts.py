"""Facts quoted in chapters equal the ledger and the tables behind the figures; and the ledger's `known` equals the chapters."""

import ast
import re
from collections import defaultdict
from functools import cache
from pathlib import Path
from statistics import mean, median, stdev

import nbformat
import pytest

from minimistral import ModelConfig
from minimistral.lab.article_figures import figures
from minimistral.lab.claims import VERDICTS, Claim, claims
from minimistral.lab.stored_results import stored

figures()
from figures.tables import DATA, difference, rows, score, scores  # noqa: E402

ROOT = Path(__file__).parents[2]
NOTEBOOKS = {path.stem[:2]: nbformat.read(path, 4) for path in sorted((ROOT / "chapters").glob("*.ipynb"))}
EACH_CLAIM = [pytest.param(claim, id=claim.id) for claim in claims().values()]


# ---- tables that a cell types out ------------------------------------------------------------------------------------


def row(file: str, model: str, benchmarks: tuple[str, ...] = ()) -> list[float]:
    """A model's row of a table in figures/data, in the order of the file or of `benchmarks`."""
    if benchmarks:
        return [score(file, name, model).value for name in benchmarks]
    return [found.value for found in scores(file) if found.model == model]


def parameters(file: str) -> dict[str, int]:
    return {found["parameter"]: int(found["value"]) for found in rows(file)}


def table18() -> dict[str, list[float]]:
    by_model = defaultdict(list)
    for found in rows("llama2_table18.csv"):
        by_model[found["model"]].append(float(found["value"]))
    return dict(by_model)


def table5() -> dict[str, list[list[float]]]:
    """Mixtral's neighbours that agree, of first choices and with one in common: layers 0, 15, 31, eight kinds of text."""
    names = {"first": "first", "in common": "first or second"}
    table = rows("mixtral_table5.csv")
    return {
        name: [[float(r["value"]) for r in table if r["choice"] == choice and r["layer"] == layer] for layer in LAYERS]
        for name, choice in names.items()
    }


LAYERS = ("0", "15", "31")
M1, M2, M3 = "mistral_table2.csv", "mixtral_table2.csv", "mixtral_table3.csv"
REPORT = ("MMLU", "HellaSwag", "ARC-c", "WinoGrande", "GSM8K")  # of GPT-3.5, in the GPT-4 report too
QUOTED = {  # chapter and variable -> what it must be
    ("04", "tasks"): table18(),
    ("07", "mistral_7b"): row(M1, "Mistral 7B"),
    ("07", "llama2_13b"): row(M1, "Llama 2 13B"),
    ("07", "mistral_again"): row(M2, "Mistral 7B"),
    ("07", "llama1_33b"): row(M2, "Llama 1 33B"),
    ("07", "code_llama"): row(M1, "Code-Llama 7B"),
    ("09", "PAPER"): {name == "first": [round(mean(kinds), 1) for kinds in table] for name, table in table5().items()},
    ("09", "mistral_table"): parameters("mistral_table1.csv"),
    ("09", "mixtral_table"): parameters("mixtral_table1.csv"),
    ("09", "llama2_70b"): row(M2, "Llama 2 70B"),
    ("09", "mixtral_8x7b"): row(M2, "Mixtral 8x7B"),
    ("09", "others"): {"LLaMA 2 70B": row(M3, "Llama 2 70B"), "GPT-3.5": row(M3, "GPT-3.5")},
    ("09", "mixtral_3"): row(M3, "Mixtral 8x7B"),
    ("10", "report"): dict(zip(REPORT, row(M3, "GPT-3.5", REPORT), strict=True)),
    ("13", "PAPER"): table5(),
}


def code(chapter: str) -> list[str]:
    return [cell.source for cell in NOTEBOOKS[chapter].cells if cell.cell_type == "code"]


def parsed(source: str) -> ast.Module:
    try:
        return ast.parse(source)
    except SyntaxError:  # a cell with %magic
        return ast.Module([], [])


def constants(source: str) -> dict:
    """What the assignments of a cell mean that need nothing but literals, dict, zip and each other."""
    found: dict = {"__builtins__": {"dict": dict, "zip": zip}}
    for node in parsed(source).body:
        if isinstance(node, (ast.Assign, ast.AugAssign)):
            try:
                exec(compile(ast.Module([node], []), "cell", "exec"), found)
            except Exception:  # it needs what the chapter made before
                continue
    return found


@pytest.mark.parametrize("chapter, name", [each for each in QUOTED if each[0] in NOTEBOOKS])
def test_a_quoted_table_equals_the_one_with_the_sources(chapter, name):
    found = [known[name] for known in map(constants, code(chapter)) if name in known]
    assert found == [QUOTED[chapter, name]], f"{name} in chapter {chapter}, figures/data"


def lists_in(value) -> list[list]:
    """A table's lists of numbers, however it is nested."""
    inner = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []
    return [inner, *(found for each in inner for found in lists_in(each))]


@pytest.mark.parametrize("chapter", NOTEBOOKS)
def test_no_table_is_quoted_that_nobody_compares(chapter):
    """Three or more scores with a decimal point in one list: a table. It must be in QUOTED."""
    compared = [found for (where, _), value in QUOTED.items() if where == chapter for found in lists_in(value)]
    for source in code(chapter):
        for node in ast.walk(parsed(source)):
            if isinstance(node, (ast.List, ast.Tuple)):
                try:
                    values = list(ast.literal_eval(node))
                except ValueError:
                    continue
                looks = [v for v in values if isinstance(v, float) and 4 < v < 100 and round(v, 2) == v]
                assert len(looks) < 3 or values in compared, f"{values} in chapter {chapter}: add it to QUOTED"


def test_speeds_and_scores_that_chapter_04_divides_are_the_gqa_paper_s():
    table = {found["model"]: found for found in rows("gqa_table1.csv")}
    cell = next(source for source in code("04") if "T5-XXL" in source)
    seconds = {name: table[f"{name}-XXL"]["seconds_a_sample"] for name in ("MHA", "GQA-8", "MQA")}
    assert f"{seconds['MHA']} / {seconds['GQA-8']}" in cell and f"{seconds['MHA']} / {seconds['MQA']}" in cell
    scored = {name: float(table[f"{name}-XXL"]["average"]) for name in ("MHA", "GQA-8", "MQA")}
    lost = {name: round(scored["MHA"] - scored[name], 1) for name in ("GQA-8", "MQA")}
    assert f"for {lost['GQA-8']} points" in cell and f"times for {lost['MQA']}" in cell


def test_the_report_s_other_scores_stand_in_the_ledger():
    found = next(known["gpt4_report"] for known in map(constants, code("10")) if "gpt4_report" in known)
    assert set(found) == {"MMLU", "GSM8K", "HumanEval"}
    for value in found.values():
        assert f"vs {value}" in claims()["C11"].truth
    assert found["MMLU"] == score("mmlu.csv", "MMLU", "GPT-4").value


# ---- numbers in words ------------------------------------------------------------------------------------------------

NO_NUMBERS = re.compile(
    r"\]\([^)]*\)|https?://\S+|`[^`]*`|arXiv \d+\.\d+"  # addresses, code
    r"|\b(?:[Ll]lama|LLaMA|GPT|Qwen|Yi|T5|MT)[- ]?\d*\.?\d*\b|\b8x7B\b|\bv0\.\d\b|\bBaichuan2|\bmaj@\d"  # names
    r"|\b(?:chapters?|sections?|section|appendix|footnote|Tables?|Figures?|Fig|commit|issue|PR|request|expert) [A-Z]?\.?\d[\d.]*"
    r"(?:(?: and | to |-)[A-Z]?\d[\d.]*)*|\(Tables? \d|\b(?:7|13|33|34|70)B\b|\bC\d\d\b|float(?:32|64)|x86_64|drawn in \d"
)
NUMBER = re.compile(r"(?<![\w.])\d[\d,]*(?:\.\d+)?(?:e-?\d+)?(?=B\b|(?!\w))")
RECAP_ROW = re.compile(rf"^\| (C\d\d) \| (.+?) \| (?:{'|'.join(VERDICTS)}) \| (.+) \| .+ \|$", re.MULTILINE)
POWERS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹", "0123456789")


def numbers(text: str) -> dict[float, str]:
    """Quantities in a text, without those that are names; 10⁴, 1,000 and 1e-3 are understood."""
    text = re.sub(r"10([⁰¹²³⁴⁵⁶⁷⁸⁹]+)", lambda power: str(10 ** int(power[1].translate(POWERS))), text)
    found = NUMBER.findall(NO_NUMBERS.sub(" ", text.replace("_", "")))
    return {float(number.rstrip(",").replace(",", "")): number for number in found}


def stands_in(value: float, spelling: str, said: set[float]) -> bool:
    """The number itself, or one with more decimals that rounds to it, in units or in billions."""
    said = said | {other / 1e9 for other in said if other > 1e9}
    decimals = len(spelling.partition(".")[2]) if "e" not in spelling else 0
    return value in said or (decimals > 0 and any(round(other, decimals) == value for other in said))


def outputs(cells: list) -> str:
    texts = []
    for cell in cells:
        for output in cell.get("outputs", []):
            texts.append(output.get("text") or output.get("data", {}).get("text/plain", ""))
    return "\n".join(texts)


@cache
def everything(chapter: str) -> set[float]:
    """All numbers of a chapter: text, code, outputs, without its recap."""
    cells = [cell.source for cell in NOTEBOOKS[chapter].cells if not re.search(r"^## \d+ Recap", cell.source, re.M)]
    return all_numbers("\n".join([*cells, outputs(NOTEBOOKS[chapter].cells)]))


def settling(chapter: str, claim: str) -> list:
    return [cell for cell in NOTEBOOKS[chapter].cells if f"claim:{claim}" in cell.metadata.get("tags", [])]


def asserts(cell) -> bool:
    """Whether a cell that was run has an assert statement, or calls torch's assert_close. A word in a comment is none."""
    calls = (node.func for node in ast.walk(parsed(cell.source)) if isinstance(node, ast.Call))
    stated = any(isinstance(node, ast.Assert) for node in ast.walk(parsed(cell.source)))
    return bool(cell.execution_count) and (stated or any(getattr(f, "attr", "") == "assert_close" for f in calls))


def source(cells: list) -> str:
    return "\n".join(cell.source for cell in cells)


@pytest.mark.parametrize("chapter", NOTEBOOKS)
def test_numbers_in_a_recap_s_reasons_stand_in_the_ledger_or_are_computed_in_the_chapter(chapter):
    recap = next(cell.source for cell in NOTEBOOKS[chapter].cells if re.search(r"^## \d+ Recap", cell.source, re.M))
    strange = []
    for id, short, why in RECAP_ROW.findall(recap):
        claim = claims()[id]
        said = set(numbers(f"{claim.claim} {claim.truth} {claim.known}"))
        cells = settling(chapter, id)
        said |= set(numbers(outputs(cells))) | set(numbers(source(cells)))
        for value, spelling in numbers(f"{short} {why}").items():
            if not stands_in(value, spelling, said):
                strange.append(f"{id}: {spelling} in “{why}”")
    assert not strange, "\n".join(strange)


EVERY = re.compile(r"\d[\d,_]*(?:\.\d+)?(?:e-?\d+)?")
ABOUT_SCORES = re.compile(
    r"MMLU|GSM8K|MATH\b|HumanEval|MBPP|NaturalQuestions|\bNQ\b|TriviaQA|HellaSwag|WinoGrande|PIQA|ARC|MT-Bench"
    r"|\b(?:MHA|MQA|GQA)\b|billion|Qwen|Baichuan|Yi-34B|kexue"
)
SU = {49.4, 24.17, 23.16, 15.04, 13.54, 51.28, 39.27}  # kexue.fm/archives/9675: 8 times the length, no tuning
# 11: from which size on activations have outliers, in billions (arXiv 2208.07339); 13: 25.5 GB among eight users
ELSEWHERE = {"03": SU, "11": {6.7}, "13": {25.5 / 8}}
QUIZZES = {path.stem: path for path in sorted((ROOT / "minimistral" / "lab").glob("questions/*.toml"))}
PAGES = [
    ROOT / "README.md",
    ROOT / "chapters" / "README.md",
    ROOT / "book" / "index.md",
    ROOT / "book" / "glossary.toml",
]


def all_numbers(text: str) -> set[float]:
    return {float(number.rstrip(",_").replace(",", "").replace("_", "")) for number in EVERY.findall(text)}


ALIASES = {"NQ": "NaturalQuestions|NQ", "MATH": "MATH|mathematics", "ARC-e": "ARC", "ARC-c": "ARC", "": "(?!)"}


@cache
def published(chapter: str) -> set[float]:
    """Numbers of the claims that a chapter settles ("": of all), and what follows: weights, gaps of papers, errors."""
    mine = [claim for claim in claims().values() if not chapter or chapter in claim.chapters]
    found = {n for claim in mine for n in numbers(f"{claim.claim} {claim.truth} {claim.known}")}
    for name in ("mistral-7b-v0.1", "mistral-7b-v0.3", "mixtral-8x7b-v0.1", "tiny-mistral", "tiny-mixtral"):
        count = ModelConfig.preset(name).count_parameters()
        found |= {count.total, count.total / 1e6, count.active, *count.parts.values()}
    papers = [{(cell.benchmark, cell.model): cell.value for cell in scores(file)} for file in (M1, M2)]
    apart = {cell: round(abs(papers[0][cell] - papers[1][cell]), 1) for cell in papers[0].keys() & papers[1].keys()}
    found |= {max(apart.values()), max(gap for (name, _), gap in apart.items() if name not in ("NQ", "TriviaQA"))}
    for name in ("HellaSwag", "WinoGrande"):
        gap = difference(score(M2, name, "Llama 2 70B"), score(M2, name, "Mixtral 8x7B"))
        found.add(round(gap.points / gap.standard_error, 2))
    return found


@cache
def tables() -> list[tuple[re.Pattern, set[float]]]:
    """The rows behind the figures: what a line must name for a row to account for its numbers, and the row's numbers."""
    found = []
    for file in DATA.glob("*.csv"):
        for line in rows(file.name):
            name = line.get("benchmark") or line.get("model", "").split("-")[0]
            found.append((re.compile(rf"\b(?:{ALIASES.get(name, re.escape(name))})\b"), numbers_of_row(line)))
    return found


def numbers_of_row(line: dict[str, str]) -> set[float]:
    return {n for column, cell in line.items() if column not in ("source_url", "source_table") for n in numbers(cell)}


def strange_numbers(text: str, known: set[float]) -> list[str]:
    """Decimals in lines about scores and sizes, and all numbers from a million up, that nothing known accounts for."""
    found = []
    for line in text.split("\n"):
        said = known | {n for named, values in tables() if named.search(line) for n in values}
        for value, spelling in numbers(line).items():
            quoted = "." in spelling and ABOUT_SCORES.search(line)
            large = 1e6 <= value < 1e13 and value not in (1e6, 1e9, 1e12)
            if (quoted or large) and not stands_in(value, spelling, said):
                found.append(f"{spelling} in “{line}”")
    return found


@pytest.mark.parametrize("chapter", NOTEBOOKS)
def test_scores_and_sizes_in_a_chapter_s_words_stand_in_ledger_tables_or_its_own_outputs(chapter):
    own = all_numbers("\n".join([*code(chapter), outputs(NOTEBOOKS[chapter].cells)]))
    words = [cell.source for cell in NOTEBOOKS[chapter].cells if cell.cell_type == "markdown"]
    quizzes = [path.read_text(encoding="utf-8") for name, path in QUIZZES.items() if name[:2] == chapter]
    known = published(chapter) | own | ELSEWHERE.get(chapter, set())
    assert not (strange := strange_numbers("\n".join(words + quizzes), known)), "\n".join(strange)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_scores_and_sizes_on_a_first_page_stand_in_ledger_or_tables(page):
    text = re.sub(r"(?s)```.*?```", "", page.read_text(encoding="utf-8"))
    assert not (strange := strange_numbers(text, published(""))), "\n".join(strange)


# ---- how we know -----------------------------------------------------------------------------------------------------


@cache
def computed() -> dict[str, set[float]]:
    """Numbers of `known` that no chapter prints: from its stored runs, or by subtraction."""
    retrieval = stored("rope_retrieval")["runs"]
    far = [mean(run["unchanged"][0][-2:]) for run in retrieval]
    near = [run["unchanged"][0][0] for run in retrieval]
    stretched = [mean(run["interpolated"][0][-2:]) for run in retrieval]
    toy = {(run["kind"], run["task"]): median(run["mse"]) for run in stored("routers_1d")["runs"]}
    cliff = [run["recall"][11] for run in stored("window_cliff")["runs"] if (run["n_layers"], run["window"]) == (4, 4)]
    return {
        "C34": {min(cliff)},
        "C50": {mean(far), min(far), max(far), mean(near), mean(stretched)},
        "C61": {toy["separate, averaged", "line"]},
        "C62": {291 - 195, 995 - 195},
        "C67": {toy["top-1 before", "distractor"], toy["top-1, frozen", "distractor"]},
    }


@pytest.mark.parametrize("claim", EACH_CLAIM)
def test_known_quotes_only_numbers_of_its_chapters_runs_and_tables(claim: Claim):
    said = set(numbers(claim.truth)) | computed().get(claim.id, set())
    for chapter in claim.chapters:
        said |= everything(chapter) if chapter in NOTEBOOKS else set()
    sentences = re.split(r"(?<=\.) ", claim.known)
    lasting = " ".join(
        each for each in sentences if "(one run of" not in each
    )  # a chapter's times change with each run
    strange = [spelling for value, spelling in numbers(lasting).items() if not stands_in(value, spelling, said)]
    assert not strange, f"{strange} in what is known of {claim.id}"


def said_of_stored_runs() -> list[tuple[str, str]]:
    """Claim and phrase: each number and spread in `known` that rests on stored runs, computed from them again."""
    cliff = [run["recall"] for run in stored("window_cliff")["runs"] if (run["n_layers"], run["window"]) == (4, 4)]
    edge = [recall[12] for recall in cliff]
    retrieval = stored("rope_retrieval")["runs"]
    near, far, stretched = (
        [mean(run[kind][0][places]) for run in retrieval]
        for kind, places in (
            ("unchanged", slice(0, 1)),
            ("unchanged", slice(-2, None)),
            ("interpolated", slice(-2, None)),
        )
    )
    assert all(a - b > 0.2 for a, b in zip(near, far))
    bits = {name: [run["scratch"][name] for run in sorted_by_seed("heads_conversion", name)] for name in HEADS}
    spreads = []
    for name in HEADS[1:]:
        change = [a - b for a, b in zip(bits[name], bits["MHA"])]
        spreads.append(f"{mean(change):+.3f} ± {2.36 * stdev(change) / len(change) ** 0.5:.3f}")
    toy = {(run["kind"], run["task"]): run["mse"] for run in stored("routers_1d")["runs"]}
    soft, apart = toy["soft blend", "line"], toy["separate, averaged", "line"]
    before, frozen = toy["top-1 before", "distractor"], toy["top-1, frozen", "distractor"]
    fewer = [sum(a < b for a, b in zip(*pair)) for pair in ((soft, apart), (before, frozen))]
    return [
        ("C34", f"each of {len(cliff)} models"), ("C34", f"at least {min(recall[11] for recall in cliff):.2f} of 2,000"),
        ("C34", f"12 back in {mean(edge):.2f} ({min(edge):.2f} to {max(edge):.2f})"),
        ("C36", f"{len(cliff)} of {len(cliff)} models name that farthest token in {min(edge):.2f} to {max(edge):.2f}"),
        ("C46", f"{len(bits['MHA'])} pairs of seeds"), *(("C46", spread) for spread in spreads),
        ("C50", f"{len(far)} of {len(far)} seeds"), ("C50", f"{mean(far):.2f} right in place of {mean(near):.2f}"),
        ("C50", f"(seeds {min(far):.2f} to {max(far):.2f})"), ("C50", f"stretched: {mean(stretched):.2f}"),
        ("C61", f"{fewer[0]} of {len(soft)} pairs (median {median(soft):.3f} against {median(apart):.3f})"),
        ("C67", f"{fewer[1]} of {len(before)} pairs (median {median(before):.3f} against {median(frozen):.3f})"),
    ]  # fmt: skip


@pytest.mark.parametrize("claim", [each for each in EACH_CLAIM if "(one run of" in each.values[0].known])
def test_times_of_one_run_in_known_are_those_that_its_chapter_stores(claim: Claim):
    """After another run of the chapter, `known` and its date follow."""
    said = {n for chapter in claim.chapters for n in all_numbers(outputs(NOTEBOOKS[chapter].cells))}
    for sentence in re.split(r"(?<=\.) ", claim.known):
        times, run, _ = sentence.partition("(one run of")
        for value, spelling in numbers(times).items() if run else ():
            assert stands_in(value, spelling, said), f"{spelling} in what is known of {claim.id}: {claim.chapters}"


HEADS = ("MHA", "MQA", "MQA wide")


def sorted_by_seed(name: str, kind: str) -> list[dict]:
    return sorted((run for run in stored(name)["runs"] if kind in run["scratch"]), key=lambda run: run["seed"])


def test_numbers_and_spreads_in_known_are_those_of_the_stored_runs():
    phrases = said_of_stored_runs()
    assert {claim for claim, _ in phrases} == {claim.id for claim in claims().values() if claim.stored}
    for claim, phrase in phrases:
        assert phrase in claims()[claim].known, f"{claim}: {phrase}"


@pytest.mark.parametrize("claim", EACH_CLAIM)
def test_how_a_claim_was_settled_and_its_cells_agree(claim: Claim):
    chapters = [chapter for chapter in claim.chapters if chapter in NOTEBOOKS]
    asserting = [chapter for chapter in chapters if any(asserts(cell) for cell in settling(chapter, claim.id))]
    if claim.kind in ("measured", "counted"):
        assert asserting == chapters, f"{claim.id} is {claim.kind}: a cell tagged {claim.cell} must assert it in each"
    if claim.kind == "documents":
        assert not asserting, f"{claim.id} is settled by a cell in {asserting}: it is measured or counted"
    assert (claim.kind == "uncheckable") == (claim.verdict == "uncheckable")


@pytest.mark.parametrize("claim", EACH_CLAIM)
def test_the_ledger_names_all_chapters_that_settle_a_claim(claim: Claim):
    """Each has a row in its recap, and where there is something to count or measure a tagged cell; no other chapter has."""
    rest = {chapter: [cell.source for cell in NOTEBOOKS[chapter].cells] for chapter in NOTEBOOKS}
    in_recap = {chapter for chapter, cells in rest.items() if re.search(rf"^\| {claim.id} \|", "\n".join(cells), re.M)}
    tagged = {chapter for chapter in NOTEBOOKS if settling(chapter, claim.id)}
    assert in_recap == set(claim.chapters)
    if claim.kind in ("measured", "counted"):
        assert tagged == set(claim.chapters)


@pytest.mark.parametrize("claim", [each for each in EACH_CLAIM if each.values[0].stored])
def test_a_stored_experiment_that_a_claim_rests_on_is_used_where_it_is_settled(claim: Claim):
    assert claim.kind == "measured"
    for name in claim.stored:
        assert {"date", "machine", "versions"} <= set(stored(name)) or "torch" in stored(name)["machine"]
        assert any(f'stored("{name}")' in "\n".join(code(chapter)) for chapter in claim.chapters), name
