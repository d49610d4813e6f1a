"""A progress bar that is gone when its work is done: not a line of it stays, in stored outputs neither."""

from functools import cache

from tqdm.auto import tqdm


class progress_bar(tqdm):
    """tqdm's bar, with the same arguments; it leaves unless `leave=True`.

    In a notebook it is a widget, and the text that stands beside a widget, for where no kernel runs, is empty: a stored
    "0 %" would stay for good. In a terminal it is tqdm's usual line.
    """

    def __init__(self, *args, leave: bool = False, **kwargs):
        super().__init__(*args, leave=leave, **kwargs)

    @staticmethod
    def status_printer(*args):
        """tqdm's own, its widget without a text."""
        shown = tqdm.status_printer(*args)
        if hasattr(shown, "children"):
            shown.__class__ = _silent()
        return shown


@cache
def _silent() -> type:
    from tqdm.notebook import TqdmHBox

    class SilentBox(TqdmHBox):
        def __repr__(self, pretty: bool = False) -> str:
            return ""

    return SilentBox
