"""Chapter 04's drawings: which query heads read which keys, what reading and writing do with them, what a copy moves."""

from torch import Tensor

from minimistral.attention import Attention
from minimistral.lab import theme
from minimistral.lab.picture import Picture, show
from minimistral.masks import window_mask


def draw_heads(n_heads: int, n_kv_heads: int, head_dim: int) -> Picture:
    """One token's rows as `wq`, `wk` and `wv` make them, cut into heads, and which query heads read which keys.

    Raises ValueError where nothing is shared, for there is no room then, and nothing to see.
    """
    if n_heads <= n_kv_heads or n_heads % n_kv_heads:
        raise ValueError(f"{n_heads} query heads do not share {n_kv_heads} key/value heads: take a smaller divisor.")
    layer = Attention(n_heads * head_dim, n_heads, n_kv_heads, head_dim)
    n_q, n_k, share = layer.wq.out_features, layer.wk.out_features, n_heads // n_kv_heads
    wide = head_dim + 1  # a head and the gap behind it
    with theme.figure(size=(7.2, 3.0)) as (figure, axes):
        for h in range(n_heads):
            g = h // share
            middle = (g + 0.5) * share * wide
            axes.plot([(h + 0.5) * wide, middle], [0.62, 1.6], color=theme.EXPERTS[g], lw=1.2)
            _head(axes, (h + 0.5) * wide, 0, f"q{h}", head_dim, theme.EXPERTS[g], name_at=-0.1)
            if h % share == 0:
                for name, side in ((f"k{g}", -0.5), (f"v{g}", 0.5)):
                    _head(axes, middle + side * wide, 1.65, name, head_dim, theme.EXPERTS[g], name_at=2.62)
        axes.text(0, -0.55, f"q = wq(x): {n_q} numbers, {n_heads} heads of {head_dim}", va="bottom")
        axes.text(0, 3.0, f"k = wk(x), v = wv(x): {n_k} numbers each, {n_kv_heads} heads of {head_dim}", va="bottom")
        shapes = f"q (B, {n_heads}, T, {head_dim}) becomes (B, {n_kv_heads}, {share}, T, {head_dim})"
        shapes += f";  k and v are (B, {n_kv_heads}, 1, T, {head_dim}): one serves {share}"
        axes.text(0, 3.45, shapes, va="bottom", fontsize=9)
        axes.set(xlim=(-0.5, n_heads * wide + 0.5), ylim=(3.5, -0.95))
        axes.axis("off")
        axes.set_title(f"{share} query heads side by side read one key/value head")
        reads = "; ".join(f"q{g * share} to q{(g + 1) * share - 1} read k{g} and v{g}" for g in range(n_kv_heads))
        return show(
            figure,
            f"One token: {n_q} query numbers cut into {n_heads} heads of {head_dim}; {n_k} of keys and {n_k} of values, "
            f"cut into {n_kv_heads}. {reads}.",
        )


def _head(axes, middle: float, row: float, name: str, head_dim: int, colour: str, name_at: float) -> None:
    """A strip of `head_dim` cells around `middle`, with its name above or below."""
    places = [middle - head_dim / 2 + i + 0.5 for i in range(head_dim)]
    axes.bar(places, 0.6, bottom=row, width=0.84, color=colour)
    axes.text(middle, name_at, name, ha="center", va="bottom", color=colour)


def draw_reading_and_writing(n_prompt: int, n_new: int) -> Picture:
    """A box a score: the prompt's in one pass, then one row a step; and how many scores each key that is read serves."""
    seen = window_mask(n_prompt + n_new, None)
    scores, steps = int(seen[:n_prompt].sum()), seen[n_prompt:].sum(1).tolist()
    with theme.figure(size=(7.2, 2.8)) as (figure, axes):
        for rows, colour in ((range(n_prompt), theme.BLUE), (range(n_prompt, n_prompt + n_new), theme.ORANGE)):
            for row in rows:
                at = row + (row >= n_prompt) * (0.6 + 0.1 * (row - n_prompt))
                keys = seen[row].nonzero()[:, 0].tolist()
                axes.barh([at] * len(keys), 0.86, left=[k - 0.43 for k in keys], height=0.8, color=colour)
                if row >= n_prompt:
                    word = f"a step: reads {len(keys)} keys for {len(keys)} scores, 1 a key"
                    axes.text(n_prompt + n_new, at, word, va="center", color=colour)
        middle = (n_prompt - 1) / 2
        word = f"reading, one pass: reads {n_prompt} keys\nfor {scores} scores, {scores / n_prompt:g} a key on average"
        axes.text(n_prompt + n_new, middle, word, va="center", color=theme.BLUE)
        axes.set(xlim=(-0.7, n_prompt + n_new + 8.5), ylim=(n_prompt + 1.1 * n_new + 0.2, -0.7))
        axes.set(xticks=range(n_prompt + n_new), yticks=[], ylabel="query tokens")
        axes.set_xlabel("key of token", loc="left")
        axes.spines[["left", "bottom"]].set_visible(False)
        axes.set_title("Reading uses a key for many queries, writing for one")
        return show(
            figure,
            f"Scores a head computes. Reading a prompt of {n_prompt}: {n_prompt} keys serve {scores} scores in one pass. "
            f"Writing {n_new} tokens: the steps read {', '.join(map(str, steps))} keys, each for one score.",
        )


def draw_moved(caches: dict[int, Tensor], n_heads: int) -> Picture:
    """MB through memory in a decoding step, by key/value heads: `caches` (2, G, S, D) read, and copies for every head."""
    with theme.figure(size=(7.2, 2.6)) as (figure, axes):
        names, totals = [], {}
        for n_kv_heads, cache in caches.items():
            read = cache.nbytes / 1e6
            copies = read * n_heads / n_kv_heads
            for way, parts in (("grouped", [read]), ("repeated", [read, copies, copies])):
                if way == "repeated" and n_kv_heads == n_heads:
                    continue  # nothing to copy
                left, row = 0.0, len(names)
                for part, colour in zip(parts, (theme.BLUE, theme.ORANGE, theme.AMBER)):
                    axes.barh(row, part, left=left, height=0.7, color=colour)
                    left += part
                axes.text(left, row, f" {left:.0f} MB", va="center")
                names.append(f"G = {n_kv_heads}, {way}")
                totals[names[-1]] = left
        for word, back, colour in (("copies written", 1.5, theme.PAPER), ("copies read again", 0.5, theme.INK)):
            axes.text(left - back * copies, len(names) - 1, word, ha="center", va="center", color=colour)
        axes.text(0.32 * max(totals.values()), 1, "blue: the cache, read once", va="center", color=theme.BLUE)
        axes.set(ylim=(len(names) - 0.5, -0.6), xlim=(0, 1.15 * max(totals.values())))
        axes.set(xlabel="through memory in one step (MB)")
        axes.set_yticks(range(len(names)), names)
        axes.set_title("Copies bring all the bytes of MHA back, twice")
        return show(
            figure,
            "MB through memory in one decoding step. " + ", ".join(f"{k}: {v:.0f}" for k, v in totals.items()) + ".",
        )
