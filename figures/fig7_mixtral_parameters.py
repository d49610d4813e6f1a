"""Figure 7: the numbers of Mixtral 8x7B, what changed since Mistral 7B, and the weights: stored, and used by a token."""

from minimistral import ModelConfig

from .article_figure import ArticleFigure
from .fig2_mistral_parameters import FILE as MISTRAL_FILE
from .fig2_mistral_parameters import MEANING, numbers_table
from .look import Look, legend
from .tables import rows

FILE = "mixtral_table1.csv"
MOE_MEANING = MEANING | {
    "hidden_dim": ("F", "width inside each expert"),
    "num_experts": ("E", "experts in each layer"),
    "top_k_experts": ("K", "experts a token is sent to"),
}


def changed() -> tuple[str, ...]:
    """Parameters that Mistral 7B's table lacks or gives another value."""
    before = {row["parameter"]: row["value"] for row in rows(MISTRAL_FILE)}
    return tuple(row["parameter"] for row in rows(FILE) if before.get(row["parameter"]) != row["value"])


def bars() -> list[tuple[str, int, int]]:
    """Name, weights in feed-forward blocks, weights in all else; counted by the library from the configs."""
    dense, sparse = (ModelConfig.preset(name) for name in ("mistral-7b-v0.1", "mixtral-8x7b-v0.1"))
    one, count = dense.count_parameters(), sparse.count_parameters()
    shared = count.total - count.parts["feed_forward"]
    one_block = one.parts["feed_forward"]
    copies = sparse.moe.num_experts
    return [
        ("Mistral 7B", one_block, one.total - one_block),
        ("Mixtral, used by a token", count.active - shared, shared),
        ("Mixtral, stored", count.total - shared, shared),
        ("eight whole Mistral 7B", copies * one_block, copies * (one.total - one_block)),
    ]


def draw(look: Look):
    with look.figure(1, 2, size=(7.2, 3.4), width_ratios=(1.3, 1)) as (figure, (left, right)):
        numbers_table(left, look, rows(FILE), MOE_MEANING, marked=changed())
        for y, (name, feed_forward, rest) in enumerate(bars()):
            exists = not name.startswith("eight")
            for start, width, colour in ((0, rest, look.sky), (rest, feed_forward, look.amber)):
                style = dict(color=colour) if exists else dict(facecolor=look.paper, edgecolor=colour, hatch="////")
                right.barh(y, width / 1e9, left=start / 1e9, height=0.42, **style)
            total = (feed_forward + rest) / 1e9
            right.text(0, y - 0.42, name if exists else f"no such model: {name}", fontsize=9, va="center")
            right.text(total + 1, y, f"{total:.2f}", fontsize=9, va="center", fontweight="bold")
        right.set(xlim=(0, 68), ylim=(3.5, -0.8), yticks=(), xlabel="weights, billions")
        legend(right, look, {"feed-forward": look.amber, "all else": look.sky}, (0, 0.4), above=1.02)
        left.text(0, -1.0, "orange: new or changed since Mistral 7B", fontsize=8, color=look.orange)
        active, stored = (sum(bar[1:]) / 1e9 for bar in bars()[1:3])
        figure.suptitle(f"Memory holds {stored:.1f} billion weights, a token uses {active:.1f} billion of them",
                        x=0.01, ha="left", fontsize=11)  # fmt: skip
        return figure


def caption() -> str:
    _, active, stored, copies = (feed_forward + rest for _, feed_forward, rest in bars())
    shared = bars()[2][2]
    return (
        "Figure 7, drawn anew from arXiv 2401.04088, Table 1. Orange: new or changed since Mistral 7B; window_size "
        f"is gone. Counted by `count_parameters`: {stored:,} weights are stored, {active:,} take part in a token, "
        f"{shared:,} are shared by all experts. Eight whole copies of Mistral 7B would be {copies:,}. hidden_dim is "
        "that of each expert."
    )


def alt() -> str:
    said = ", ".join(f"{row['parameter']} {int(row['value']):,}" for row in rows(FILE))
    bars_said = ", ".join(f"{name} {(feed_forward + rest) / 1e9:.2f}" for name, feed_forward, rest in bars())
    return (
        f"A table: {said}; in orange, because new or changed: {', '.join(changed())}. Beside it bars of weights in "
        f"billions, most of each in feed-forward blocks: {bars_said}, which is hatched because no such model exists."
    )


def table() -> list[dict]:
    numbers = [
        {
            "what": row["parameter"], "value": f"{int(row['value']):,}", "billions": "", "of it in feed-forward blocks": "",
            "changed since Mistral 7B": "yes" if row["parameter"] in changed() else "no",
            "source": f"[{row['source_table']}]({row['source_url']})", "note": row["note"],
        }
        for row in rows(FILE)
    ]  # fmt: skip
    counted = [*bars(), ("shared by all experts", 0, bars()[2][2])]
    return numbers + [
        {
            "what": name, "value": f"{feed_forward + rest:,}", "billions": f"{(feed_forward + rest) / 1e9:.2f}",
            "of it in feed-forward blocks": f"{feed_forward:,}", "changed since Mistral 7B": "", "source": "count_parameters",
            "note": "no such model" if name.startswith("eight") else "",
        }
        for name, feed_forward, rest in counted
    ]  # fmt: skip


FIGURE = ArticleFigure(
    7, "mixtral_parameters", "The parameters of Mixtral 8x7B", draw, caption, alt, table,
    (FILE, MISTRAL_FILE, "minimistral.ModelConfig.count_parameters"),
)  # fmt: skip
