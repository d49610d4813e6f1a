"""03.4, a bug hunt: a converter that guesses theta from the model's type."""

import random

from minimistral.lab.exercise import Exercise, Mistake


def mended_theta(config: dict) -> float:
    if "rope_theta" in config:  # as config.json was written until 2025
        return config["rope_theta"]
    if "rope_theta" in config.get("rope_parameters", {}):  # as it is written since
        return config["rope_parameters"]["rope_theta"]
    return 10_000.0 if config["model_type"] == "mistral" else 1_000_000.0


def given(config: dict) -> float:
    return 10_000.0 if config["model_type"] == "mistral" else 1_000_000.0


def cases(draw: random.Random) -> list[tuple]:
    theta = [float(draw.choice([25_000, 50_000, 500_000, 2_000_000])) for _ in range(4)]
    kind = draw.choice(["mistral", "mixtral"])
    return [
        ({"model_type": "mistral", "sliding_window": None, "rope_theta": 1_000_000.0},),  # Mistral 7B v0.2
        ({"model_type": "mistral", "sliding_window": 4096, "rope_theta": 10_000.0},),  # v0.1
        ({"model_type": "mistral", "rope_parameters": {"rope_type": "default", "rope_theta": theta[0]}},),
        ({"model_type": "mixtral", "rope_parameters": {"rope_type": "default", "rope_theta": theta[1]}},),
        ({"model_type": kind, "sliding_window": None, "rope_theta": theta[2]},),
        ({"model_type": kind, "sliding_window": 4096, "rope_theta": theta[3]},),
        ({"model_type": "mistral", "sliding_window": None},),
        ({"model_type": "mixtral", "sliding_window": 4096},),
        ({"model_type": "mixtral"},),
        ({"model_type": "mistral", "rope_parameters": {"rope_type": "default"}},),
    ]


def _default(config: dict) -> float:
    return 10_000.0 if config["model_type"] == "mistral" else 1_000_000.0


def _top_only(config: dict) -> float:
    return config.get("rope_theta", _default(config))


def _top_or_ten_thousand(config: dict) -> float:
    return config.get("rope_theta", 10_000.0)


def _nested_only(config: dict) -> float:
    return config.get("rope_parameters", {}).get("rope_theta", _default(config))


def _one_default(config: dict) -> float:
    return config.get("rope_theta", config.get("rope_parameters", {}).get("rope_theta", 10_000.0))


def _other_default(config: dict) -> float:
    return config.get("rope_theta", config.get("rope_parameters", {}).get("rope_theta", 1_000_000.0))


def _by_window(config: dict) -> float:
    return 10_000.0 if config.get("sliding_window") else 1_000_000.0


def _by_window_if_missing(config: dict) -> float:
    found = config.get("rope_theta", config.get("rope_parameters", {}).get("rope_theta"))
    return _by_window(config) if found is None else found


def _million(config: dict) -> float:
    return 1_000_000.0


def _none(config: dict) -> float | None:
    return config.get("rope_theta", config.get("rope_parameters", {}).get("rope_theta"))


WINDOW = (
    "A window and a base are two decisions. v0.1 has a window and 10,000, v0.2 has none and 1,000,000, but nothing ties them: "
    "read what the file says, and only where it says nothing take the default of its type."
)
DEFAULT = (
    "Where the file says nothing, its type decides: 10,000 for mistral, 1,000,000 for mixtral. Here both get one value."
)
EXERCISE = Exercise(
    id="03.4",
    title="Find the bug: a theta lost in conversion",
    minutes=8,
    difficulty=2,
    cases=cases,
    solution=mended_theta,
    given=given,
    mistakes=(
        Mistake(
            "the file is not read",
            "Mistral 7B v0.1 and v0.2 have the same model_type and not the same theta. The config says it: read it.",
            wrong=given,
        ),
        Mistake(
            "only at the top",
            "Files written since transformers 5 keep it one level down, under rope_parameters. There yours falls back to the "
            "default, and nobody notices before the text is long.",
            wrong=_top_only,
        ),
        Mistake(
            "only at the top",
            "Two things are left: files that keep theta under rope_parameters, and the default of mixtral.",
            wrong=_top_or_ten_thousand,
        ),
        Mistake(
            "only one level down",
            "Most published files have rope_theta at the top level. Look there first.",
            wrong=_nested_only,
        ),
        Mistake("one default for both types", DEFAULT, wrong=_one_default),
        Mistake("one default for both types", DEFAULT, wrong=_other_default),
        Mistake("guessed from the window", WINDOW, wrong=_by_window),
        Mistake("guessed from the window", WINDOW, wrong=_by_window_if_missing),
        Mistake(
            "one theta for all",
            "That mends v0.2 and breaks v0.1: trained at 10,000, it would meet other angles everywhere.",
            wrong=_million,
        ),
        Mistake(
            "nothing where nothing is said",
            "Where the file says nothing, this gives None. What did its authors mean?",
            wrong=_none,
        ),
    ),
    nudge="A failed check shows the config that it tried. Where does it say theta, if it does? Three kinds of file occur: where "
    "do they differ?",
    shapes="""
| where the file says it | example |
|---|---|
| at the top | `{"model_type": "mistral", "rope_theta": 1000000.0}` |
| one level down | `{"model_type": "mistral", "rope_parameters": {"rope_theta": 1000000.0}}` |
| nowhere | `{"model_type": "mixtral"}`: the default of the type |
""",
    skeleton="""
def mended_theta(config):
    if ____ in config:
        return ____
    if ____ in config.get("rope_parameters", {}):
        return ____
    ...
""",
    explanation="What the file says comes first, at either place. Only where it says nothing does the type decide. A wrong theta "
    "raises no error, changes little in the first few tokens, and spoils long texts.",
    report="Lightning-AI/litgpt#2217 shipped it for Mistral 7B v0.2, meta-pytorch/gpt-fast#181 mended it for Llama 3 (#179).",
)
