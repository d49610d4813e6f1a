"""How each layout stores the model: names, shapes and the order of rows.

The model's own names are the native ones. What a file stores under one name is a `Piece`; the tables below say for each
layout which pieces a config asks for, and which of the model's weights lie in each.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from torch import Tensor

from minimistral.config import ModelConfig

HUB_TOP = {"tok_embeddings": "model.embed_tokens", "norm": "model.norm", "output": "lm_head"}
HUB_LAYER = {
    "attention_norm": "input_layernorm",
    "attention.wq": "self_attn.q_proj",
    "attention.wk": "self_attn.k_proj",
    "attention.wv": "self_attn.v_proj",
    "attention.wo": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "feed_forward.w1": "mlp.gate_proj",
    "feed_forward.w2": "mlp.down_proj",
    "feed_forward.w3": "mlp.up_proj",
    "feed_forward.gate": "block_sparse_moe.gate",
}
HUB_EXPERTS = "feed_forward.experts.", "block_sparse_moe.experts."  # what follows, e.w1.weight, is the same


@dataclass(frozen=True)
class Piece:
    """One tensor of a file: its name and shape there, the model's weights in it, and how they come out of it.

    Several weights are equally many rows each, one below the other. turn: how one of them is seen in the model's order, where
    the file has it in another (a view, rows perhaps in groups: it becomes a matrix as it is copied); None: it lies in it.
    """

    name: str
    shape: tuple[int, ...]
    weights: tuple[str, ...]
    turn: Callable[[Tensor], Tensor] | None = None

    def view(self, tensor: Tensor, i: int) -> Tensor:
        """The i-th of the weights in the file's whole tensor, seen in the model's order."""
        own = tensor if tensor.ndim == 1 else tensor.reshape(len(self.weights), -1, tensor.shape[-1])[i]
        return own if self.turn is None else self.turn(own)

    def part(self, tensor: Tensor, i: int) -> Tensor:
        """The same as a matrix: where it has to be turned, a copy."""
        view = self.view(tensor, i)
        return view if self.turn is None else view.reshape(-1, view.shape[-1])

    def unpack(self, tensor: Tensor) -> Iterator[Tensor]:
        """All of the weights, one after another."""
        return (self.part(tensor, i) for i in range(len(self.weights)))


def native_pieces(config: ModelConfig) -> Iterator[Piece]:
    """Mistral's layout, one piece a weight. Lazy: an absurd n_layers costs nothing until somebody counts."""
    yield from _plain("", {"tok_embeddings": (config.vocab_size, config.dim)})
    for i in range(config.n_layers):
        yield from _plain(f"layers.{i}.", _attention_shapes(config))
        yield from _feed_forward(f"layers.{i}.feed_forward.", config)
    yield from _plain("", {"norm": (config.dim,)})
    if not config.tie_embeddings:
        yield from _plain("", {"output": (config.vocab_size, config.dim)})


def stacked_pieces(config: ModelConfig) -> Iterator[Piece]:
    """Mixtral's eight .pt files: all experts of a layer in one tensor: w1 and w3 (E·F, C), w2 transposed."""
    E, F, C = config.moe.num_experts, config.hidden_dim, config.dim
    for piece in native_pieces(config):
        before, _, rest = piece.name.partition("feed_forward.")
        if rest == "gate.weight":
            yield Piece(f"{before}block_sparse_moe.gate.weight", piece.shape, piece.weights)
        elif rest == "experts.0.w1.weight":
            for w in ("w1", "w2", "w3"):
                weights = tuple(f"{before}feed_forward.experts.{e}.{w}.weight" for e in range(E))
                yield Piece(f"{before}block_sparse_moe.{w}", (E * F, C), weights, _transposed if w == "w2" else None)
        elif not rest:
            yield piece


def hub_pieces(config: ModelConfig) -> Iterator[Piece]:
    """transformers' layout, experts one by one, as it saves them."""
    for piece in native_pieces(config):
        name = piece.weights[0]
        heads = rotated_heads(name, config)
        turn = None if heads is None else partial(as_pairs, n_heads=heads)
        yield Piece(hub_name(name), piece.shape, piece.weights, turn)


def fused_pieces(config: ModelConfig) -> Iterator[Piece]:
    """transformers 5 as it is in memory: a layer's experts in two tensors, the rows of w1 above those of w3."""
    E, F, C = config.moe.num_experts, config.hidden_dim, config.dim
    for piece in hub_pieces(config):
        before, _, rest = piece.name.partition("block_sparse_moe.")
        expert = before.replace("model.", "", 1) + "feed_forward.experts"
        if rest == "gate.weight":
            yield Piece(f"{before}mlp.gate.weight", piece.shape, piece.weights)
        elif rest == "experts.0.w1.weight":
            up = tuple(f"{expert}.{e}.{w}.weight" for e in range(E) for w in ("w1", "w3"))
            down = tuple(f"{expert}.{e}.w2.weight" for e in range(E))
            yield Piece(f"{before}mlp.experts.gate_up_proj", (E, 2 * F, C), up)
            yield Piece(f"{before}mlp.experts.down_proj", (E, C, F), down)
        elif not rest:
            yield piece


def hub_name(name: str) -> str:
    """The hub's name of one of the model's weights.

    >>> hub_name("layers.3.attention.wq.weight")
    'model.layers.3.self_attn.q_proj.weight'
    """
    stem = name.removesuffix(".weight")
    if stem in HUB_TOP:
        return f"{HUB_TOP[stem]}.weight"
    _, i, rest = stem.split(".", 2)
    rest = rest.replace(*HUB_EXPERTS) if rest.startswith(HUB_EXPERTS[0]) else HUB_LAYER[rest]
    return f"model.layers.{i}.{rest}.weight"


def rotated_heads(name: str, config: ModelConfig) -> int | None:
    """How many heads RoPE turns in a weight: the rows of wq and wk are ordered by convention, of no other weight."""
    return {"wq": config.n_heads, "wk": config.n_kv_heads}.get(name.split(".")[-2])


def as_pairs(weight: Tensor, n_heads: int) -> Tensor:
    """Hub to native, as a view: rows i and i + D/2 of each head are neighbours. (n·D, C) to (n, D/2, 2, C)."""
    return weight.unflatten(0, (n_heads, 2, -1)).transpose(1, 2)


def to_pairs(weight: Tensor, n_heads: int) -> Tensor:
    """The same as a matrix (n·D, C)."""
    return as_pairs(weight, n_heads).reshape(weight.shape)


def to_halves(weight: Tensor, n_heads: int) -> Tensor:
    """Native to hub: the neighbours of each head move D/2 rows apart."""
    # weight: (n·D, C)
    return (
        weight.unflatten(0, (n_heads, -1, 2)).transpose(1, 2).reshape(weight.shape)
    )  # (n, D/2, 2, C) to (n, 2, D/2, C)


def _attention_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    C, query_rows, key_rows = config.dim, config.n_heads * config.head_dim, config.n_kv_heads * config.head_dim
    return {
        "attention_norm": (C,),
        "attention.wq": (query_rows, C),
        "attention.wk": (key_rows, C),
        "attention.wv": (key_rows, C),
        "attention.wo": (C, query_rows),
        "ffn_norm": (C,),
    }


def _feed_forward(prefix: str, config: ModelConfig) -> Iterator[Piece]:
    F, C = config.hidden_dim, config.dim
    shapes = {"w1": (F, C), "w2": (C, F), "w3": (F, C)}
    if config.moe is None:
        yield from _plain(prefix, shapes)
    else:
        yield from _plain(prefix, {"gate": (config.moe.num_experts, C)})
        for e in range(config.moe.num_experts):
            yield from _plain(f"{prefix}experts.{e}.", shapes)


def _plain(prefix: str, shapes: dict[str, tuple[int, ...]]) -> Iterator[Piece]:
    for name, shape in shapes.items():
        yield Piece(f"{prefix}{name}.weight", shape, (f"{prefix}{name}.weight",))


def _transposed(w2: Tensor) -> Tensor:
    """(F, C), as the eight files have it, to (C, F)."""
    return w2.mT
