"""`keep`: a learner's own part, kept for later chapters of the same learner."""

import ast
import inspect
import json
import textwrap
from collections.abc import Callable

from minimistral.lab.progress import folder


def keep(name: str, thing: Callable | type) -> None:
    """Keep the source of a function or class that a learner wrote, so that a later chapter can use it as `kept(name)`.

    Its source is kept and not the object: it runs in another notebook, where only its own imports are there.
    """
    try:
        source = _source(thing)
    except (OSError, TypeError, StopIteration) as error:
        raise ValueError(f"{name}: give a function or class written in a cell of this notebook.") from error
    place = folder() / "kept"
    place.mkdir(parents=True, exist_ok=True)
    draft = place / f"{name}.part"
    draft.write_text(json.dumps({"name": thing.__name__, "source": textwrap.dedent(source)}), encoding="utf-8")
    draft.replace(place / f"{name}.json")
    print(f"Kept: your {thing.__name__}. A later chapter asks for it as kept({name!r}).")


def _source(thing: Callable | type) -> str:
    """The source of a function or class; of a class in a notebook by way of a method, for a cell has no file to look in."""
    if not isinstance(thing, type):
        return inspect.getsource(thing)
    method = next(part for part in vars(thing).values() if inspect.isfunction(part))
    cell = "".join(inspect.findsource(method)[0])
    classes = (node for node in ast.walk(ast.parse(cell)) if isinstance(node, ast.ClassDef))
    return ast.get_source_segment(cell, next(node for node in classes if node.name == thing.__name__))


def kept(name: str, otherwise: Callable | type, **names: object) -> Callable | type:
    """What the learner kept under this name, run with `names` and torch at hand; else, or where it fails, `otherwise`.

    One line says which it is.
    """
    import torch
    import torch.nn.functional as F
    from torch import Tensor, nn

    space = {"torch": torch, "F": F, "nn": nn, "Tensor": Tensor, **names}
    try:
        found = json.loads((folder() / "kept" / f"{name}.json").read_text(encoding="utf-8"))
        exec(compile(found["source"], f"<your {found['name']}>", "exec"), space)
        thing = space[found["name"]]
    except FileNotFoundError:
        print(f"{name}: the library's {otherwise.__name__} (you have kept none of your own).")
        return otherwise
    except Exception as error:
        print(f"{name}: the library's {otherwise.__name__} (yours fails here: {type(error).__name__}: {error}).")
        return otherwise
    print(f"{name}: your own {found['name']}.")
    return thing
