"""What a model is made of, in numbers: the fields of `params.json`, checked, and the parameters they add up to."""

import math
from dataclasses import dataclass, fields


@dataclass(frozen=True)
class MoEConfig:
    """A mixture of experts in place of each feed-forward block (Mixtral, arXiv 2401.04088, section 2.1).

    >>> MoEConfig(num_experts=8, num_experts_per_tok=2)
    MoEConfig(num_experts=8, num_experts_per_tok=2)
    """

    num_experts: int = 8  # E: experts a layer
    num_experts_per_tok: int = 2  # K: experts that each token is sent to

    def __post_init__(self):
        _check_whole_numbers(self, "num_experts", "num_experts_per_tok")
        if self.num_experts_per_tok > self.num_experts:
            raise ValueError(
                f"num_experts_per_tok={self.num_experts_per_tok} is more than num_experts={self.num_experts}: "
                f"a token cannot be sent to more experts than there are. Choose 1 to {self.num_experts}."
            )


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The shape of a model, in the words of Mistral's `params.json`; ValueError on numbers that cannot be.

    >>> ModelConfig.preset("mistral-7b-v0.1").sliding_window
    4096
    """

    dim: int  # C: width of the residual stream
    n_layers: int  # L
    n_heads: int  # H: query heads
    n_kv_heads: int  # G: key/value heads; H / G query heads share each
    head_dim: int  # D: width of one head, even; need not be dim / n_heads
    hidden_dim: int  # F: width inside a feed-forward block, or inside each expert
    vocab_size: int  # V
    norm_eps: float = 1e-5  # added to the mean square inside RMSNorm
    rope_theta: float = 10_000.0  # base of the rotary angles
    sliding_window: int | None = None  # W: keys that a query sees, itself included; None: all before it
    moe: MoEConfig | None = None  # None: dense
    tie_embeddings: bool = False  # the output head reuses tok_embeddings
    max_position_embeddings: int | None = None  # what the authors wrote down; a record, not a limit

    def __post_init__(self):
        _check_whole_numbers(self, "dim", "n_layers", "n_heads", "n_kv_heads", "head_dim", "hidden_dim", "vocab_size")
        for name in ("sliding_window", "max_position_embeddings"):
            if getattr(self, name) is not None:
                _check_whole_numbers(self, name)
        for name in ("norm_eps", "rope_theta"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
                raise ValueError(f"{name}={value!r}: give a positive, finite number.")
        if self.n_heads % self.n_kv_heads:
            choices = [g for g in range(1, self.n_heads + 1) if self.n_heads % g == 0]
            raise ValueError(
                f"n_heads={self.n_heads} does not divide into n_kv_heads={self.n_kv_heads} equal groups. "
                f"Choose n_kv_heads from {choices}."
            )
        if self.head_dim % 2:
            raise ValueError(
                f"head_dim={self.head_dim} is odd, and RoPE turns pairs of numbers. Choose an even head_dim."
            )
        if self.moe is not None and not isinstance(self.moe, MoEConfig):
            raise ValueError(
                f"moe={self.moe!r}: give MoEConfig(num_experts=…, num_experts_per_tok=…), or None for dense."
            )
        if not isinstance(self.tie_embeddings, bool):
            raise ValueError(f"tie_embeddings={self.tie_embeddings!r}: give True or False.")

    @classmethod
    def preset(cls, name: str) -> "ModelConfig":
        """The config of a known model; ValueError lists the names. Sources: the models' params.json and cards."""
        if name not in PRESETS:
            raise ValueError(f"no preset is called {name!r}. Choose from {', '.join(PRESETS)}.")
        return cls(**PRESETS[name])

    def count_parameters(self) -> "ParameterCount":
        """How many weights the model has, and how many of them one token passes through, by part."""
        per_layer_attention = 2 * self.dim * self.head_dim * (self.n_heads + self.n_kv_heads)
        one_feed_forward = 3 * self.dim * self.hidden_dim
        experts, chosen = (self.moe.num_experts, self.moe.num_experts_per_tok) if self.moe else (1, 1)
        parts = {
            "tok_embeddings": self.vocab_size * self.dim,
            "attention": self.n_layers * per_layer_attention,
            "feed_forward": self.n_layers * experts * one_feed_forward,
            "gate": self.n_layers * experts * self.dim if self.moe else 0,
            "norms": (2 * self.n_layers + 1) * self.dim,
            "output": 0 if self.tie_embeddings else self.vocab_size * self.dim,
        }
        total = sum(parts.values())
        return ParameterCount(total, total - self.n_layers * (experts - chosen) * one_feed_forward, parts)


@dataclass(frozen=True)
class ParameterCount:
    """Parameters in all, those that take part in one token, and the total by part.

    >>> ModelConfig.preset("mixtral-8x7b-v0.1").count_parameters().active
    12879925248
    """

    total: int
    active: int  # both embedding tables counted, and K of each layer's E experts
    parts: dict[str, int]


def _check_whole_numbers(config: object, *names: str) -> None:
    known = {field.name for field in fields(config)}
    for name in names:
        assert name in known, name
        value = getattr(config, name)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"{name}={value!r}: give a whole number of 1 or more.")


_7B = dict(dim=4096, n_layers=32, n_heads=32, n_kv_heads=8, head_dim=128, hidden_dim=14336, vocab_size=32_000)
_TINY = dict(dim=192, n_layers=6, n_heads=6, n_kv_heads=2, head_dim=32, vocab_size=2048, sliding_window=64)
PRESETS = {
    # 32,768 is what config.json says of every one of them; v0.1 was trained on 8,192 tokens (arXiv 2310.06825, Table 1).
    "mistral-7b-v0.1": dict(**_7B, sliding_window=4096, max_position_embeddings=32_768),
    "mistral-7b-v0.2": dict(**_7B, rope_theta=1e6, max_position_embeddings=32_768),
    "mistral-7b-v0.3": dict(**_7B | {"vocab_size": 32_768}, rope_theta=1e6, max_position_embeddings=32_768),
    "mixtral-8x7b-v0.1": dict(**_7B, rope_theta=1e6, moe=MoEConfig(8, 2), max_position_embeddings=32_768),
    "tiny-mistral": dict(**_TINY, hidden_dim=320, max_position_embeddings=256),
    # Two experts of half the width: as many active weights as tiny-mistral, but for the gate.
    "tiny-mixtral": dict(**_TINY, hidden_dim=160, moe=MoEConfig(8, 2), max_position_embeddings=256),
}
