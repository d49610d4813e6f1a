"""A picture as every reader can use it: on a screen, on GitHub, in the book, in print, and read aloud."""

import base64
import io
import warnings
from html import escape

from PIL import Image

from minimistral.lab.theme import DPI

MAX_BYTES = 60_000  # it stands in the notebook twice
COLOURS = 64  # of the palette: a third of the size, and drawings have no more


class Picture:
    """A PNG with its alternative text. Displayed, it is an image with that text in each of its forms.

    JupyterLab drops the alternative text of a plain image/png output, other readers take it from the output's metadata,
    and a terminal shows text: so all three are given.
    """

    def __init__(self, png: bytes, alt: str):
        if not alt.strip():
            raise ValueError("a picture needs an alternative text: say in a sentence or two what it shows.")
        self.png, self.alt = png, alt

    def __repr__(self) -> str:
        return f"Picture: {self.alt}"

    def html(self) -> str:
        """The picture and its alternative text as one <img>."""
        encoded = base64.b64encode(self.png).decode()
        return f'<img alt="{escape(self.alt)}" style="max-width: 100%" src="data:image/png;base64,{encoded}">'

    def _repr_mimebundle_(self, include=None, exclude=None) -> tuple[dict, dict]:
        encoded = base64.b64encode(self.png).decode()
        bundle = {"text/html": self.html(), "image/png": encoded, "text/plain": repr(self)}
        return bundle, {"image/png": {"alt": self.alt}}


def show(figure, alt: str) -> Picture:
    """The picture of a matplotlib figure, opaque; make it the last line of a cell, or hand it to display().

    Raises ValueError where it is larger than 60 kB: draw fewer marks, or a smaller figure.
    """
    drawn, file = io.BytesIO(), io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # a model may write in any script; the alt text has it
        figure.savefig(drawn, format="png", dpi=DPI, transparent=False)
    Image.open(drawn).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(file, format="png", optimize=True)
    if file.tell() > MAX_BYTES:
        raise ValueError(
            f"this picture takes {file.tell() / 1000:.0f} kB; pictures stay within {MAX_BYTES / 1000:.0f}."
        )
    return Picture(file.getvalue(), alt)
