"""The whole model: tokens in, the logits of each next token out."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minimistral.attention import Attention
from minimistral.cache import LayerCache, RollingCache
from minimistral.config import ModelConfig
from minimistral.feed_forward import FeedForward
from minimistral.moe import MoE
from minimistral.norm import RMSNorm
from minimistral.rope import rope_angles


class Block(nn.Module):
    """One layer, pre-norm: h = x + attention(norm(x)), then h + feed_forward(norm(h)). (B, T, C) to (B, T, C)."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.attention_norm = RMSNorm(config.dim, config.norm_eps)
        self.attention = Attention(
            config.dim, config.n_heads, config.n_kv_heads, config.head_dim, config.sliding_window
        )
        self.ffn_norm = RMSNorm(config.dim, config.norm_eps)
        self.feed_forward = _dense(config) if config.moe is None else _mixture(config)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, cache: LayerCache | None = None) -> Tensor:
        h = x + self.attention(self.attention_norm(x), cos, sin, cache)
        return h + self.feed_forward(self.ffn_norm(h))


class Transformer(nn.Module):
    """Mistral (config.moe is None) or Mixtral. Parameter names are those of the native checkpoints.

    Sources: Mistral 7B, arXiv 2310.06825; Mixtral of Experts, arXiv 2401.04088.
    """

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        self.tok_embeddings = nn.Embedding(config.vocab_size, config.dim)
        self.layers = nn.ModuleList(Block(config) for _ in range(config.n_layers))
        self.norm = RMSNorm(config.dim, config.norm_eps)
        self.output = None if config.tie_embeddings else nn.Linear(config.dim, config.vocab_size, bias=False)
        if config.tie_embeddings:  # as a head, torch's N(0, 1) embeddings would give logits √C times too large
            nn.init.normal_(self.tok_embeddings.weight, std=config.dim**-0.5)

    def forward(
        self,
        tokens: Tensor,
        cache: RollingCache | None = None,
        lengths: Tensor | None = None,
        last_only: bool = False,
    ) -> Tensor:
        """tokens (B, T) int64 to logits (B, T, V) float32, or (B, 1, V) of each row's last real token with last_only.

        With a cache the tokens continue where it stands, and are written to it. Rows may be right-padded: lengths (B,)
        counts the real tokens of each, which padding never influences; the logits of padding mean nothing. A length of
        0 is allowed with a cache (the row stays as it is). ValueError says what does not fit, before anything is written.
        """
        row_lengths = self._check(tokens, cache, lengths)
        T = tokens.shape[1]
        positions = torch.arange(T, device=tokens.device) if cache is None else cache.begin(T, row_lengths)
        angles = rope_angles(positions, self.config.head_dim, self.config.rope_theta)  # (T, D/2) or (B, T, D/2)
        angles = angles if positions.ndim == 1 else angles[:, None]  # (B, 1, T, D/2): the same for every head
        cos, sin = angles.cos(), angles.sin()

        x = self.tok_embeddings(tokens)  # (B, T, C)
        for i, layer in enumerate(self.layers):
            x = layer(x, cos, sin, None if cache is None else cache.layers[i])
        if cache is not None:
            cache.end()
        if last_only:
            x = x[:, -1:] if row_lengths is None else _last_real(x, row_lengths)  # (B, 1, C)
        x = self.norm(x)
        logits = F.linear(x, self.tok_embeddings.weight) if self.output is None else self.output(x)
        return logits.float()  # (B, T, V)

    def make_cache(self, batch_size: int, max_context: int) -> RollingCache:
        """An empty cache on this model's device, in its dtype; it holds min(W, max_context) slots a layer."""
        weight = self.tok_embeddings.weight
        return RollingCache(self.config, batch_size, max_context, device=weight.device, dtype=weight.dtype)

    def _check(self, tokens: Tensor, cache: RollingCache | None, lengths: Tensor | None) -> list[int] | None:
        """Refuse what does not fit; the row lengths as numbers, or None where every row is full."""
        weight = self.tok_embeddings.weight
        if not isinstance(tokens, Tensor) or tokens.ndim != 2 or tokens.dtype != torch.int64:
            given = f"{tuple(tokens.shape)} {tokens.dtype}" if isinstance(tokens, Tensor) else type(tokens).__name__
            raise ValueError(
                f"tokens: given {given}; give an int64 tensor of shape (batch, tokens), e.g. torch.tensor([ids])."
            )
        B, T = tokens.shape
        if T == 0:
            raise ValueError("tokens: given no token a row (T = 0); give at least one, e.g. the id that opens a text.")
        if tokens.device != weight.device:
            raise ValueError(
                f"tokens are on {tokens.device}, the model on {weight.device}: call tokens.to('{weight.device}')."
            )
        if tokens.device.type == "cpu" and B and not 0 <= int(tokens.min()) <= int(tokens.max()) < len(weight):
            raise ValueError(
                f"tokens: ids from {int(tokens.min())} to {int(tokens.max())} were given, and this model's vocabulary has "
                f"0 to {len(weight) - 1}. Was the text encoded with this model's tokenizer?"
            )
        if cache is not None:
            self._check_cache(cache, B, weight)
        return _check_lengths(lengths, B, T, least=1 if cache is None else 0)

    def _check_cache(self, cache: RollingCache, batch_size: int, weight: Tensor) -> None:
        for name, given, needed in (
            ("config", cache.config, self.config),
            ("batch size", cache.batch_size, batch_size),
            ("dtype", cache.dtype, weight.dtype),
            ("device", cache.device, weight.device),
        ):
            if given != needed:
                raise ValueError(
                    f"the cache's {name} is {given}, and this call needs {needed}. "
                    f"Make one for it: model.make_cache({batch_size}, {cache.max_context})."
                )


def _dense(config: ModelConfig) -> FeedForward:
    return FeedForward(config.dim, config.hidden_dim)


def _mixture(config: ModelConfig) -> MoE:
    experts = [_dense(config) for _ in range(config.moe.num_experts)]
    return MoE(experts, nn.Linear(config.dim, len(experts), bias=False), config.moe.num_experts_per_tok)


def _check_lengths(lengths: Tensor | None, batch_size: int, n_tokens: int, least: int) -> list[int] | None:
    if lengths is None:
        return None
    lengths = torch.as_tensor(lengths)
    if lengths.shape != (batch_size,) or lengths.is_floating_point() or lengths.dtype == torch.bool:
        raise ValueError(
            f"lengths: given {tuple(lengths.shape)} {lengths.dtype}; give {batch_size} whole numbers, one for each row of tokens."
        )
    counts = [int(n) for n in lengths.tolist()]
    if any(not least <= n <= n_tokens for n in counts):
        raise ValueError(f"lengths: given {counts}; each counts the real tokens of its row, {least} to {n_tokens}.")
    return None if all(n == n_tokens for n in counts) else counts


def _last_real(x: Tensor, lengths: list[int]) -> Tensor:
    """Of x (B, T, C) each row's last real token, (B, 1, C); of a row without one, its first."""
    last = torch.tensor(lengths, device=x.device).clamp(min=1) - 1  # (B,)
    return x[torch.arange(len(x), device=x.device), last][:, None]
