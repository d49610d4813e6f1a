"""The nine figures: stored ones are fresh, every number has a source, words and pictures agree with the tables."""

import dataclasses
import hashlib
import json
import math
import re
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import matplotlib
import pytest
import torch
from matplotlib.colors import to_hex
from PIL import Image, ImageChops, ImageStat

from minimistral import ModelConfig, Transformer
from minimistral.lab.article_figures import figures as load_figures
from minimistral.lab.claims import claims

ROOT = Path(__file__).parents[2]
figures = load_figures()
article_figure = figures.article_figure
from figures import (  # noqa: E402
    fig1_mmlu,
    fig3_llama_benchmarks,
    fig4_sliding_window,
    fig5_heads,
    fig6_rope,
    fig7_mixtral_parameters,
    fig8_mixtral_benchmarks,
    fig9_block,
)
from figures.article_figure import DRAWN, CaptionedPicture, markdown  # noqa: E402
from figures.look import DARK, LIGHT, LOOKS, model_colour, rounded, signed  # noqa: E402
from figures.tables import DATA, Difference, Score, difference, rows, score, scores  # noqa: E402

MANIFEST = json.loads((DRAWN / "manifest.json").read_text(encoding="utf-8"))
ALL = [pytest.param(figure, id=figure.name) for figure in figures.article_figures()]
RESULTS = ("mmlu.csv", "mistral_table2.csv", "mistral_figure4.csv", "mixtral_table2.csv", "mixtral_table3.csv")


# ---- stored and shown ------------------------------------------------------------------------------------------------


def test_there_are_nine_in_the_order_of_the_article():
    assert [figure.number for figure in figures.article_figures()] == list(range(1, 10))
    assert article_figure(4) is article_figure("sliding_window")
    for wrong in ("slidingwindow", 0, 10, "drawn"):
        with pytest.raises(ValueError, match="4 sliding_window"):
            article_figure(wrong)


@pytest.mark.parametrize("figure", ALL)
def test_what_is_stored_is_not_stale(figure):
    """`make figures` after a change of data, module, look, or of the library's numbers."""
    kept = MANIFEST["figures"][figure.name]
    assert kept["made_from"] == figure.fingerprint(), f"stale: run python -m figures {figure.name}"
    for name, digest in kept["files"].items():
        assert hashlib.sha256((DRAWN / name).read_bytes()).hexdigest() == digest, (
            f"{name} was not written by make figures"
        )
    assert figure.page() == (DRAWN / f"{figure.name}.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("look", LOOKS, ids=lambda look: look.name)
@pytest.mark.parametrize("figure", ALL)
def test_drawing_again_gives_the_same_picture(figure, look):
    """Whatever changed: the mask, the theme, the library's numbers. Of a PNG the pixels: each Pillow packs in its own way."""
    if matplotlib.__version__ != MANIFEST["matplotlib"] or sys.platform != "linux":
        pytest.skip("the stored figures were drawn with another matplotlib, or on another system")
    assert figure.svg(look) == (DRAWN / f"{figure.name}.{look.name}.svg").read_text(encoding="utf-8")
    stored, drawn = (
        Image.open(file).convert("RGB")
        for file in (DRAWN / f"{figure.name}.{look.name}.png", BytesIO(figure.png(look)))
    )
    assert stored.size == drawn.size and max(ImageStat.Stat(ImageChops.difference(stored, drawn)).mean) < 1


@pytest.mark.parametrize("figure", ALL)
def test_files_are_small_dateless_and_say_what_they_show(figure):
    for look in LOOKS:
        assert (DRAWN / f"{figure.name}.{look.name}.png").stat().st_size <= 60_000
        svg = (DRAWN / f"{figure.name}.{look.name}.svg").read_text(encoding="utf-8")
        assert len(svg) <= 150_000 and "<dc:date>" not in svg
        assert '<svg role="img"' in svg and f"<title>{figure.title}</title><desc>" in svg
    assert "(prefers-color-scheme: dark)" in figure.page()


def test_nothing_else_lies_among_the_drawn():
    known = {"manifest.json", *(name for figure in MANIFEST["figures"].values() for name in figure["files"])}
    assert {path.name for path in DRAWN.iterdir()} == known
    assert set(MANIFEST["figures"]) == set(figures.NAMES)


def test_a_notebook_elsewhere_can_show_one(tmp_path):
    code = (
        "from minimistral.lab import show_figure; print(repr(show_figure('heads'))[:20], type(show_figure(5)).__name__)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["Picture:", "Three", "rows", "CaptionedPicture"]


def test_a_shown_figure_has_alt_text_and_caption():
    picture = article_figure("mmlu").show()
    bundle, metadata = picture._repr_mimebundle_()
    assert metadata["image/png"]["alt"] == article_figure("mmlu").alt() == picture.alt
    assert ">Figure 1, drawn anew. MMLU" in bundle["text/html"] and "1.96·√(p(1 − p)/n)" in bundle["text/html"]
    assert picture.alt in bundle["text/plain"] and picture.caption in bundle["text/plain"]


def test_names_in_a_caption_are_code_on_a_page_and_words_in_a_terminal():
    picture = article_figure("heads").show()
    assert "<code>grouped_attention</code>" in picture.html() and "running grouped_attention on" in repr(picture)
    for figure in figures.article_figures():
        captioned = CaptionedPicture(picture, figure.caption())
        assert "`" not in captioned.html() + repr(captioned) and figure.caption().count("`") % 2 == 0
    text = CaptionedPicture(picture, "a < b, `x<y>` & more")
    assert "a &lt; b, <code>x&lt;y&gt;</code> &amp; more" in text.html() and "a < b, x<y> & more" in repr(text)


@pytest.mark.parametrize(
    "name, options, error, said",
    [
        (4, dict(window=0), ValueError, "window=0"),
        (4, dict(window=-3), ValueError, "from 1 up"),
        (4, dict(window=2.5), ValueError, "window=2.5"),
        (4, dict(window=None), ValueError, "whole number"),
        (4, dict(window=4096), ValueError, "16,381 inputs"),
        (4, dict(n_layers=0), ValueError, "1 to 8"),
        (4, dict(words=()), ValueError, "0 words"),
        (6, dict(head_dim=7), ValueError, "head_dim is even"),
        (6, dict(theta=0), ValueError, "above 0"),
        (9, dict(sparse="mistral-7b-v0.1"), ValueError, "one with them"),
        (9, dict(dense="gpt"), ValueError, "tiny-mistral"),
        (4, dict(width=3), TypeError, "no option width. It takes window, n_layers, words."),
        (1, dict(window=3), TypeError, "mmlu, has no option window. It takes no options."),
    ],
)
def test_what_cannot_be_drawn_is_refused_with_what_can(name, options, error, said):
    with pytest.raises(error, match=re.escape(said)):
        article_figure(name).show(**options)


@pytest.mark.parametrize("window", [5, 6, 9, 100])
def test_a_window_wider_than_the_text_is_full_attention(window):
    full, sliding = fig4_sliding_window.masks(window, fig4_sliding_window.WORDS)
    assert torch.equal(full, sliding)
    drawing = fig4_sliding_window.draw(LIGHT, window)
    assert drawing.get_suptitle() == "A window as wide as the text drops nothing"
    names = [label.get_text() for label in drawing.axes[2].get_yticklabels()]
    low, high = (drawing.axes[2].transData.transform((0, y))[1] for y in (0, 1))
    assert names[0] == "input" and (high - low) * 72 / drawing.dpi > 10, "the layers' names overlap"


def luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a: str, b: str) -> float:
    light, dark = sorted((luminance(a), luminance(b)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("look", LOOKS, ids=lambda look: look.name)
def test_words_and_marks_stand_out(look):
    """WCAG 2.1: 4.5 for text, 3 for large text and for what a picture means."""
    assert contrast(look.ink, look.paper) >= 7 and contrast(look.grey, look.paper) >= 4.5
    for colour in (look.blue, look.orange, look.green, look.pink):
        assert contrast(colour, look.paper) >= 3.5


# ---- data ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", sorted(path.name for path in DATA.glob("*.csv")))
def test_every_row_has_its_source(file):
    for row in rows(file):
        assert row["source_url"].startswith("https://") and row["source_table"].strip(), row
        assert all(value is not None for value in row.values()), row
        if file == "benchmarks.csv":
            assert row["n_items"].isdigit() or "does not say" in row["note"] or "not how many" in row["note"], row
        else:
            assert row["verified"] in ("yes", "no"), row
            assert row["verified"] == "yes" or row["note"], "say why it is not verified"


@pytest.mark.parametrize("file", RESULTS)
def test_results_name_protocol_measurer_and_the_benchmark_s_size(file):
    sizes = {row["benchmark"]: row["n_items"] for row in rows("benchmarks.csv")}
    for row in rows(file):
        assert row["protocol"] and row["measured_by"], row
        assert row["n_items"] == sizes.get(row["benchmark"], ""), row
        assert 0 <= float(row["value"]) <= (100 if row["unit"] == "percent" else 10)
    keys = [(row["benchmark"], row["model"], row.get("drawn", ""), row["measured_by"]) for row in rows(file)]
    assert len(keys) == len(set(keys))


def test_the_standard_error_is_that_of_a_binomial():
    found = dataclasses.replace(score("mmlu.csv", "MMLU", "GPT-4"), value=50.0, n_items=10_000)
    assert found.standard_error == pytest.approx(0.5)
    assert dataclasses.replace(found, value=0.0).standard_error == 0
    assert dataclasses.replace(found, n_items=None).standard_error is None
    assert score("mixtral_table3.csv", "MT-Bench", "GPT-3.5").standard_error is None
    generator = torch.Generator().manual_seed(0)
    draws = (torch.rand(4_000, 1_172, generator=generator) < 0.555).double().mean(1)
    arc = score("mistral_table2.csv", "ARC-c", "Mistral 7B")
    assert 100 * float(draws.std()) == pytest.approx(arc.standard_error, rel=0.05)


def test_a_difference_knows_what_it_cannot_tell():
    base = Score("X", "a", 50.0, "percent", "", "", 10_000, True, "", "", "", "bar")
    assert difference(base, dataclasses.replace(base, value=48.0)).verdict == "ahead"
    assert difference(dataclasses.replace(base, value=48.0), base).verdict == "behind"
    assert difference(base, dataclasses.replace(base, value=49.0)).verdict == "too close to call"
    assert difference(base, dataclasses.replace(base, n_items=None)).verdict == "n unknown"
    assert difference(base, base).standard_error == pytest.approx(math.sqrt(0.5))
    assert Difference("X", 1.97, 1.0).verdict == "ahead" and Difference("X", 1.96, 1.0).verdict == "too close to call"
    with pytest.raises(ValueError, match="two benchmarks"):
        difference(base, dataclasses.replace(base, benchmark="Y"))
    with pytest.raises(KeyError, match="GPT-5"):
        score("mmlu.csv", "MMLU", "GPT-5")


def test_numbers_are_written_with_a_real_minus():
    assert [signed(v) for v in (0.7, -3.2, 0.04, -0.04, 0)] == ["+0.7", "−3.2", "0.0", "0.0", "0.0"]
    assert rounded(-1.25, 2) == "−1.25"
    assert [rounded(v) for v in (9.95, 20.15, 32.65, 49.35, 49.3, 0, 1e-9)] == [
        "10.0", "20.2", "32.7", "49.4", "49.3", "0.0", "0.0",
    ]  # fmt: skip


def test_the_two_papers_agree_on_llama_2_but_for_two_benchmarks():
    """Each table is a check of the other's digits; of Llama 2 only NQ and TriviaQA differ, of Mistral 7B every cell."""
    cells = {
        file: {(f.benchmark, f.model): f.value for f in scores(file)}
        for file in ("mistral_table2.csv", "mixtral_table2.csv")
    }
    first, second = cells.values()
    shared = first.keys() & second.keys()
    assert len(shared) == 36
    apart = {cell for cell in shared if first[cell] != second[cell]}
    assert {cell for cell in apart if cell[1] != "Mistral 7B"} == {
        (benchmark, f"Llama 2 {size}") for benchmark in ("NQ", "TriviaQA") for size in ("7B", "13B")
    }
    assert len([cell for cell in apart if cell[1] == "Mistral 7B"]) == 12


# ---- words agree with tables -----------------------------------------------------------------------------------------

# Names that hold digits, and references: no numbers of the picture.
NAMES = re.compile(
    r"arXiv \d{4}\.\d{5}|, \d{4}\.\d{5}|\d{4}-\d\d-\d\d|Mi[sx]tral (?:8x)?7B|Llama [12](?: \d+B)?|Llama 2(?! \d)|GPT-[\d.]+|"
    r"Claude 2|bfloat16|Gemini Pro 1\.0|T5|Tables? \d|Figures? \d|GSM8K|\d+-shot|95 %|1\.96·√\(p\(1 − p\)/n\)"
)
NUMBER = re.compile(r"[+−]?\d+(?:,\d{3})*(?:\.\d+)?%?")
# What a caption or an alternative text says beyond the cells of the table: counts (recounted below), parameters, history.
BEYOND = {
    "mmlu": {"40", "100"},  # where the original's axis starts; "of 100"
    "llama_benchmarks": {"11", "12", "0.2", "0.5", "8", "4"},
    "sliding_window": {"5", "3", "4", "1", "2"},
    "rope": {"128", "0", "5", "8"},
    "mixtral_benchmarks": {"5", "7", "2", "3", "12"},
    "heads": {"32"},
}


def numbers(text: str) -> set[str]:
    return {number.rstrip(",") for number in NUMBER.findall(NAMES.sub(" ", text))}


@pytest.mark.parametrize("figure", ALL)
def test_numbers_in_caption_and_alternative_text_stand_in_the_table(figure):
    table = markdown(figure.table())
    known = numbers(table) | {number.lstrip("+") for number in NUMBER.findall(table)}
    known |= {f"{float(n.replace(',', '')):,.1f}" for n in known if re.fullmatch(r"[\d,.]+", n)} | BEYOND.get(
        figure.name, set()
    )
    known |= {f"{float(n.replace(',', '')):,.2f}" for n in known if re.fullmatch(r"[\d,.]+", n)}
    if figure.name == "sliding_window":
        known.add("12")  # n_layers · window, what the reach is not
    for text in (figure.caption(), figure.alt()):
        assert numbers(text) and numbers(text) <= known, numbers(text) - known


@pytest.mark.parametrize("figure", ALL)
def test_captions_and_alternative_texts_are_sentences(figure):
    assert figure.caption().startswith(f"Figure {figure.number}, drawn anew") and figure.caption().endswith(".")
    assert 60 < len(figure.alt()) < 700 and figure.alt().endswith(".") and "  " not in figure.caption() + figure.alt()


def test_counts_in_words_are_counted():
    caption = article_figure("llama_benchmarks").caption()
    points = [found.points for found in fig3_llama_benchmarks.differences()]
    assert (len(points), sum(p > 0 for p in points)) == (12, 11) and "on 11 of 12, behind on NQ by 0.2" in caption
    assert fig3_llama_benchmarks.clear() == ["MMLU", "ARC-e", "ARC-c", "HumanEval", "MATH", "GSM8K"]
    caption = article_figure("mixtral_benchmarks").caption()
    assert caption.count("ahead on 5 of 7") == 2 and "on 3 of 12: HellaSwag, WinoGrande and TriviaQA" in caption
    assert fig8_mixtral_benchmarks.known_leads() == (7, 2) and "of 7 leads whose error is known, 2 are clear" in (
        article_figure("mixtral_benchmarks").alt()
    )


# ---- and with the ledger ---------------------------------------------------------------------------------------------


def value(file: str, benchmark: str, model: str) -> float:
    return score(file, benchmark, model).value


def test_figure_1_agrees_with_the_ledger():
    gpt4, large = fig1_mmlu.bars()[:2]
    assert (gpt4.model, large.model) == ("GPT-4", "Mistral Large")
    truth = claims()["C12"].truth
    assert (
        f"{fig1_mmlu.mistakes(large)} vs {fig1_mmlu.mistakes(gpt4)}" in truth
        and f"{fig1_mmlu.ratio():.2f} times" in truth
    )
    assert "axis starts at 40" in truth and "starts at 40" in fig1_mmlu.caption()
    assert f"MMLU {value('mixtral_table3.csv', 'MMLU', 'Mixtral 8x7B')} vs {gpt4.value}" in claims()["C11"].truth


def test_figures_2_and_7_agree_with_the_ledger():
    mistral = {row["parameter"]: int(row["value"]) for row in rows("mistral_table1.csv")}
    mixtral = {row["parameter"]: int(row["value"]) for row in rows("mixtral_table1.csv")}
    assert claims()["C38"].claim == f"n_heads {mistral['n_heads']}, n_kv_heads {mistral['n_kv_heads']}"
    assert f"context_len {mistral['context_len']}" in claims()["C18"].truth
    assert f"context_len is {mixtral['context_len']}, not {mistral['context_len']}" in claims()["C55"].truth
    assert fig7_mixtral_parameters.changed() == ("context_len", "num_experts", "top_k_experts")
    assert set(mistral) - set(mixtral) == {"window_size"}
    _, active, stored, copies = ((name, ffn + rest) for name, ffn, rest in fig7_mixtral_parameters.bars())
    assert f"{stored[1]:,}" in claims()["C69"].truth and f"{copies[1]:,}" in claims()["C69"].truth
    assert f"{active[1] / 1e9:.1f}B active" in claims()["C70"].truth
    shared = fig7_mixtral_parameters.bars()[2][2]
    assert (
        f"{shared:,}" in claims()["C70"].truth
        and f"{1 - shared / stored[1]:.1%}".replace("%", " percent") in claims()["C70"].truth
    )


@pytest.mark.parametrize(
    "table, preset", [("mistral_table1.csv", "mistral-7b-v0.1"), ("mixtral_table1.csv", "mixtral-8x7b-v0.1")]
)
def test_the_papers_tables_are_the_library_s_presets(table, preset):
    config = ModelConfig.preset(preset)
    given = {row["parameter"]: int(row["value"]) for row in rows(table)}
    given.pop("context_len")  # in no checkpoint of v0.1
    assert given.pop("window_size", None) == config.sliding_window
    experts = {name: given.pop(name, None) for name in ("num_experts", "top_k_experts")}
    assert tuple(experts.values()) == (
        (config.moe.num_experts, config.moe.num_experts_per_tok) if config.moe else (None, None)
    )
    assert given == {name: getattr(config, name) for name in given} and len(given) == 7


def test_figure_3_agrees_with_the_ledger():
    file = "mistral_table2.csv"
    ours, theirs = (
        {b: value(file, b, m) for b in fig3_llama_benchmarks.BENCHMARKS} for m in ("Mistral 7B", "Llama 2 13B")
    )
    truth = claims()["C05"].truth
    assert f"NaturalQuestions {ours['NQ']} vs {theirs['NQ']}" in truth and "11 of 12" in truth
    groups = [fig3_llama_benchmarks.group_value("Knowledge", model)[0] for model in ("Mistral 7B", "Llama 2 13B")]
    assert "{:.2f} vs {:.2f}".format(*groups) in truth
    nq = next(found for found in fig3_llama_benchmarks.differences() if found.benchmark == "NQ")
    assert f"about {nq.standard_error:.2f} points" in truth
    code = {
        b: (value(file, b, "Mistral 7B"), value(file, b, "Code-Llama 7B")) for b in fig3_llama_benchmarks.BENCHMARKS
    }
    assert "HumanEval {} vs {}".format(*code["HumanEval"]) in claims()["C22"].truth
    assert "MBPP is {} vs {}".format(*code["MBPP"]) in claims()["C22"].truth
    assert sum(a > b for name, (a, b) in code.items() if name not in ("HumanEval", "MBPP")) == 10  # C23
    reasoning = [fig3_llama_benchmarks.group_value("Reasoning", model) for model in ("Mistral 7B", "Llama 1 34B")]
    assert "about {} vs {}".format(*(v for v, _ in reasoning)) in claims()["C06"].truth and not any(
        ok for _, ok in reasoning
    )


def test_a_group_s_whisker_is_that_of_its_mean():
    a, b = (score("mistral_table2.csv", name, "Mistral 7B").standard_error for name in ("MATH", "GSM8K"))
    assert fig3_llama_benchmarks.group_error("Math", "Mistral 7B") == pytest.approx(math.sqrt(a * a + b * b) / 2)
    assert fig3_llama_benchmarks.group_error("Code", "Mistral 7B") is None  # how many of MBPP is not known
    assert fig3_llama_benchmarks.group_error("Knowledge", "Llama 1 34B") is None  # read off a bar


def test_a_doubtful_cell_is_named_in_the_table(monkeypatch):
    assert all(row["verified"] == "yes" for row in fig3_llama_benchmarks.table()[:12])
    doubt = lambda *which: dataclasses.replace(score(*which), verified=which[1:] != ("PIQA", "Llama 2 7B"))  # noqa: E731
    monkeypatch.setattr(fig3_llama_benchmarks, "score", doubt)
    found = {row["benchmark"]: row["verified"] for row in fig3_llama_benchmarks.table()}
    assert found["PIQA"] == "no: Llama 2 7B" and found["MMLU"] == "yes"


def test_a_model_has_one_colour_in_all_figures():
    for look in LOOKS:
        orange = {model_colour(look, model) for model in ("Mistral 7B", "Mistral Large", "Mixtral 8x7B")}
        assert orange == {look.orange}
        assert model_colour(look, "Llama 2 70B") == model_colour(look, "Llama 2 13B") == look.blue
    bars = {to_hex(bar.get_edgecolor()) for axes in fig1_mmlu.draw(LIGHT).axes for bar in axes.patches[1:2]}
    assert bars == {LIGHT.orange}


def test_figure_8_agrees_with_the_ledger():
    t2, t3, us = "mixtral_table2.csv", "mixtral_table3.csv", "Mixtral 8x7B"
    benchmarks = dict.fromkeys(found.benchmark for found in scores(t2))
    minus = {b: round(value(t2, b, us) - value(t2, b, "Llama 2 70B"), 1) for b in benchmarks}
    lost = ", ".join(f"{b} {points}" for b, points in minus.items() if points < 0)
    assert f"9 wins, 3 losses ({lost})" in claims()["C09"].truth and sum(p > 0 for p in minus.values()) == 9
    assert (
        f"MT-Bench ({value(t3, 'MT-Bench', us):.2f} vs {value(t3, 'MT-Bench', 'GPT-3.5'):.2f})" in claims()["C09"].truth
    )
    assert [fig8_mixtral_benchmarks.wins(rival) for rival in ("Llama 2 70B", "GPT-3.5")] == [5, 5]
    assert claims()["C26"].truth == "9 of 12 vs 70B (Table 2); 5 of 7 vs each in Table 3"
    quoted = [
        (f.benchmark.replace("ARC-c", "ARC"), f.value)
        for f in scores(t3)
        if f.model == "GPT-3.5" and f.measured_by == "OpenAI"
    ]
    assert len(quoted) == 5 and all(f"{name} {number}" in claims()["C27"].truth for name, number in quoted)
    llama1 = [round(value(t2, b, "Mistral 7B") - value(t2, b, "Llama 1 33B"), 1) for b in benchmarks]
    counted = f"{sum(p > 0 for p in llama1)} wins, {llama1.count(0)} tie, {sum(p < 0 for p in llama1)} losses"
    assert counted in claims()["C21"].truth
    trivia = [value(t2, "TriviaQA", model) for model in ("Mistral 7B", "Llama 2 13B")]
    assert "TriviaQA {} vs {}".format(*trivia) in claims()["C05"].truth


def test_figures_5_6_and_9_agree_with_the_ledger():
    grouped = fig5_heads.kinds(fig5_heads.MISTRAL)["grouped-query"]
    assert fig5_heads.shared_head(grouped).count(0) == 4 and "4 query heads share 1" in claims()["C39"].truth
    mha, mqa, gqa = (fig5_heads.published(kind) for kind in ("multi-head", "multi-query", "grouped-query"))
    assert f"{mha['seconds_a_sample']} s to {mqa['seconds_a_sample']} s" in claims()["C45"].truth
    assert f"{mha['average']} to {mqa['average']} average" in claims()["C46"].truth
    assert f"{gqa['average']} at {gqa['seconds_a_sample']} s" in claims()["C47"].truth
    assert "turns only 54 degrees in 8192" in claims()["C50"].truth and "turns 54 degrees" in fig6_rope.caption()
    assert "theta 10,000 in v0.1" in claims()["C48"].truth
    router = fig9_block.parts(ModelConfig.preset("mixtral-8x7b-v0.1"))["router"]
    assert f"{router:,} weights a layer, {32 * router:,} in all" in claims()["C63"].truth


# ---- figures 4, 5, 6 and 9 for other parameters ----------------------------------------------------------------------


@pytest.mark.parametrize("window, n_layers, n", [(3, 4, 5), (1, 2, 4), (4, 4, 7), (9, 1, 6), (2, 5, 1)])
def test_figure_4_draws_the_mask_and_the_reach(window, n_layers, n):
    words = tuple(f"w{i}" for i in range(n))
    drawing = fig4_sliding_window.draw(LIGHT, window, n_layers, words)
    for axes, width in zip(drawing.axes, (n, window)):
        lit = {
            (round(p.get_x() + 0.5), round(p.get_y() + 0.5))
            for p in axes.patches
            if to_hex(p.get_facecolor()) == LIGHT.sky
        }
        assert lit == {(j, i) for i in range(n) for j in range(n) if 0 <= i - j < width}
    below = [
        p for p in drawing.axes[2].patches if round(p.get_y() + 0.5) == 0 and to_hex(p.get_facecolor()) == LIGHT.sky
    ]
    assert len(below) == n_layers * (window - 1) + 1  # C34: 13 for 4 layers of window 4
    assert f"{len(below)} inputs" in fig4_sliding_window.alt(window, n_layers, words)
    assert fig4_sliding_window.table(window, n_layers, words)[-1][f"keys, window {window}"] == len(below)


@pytest.mark.parametrize("n_heads, n_kv_heads", [(32, 8), (6, 2), (4, 4), (5, 1), (1, 1)])
def test_figure_5_draws_the_sharing(n_heads, n_kv_heads):
    config = ModelConfig(
        dim=48, n_layers=3, n_heads=n_heads, n_kv_heads=n_kv_heads, head_dim=10, hidden_dim=7, vocab_size=11
    )
    for one in fig5_heads.kinds(config).values():
        share = n_heads // one.n_kv_heads
        assert fig5_heads.shared_head(one) == [head // share for head in range(n_heads)]
        with torch.device("meta"):
            attention = Transformer(one).layers[0].attention
        assert fig5_heads.weights_a_layer(one) == sum(p.numel() for p in attention.parameters())
        cache = [torch.zeros(one.n_layers, one.n_kv_heads, one.head_dim, dtype=torch.bfloat16) for _ in "kv"]
        assert fig5_heads.bytes_a_token(one) == sum(t.numel() * t.element_size() for t in cache)
    (axes,) = fig5_heads.draw(DARK, config).axes
    keys = [p.get_width() for p in axes.patches if to_hex(p.get_facecolor()) == DARK.orange]
    assert len(keys) == n_heads + n_kv_heads + 1
    assert sorted({round(width + 0.16) for width in keys}) == sorted({1, n_heads // n_kv_heads, n_heads})


@pytest.mark.parametrize(
    "theta, n_tokens, count",
    [
        (1e4, 2048, 23),
        (1e4, 4096, 18),
        (1e4, 8192, 14),
        (1e4, 32768, 4),
        (1e6, 2048, 37),
        (1e6, 8192, 30),
        (1e6, 32768, 24),
    ],
)
def test_figure_6_counts_the_pairs_that_never_turn(theta, n_tokens, count):
    by_hand = [n_tokens / (2 * math.pi) / theta ** (2 * i / 128) for i in range(64)]
    assert fig6_rope.turns(128, theta, n_tokens).tolist() == pytest.approx(by_hand, rel=1e-5)
    assert fig6_rope.unfinished(128, theta, n_tokens) == count == sum(t < 1 for t in by_hand)


@pytest.mark.parametrize("head_dim, theta", [(128, 1e4), (8, 100.0), (2, 1e4)])
def test_figure_6_draws_scores_that_depend_on_distance_alone(head_dim, theta):
    drawing = fig6_rope.draw(LIGHT, head_dim, theta)
    by_hand = [
        sum(math.cos(r * theta ** (-2 * i / head_dim)) for i in range(head_dim // 2)) * 2 / head_dim for r in range(101)
    ]
    for line in drawing.axes[2].lines:
        assert torch.as_tensor(line.get_ydata()).tolist() == pytest.approx(by_hand, abs=5e-3)
    shift = fig6_rope.scores(head_dim, theta, torch.arange(5), fig6_rope.SHIFT)
    assert shift.tolist() == pytest.approx(by_hand[:5], abs=5e-3)


@pytest.mark.parametrize("dense, sparse", [("mistral-7b-v0.1", "mixtral-8x7b-v0.1"), ("tiny-mistral", "tiny-mixtral")])
def test_figure_9_counts_what_the_model_holds(dense, sparse):
    texts = " ".join(text.get_text() for axes in fig9_block.draw(LIGHT, dense, sparse).axes for text in axes.texts)
    for name in (dense, sparse):
        config = ModelConfig.preset(name)
        with torch.device("meta"):
            layer = Transformer(config).layers[0]
        stored = sum(p.numel() for p in layer.parameters())
        assert fig9_block.layer(config)[0] == stored and f"{stored:,}" in texts
        assert f"{sum(p.numel() for p in layer.attention.parameters()):,}" in texts
        assert f"{layer.ffn_norm.weight.numel():,}" in texts
        count = config.count_parameters()
        outside = count.parts["tok_embeddings"] + count.parts["output"] + config.dim
        assert fig9_block.layer(config)[1] * config.n_layers == count.active - outside
    assert f"{config.moe.num_experts_per_tok} of {config.moe.num_experts}" in texts
