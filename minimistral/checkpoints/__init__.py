"""Reading and writing checkpoints, in Mistral's own ("native") and in transformers' ("hub") layout."""

from importlib import import_module

from minimistral.checkpoints.errors import CheckpointError

_HOME = {"load": "read", "save": "write", "download": "hub"}
__all__ = ["CheckpointError", "download", "load", "save"]


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module 'minimistral.checkpoints' has no attribute {name!r}")
    return getattr(import_module(f"minimistral.checkpoints.{_HOME[name]}"), name)
