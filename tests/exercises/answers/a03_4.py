"""03.4: repairs as people make them."""


def one_chain(config):
    default = {"mistral": 10_000.0, "mixtral": 1_000_000.0}[config["model_type"]]
    return config.get("rope_theta", config.get("rope_parameters", {}).get("rope_theta", default))


def merged(config):
    found = {**config.get("rope_parameters", {}), **config}
    try:
        return float(found["rope_theta"])
    except KeyError:
        return 1e6 if config["model_type"] == "mixtral" else 1e4


RIGHT = [one_chain, merged]


def by_type(config):
    return {"mistral": 10_000.0}.get(config["model_type"], 1_000_000.0)


def top(config):
    if "rope_theta" in config:
        return config["rope_theta"]
    return 1_000_000.0 if config["model_type"] == "mixtral" else 10_000.0


def get(config):
    return config.get("rope_theta") or 1e4


def nested(config):
    try:
        return config["rope_parameters"]["rope_theta"]
    except KeyError:
        return 1_000_000.0 if config["model_type"] == "mixtral" else 10_000.0


def always_ten_thousand(config):
    return {**config.get("rope_parameters", {}), **config}.get("rope_theta", 10_000.0)


def windowed(config):
    return 1e6 if config.get("sliding_window") is None else 1e4


def a_million(config):
    return 10.0**6


def nothing(config):
    return {**config.get("rope_parameters", {}), **config}.get("rope_theta")


WRONG = {
    "the file is not read": [by_type],
    "only at the top": [top, get],
    "only one level down": [nested],
    "one default for both types": [always_ten_thousand],
    "guessed from the window": [windowed],
    "one theta for all": [a_million],
    "nothing where nothing is said": [nothing],
}
