"""Recipes for `minimistral train`: what they may say, what they make, and what a second call does."""

import json
from pathlib import Path

import pytest
import torch

import minimistral.recipe as recipe_module
from minimistral import ModelConfig, MoEConfig, Tokenizer, Transformer, load, save
from minimistral.data import read_domains
from minimistral.evaluate import bits_a_byte
from minimistral.recipe import read_recipe, run_recipe

torch.set_num_threads(1)

TOKENIZER = Path(__file__).parents[2] / "minimistral" / "pretrained" / "tiny-tokenizer" / "tokenizer.model"
MODEL = "dim = 16\nn_layers = 1\nn_heads = 2\nn_kv_heads = 1\nhead_dim = 4\nhidden_dim = 20\n"
TRAINING = "steps = 3\nbatch_size = 2\ncontext = 8\nwarmup_steps = 1\nsave_every = 1\n"


@pytest.fixture
def write(tmp_path):
    (tmp_path / "text.txt").write_text("All the world's a stage, and all the men and women merely players.\n" * 20)

    def write(output='"run"', text='train = "text.txt"', model=MODEL, training=TRAINING, tokenizer=TOKENIZER, more=""):
        path = tmp_path / "recipe.toml"
        if tokenizer:
            text += f'\ntokenizer = "{tokenizer.as_posix()}"'
        path.write_text(f"output = {output}\n{more}[text]\n{text}\n[model]\n{model}\n[training]\n{training}\n")
        return path

    return write


def test_a_recipe_makes_a_model_of_the_given_sizes(write, tmp_path):
    folder = run_recipe(write(model=MODEL + "sliding_window = 4\nmoe = {num_experts = 3, num_experts_per_tok = 1}"))
    model, tokenizer = load(folder)
    assert folder == tmp_path / "run" / "model"
    assert model.config.sliding_window == 4 and model.config.moe == MoEConfig(3, 1)
    assert model.config.vocab_size == tokenizer.vocab_size


def test_a_preset_may_be_changed_field_by_field(write):
    model, _ = load(run_recipe(write(model='preset = "tiny-mixtral"\nn_layers = 1\nhidden_dim = 24')))
    assert (model.config.n_layers, model.config.hidden_dim, model.config.dim) == (1, 24, 192)
    assert model.config.moe == ModelConfig.preset("tiny-mixtral").moe


def test_held_out_texts_are_measured_by_domain_while_it_trains_and_at_the_end(write, tmp_path):
    for domain, text in dict(drama="To be, or not to be. Señor!\n" * 30, prose="Call me Ishmael.\n").items():
        (tmp_path / "aside" / domain).mkdir(parents=True)
        (tmp_path / "aside" / domain / "a.txt").write_text(text, encoding="utf-8")
    (tmp_path / "aside" / "drama" / "b.txt").write_text("Exit, pursued by a bear.")
    recipe = write(text='train = "text.txt"\nheld_out = "aside"', training=TRAINING + "evaluate_every = 2")
    model, tokenizer = load(run_recipe(recipe), dtype="float32")
    log = [json.loads(line) for line in (tmp_path / "run" / "training.jsonl").read_text().splitlines()]
    assert [record["step"] for record in log] == [0, 1, 2]
    assert ["bits_a_byte" in record for record in log] == [False, True, True]
    texts = {
        "drama": ["To be, or not to be. Señor!\n" * 30, "Exit, pursued by a bear."],
        "prose": ["Call me Ishmael.\n"],
    }
    expected = {domain: bits_a_byte(model, texts[domain], tokenizer) for domain in texts}
    assert log[-1]["bits_a_byte"] == pytest.approx(expected)
    report = (tmp_path / "run" / "report.md").read_text(encoding="utf-8")
    size = sum(len(text.encode()) for text in texts["drama"])
    assert f"| drama | {size} | {expected['drama']:.3f} |" in report and "| prose | 17 |" in report
    assert "Call me Ishmael.\n|" in report, "the sample says where the prompt ends"


def test_during_training_only_the_opening_of_long_texts_is_measured(monkeypatch):
    monkeypatch.setattr(recipe_module, "GLANCE", 10)
    assert recipe_module._opening(["abcdef", "", "ghijkl", "mn"]) == ["abcdef", "ghij"]
    assert recipe_module._opening(["abc"]) == ["abc"]


def test_a_file_or_loose_texts_are_a_domain_too(tmp_path):
    (tmp_path / "mine").mkdir()
    with pytest.raises(ValueError, match="no .txt file"):
        read_domains(tmp_path / "mine")
    (tmp_path / "mine" / "b.txt").write_text("two")
    (tmp_path / "mine" / "a.txt").write_text("one")
    assert read_domains(tmp_path / "mine") == {"mine": ["one", "two"]}
    assert read_domains(tmp_path / "mine" / "b.txt") == {"b": ["two"]}
    (tmp_path / "mine" / "deep" / "er").mkdir(parents=True)
    (tmp_path / "mine" / "deep" / "er" / "c.txt").write_text("three")
    (tmp_path / "mine" / "empty").mkdir()
    assert read_domains(tmp_path / "mine") == {"deep": ["three"], "mine": ["one", "two"]}


def test_a_second_call_goes_on_and_ends_with_the_same_bits(write, tmp_path, monkeypatch):
    whole = {name: weight.clone() for name, weight in load(run_recipe(write()))[0].state_dict().items()}
    real_train = recipe_module.train

    def cut_off(model, tokens, config, **options):
        def stop(record):
            if record["step"] == 1:
                raise KeyboardInterrupt

        return real_train(model, tokens, config, on_step=stop, **options)

    monkeypatch.setattr(recipe_module, "train", cut_off)
    with pytest.raises(KeyboardInterrupt):
        run_recipe(write(output='"again"'))
    assert not (tmp_path / "again" / "model").exists()
    monkeypatch.setattr(recipe_module, "train", real_train)
    resumed = load(run_recipe(write(output='"again"')))[0].state_dict()
    assert all(torch.equal(resumed[name], weight) for name, weight in whole.items())


def test_a_checkpoint_may_be_trained_further_with_its_own_tokenizer(write, tmp_path):
    tokenizer = Tokenizer(TOKENIZER)
    sizes = dict(dim=16, n_layers=1, n_heads=2, n_kv_heads=1, head_dim=4, hidden_dim=20)
    torch.manual_seed(0)
    start = Transformer(ModelConfig(**sizes, vocab_size=tokenizer.vocab_size))
    save(start.bfloat16(), tmp_path / "start", tokenizer=tokenizer)
    model, _ = load(run_recipe(write(model='start_from = "start"', tokenizer=None)))
    assert model.config == start.config
    weight, before = model.layers[0].attention.wq.weight, start.layers[0].attention.wq.weight
    assert 0 < (weight - before).abs().max() < 0.1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (dict(more="outptu = 1\n"), ["outptu", "output"]),
        (dict(text='trian = "text.txt"'), ["trian", "train"]),
        (dict(text='held_out = "text.txt"'), ["train"]),
        (dict(model=MODEL + "wings = 2"), ["wings"]),
        (dict(model=MODEL + "moe = {experts = 3}"), ["experts", "num_experts"]),
        (dict(model="dim = 16"), ["n_layers", "hidden_dim"]),
        (dict(model='preset = "huge"'), ["huge", "tiny-mistral"]),
        (dict(model='start_from = "run"\ndim = 3'), ["dim"]),
        (dict(model=MODEL.replace("dim = 16", 'dim = "sixteen"', 1)), ["dim", "whole number"]),
        (dict(tokenizer=None), ["tokenizer"]),
        (dict(training="stpes = 3"), ["stpes", "steps"]),
        (dict(training="steps = -3"), ["steps", "-3"]),
        (dict(training="context = 5000\nsteps = 60\nbatch_size = 1"), ["context", "tokens"]),
    ],
)
def test_what_cannot_be_is_named_with_what_may(write, changes, words):
    with pytest.raises(ValueError) as error:
        run_recipe(write(**changes))
    assert all(word in str(error.value) for word in words), error.value


def test_a_table_is_a_table(tmp_path):
    (tmp_path / "recipe.toml").write_text('output = "x"\ntext = "text.txt"\n')
    with pytest.raises(ValueError, match=r"\[text\]"):
        read_recipe(tmp_path / "recipe.toml")


def test_a_text_that_is_not_there_is_named(write):
    with pytest.raises(OSError, match="nowhere"):
        run_recipe(write(text='train = "nowhere.txt"'))
