"""Chapter 09's tool: one's own text in tiny-mixtral, or in another mixture; which two experts each token gets, by layer."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache, lru_cache, partial

import torch

from minimistral.lab.counted import counted
from minimistral.lab.reach import one_thread
from minimistral.lab.routing import route
from minimistral.lab.tools.browser_tool import BrowserTool
from minimistral.lab.tools.logit_lens import bundled, shown
from minimistral.tokenizer import Tokenizer
from minimistral.transformer import Transformer

LONGEST = 64  # tokens that the tool shows
MOST_ROWS = 8  # layers that the still picture shows
MODEL = "tiny-mixtral"
EXAMPLES = {
    "English": "And when he was come, he said unto them, Go.",
    "Spanish": "Y cuando hubo venido, él les dijo, Id.",
    "drama": "KING LEAR.\nNothing will come of nothing: speak again.",
    "Python": "def degree(G, nodes=None):\n    if nodes in G:\n        return G.degree(nodes)",
    "mathematics": "|- ( ( A e. CC /\\ B e. CC ) -> ( A + B ) = ( B + A ) )",
    "both languages": "And he said unto them, Go. Y cuando hubo venido, él les dijo, Id. And he said unto them, Go.",
}


@dataclass(frozen=True)
class Routed:
    """One token: its piece, and for each layer its two experts (the heavier one first) and their weights."""

    piece: str
    experts: list[list[int]]
    weights: list[list[float]]


def cut(text: str) -> str:
    """A text as the model can read it; half of a surrogate pair, which a keyboard can send, becomes a question mark."""
    return text.encode("utf-8", "replace").decode()


@cache
def routed(text: str) -> tuple[Routed, ...]:
    """The first LONGEST tokens of a text in tiny-mixtral: `routed_by` it."""
    with one_thread():
        return routed_by(*bundled(MODEL), text)


def routed_by(model: Transformer, tokenizer: Tokenizer, text: str) -> tuple[Routed, ...]:
    """The first LONGEST tokens of a text; the mark that opens a text is read, and not shown. Empty for an empty text."""
    token_ids = tokenizer.encode(cut(text), bos=True)[: LONGEST + 1]
    ids, weights = route(model, torch.tensor([token_ids], device=model.tok_embeddings.weight.device))  # (L, 1, T, K)
    return tuple(
        Routed(
            shown(tokenizer, token).replace(r"\$", "$"),
            ids[:, 0, place].tolist(),
            [[round(w, 3) for w in layer] for layer in weights[:, 0, place].tolist()],
        )
        for place, token in enumerate(token_ids)
        if place
    )


def describe(text: str, layer: int, token: int) -> str:
    """The sentence that is read out, of tiny-mixtral. layer and token count from 1; past the end means the last one."""
    return sentence(routed(text), layer, token)


def sentence(found: Sequence[Routed], layer: int, token: int) -> str:
    """The same of any routed text."""
    if not found:
        return "Type a word or two."
    chosen = found[min(token, len(found)) - 1]
    experts, weights = chosen.experts[layer - 1], chosen.weights[layer - 1]
    used = len({e for one in found for e in one.experts[layer - 1]})
    pairs = len({tuple(sorted(one)) for one in chosen.experts})
    layers = counted(len(chosen.experts), "layer")
    return (
        f"Layer {layer}: token {min(token, len(found))} of {len(found)}, “{chosen.piece}”, goes to expert {experts[0]} "
        f"(weight {weights[0]:.2f}) and expert {experts[1]} ({weights[1]:.2f}). Over the {layers} it "
        f"has {counted(pairs, 'different pair')}. This text uses {used} of 8 experts in layer {layer}."
    )


class RoutingMap(BrowserTool):
    """A text field, a layer and a token. Each token is coloured by its first expert; routing is done by the model.

    model, tokenizer: a mixture of eight experts, two chosen, and its tokenizer; without: tiny-mixtral.
    """

    script = "routing_map.js"
    asks = True

    def __init__(
        self,
        text: str = EXAMPLES["English"],
        layer: int = 1,
        token: int = 1,
        model: Transformer | None = None,
        tokenizer: Tokenizer | None = None,
    ):
        if (model is None) != (tokenizer is None):
            raise ValueError("give a model and its tokenizer, or neither for tiny-mixtral.")
        self._routed = routed if model is None else lru_cache(32)(partial(routed_by, model, tokenizer))
        self.n_layers = n_layers = (model or bundled(MODEL)[0]).config.n_layers
        if not isinstance(text, str) or not 1 <= layer <= n_layers or not 1 <= token <= LONGEST:
            raise ValueError(
                f"text={text!r}, layer={layer}, token={token}: give a str, a layer from 1 to {n_layers}, "
                f"a token from 1 to {LONGEST}."
            )
        self.text, self.layer, self.token = text, layer, token

    def __repr__(self) -> str:
        return sentence(self._routed(self.text), self.layer, self.token)

    def start(self) -> dict:
        example = next((name for name, text in EXAMPLES.items() if text == self.text), "")
        return {"example": example, "text": self.text, "layer": self.layer, "token": self.token}

    def data(self) -> dict:
        return {"examples": EXAMPLES, "layers": self.n_layers, "longest": LONGEST}

    def answer(self, state: dict) -> dict:
        return {"found": [asdict(one) for one in self._routed(str(state["text"]))]}

    def picture(self):
        return draw(self._routed(self.text), self.layer, self.token)


def draw(routes: Sequence[Routed], layer: int, token: int):
    """The tool as a still: a column a token, a row a layer, each cell split between the two experts by their weights.

    Of a model with many layers only a few, spread evenly from the first to the last.
    """
    from matplotlib.patches import Rectangle

    from minimistral.lab import theme
    from minimistral.lab.picture import show

    found = routes[:24]
    n_layers = len(found[0].experts) if found else 6
    n_rows = min(n_layers, MOST_ROWS)
    shown_layers = [round(i * (n_layers - 1) / (n_rows - 1)) for i in range(n_rows)] if n_rows > 1 else [0]
    with theme.figure(size=(7.2, 3.1)) as (figure, axes):
        for column, one in enumerate(found):
            for row, place in enumerate(shown_layers):
                experts, weights = one.experts[place], one.weights[place]
                left = column - 0.45
                for expert, weight in zip(experts, weights):
                    axes.add_patch(Rectangle((left, row + 0.55), 0.9 * weight, 0.9, color=theme.EXPERTS[expert], lw=0))
                    left += 0.9 * weight
                box = {"facecolor": theme.PAPER, "edgecolor": "none", "pad": 0.8, "alpha": 0.85}
                axes.text(column, row + 1, experts[0], ha="center", va="center", fontsize=7, bbox=box)
        axes.set(xlim=(-0.6, max(len(found), 1) - 0.4), ylim=(0.4, n_rows + 0.6), ylabel="layer")
        axes.set_yticks(range(1, n_rows + 1), [place + 1 for place in shown_layers])
        pieces = [one.piece.replace("$", r"\$") for one in found]
        axes.set_xticks(range(len(found)), pieces, rotation=60, ha="right", rotation_mode="anchor")
        axes.set_title("number: first expert; colours: both, by their weights")
        return show(figure, sentence(routes, layer, token))
