"""Figure 2: the numbers of Mistral 7B, and the weights they add up to."""

from minimistral import ModelConfig

from .article_figure import ArticleFigure
from .look import Look
from .tables import rows

FILE, PRESET = "mistral_table1.csv", "mistral-7b-v0.1"
# What each number is: its letter in the course's shapes, and what it sets. "no weights": it limits, it adds none.
MEANING = {
    "dim": ("C", "width of the residual stream"),
    "n_layers": ("L", "layers"),
    "head_dim": ("D", "width of a head"),
    "hidden_dim": ("F", "width inside feed-forward"),
    "n_heads": ("H", "query heads"),
    "n_kv_heads": ("G", "key/value heads"),
    "window_size": ("W", "keys a query sees (no weights)"),
    "context_len": ("", "tokens in training (no weights)"),
    "vocab_size": ("V", "pieces in the vocabulary"),
}
NAMES = {
    "feed_forward": "feed-forward", "attention": "attention", "tok_embeddings": "embeddings",
    "output": "output head", "norms": "norms",
}  # fmt: skip


def parts() -> dict[str, int]:
    """Weights by part, largest first; counted by the library from the config."""
    counted = ModelConfig.preset(PRESET).count_parameters().parts
    return {NAMES[part]: counted[part] for part in NAMES}


def total() -> int:
    return ModelConfig.preset(PRESET).count_parameters().total


def draw(look: Look):
    with look.figure(1, 2, size=(7.2, 3.2), width_ratios=(1.45, 1)) as (figure, (left, right)):
        numbers_table(left, look, rows(FILE), MEANING)
        colours = (look.amber, look.sky, look.green, look.green, look.grey)
        for y, (count, colour) in enumerate(zip(parts().values(), colours)):
            right.barh(y, count / 1e9, color=colour, height=0.62)
            text = f"{count / 1e9:.2f} billion, {count / total():.1%}" if count > 1e7 else f"{count:,}"
            right.text(count / 1e9 + 0.1, y, text, va="center", fontsize=9, clip_on=False)
        right.set_yticks(range(len(parts())), list(parts()))
        right.invert_yaxis()
        right.set(xlim=(0, 11.5), xticks=(0, 2, 4, 6), xlabel="weights, billions")
        right.tick_params(axis="y", length=0)
        figure.suptitle(f"Nine numbers, {total():,} weights", x=0.01, ha="left", fontsize=11)
        return figure


def numbers_table(axes, look: Look, given: list[dict], meaning: dict, marked: tuple[str, ...] = ()) -> None:
    """Parameter, value and what it sets, a line each; the marked ones in orange."""
    for y, row in enumerate(given):
        letter, sets = meaning[row["parameter"]]
        colour = look.orange if row["parameter"] in marked else look.ink
        axes.text(0, y, row["parameter"], va="center", family="DejaVu Sans Mono", fontsize=9, color=colour)
        axes.text(
            4.9, y, f"{int(row['value']):,}", va="center", ha="right", fontsize=9, fontweight="bold", color=colour
        )
        axes.text(5.25, y, letter, va="center", ha="center", fontsize=9, style="italic", color=look.grey)
        axes.text(5.6, y, sets, va="center", fontsize=8, color=look.grey)
        axes.axhline(y + 0.5, color=look.faint, lw=0.8)
    axes.set(xlim=(0, 11.6), ylim=(len(given) - 0.4, -0.6))
    axes.axis("off")


def caption() -> str:
    feed_forward = parts()["feed-forward"]
    return (
        f"Figure 2, drawn anew. The numbers of the Mistral 7B paper (arXiv 2310.06825, Table 1) and the {total():,} "
        f"weights they add up to, counted by `count_parameters`: {feed_forward / total():.1%} of them in the "
        "feed-forward blocks. Window and context length add none. The context length is 8,192 tokens; no file of "
        "the checkpoint says so."
    )


def alt() -> str:
    said = ", ".join(f"{row['parameter']} {int(row['value']):,}" for row in rows(FILE))
    shares = ", ".join(f"{name} {count / total():.1%}" for name, count in parts().items())
    return f"A table: {said}. Beside it bars of the weights by part: {shares}, in all {total():,}."


def table() -> list[dict]:
    numbers = [
        {
            "what": row["parameter"], "value": f"{int(row['value']):,}", "share of weights": "",
            "source": f"[{row['source_table']}]({row['source_url']})", "note": row["note"],
        }
        for row in rows(FILE)
    ]  # fmt: skip
    counted = [*parts().items(), ("all weights", total())]
    return numbers + [
        {
            "what": name, "value": f"{count:,}", "share of weights": f"{count / total():.1%}",
            "source": "count_parameters", "note": f"{count / 1e9:.2f} billion",
        }
        for name, count in counted
    ]  # fmt: skip


FIGURE = ArticleFigure(
    2, "mistral_parameters", "The parameters of Mistral 7B", draw, caption, alt, table,
    (FILE, "minimistral.ModelConfig.count_parameters"),
)  # fmt: skip
