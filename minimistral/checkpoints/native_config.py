"""params.json, the config file of the native layout."""

from pathlib import Path
from typing import Any

from minimistral.checkpoints.config_file import ConfigFile, build
from minimistral.checkpoints.errors import CheckpointError, listed
from minimistral.checkpoints.fields import LARGEST_LENGTH, Fields, shortened
from minimistral.checkpoints.json_files import read_json
from minimistral.config import ModelConfig

WRITTEN = [
    "dim",
    "n_layers",
    "head_dim",
    "hidden_dim",
    "n_heads",
    "n_kv_heads",
    "norm_eps",
    "vocab_size",
    "rope_theta",
    "sliding_window",
]
TIED = ("tied_embeddings", "tie_embeddings", "tie_word_embeddings")  # Mistral's word first, and two that others use
# Each of these belongs to a newer or another model and changes what is computed.
REFUSED = [
    "quantization",
    "lora",
    "vision_encoder",
    "multimodal",
    "audio_encoder",
    "yarn",
    "rope_scaling",
    "llama_4_scaling",
    "q_lora_rank",
    "kv_lora_rank",
    "qk_norm",
    "use_qk_norm",
    "attention_bias",
    "use_biases",
    "logits_scaling",
    "attn_logit_softcapping",
]
# And these do not: sizes of buffers in other programs, or records.
HARMLESS = [
    "max_seq_len",
    "max_batch_size",
    "model_type",
    "dtype",
    "activation",
    "causal",
    "max_position_embeddings",
    "moe",
]


def read_params(path: Path) -> ConfigFile:
    """A native model's config. Without rope_theta its authors meant 1e4 with a window and 1e6 without."""
    fields, notes = Fields(path, read_json(path)), []
    _refuse_other_models(fields)
    if unknown := sorted(set(fields.values) - {*WRITTEN, *TIED, *REFUSED, *HARMLESS}):
        notes.append(f"{path}: ignored {listed([shortened(name) for name in unknown])}, unknown to this library.")
    window = _window(fields)
    theta = fields.number("rope_theta", default=1e6 if window is None else 1e4)
    if "rope_theta" in fields.assumed:
        why = "no sliding window" if window is None else "a sliding window"
        notes.append(f"{path}: rope_theta is missing; taken as {theta:g}, as in Mistral's own models with {why}.")
    moe = fields.section("moe")
    dim, n_heads = fields.whole("dim"), fields.whole("n_heads")
    config = build(
        path,
        experts=None if moe is None else (moe.whole("num_experts"), moe.whole("num_experts_per_tok")),
        dim=dim,
        n_layers=fields.whole("n_layers"),
        n_heads=n_heads,
        n_kv_heads=fields.whole("n_kv_heads"),
        head_dim=fields.whole("head_dim", default=dim // n_heads),
        hidden_dim=fields.whole("hidden_dim"),
        vocab_size=fields.whole("vocab_size"),
        norm_eps=fields.number("norm_eps", default=1e-5),  # what all of Mistral's models have
        rope_theta=theta,
        sliding_window=window,
        tie_embeddings=_tied(fields),
        max_position_embeddings=fields.whole("max_position_embeddings", default=None, most=LARGEST_LENGTH),
    )
    return ConfigFile(path, config, frozenset(fields.assumed), notes=tuple(notes))


def write_params(config: ModelConfig) -> dict[str, Any]:
    """What params.json says of a config."""
    params = {name: getattr(config, name) for name in WRITTEN}
    if config.moe:
        experts = config.moe
        params["moe"] = {"num_experts_per_tok": experts.num_experts_per_tok, "num_experts": experts.num_experts}
    if config.tie_embeddings:
        params["tied_embeddings"] = True
    if config.max_position_embeddings is not None:
        params["max_position_embeddings"] = config.max_position_embeddings
    return params


def _refuse_other_models(fields: Fields) -> None:
    for name in REFUSED:
        fields.refuse(name, "this library builds the plain text models only.", allowed=(None, False, {}, []))
    fields.refuse("activation", "only silu is built here.", allowed=(None, "silu"))
    fields.refuse("causal", "only causal attention is built here.", allowed=(None, True))
    fields.refuse("model_type", "only transformer is built here.", allowed=(None, "transformer", "mistral", "mixtral"))


def _window(fields: Fields) -> int | None:
    """Absent, null, a number, a number in a string, or a list with one window a layer."""
    value = fields.values.get("sliding_window")
    if isinstance(value, list):
        if not value or any(type(one) is not type(value[0]) or one != value[0] for one in value):
            raise CheckpointError(
                f"{fields.path}: sliding_window = {shortened(value)}: layers with different windows are not built here; "
                "one window for all, or null, is."
            )
        fields.values["sliding_window"] = value[0]
    elif isinstance(value, str):
        if not (value.strip().isascii() and value.strip().isdigit() and len(value) < 20):
            raise fields.error("sliding_window", value, "a whole number of 1 or more, or null,")
        fields.values["sliding_window"] = int(value)
    return fields.whole("sliding_window", default=None, null=None, most=LARGEST_LENGTH)


def _tied(fields: Fields) -> bool:
    stated = {name: fields.flag(name) for name in TIED if fields.values.get(name) is not None}
    if len(set(stated.values())) > 1:
        raise CheckpointError(f"{fields.path}: {stated} contradict one another.")
    if not stated:
        fields.assumed.add("tie_embeddings")
    return any(stated.values())
