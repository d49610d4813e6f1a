"""Chapter 07's tool: one's own text in the bundled model. Above, where a head looks; below, what each layer would say next."""

from dataclasses import dataclass
from functools import cache

from minimistral.lab.lens import look
from minimistral.lab.reach import one_thread
from minimistral.lab.tools.model_tool import ModelTool

MAX_TOKENS = 14  # of the text's end: more could not be read in the picture


@dataclass(frozen=True)
class Seen:
    """pieces: the last tokens as text; weights (T, T) of one head, rows are queries; said, sure (L + 1, T): piece, probability."""

    pieces: list[str]
    weights: list[list[float]]
    said: list[list[str]]
    sure: list[list[float]]
    layer: int
    head: int


@cache
def bundled(name: str):
    from minimistral import load

    return load(name, device="cpu", dtype="float32")


def see(text: str, layer: int, head: int, name: str = "tiny-mistral") -> Seen:
    """layer from 1, head from 1, as people count; ValueError for a text without tokens."""
    model, tokenizer = bundled(name)
    ids = tokenizer.encode(text, bos=True)
    if len(ids) < 2:
        raise ValueError("type a word or two.")
    with one_thread():
        found = look(model, ids)
    n = min(len(ids), MAX_TOKENS)
    chances = found.logits[:, -n:].softmax(-1).max(-1)
    return Seen(
        pieces=[shown(tokenizer, i) for i in ids[-n:]],
        weights=found.weights[layer - 1, head - 1, -n:, -n:].tolist(),
        said=[[shown(tokenizer, int(i)) for i in row] for row in chances.indices],
        sure=chances.values.tolist(),
        layer=layer,
        head=head,
    )


def shown(tokenizer, token_id: int) -> str:
    """A piece as it can stand in a picture: a space is shown, a line break too, and the mark that opens a text."""
    piece = tokenizer.piece(token_id) if hasattr(tokenizer, "piece") else tokenizer.decode([token_id])
    if token_id == 1:
        return "‹text›"
    return piece.replace("▁", "␣").replace("\n", "↵").replace("$", r"\$") or "·"


def describe(seen: Seen) -> str:
    row = seen.weights[-1]
    most = max(range(len(row)), key=row.__getitem__)
    top = len(seen.said) - 1
    agree = next(i for i in range(len(seen.said)) if all(line[-1] == seen.said[-1][-1] for line in seen.said[i:]))
    said = "every layer says so." if agree == 0 else f"from layer {agree} on every layer says so."
    if agree == top:
        said = "only the last layer says so."
    return (
        f"Layer {seen.layer}, head {seen.head}: from the last token, “{seen.pieces[-1]}”, it looks most at "
        f"“{seen.pieces[most]}” ({row[most]:.0%}). The model's next piece is “{seen.said[-1][-1]}” ({seen.sure[-1][-1]:.0%}); "
        + said
    )


def draw(seen: Seen):
    from minimistral.lab import theme
    from minimistral.lab.picture import show

    n = len(seen.pieces)
    with theme.figure(2, size=(7.2, 6.6), gridspec_kw={"height_ratios": [1.5, 1]}) as (figure, (above, below)):
        above.imshow(seen.weights, cmap="Blues", vmin=0, vmax=1, aspect="auto")
        above.set_xticks(range(n), seen.pieces, rotation=60, ha="right", rotation_mode="anchor")
        above.set_yticks(range(n), seen.pieces)
        above.set(xlabel="key: looked at", ylabel="query: looks")
        above.set_title(f"layer {seen.layer}, head {seen.head}: each row's weights add up to 1 (dark: much)")
        below.imshow(seen.sure, cmap="Oranges", vmin=0, vmax=1, aspect="auto", origin="lower")
        for layer, (row, chances) in enumerate(zip(seen.said, seen.sure)):
            for token, piece in enumerate(row):
                colour = theme.PAPER if chances[token] > 0.6 else theme.INK
                below.text(token, layer, piece[:6], ha="center", va="center", fontsize=7, color=colour)
        below.set_xticks(range(n), seen.pieces, rotation=60, ha="right", rotation_mode="anchor")
        below.set_yticks(range(len(seen.said)), ["embedding", *range(1, len(seen.said))])
        below.set(xlabel="after this token …", ylabel="layer")
        below.set_title("… the likeliest next piece, were this layer the last (dark: sure)")
        return show(figure, describe(seen))


class LogitLens(ModelTool):
    """A text field, a layer and a head. Displayed, it is live, and a picture where no kernel runs."""

    def __init__(self, text: str = "And it came to pass in those days, that", layer: int = 1, head: int = 1):
        from ipywidgets import IntSlider, Layout, Text

        model, _ = bundled("tiny-mistral")
        wide = {"description_width": "8em"}
        controls = {
            "text": Text(text, description="text", continuous_update=True, style=wide, layout=Layout(width="40em")),
            "layer": IntSlider(layer, 1, model.config.n_layers, description="layer", style=wide),
            "head": IntSlider(head, 1, model.config.n_heads, description="head", style=wide),
        }
        super().__init__("logit-lens", controls, see, draw)
