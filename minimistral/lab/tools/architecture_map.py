"""Chapter 00's tool: the map of the model. Choose a part: what it does, what comes out of it, its weights, its chapter."""

from dataclasses import dataclass
from functools import cache

import torch

from minimistral.config import ModelConfig
from minimistral.lab.reach import one_thread
from minimistral.lab.tools.browser_tool import BrowserTool

TEXT = "To be, or not to be"
PRESETS = {"tiny-mistral": "the bundled model", "mistral-7b-v0.1": "Mistral 7B", "mixtral-8x7b-v0.1": "Mixtral 8x7B"}


@dataclass(frozen=True)
class Part:
    """One box of the map. module: its name in the model, for the running one ({i} is the layer); shape: of its result."""

    id: str
    title: str
    says: str  # one or two sentences for someone who has read nothing yet
    shape: str
    chapters: str
    module: str | None = None  # None: it is arithmetic between modules, without weights


PARTS = (
    Part("tokens", "tokens", "The text, cut into pieces, each piece a whole number.", "(B, T)", "01"),
    Part("tok_embeddings", "embedding", "A table with one row of C numbers for each piece: a row is looked up for each token.",
         "(B, T, C)", "01", "tok_embeddings"),
    Part("attention_norm", "norm", "Brings each token's numbers to the same size, then multiplies each by a weight it has learnt.",
         "(B, T, C)", "02", "layers.{i}.attention_norm"),
    Part("rope", "RoPE", "Turns what a token looks for and what it offers (query and key, chapter 02) by an angle that "
         "grows with the position: so the model knows what stands where.",
         "(B, H, T, D)", "03"),
    Part("attention", "attention", "Each token looks at the tokens before it and takes over what it needs. The only place where "
         "anything passes from one token to another.", "(B, T, C)", "02, 04, 05", "layers.{i}.attention"),
    Part("cache", "cache", "Keeps what attention needs of earlier tokens (keys and values), so that it need not be computed again.",
         "(B, G, S, D), twice", "06"),
    Part("ffn_norm", "norm", "The same kind of norm, with weights of its own, in front of the second half of the layer.",
         "(B, T, C)", "02", "layers.{i}.ffn_norm"),
    Part("feed_forward", "feed-forward", "Works on each token alone. Most of the weights are here; in Mixtral these are eight "
         "experts and a gate that sends each token to two of them.", "(B, T, C)", "02, 08, 09", "layers.{i}.feed_forward"),
    Part("norm", "norm", "One last norm, after all layers.", "(B, T, C)", "02", "norm"),
    Part("output", "output", "For each token and each piece of the vocabulary one number, a logit: how well that piece would "
         "come next.", "(B, T, V)", "01", "output"),
)  # fmt: skip
BY_ID = {part.id: part for part in PARTS}


def weights(part: str, config: ModelConfig) -> int:
    """How many weights this part has in the whole model, all layers together."""
    counts = config.count_parameters().parts
    if part in ("attention_norm", "ffn_norm"):
        return config.n_layers * config.dim
    if part == "norm":
        return config.dim
    if part == "feed_forward":
        return counts["feed_forward"] + counts["gate"]
    return counts.get(part, 0)


@cache
def running_model():
    from minimistral import load

    return load("tiny-mistral", device="cpu", dtype="float32")


def run(part: str, layer: int) -> dict:
    """One pass of the bundled model over TEXT: the shape that came out of this part, as a list, and its mean size."""
    model, tokenizer = running_model()
    ids = torch.tensor([tokenizer.encode(TEXT, bos=True)])
    if part == "tokens":
        return {"shape": list(ids.shape), "size": None}
    module = BY_ID[part].module
    if module is None:
        config, (B, T) = model.config, ids.shape
        heads = config.n_heads if part == "rope" else config.n_kv_heads
        return {"shape": [B, heads, T, config.head_dim], "size": None}
    seen = []
    hook = model.get_submodule(module.format(i=layer)).register_forward_hook(
        lambda module, inputs, result: seen.append(result)
    )
    try:
        with one_thread(), torch.inference_mode():
            # the head is applied as a function, not called as a module: its result is that of the model
            logits = model(ids)
    finally:
        hook.remove()
    result = seen[0] if seen else logits
    return {"shape": list(result.shape), "size": round(float(result.float().pow(2).mean().sqrt()), 3)}


def describe(part: str) -> str:
    about = BY_ID[part]
    counts = ", ".join(f"{weights(part, ModelConfig.preset(preset)):,} in {name}" for preset, name in PRESETS.items())
    return f"{about.title}: {about.says} Result {about.shape}. Weights: {counts}. Chapter {about.chapters}."


class ArchitectureMap(BrowserTool):
    """The map, with one part chosen; displayed, its parts can be clicked or reached with Tab."""

    script = "architecture_map.js"
    asks = True
    alone = "What you see of the running model was recorded with the bundled tiny-mistral; JupyterLab runs it."

    def __init__(self, part: str = "attention"):
        if part not in BY_ID:
            raise ValueError(f"part={part!r} is not on the map. Choose from {', '.join(BY_ID)}.")
        self.part = part

    def __repr__(self) -> str:
        return describe(self.part)

    def start(self) -> dict:
        return {"part": self.part, "layer": 0}

    def data(self) -> dict:
        configs = {name: ModelConfig.preset(preset) for preset, name in PRESETS.items()}
        parts = [
            {"id": p.id, "title": p.title, "says": p.says, "shape": p.shape, "chapters": p.chapters,
             "in_layer": bool(p.module and "{i}" in p.module),
             "weights": {name: weights(p.id, config) for name, config in configs.items()}}
            for p in PARTS
        ]  # fmt: skip
        layers = {name: config.n_layers for name, config in configs.items()}
        return {"parts": parts, "layers": layers, "text": TEXT}

    def answer(self, state: dict) -> dict:
        return run(state["part"], state["layer"])

    def known_states(self) -> list[dict]:
        n_layers = ModelConfig.preset("tiny-mistral").n_layers
        return [{"part": part.id, "layer": layer} for part in PARTS for layer in range(n_layers)]

    def picture(self):
        return draw(self.part)


BOXES = {  # id: (left, bottom, width, height), for the still; the browser uses the same places
    "tokens": (3.2, 0.0, 3.6, 0.7),
    "tok_embeddings": (3.2, 1.1, 3.6, 0.7),
    "attention_norm": (3.2, 2.5, 3.6, 0.6),
    "attention": (3.2, 3.5, 3.6, 0.9),
    "rope": (0.7, 3.5, 2.0, 0.9),
    "cache": (7.3, 3.5, 2.0, 0.9),
    "ffn_norm": (3.2, 5.1, 3.6, 0.6),
    "feed_forward": (3.2, 6.1, 3.6, 0.9),
    "norm": (3.2, 7.9, 3.6, 0.6),
    "output": (3.2, 8.9, 3.6, 0.7),
}


def draw(part: str):
    """The map as a still picture."""
    from matplotlib.patches import FancyBboxPatch

    from minimistral.lab import theme
    from minimistral.lab.picture import show

    with theme.figure(size=(5.6, 5.2)) as (figure, axes):
        axes.add_patch(FancyBboxPatch((0.35, 2.25), 9.3, 5.1, boxstyle="round,pad=0.1", fc="#f6f6f6", ec=theme.GREY))
        axes.text(9.6, 7.05, "one layer,\nrepeated", ha="right", va="top", fontsize=9, color=theme.GREY)
        axes.plot([5, 5], [0.7, 8.9], color=theme.GREY, lw=1, zorder=1)
        for low, high in ((2.3, 4.75), (4.85, 7.3)):  # the residual paths
            axes.plot([5, 7.05, 7.05, 5], [low, low, high, high], color=theme.GREY, lw=1.2, ls="--", zorder=1)
            axes.text(5, high, "+", ha="center", va="center", fontsize=11, bbox=dict(boxstyle="circle", fc="white"))
        axes.plot([2.7, 3.2], [3.95, 3.95], color=theme.GREY, lw=1)
        axes.plot([6.8, 7.3], [3.95, 3.95], color=theme.GREY, lw=1)
        for id, (left, bottom, width, height) in BOXES.items():
            colour = theme.AMBER if id == part else theme.PAPER
            axes.add_patch(
                FancyBboxPatch(
                    (left, bottom), width, height, boxstyle="round,pad=0.05", fc=colour, ec=theme.INK, zorder=2
                )
            )
            axes.text(left + width / 2, bottom + height / 2, BY_ID[id].title, ha="center", va="center", zorder=3)
        axes.set(xlim=(0, 10), ylim=(-0.2, 9.9))
        axes.axis("off")
        axes.set_title("From the text (below) to a number for each next piece (above)")
        return show(figure, describe(part))
