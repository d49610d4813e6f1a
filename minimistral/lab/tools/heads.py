"""Chapter 04's tool: which query heads share a key/value head, and what that costs in bytes and in scores."""

from dataclasses import asdict, dataclass

from minimistral.lab.counted import counted
from minimistral.lab.tools.browser_tool import BrowserTool

MAX_HEADS = 64
LEAST_POWER, MOST_POWER = 10, 17  # of two: the tokens in the cache
BYTES_EACH = 2  # bfloat16

# n_layers, n_heads, n_kv_heads, head_dim. Sources: LLaMA (arXiv 2302.13971), Table 2, whose sizes Llama 2's 7B and 13B keep;
# Llama 2 (arXiv 2307.09288), Table 1 (70B has GQA) and its params.json; Mistral 7B (arXiv 2310.06825), Table 1.
PRESETS = {
    "Mistral 7B": (32, 32, 8, 128),
    "Llama 2 7B": (32, 32, 32, 128),
    "Llama 2 13B": (40, 40, 40, 128),
    "Llama 2 70B": (80, 64, 8, 128),
}
OWN = "your own"


def divisors(n_heads: int) -> list[int]:
    """The numbers of key/value heads that share n_heads query heads evenly.

    >>> divisors(12)
    [1, 2, 3, 4, 6, 12]
    """
    return [n for n in range(1, n_heads + 1) if n_heads % n == 0]


@dataclass(frozen=True)
class State:
    """What the controls say. The cache holds 2 ** power tokens."""

    n_heads: int = 32
    n_kv_heads: int = 8
    n_layers: int = 32
    head_dim: int = 128
    power: int = 13

    def __post_init__(self):
        if not 1 <= self.n_heads <= MAX_HEADS or not LEAST_POWER <= self.power <= MOST_POWER:
            raise ValueError(
                f"n_heads={self.n_heads}, power={self.power}: the tool shows 1 to {MAX_HEADS} heads and 2^{LEAST_POWER} "
                f"to 2^{MOST_POWER} tokens."
            )
        if self.n_kv_heads not in divisors(self.n_heads):
            raise ValueError(
                f"n_kv_heads={self.n_kv_heads} does not divide n_heads={self.n_heads}. "
                f"Choose from {divisors(self.n_heads)}."
            )

    @property
    def preset(self) -> str:
        sizes = (self.n_layers, self.n_heads, self.n_kv_heads, self.head_dim)
        return next((name for name, known in PRESETS.items() if known == sizes), OWN)


@dataclass(frozen=True)
class Shown:
    """shared[h] is the key/value head that query head h reads; bytes in bfloat16, over all layers."""

    shared: list[int]
    cache_bytes: int  # for one token
    mha_cache_bytes: int  # the same with n_kv_heads = n_heads
    read_bytes: int  # of the cache, in one decoding step
    scores: int  # of one decoding step


def compute(state: State) -> Shown:
    """Everything that the tool draws, as plain numbers."""
    per_head = 2 * state.n_layers * state.head_dim * BYTES_EACH  # a key and a value
    cache_bytes = per_head * state.n_kv_heads
    return Shown(
        shared=[head // (state.n_heads // state.n_kv_heads) for head in range(state.n_heads)],
        cache_bytes=cache_bytes,
        mha_cache_bytes=per_head * state.n_heads,
        read_bytes=cache_bytes * 2**state.power,
        scores=state.n_layers * state.n_heads * 2**state.power,
    )


def kind(state: State) -> str:
    if state.n_kv_heads == state.n_heads:
        return "MHA"
    return "MQA" if state.n_kv_heads == 1 else "GQA"


def _kv_heads(state: State) -> str:
    return counted(state.n_kv_heads, "key/value head")


def describe(state: State, shown: Shown) -> str:
    share, tokens = state.n_heads // state.n_kv_heads, 2**state.power
    heads = "1 query head reads" if share == 1 else f"{share} query heads share"
    cache = "as much as MHA's" if share == 1 else f"1/{share} of MHA's"
    return (
        f"{kind(state)}: {counted(state.n_heads, 'query head')}, {_kv_heads(state)}; {heads} each. "
        f"Cache: {shown.cache_bytes:,} bytes a token, {cache}. One step with {tokens:,} tokens in the cache reads "
        f"{shown.read_bytes / 2**30:.3g} GiB of keys and values, and computes {shown.scores:,} scores, however many share."
    )


def draw(state: State, shown: Shown):
    """The tool as a still picture."""
    from minimistral.lab import theme
    from minimistral.lab.picture import show

    share = state.n_heads // state.n_kv_heads
    with theme.figure(2, size=(7.2, 4.4), gridspec_kw={"height_ratios": [1.5, 1]}) as (figure, (top, bars)):
        size = min(8, 230 / state.n_heads)
        for head, group in enumerate(shown.shared):
            place = (group + 0.5) * share - 0.5
            colour = theme.EXPERTS[group % 4]
            top.plot([head, place], [0, 1], color=colour, lw=0.9, zorder=1)
            top.plot(head, 0, "o", color=colour, ms=size, zorder=2)
            top.plot(place, 1, "s", color=colour, ms=size + 1, zorder=2)
        top.text(-0.5, 1.22, _kv_heads(state), fontsize=9)
        top.text(-0.5, -0.36, counted(state.n_heads, "query head"), fontsize=9)
        top.set(ylim=(-0.45, 1.45), xlim=(-1, state.n_heads))
        top.axis("off")
        _bars(bars, shown, share)
        figure.suptitle(_title(state, share), x=0.01, ha="left", fontsize=11)
        return show(figure, describe(state, shown))


def _title(state: State, share: int) -> str:
    saved = "the full cache" if share == 1 else f"1/{share} of the cache, as many scores"
    return f"{state.preset}: {kind(state)}, {saved}"


def _bars(axes, shown: Shown, share: int) -> None:
    from minimistral.lab import theme

    rows = (
        (2, 1 / share, theme.ORANGE, f"{shown.cache_bytes:,} bytes of cache a token"),
        (1, 1 / share, theme.ORANGE, f"{shown.read_bytes / 2**30:.3g} GiB read a step"),
        (0, 1, theme.BLUE, f"{shown.scores:,} scores a step"),
    )
    for y, width, colour, text in rows:
        axes.barh(y, 1, color=theme.PAPER, edgecolor=theme.GREY, height=0.62)
        axes.barh(y, width, color=colour, height=0.62, alpha=0.55)
        axes.text(0.012, y, text, va="center", fontsize=9)
    axes.set(xlim=(0, 1.005), yticks=[], xlabel="share of what MHA needs", xticks=[0, 0.25, 0.5, 0.75, 1])
    axes.spines["left"].set_visible(False)


class Heads(BrowserTool):
    """The tool: sliders for query heads, key/value heads (divisors only) and tokens in the cache, and four real models."""

    script = "heads.js"

    def __init__(
        self, n_heads: int = 32, n_kv_heads: int = 8, n_layers: int = 32, head_dim: int = 128, n_tokens: int = 8192
    ):
        power = n_tokens.bit_length() - 1
        if n_tokens != 2**power:
            raise ValueError(f"n_tokens={n_tokens}: give a power of two, {2**LEAST_POWER:,} to {2**MOST_POWER:,}.")
        self.state = State(n_heads, n_kv_heads, n_layers, head_dim, power)

    def __repr__(self) -> str:
        return describe(self.state, compute(self.state))

    def start(self) -> dict:
        return {
            **asdict(self.state),
            "preset": self.state.preset,
            # the slider moves over the divisors, not over all numbers
            "choice": divisors(self.state.n_heads).index(self.state.n_kv_heads),
        }

    def data(self) -> dict:
        return {"presets": PRESETS, "own": OWN, "max_heads": MAX_HEADS, "powers": [LEAST_POWER, MOST_POWER]}

    def picture(self):
        return draw(self.state, compute(self.state))
