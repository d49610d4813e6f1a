"""config.json, the config file of the hub layout, as transformers writes it."""

from pathlib import Path
from typing import Any

from minimistral.checkpoints.config_file import ConfigFile, build
from minimistral.checkpoints.errors import CheckpointError
from minimistral.checkpoints.fields import LARGEST_LENGTH, Fields, shortened
from minimistral.checkpoints.json_files import read_json
from minimistral.config import ModelConfig

ARCHITECTURES = {"mistral": "MistralForCausalLM", "mixtral": "MixtralForCausalLM"}
# What transformers 5 takes an absent field to mean. The first five are the same for both kinds.
SIZES = {
    "dim": ("hidden_size", 4096),
    "n_layers": ("num_hidden_layers", 32),
    "n_heads": ("num_attention_heads", 32),
    "hidden_dim": ("intermediate_size", 14336),
    "vocab_size": ("vocab_size", 32_000),
}
DEFAULTS = {
    "mistral": dict(norm_eps=1e-6, rope_theta=1e4, sliding_window=4096),
    "mixtral": dict(norm_eps=1e-5, rope_theta=1e6, sliding_window=None),
}
OTHER_NAMES = {
    "num_key_value_heads": "n_kv_heads",
    "rms_norm_eps": "norm_eps",
    "tie_word_embeddings": "tie_embeddings",
    "num_local_experts": "moe",
    "num_experts_per_tok": "moe",
}
# Each of these changes what is computed, whichever value but null or false it has.
REFUSED = [
    "quantization_config",
    "compression_config",
    "attention_bias",
    "mlp_bias",
    "per_layer_config",
    "qk_norm",
    "use_qk_norm",
    "final_logit_softcapping",
    "attn_logit_softcapping",
    "add_cross_attention",
    "is_encoder_decoder",
]


def read_config(path: Path) -> ConfigFile:
    """A hub model's config; what the file does not say means what transformers 5 takes it to mean."""
    fields = Fields(path, read_json(path))
    kind = _kind(fields)
    for name in REFUSED:
        fields.refuse(name, "this library builds plain, unquantized Mistral and Mixtral models only.")
    fields.refuse("hidden_act", "only silu is built here.", allowed=(None, "silu", "swish"))
    sizes = {name: fields.whole(hub, default=default) for name, (hub, default) in SIZES.items()}
    window = fields.whole("sliding_window", default=DEFAULTS[kind]["sliding_window"], null=None, most=LARGEST_LENGTH)
    _check_layer_types(fields, sizes["n_layers"], window)
    experts = None
    if kind == "mixtral":
        experts = fields.whole("num_local_experts", default=8), fields.whole("num_experts_per_tok", default=2)
    config = build(
        path,
        experts=experts,
        **sizes,
        # An absent num_key_value_heads means 8, whatever the heads; null means that no heads share.
        n_kv_heads=fields.whole("num_key_value_heads", default=8, null=sizes["n_heads"]),
        head_dim=fields.whole("head_dim", default=sizes["dim"] // sizes["n_heads"]),
        norm_eps=fields.number("rms_norm_eps", default=DEFAULTS[kind]["norm_eps"]),
        rope_theta=_rope_theta(fields, DEFAULTS[kind]["rope_theta"]),
        sliding_window=window,
        tie_embeddings=fields.flag("tie_word_embeddings"),
        max_position_embeddings=fields.whole("max_position_embeddings", default=None, most=LARGEST_LENGTH),
    )
    to_native = {hub: name for name, (hub, _) in SIZES.items()} | OTHER_NAMES
    assumed = frozenset(to_native.get(name, name) for name in fields.assumed)
    dtype = fields.values.get("dtype") or fields.values.get("torch_dtype")
    return ConfigFile(path, config, assumed, dtype=dtype if isinstance(dtype, str) else None)


def write_config(config: ModelConfig, dtype: str, bos_id: int, eos_id: int) -> dict[str, Any]:
    """What config.json says of a config, to transformers 4 (rope_theta, torch_dtype) and 5 (rope_parameters, dtype)."""
    kind = "mixtral" if config.moe else "mistral"
    written = {
        "architectures": [ARCHITECTURES[kind]],
        "model_type": kind,
        **{hub: getattr(config, name) for name, (hub, _) in SIZES.items()},
        "num_key_value_heads": config.n_kv_heads,
        "head_dim": config.head_dim,
        "hidden_act": "silu",
        "rms_norm_eps": config.norm_eps,
        "rope_theta": config.rope_theta,
        "rope_parameters": {"rope_theta": config.rope_theta, "rope_type": "default"},
        "sliding_window": config.sliding_window,  # written even if null: an absent one would mean 4096 to mistral
        "tie_word_embeddings": config.tie_embeddings,
        "attention_dropout": 0.0,
        "bos_token_id": bos_id,
        "eos_token_id": eos_id,
        "dtype": dtype,
        "torch_dtype": dtype,
    }
    if config.moe:
        written["num_local_experts"] = config.moe.num_experts
        written["num_experts_per_tok"] = config.moe.num_experts_per_tok
    if config.max_position_embeddings is not None:
        written["max_position_embeddings"] = config.max_position_embeddings
    return written


def _kind(fields: Fields) -> str:
    """mistral or mixtral; model_type decides, and architectures, where given, must agree."""
    kind, architectures = fields.values.get("model_type"), fields.values.get("architectures")
    if architectures is not None and not (
        isinstance(architectures, list) and all(isinstance(a, str) for a in architectures)
    ):
        raise fields.error("architectures", architectures, "a list of names")
    if kind is None and architectures:
        kind = next((kind for kind, name in ARCHITECTURES.items() if name in architectures), architectures[0])
    if not isinstance(kind, str) or kind not in ARCHITECTURES:
        raise CheckpointError(
            f"{fields.path}: model_type = {shortened(kind)}: this library reads {' and '.join(ARCHITECTURES)} models."
        )
    if architectures and ARCHITECTURES[kind] not in architectures:
        raise CheckpointError(
            f"{fields.path}: architectures = {shortened(architectures)}, and a {kind} language model "
            f"is a {ARCHITECTURES[kind]}: heads for other tasks are not built here."
        )
    return kind


def _rope_theta(fields: Fields, default: float) -> float:
    """The base from rope_parameters (transformers 5) or the top level (before); scaled or partial RoPE is refused."""
    stated = {}
    fields.refuse("partial_rotary_factor", "only RoPE over the whole head is built here.", allowed=(None, 1, 1.0))
    for name in ("rope_parameters", "rope_scaling"):
        if (rope := fields.section(name)) is None:
            continue
        for key in ("rope_type", "type"):
            rope.refuse(key, "only plain RoPE ('default') is built here.", allowed=(None, "default"))
        rope.refuse("partial_rotary_factor", "only RoPE over the whole head is built here.", allowed=(None, 1, 1.0))
        if not rope.values.get("rope_type") and not rope.values.get("type"):
            rope.refuse("factor", "only unscaled RoPE is built here.", allowed=(None, 1, 1.0))
        if nested := [key for key, value in rope.values.items() if isinstance(value, dict)]:
            raise CheckpointError(f"{rope.path}: {shortened(nested)}: one RoPE for all kinds of layers is built here.")
        stated[name] = rope.number("rope_theta", default=None)
    stated["rope_theta"] = fields.number("rope_theta", default=None)
    values = {name: theta for name, theta in stated.items() if theta is not None}
    if len(set(values.values())) > 1:
        raise CheckpointError(f"{fields.path}: the RoPE base is stated twice, and differs: {values}.")
    if values:
        fields.assumed.discard("rope_theta")
    return next(iter(values.values()), default)


def _check_layer_types(fields: Fields, n_layers: int, window: int | None) -> None:
    """Old configs give a kind for every layer; all layers here are windowed, or none is."""
    kinds = fields.values.get("layer_types")
    if kinds is None:
        return
    expected = "full_attention" if window is None else "sliding_attention"
    if not isinstance(kinds, list) or len(kinds) != n_layers or any(kind != expected for kind in kinds):
        raise CheckpointError(
            f"{fields.path}: layer_types = {shortened(kinds)}: with num_hidden_layers = {n_layers} and sliding_window = "
            f"{window}, {expected} in every layer is what is built here."
        )
