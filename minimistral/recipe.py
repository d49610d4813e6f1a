"""A training run written down in a .toml file, and what it takes to run it."""

import tomllib
from dataclasses import MISSING, fields
from functools import partial
from pathlib import Path

import torch

from minimistral import ModelConfig, MoEConfig, Tokenizer, Transformer, load, ranks, save
from minimistral.data import read_domains, read_tokens
from minimistral.evaluate import by_domain, report
from minimistral.speed import best_device
from minimistral.train import TrainConfig, train

EXAMPLE = """\
output = "my-run"                  # the state of the run is kept here, and at the end the model

[text]
train = "texts"                    # a text file, or a folder with .txt files; paths start at this file's folder
# held_out = "more-texts"          # measured now and then, never trained on; each folder in it is a domain of its own
tokenizer = "tokenizer.model"      # a sentencepiece file

[model]
preset = "tiny-mistral"            # or start_from = "a folder with a checkpoint", to train that one further
# hidden_dim = 256                 # any field of ModelConfig; it wins over the preset. vocab_size is the tokenizer's

[training]
steps = 300                        # any field of TrainConfig
batch_size = 8
context = 128
"""
GLANCE = 10_000  # characters of each domain that are measured during training; the report measures all of it
TABLES = {
    "text": {"train", "held_out", "tokenizer"},
    "model": {"preset", "start_from"} | {field.name for field in fields(ModelConfig)},
    "training": {field.name for field in fields(TrainConfig)},
}


def run_recipe(path: str | Path) -> Path:
    """Train as the file says and return the folder of the finished model; ValueError names a key that cannot be.

    Beside the model: training.jsonl, a line a step; and with held-out texts report.md, bits a byte by domain and samples.
    Under torchrun all processes train one model, and the first one writes.
    """
    recipe, here = read_recipe(path), Path(path).parent
    output, config = here / recipe["output"], TrainConfig(**recipe["training"])
    held_out = read_domains(here / recipe["text"]["held_out"]) if "held_out" in recipe["text"] else {}
    with ranks.joined():
        is_first = ranks.rank() == 0
        model, tokenizer = _model_and_tokenizer(recipe, here, config.seed)
        tokens = read_tokens(here / recipe["text"]["train"], tokenizer)
        glances = {domain: _opening(texts) for domain, texts in held_out.items()}
        evaluate = partial(by_domain, texts=glances, tokenizer=tokenizer) if held_out else None
        train(model, tokens, config, folder=output, evaluate=evaluate)
        if is_first:
            save(model, output / "model", tokenizer=tokenizer, overwrite=True)
    if held_out and is_first:
        (output / "report.md").write_text(report(model, tokenizer, held_out), encoding="utf-8")
    return output / "model"


def _opening(texts: list[str]) -> list[str]:
    """The texts from the first on, GLANCE characters in all: enough to see how it goes, in a moment."""
    left, opening = GLANCE, []
    for text in texts:
        if left > 0 and text:
            opening.append(text[:left])
            left -= len(text)
    return opening


def read_recipe(path: str | Path) -> dict:
    """The file's tables, with every key known and none of the needed ones missing."""
    try:
        recipe = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not a TOML file: {error}") from error
    _check_keys(path, "the file", recipe, {"output", *TABLES})
    for table, known in TABLES.items():
        entries = recipe.setdefault(table, {})
        if not isinstance(entries, dict):
            raise ValueError(f"{path}: {table} is a table: write [{table}] and its keys below.")
        _check_keys(path, f"[{table}]", entries, known)
    for table, key in (("", "output"), ("text", "train")):
        if key not in (recipe[table] if table else recipe):
            raise ValueError(f"{path} does not say {key}{f' in [{table}]' if table else ''}.")
    return recipe


def _check_keys(path: str | Path, where: str, entries: dict, known: set[str]) -> None:
    unknown = sorted(set(entries) - known)
    if unknown:
        raise ValueError(f"{path}: {where} has {', '.join(unknown)}. It may have {', '.join(sorted(known))}.")


def _model_and_tokenizer(recipe: dict, here: Path, seed: int) -> tuple[Transformer, Tokenizer]:
    fields_given, tokenizer = dict(recipe["model"]), None
    if "tokenizer" in recipe["text"]:
        tokenizer = Tokenizer(here / recipe["text"]["tokenizer"])
    if start := fields_given.pop("start_from", None):
        if fields_given:
            raise ValueError(f"start_from brings its own sizes: leave out {', '.join(fields_given)} in [model].")
        model, its_own = load(here / start if (here / start).exists() else start, device=best_device())
        model, tokenizer = model.float(), tokenizer or its_own
    if tokenizer is None:
        raise ValueError('which tokenizer? Write tokenizer = "path of a sentencepiece file" in [text].')
    if not start:
        torch.manual_seed(seed)
        model = Transformer(_config(fields_given, tokenizer.vocab_size)).to(best_device())
    return model, tokenizer


def _config(given: dict, vocab_size: int) -> ModelConfig:
    given = {"vocab_size": vocab_size} | given
    if preset := given.pop("preset", None):
        known = ModelConfig.preset(preset)
        given = {field.name: getattr(known, field.name) for field in fields(ModelConfig)} | given
    if isinstance(given.get("moe"), dict):
        _check_keys("[model]", "moe", given["moe"], {field.name for field in fields(MoEConfig)})
        given["moe"] = MoEConfig(**given["moe"])
    missing = [f.name for f in fields(ModelConfig) if f.default is MISSING and f.name not in given]
    if missing:
        raise ValueError(f"[model] does not say {', '.join(missing)}. Write them, or a preset to start from.")
    return ModelConfig(**given)
