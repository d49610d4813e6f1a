"""Figure 5: multi-head, grouped-query and multi-query attention. Which head reads which key is found by running it."""

from dataclasses import replace

import torch

from minimistral import ModelConfig
from minimistral.attention import grouped_attention

from .article_figure import ArticleFigure
from .look import Look, legend
from .tables import rows

FILE = "gqa_table1.csv"
MISTRAL = ModelConfig.preset("mistral-7b-v0.1")
PUBLISHED = {"multi-head": "MHA-XXL", "grouped-query": "GQA-8-XXL", "multi-query": "MQA-XXL"}
BYTES = 2  # of a number in bfloat16


def kinds(config: ModelConfig) -> dict[str, ModelConfig]:
    """The same model with one key/value head for each query head, with its own number, and with a single one."""
    counts = {"multi-head": config.n_heads, "grouped-query": config.n_kv_heads, "multi-query": 1}
    return {kind: replace(config, n_kv_heads=count) for kind, count in counts.items()}


def shared_head(config: ModelConfig) -> list[int]:
    """For each query head the key/value head that it reads: the value heads hold their own numbers, attention hands them on."""
    q = torch.zeros(1, config.n_heads, 1, 2)
    k = torch.zeros(1, config.n_kv_heads, 1, 2)
    v = torch.arange(config.n_kv_heads).float().reshape(1, -1, 1, 1).expand(k.shape)
    return grouped_attention(q, k, v)[0, :, 0, 0].round().int().tolist()


def weights_a_layer(config: ModelConfig) -> int:
    return config.count_parameters().parts["attention"] // config.n_layers


def bytes_a_token(config: ModelConfig) -> int:
    """Keys and values of one token in all layers, in bfloat16."""
    return 2 * config.n_layers * config.n_kv_heads * config.head_dim * BYTES


def draw(look: Look, config: ModelConfig = MISTRAL):
    with look.figure(size=(7.2, 3.8)) as (figure, axes):
        wide = config.n_heads
        for row, (kind, one) in enumerate(kinds(config).items()):
            y = -2.75 * row
            _heads(axes, look, one, y)
            axes.text(0, y + 1.75, kind, fontsize=10, fontweight="bold")
            axes.text(wide, y + 1.75, _share(one),
                      fontsize=9, ha="right", color=look.grey)  # fmt: skip
            cost = f"{bytes_a_token(one):,} bytes\n{weights_a_layer(one):,} weights"
            axes.text(wide * 1.03, y + 0.75, cost, fontsize=9, va="center", fontweight="bold")
        axes.text(wide * 1.03, 1.75, "cache of a token; attention of a layer", fontsize=8, color=look.grey)
        names = {"query": look.blue, "key": look.orange, "value": look.green}
        legend(axes, look, names, (0.0, 0.11, 0.2), above=0.0)
        axes.set(xlim=(-0.2, wide * 1.44), ylim=(-6.5, 2.3))
        axes.axis("off")
        saved = bytes_a_token(kinds(config)["multi-head"]) // bytes_a_token(config)
        axes.set_title(f"Sharing keys and values {saved} ways makes the cache {saved} times smaller")
        return figure


def _share(config: ModelConfig) -> str:
    each = config.n_heads // config.n_kv_heads
    heads, queries = (
        f"{n} {name}{'s' * (n != 1)}" for n, name in ((config.n_kv_heads, "key/value head"), (each, "query head"))
    )
    return f"{heads}, {queries} on each"


def _heads(axes, look: Look, config: ModelConfig, y: float) -> None:
    """A row of query heads; below it each key/value head, as wide as the query heads that read it."""
    reads = shared_head(config)
    for head in range(config.n_heads):
        _box(axes, head, y + 0.95, 1, 0.6, look.blue, look.paper)
    for group in range(config.n_kv_heads):
        first, width = reads.index(group), reads.count(group)
        _box(axes, first, y + 0.42, width, 0.42, look.orange, look.paper)
        _box(axes, first, y, width, 0.42, look.green, look.paper)


def _box(axes, x: float, y: float, width: float, height: float, colour: str, edge: str) -> None:
    from matplotlib.patches import Rectangle

    axes.add_patch(Rectangle((x + 0.08, y), width - 0.16, height, facecolor=colour, edgecolor=edge, lw=0.5))


def published(kind: str) -> dict[str, str]:
    """The row of the GQA paper's table."""
    return next(row for row in rows(FILE) if row["model"] == PUBLISHED[kind])


def caption(config: ModelConfig = MISTRAL) -> str:
    saved = {kind: f"{bytes_a_token(one):,}" for kind, one in kinds(config).items()}
    costs = ", ".join(
        f"{kind} {published(kind)['seconds_a_sample']} s, average {published(kind)['average']}" for kind in PUBLISHED
    )
    return (
        "Figure 5, drawn anew: which query head reads which key/value head, found by running `grouped_attention` on "
        f"{config.n_heads} heads. Bytes of keys and values for a token, all layers, bfloat16: "
        f"{', '.join(f'{kind} {count}' for kind, count in saved.items())}. What it did to T5 XXL (arXiv 2305.13245, "
        f"Table 1; a sample, no spread given): {costs}."
    )


def alt(config: ModelConfig = MISTRAL) -> str:
    said = "; ".join(
        f"{kind}: {config.n_heads} query heads over {_share(one)}, "
        f"{bytes_a_token(one):,} bytes of cache a token, {weights_a_layer(one):,} attention weights a layer"
        for kind, one in kinds(config).items()
    )
    return (
        f"Three rows of query heads, below each its key/value heads, as wide as the query heads that read them. {said}."
    )


def table(config: ModelConfig = MISTRAL) -> list[dict]:
    return [
        {
            "kind": kind, "query heads": one.n_heads, "key/value heads": one.n_kv_heads,
            "query heads on each": one.n_heads // one.n_kv_heads, "cache bytes a token": f"{bytes_a_token(one):,}",
            "attention weights a layer": f"{weights_a_layer(one):,}",
            "T5 XXL, seconds a sample": published(kind)["seconds_a_sample"],
            "T5 XXL, average": published(kind)["average"], "protocol": published(kind)["protocol"],
            "source of T5": f"[{published(kind)['source_table']}]({published(kind)['source_url']})",
            "note": published(kind)["note"],
        }
        for kind, one in kinds(config).items()
    ]  # fmt: skip


FIGURE = ArticleFigure(
    5, "heads", "Multi-head, grouped-query and multi-query attention", draw, caption, alt, table,
    (FILE, "minimistral.attention.grouped_attention", "minimistral.ModelConfig.count_parameters"),
)  # fmt: skip
