"""Chapter 03's tool: a position as RoPE writes it, one dial for each pair of numbers, and which dials were never seen so."""

import math
from dataclasses import asdict, dataclass

from minimistral.lab.lengths import ntk_theta
from minimistral.lab.tools.browser_tool import BrowserTool

SCALINGS = {
    "none": "none",
    "interpolation": "interpolation: position / factor",
    "NTK": "NTK: slowest dial / factor",
    "base": "base change: theta × factor",
}
HEAD_DIMS = (8, 16, 32, 64, 128)
MAX_POSITION, MAX_FACTOR = 65_535, 16
LOG_THETAS, LOG_LENGTHS = (2, 7), (6, 15)  # theta 100 to 10 million; trained on 64 to 32,768 tokens
TURN = 2 * math.pi


@dataclass(frozen=True)
class State:
    """What the controls say. log_theta: a power of 10; log_length: of 2, the tokens of a text in training."""

    position: int = 8_191
    log_theta: float = 4.0
    log_length: int = 13
    scaling: str = "none"
    factor: int = 4
    head_dim: int = 128

    def __post_init__(self):
        for name, (least, most) in (
            ("position", (0, MAX_POSITION)),
            ("log_theta", LOG_THETAS),
            ("log_length", LOG_LENGTHS),
            ("factor", (1, MAX_FACTOR)),
        ):
            if not least <= getattr(self, name) <= most:
                raise ValueError(f"{name}={getattr(self, name)}: the tool shows {least} to {most}.")
        for name, known in (("scaling", tuple(SCALINGS)), ("head_dim", HEAD_DIMS)):
            if getattr(self, name) not in known:
                raise ValueError(f"{name}={getattr(self, name)!r}: choose from {', '.join(map(str, known))}.")

    @property
    def theta(self) -> float:
        return 10**self.log_theta

    @property
    def length(self) -> int:
        return 2**self.log_length


@dataclass(frozen=True)
class Shown:
    """For each dial i, pair i of a head: all that it has turned at this position, all that it turned in training, radians."""

    angles: list[float]
    trained: list[float]  # up to the last position of training, without scaling
    digits: list[float]  # of the position in base beta, the lowest first
    beta: float

    @property
    def never_round(self) -> int:
        """Dials that made no full circle in training."""
        return sum(span < TURN for span in self.trained)

    @property
    def unseen(self) -> list[bool]:
        """Of each dial: whether its hand now stands where it never stood, nor passed, in training."""
        return [angle % TURN > span * (1 + 1e-12) for angle, span in zip(self.angles, self.trained)]


def scaled(state: State) -> tuple[float, float]:
    """The position and the base after scaling."""
    position, theta = float(state.position), state.theta
    if state.scaling == "interpolation":
        position /= state.factor
    elif state.scaling == "NTK":
        theta = ntk_theta(theta, state.factor, state.head_dim)
    elif state.scaling == "base":
        theta *= state.factor
    return position, theta


def compute(state: State) -> Shown:
    """Everything that the tool draws. Su's digit number i is floor(n / beta^i) mod beta; the lowest keeps its fraction."""
    position, theta = scaled(state)
    pairs = range(state.head_dim // 2)
    beta = theta ** (2 / state.head_dim)
    return Shown(
        [position * theta ** (-2 * i / state.head_dim) for i in pairs],
        [(state.length - 1) * state.theta ** (-2 * i / state.head_dim) for i in pairs],
        [(position if i == 0 else math.floor(position / beta**i + 1e-9)) % beta for i in pairs],
        beta,
    )


def describe(state: State, shown: Shown) -> str:
    unseen = sum(shown.unseen)
    return (
        f"Position {state.position:,}: the slowest dial has turned {math.degrees(shown.angles[-1]):,.1f} degrees. "
        f"Trained on {state.length:,} tokens, {shown.never_round} of {len(shown.angles)} dials never made a full circle; "
        f"{unseen} {'stands' if unseen == 1 else 'stand'} where training never brought {'it' if unseen == 1 else 'them'}."
    )


def draw(state: State, shown: Shown):
    """The tool as a still picture: dials in reading order, the fastest first."""
    from matplotlib.patches import Circle, Wedge

    from minimistral.lab import theme
    from minimistral.lab.picture import show

    columns = min(16, len(shown.angles))
    rows = math.ceil(len(shown.angles) / columns)
    size = 7.2 / max(columns, 8)
    with theme.figure(size=(7.2, rows * size * 1.25 + 0.75)) as (figure, axes):
        for i, (angle, span, unseen) in enumerate(zip(shown.angles, shown.trained, shown.unseen)):
            x, y, hand = i % columns, -1.25 * (i // columns), angle % TURN
            axes.add_patch(Circle((x, y), 0.42, fc=theme.PAPER, ec=theme.GREY, lw=0.6))
            end = 90 - math.degrees(min(span, TURN))
            axes.add_patch(Wedge((x, y), 0.42, end, 90, fc=theme.SKY, alpha=0.45, ec="none"))
            colour = theme.ORANGE if unseen else theme.INK
            axes.plot([x, x + 0.42 * math.sin(hand)], [y, y + 0.42 * math.cos(hand)], "-", color=colour, lw=1.6)
            label = f"{i}: digit {shown.digits[i]:.3g}" if shown.beta >= 2 else str(i)
            axes.text(x, y - 0.66, label, ha="center", va="center", fontsize=7, color=theme.INK)
        axes.set(xlim=(-0.6, max(columns, 8) - 0.4), ylim=(-1.25 * rows + 0.4, 0.55), aspect="equal")
        axes.set_axis_off()
        axes.set_title(
            "One dial for each pair of numbers, 0 the fastest. Blue: where it stood or passed in training", fontsize=9
        )
        figure.suptitle(describe(state, shown).split(". Trained")[0] + ".", x=0.01, ha="left", fontsize=11)
        return show(figure, describe(state, shown))


class Odometer(BrowserTool):
    """The tool: sliders for position, theta, trained length, scaling, factor and D. A still picture where no kernel runs."""

    script = "odometer.js"

    def __init__(
        self,
        position: int = 8_191,
        theta: float = 10_000.0,
        length: int = 8_192,
        scaling: str = "none",
        factor: int = 4,
        head_dim: int = 128,
    ):
        if theta <= 0 or length <= 0 or not math.log2(length).is_integer():
            raise ValueError(f"theta={theta}, length={length}: give a positive theta, and a power of two as length.")
        self.state = State(position, math.log10(theta), int(math.log2(length)), scaling, factor, head_dim)

    def __repr__(self) -> str:
        return describe(self.state, compute(self.state))

    def start(self) -> dict:
        return asdict(self.state)

    def data(self) -> dict:
        return {
            "scalings": list(SCALINGS.items()),
            "head_dims": HEAD_DIMS,
            "limits": dict(
                position=MAX_POSITION, factor=MAX_FACTOR, log_theta=list(LOG_THETAS), log_length=list(LOG_LENGTHS)
            ),
        }

    def picture(self):
        return draw(self.state, compute(self.state))
