"""Shows the library's own code in a chapter, beside what the learner built."""

import inspect
from collections.abc import Callable


class Source:
    """Source code that a notebook shows as Markdown."""

    def __init__(self, text: str, file: str):
        self.text, self.file = text, file

    def __repr__(self) -> str:
        return self.text

    def _repr_markdown_(self) -> str:
        return f"`{self.file}`\n\n```python\n{self.text}\n```"


def show_source(thing: Callable | type) -> Source:
    """The code of a function or class of the library, and the file where it stands."""
    module = inspect.getmodule(thing)
    return Source(inspect.getsource(thing).rstrip(), module.__name__.replace(".", "/") + ".py")
