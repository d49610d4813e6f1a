"""Chapter 06's tool: a text read in chunks and written token by token through a rolling buffer, step by step."""

from dataclasses import asdict, dataclass, replace
from functools import lru_cache

import torch

from minimistral.config import ModelConfig
from minimistral.lab.reach import one_thread
from minimistral.lab.tools.browser_tool import BrowserTool
from minimistral.transformer import Transformer

TEXT = "The cat sat on the mat and saw how the dog went by so it ran up an old tree"
WORDS = TEXT.split()
N_TOKENS = len(WORDS)  # 20
MAX_WINDOW, MAX_CHUNK, MAX_PROMPT = 8, 8, 16


@dataclass(frozen=True)
class State:
    """What the controls say. step 0 is before anything was read; then come the chunks, then single tokens."""

    window: int = 4
    chunk: int = 3
    n_prompt: int = 6
    step: int = 5

    def __post_init__(self):
        for name, least, most in (
            ("window", 1, MAX_WINDOW),
            ("chunk", 1, MAX_CHUNK),
            ("n_prompt", 1, MAX_PROMPT),
        ):
            if not least <= getattr(self, name) <= most:
                raise ValueError(f"{name}={getattr(self, name)}: the tool shows {least} to {most}.")
        if not 0 <= self.step <= n_steps(self):
            raise ValueError(f"step={self.step}: with this prompt and chunk there are steps 0 to {n_steps(self)}.")


@dataclass(frozen=True)
class Shown:
    """One step: the positions it handles, the slots before and after (None: never written), and what each query sees."""

    first: int
    end: int
    decoding: bool
    before: list[int | None]
    after: list[int | None]
    gone: list[int]  # positions of before, or of this step itself, that no slot holds after it
    visible: dict[int, list[int]]  # of each query in this step, the positions of its keys


def n_steps(state: State) -> int:
    return -(-state.n_prompt // state.chunk) + N_TOKENS - state.n_prompt


def span(state: State, step: int) -> tuple[int, int, bool]:
    """The positions first … end - 1 that a step handles, and whether it is a single written token (decoding)."""
    n_chunks = -(-state.n_prompt // state.chunk)
    if step <= n_chunks:
        first = max(0, step - 1) * state.chunk
        return first, min(step * state.chunk, state.n_prompt), False
    first = state.n_prompt + step - n_chunks - 1
    return first, first + 1, True


def slots(window: int, seen: int) -> list[int | None]:
    """What each slot holds after `seen` tokens: the newest position p < seen with p mod W = slot."""
    return [None if slot >= seen else slot + (seen - 1 - slot) // window * window for slot in range(window)]


def compute(state: State) -> Shown:
    """Everything that the tool draws, as plain numbers."""
    first, end, decoding = span(state, state.step)
    before, after = slots(state.window, first), slots(state.window, end)
    held = {p for p in before if p is not None} | set(range(first, end))
    visible = {p: list(range(max(0, p - state.window + 1), p + 1)) for p in range(first, end)}
    return Shown(first, end, decoding, before, after, sorted(held - set(after)), visible)


@lru_cache(maxsize=MAX_WINDOW)
def _model(window: int) -> tuple[Transformer, torch.Tensor, torch.Tensor]:
    """A random two-layer model, a text of N_TOKENS ids, and its logits without a cache, (N_TOKENS, V)."""
    with torch.random.fork_rng([]):
        torch.manual_seed(6)
        config = ModelConfig(
            dim=16, n_layers=2, n_heads=4, n_kv_heads=2, head_dim=4, hidden_dim=32, vocab_size=11, sliding_window=window
        )
        model, tokens = Transformer(config), torch.randint(11, (1, N_TOKENS))
    with torch.no_grad():
        return model, tokens, model(tokens)[0]


@torch.no_grad()
def gap(state: State) -> float:
    """The largest difference of this step's logits between the library's rolling cache and no cache at all."""
    with one_thread():
        model, tokens, without = _model(state.window)
        cache = model.make_cache(1, N_TOKENS)
        worst = 0.0
        for step in range(1, state.step + 1):
            first, end, _ = span(state, step)
            logits = model(tokens[:, first:end], cache=cache)[0]
            worst = float((logits - without[first:end]).abs().max())
    return worst


def describe(state: State, shown: Shown) -> str:
    """The same sentence as the JavaScript's."""
    if not state.step:
        return f"Nothing read yet: {state.window} empty {_many(state.window, 'slot')}."
    lost = f"{_listed(shown.gone)} {'is' if len(shown.gone) == 1 else 'are'} gone" if shown.gone else "nothing is lost"
    if shown.decoding:
        slot = shown.first % state.window
        over = f"over position {shown.before[slot]}" if shown.before[slot] is not None else "still empty"
        keys = shown.visible[shown.first]
        return (
            f"Writing token {shown.first}: into slot {shown.first} mod {state.window} = {slot}, {over}; "
            f"then it looks at {len(keys)} {_many(len(keys), 'slot')}, {_listed(keys)}."
        )
    past = sorted({key for keys in shown.visible.values() for key in keys if key < shown.first})
    what = f"tokens {shown.first} to {shown.end - 1}" if shown.end - shown.first > 1 else f"token {shown.first}"
    looks = f"looks at {_listed(past)} in the buffer and at itself" if past else "looks at itself only"
    return f"Reading {what} in one chunk: it {looks}, then it is stored; {lost}."


def _many(n: int, word: str) -> str:
    return word if n == 1 else f"{word}s"


def _listed(positions: list[int]) -> str:
    return f"{_many(len(positions), 'position')} {', '.join(map(str, positions))}"


def draw(state: State, shown: Shown):
    """The tool as a still picture."""
    from minimistral.lab import theme
    from minimistral.lab.picture import show

    rows = max(1, len(shown.visible))
    with theme.figure(size=(7.2, 2.5 + 0.28 * rows)) as (figure, axes):
        _draw_text(axes, state, shown)
        for row, (query, keys) in enumerate(shown.visible.items()):
            y = -1.6 - row
            axes.text(-0.7, y, f"query {query}", ha="right", va="center", fontsize=8)
            for key in range(N_TOKENS):
                seen = key in keys
                colour = (theme.QUERY if key >= shown.first and not shown.decoding else theme.WINDOW) if seen else None
                _box(axes, key, y, colour or theme.PAPER, theme.LIGHT)
        axes.text(-0.45, -0.85, _key(shown), fontsize=7.5, color=theme.GREY, va="center")
        _draw_slots(axes, state, shown, -3.4 - rows)
        axes.set(xlim=(-4.4, N_TOKENS - 0.4), ylim=(-5.4 - rows, 2.6))
        axes.set_axis_off()
        return show(figure, describe(state, shown))


def _key(shown: Shown) -> str:
    if shown.decoding or shown.first == shown.end:
        return "who looks at whom (light blue: read from a slot)"
    return "who looks at whom (light blue: read from a slot; dark blue: from the chunk itself)"


def _box(
    axes, x: float, y: float, colour: str, edge: str, text: str = "", ink: str = "black", width: float = 1
) -> None:
    from matplotlib.patches import Rectangle

    axes.add_patch(Rectangle((x - 0.45, y - 0.42), 0.9, 0.84, fc=colour, ec=edge, lw=width))
    axes.text(x, y, text, ha="center", va="center", fontsize=8, color=ink)


def _draw_text(axes, state: State, shown: Shown) -> None:
    from minimistral.lab import theme

    axes.text(-0.7, 0, "position", ha="right", va="center", fontsize=8)
    for p, word in enumerate(WORDS):
        read, now = p < shown.end, shown.first <= p < shown.end
        ink, edge = theme.INK if read else theme.GREY, theme.ORANGE if now else theme.GREY
        fill = theme.WINDOW if p in shown.after else theme.LIGHT if read else theme.PAPER
        axes.text(p, 1.2, word, ha="center", va="center", fontsize=8, rotation=40, color=ink)
        _box(axes, p, 0, fill, edge, str(p), ink, 2 if now else 0.7)


def _draw_slots(axes, state: State, shown: Shown, y: float) -> None:
    from minimistral.lab import theme

    axes.text(-0.7, y, "slots hold", ha="right", va="center", fontsize=8)
    for slot, position in enumerate(shown.after):
        fresh, old = position is not None and position >= shown.first, shown.before[slot]
        x, text = 2.4 * slot, "–" if position is None else str(position)
        fill, edge = theme.PAPER if position is None else theme.WINDOW, theme.ORANGE if fresh else theme.GREY
        _box(axes, x, y, fill, edge, text, theme.INK, 2 if fresh else 0.7)
        axes.text(x, y + 0.75, f"slot {slot}", ha="center", va="center", fontsize=7.5, color=theme.GREY)
        if fresh and old is not None:
            axes.text(x, y - 0.8, f"was {old}", ha="center", va="center", fontsize=7.5, color=theme.ORANGE)


class BufferPlayer(BrowserTool):
    """The tool: play, step or jump through a text, with sliders for window, chunk and prompt.

    Displayed, it is live, and a picture where no kernel runs.
    """

    script = "buffer_player.js"
    asks = True
    alone = "Without Python the slots move, and the logits are compared for the first settings only."

    def __init__(self, window: int = 4, chunk: int = 3, n_prompt: int = 6, step: int = 5):
        self.state = State(window, chunk, n_prompt, step)

    def __repr__(self) -> str:
        return describe(self.state, compute(self.state))

    def start(self) -> dict:
        return asdict(self.state)

    def data(self) -> dict:
        return {"words": WORDS, "limits": {"window": MAX_WINDOW, "chunk": MAX_CHUNK, "n_prompt": MAX_PROMPT}}

    def answer(self, state: dict) -> dict:
        return {"gap": gap(State(**state))}

    def known_states(self) -> list[dict]:
        return [asdict(replace(self.state, step=step)) for step in range(n_steps(self.state) + 1)]

    def picture(self):
        return draw(self.state, compute(self.state))
