"""Chapter 00's parts: the map agrees with the model, the ten questions keep their answers, the claims table fills."""

import pytest
import torch

from minimistral import ModelConfig, Transformer, load
from minimistral.lab import ArchitectureMap, check, claims_table, pretest, quizzes
from minimistral.lab.claims import claims
from minimistral.lab.progress import entry
from minimistral.lab.tools import architecture_map as tool


@pytest.fixture(autouse=True)
def own_progress(tmp_path, monkeypatch):
    monkeypatch.setenv("MINIMISTRAL_PROGRESS", str(tmp_path))


@pytest.mark.parametrize("preset", tool.PRESETS)
def test_the_weights_of_all_parts_add_up_to_the_model(preset):
    config = ModelConfig.preset(preset)
    assert sum(tool.weights(part.id, config) for part in tool.PARTS) == config.count_parameters().total
    with torch.device("meta"):
        model = Transformer(config)
    for part in tool.PARTS:
        if part.module:
            modules = [model.get_submodule(part.module.format(i=i)) for i in range(config.n_layers)]
            once = {id(w): w.numel() for module in modules for w in module.parameters()}
            assert tool.weights(part.id, config) == sum(once.values()), part.id


@pytest.mark.parametrize("part", tool.PARTS, ids=lambda part: part.id)
def test_what_the_running_model_gives_has_the_shape_that_the_map_says(part):
    model, tokenizer = load("tiny-mistral")
    c = model.config
    B, T = 1, len(tokenizer.encode(tool.TEXT, bos=True))
    letters = dict(B=B, T=T, C=c.dim, H=c.n_heads, G=c.n_kv_heads, D=c.head_dim, S=T, V=c.vocab_size)
    expected = [letters[name] for name in part.shape.split(")")[0].strip("(").split(", ")]
    assert tool.run(part.id, layer=3)["shape"] == expected


def test_its_picture_and_its_words_say_the_same():
    map = ArchitectureMap("feed_forward")
    assert "5,637,144,576 in Mistral 7B" in repr(map) and map.picture().alt == repr(map)
    assert {part["id"] for part in map.data()["parts"]} == set(tool.BOXES)
    with pytest.raises(ValueError, match="tok_embeddings"):
        ArchitectureMap("head")


def test_before_the_course_nothing_is_given_away_and_after_it_everything_is_explained():
    before, after = (test._repr_mimebundle_() for test in (pretest(), pretest(after=True)))
    assert len(pretest().questions) == 10
    for question in pretest().questions:
        assert len(question.notes) == len(question.options) and question.returns_to
        assert not any(note in str(before) for note in question.notes)
    assert after[0]["text/plain"].startswith("Before the course: 0 of 10")


def test_answers_are_kept_and_counted_beside_the_first_time():
    first = pretest()
    for number, question in enumerate(first.questions, 1):
        first.answer(number, question.options[question.key if number <= 3 else question.key - 1])
    assert entry("quiz", "pretest.q1")["right"] is True
    assert pretest(after=True).right("pretest") == 3 and pretest(after=True).right("posttest") == 0
    with pytest.raises(ValueError, match="question 2"):
        first.answer(2, "perhaps")


def test_a_claim_is_settled_once_the_first_exercise_of_its_chapter_was_passed():
    assert "0 of 70" in repr(claims_table())
    check("00.3", lambda claimed, measured, spread: "agrees")
    assert "0 of 70" in repr(claims_table())
    check("00.1", lambda part, b, t, c, v: (b, t) if part == "tokens" else (b, t, v if part == "output" else c))
    due = [claim for claim in claims().values() if "00" in claim.chapters]
    assert f"{len(due)} of 70" in repr(claims_table())
    assert "| C14 | Mistral-Large-2402" in claims_table("00")._repr_markdown_()
    assert claims_table("00")._repr_markdown_().count("**wrong**") == 1


def test_the_filled_table_has_every_verdict_and_the_truth():
    table = claims_table(filled=True)
    verdicts = [claim.verdict for claim in claims().values()]
    assert repr(table) == (
        f"70 claims: {verdicts.count('correct')} correct, {verdicts.count('misleading')} misleading, "
        f"{verdicts.count('wrong')} wrong, {verdicts.count('uncheckable')} uncheckable."
    )
    rows = table._repr_markdown_().splitlines()[4:]
    assert len(rows) == 70 and all(row.replace("\\|", "").count("|") == 5 for row in rows)
    for row, claim in zip(rows, claims().values()):
        assert f"| **{claim.verdict}** | {claim.truth}".replace("$", "\\$") in row.replace("\\|", "|")


def test_chapter_00_keys_are_what_the_library_computes():
    def key(number):
        question = quizzes.questions("00")[number - 1]
        return question.options[question.key]

    model, _ = load("tiny-mistral")
    assert key(2) == str(tuple(model(torch.ones(3, 7, dtype=torch.int64)).shape))
    ratio = ModelConfig.preset("mistral-7b-v0.1").count_parameters().total / model.config.count_parameters().total
    assert key(3) == f"{round(ratio, -3):,.0f} times"
