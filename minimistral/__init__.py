"""minimistral: Mistral 7B and Mixtral 8x7B from their parts, small enough to read in an evening.

One alphabet of shapes, in code, prose and pictures:
B batch, T query tokens, S key tokens, C model dim, H query heads, G key/value heads, D head dim, F hidden dim,
E experts, K experts a token, N = B·T, V vocabulary, W window, L layers.

Public names are imported on first use (PEP 562), so that `import minimistral` stays as light as it looks.
"""

from importlib import import_module

__version__ = "0.1.0"

_HOME = {
    "ModelConfig": "config",
    "MoEConfig": "config",
    "Transformer": "transformer",
    "RollingCache": "cache",
    "Tokenizer": "tokenizer",
    "CheckpointError": "checkpoints",
    "load": "checkpoints",
    "save": "checkpoints",
    "generate": "generation",  # not generate.py: importing that would hide the function behind its module
    "stream": "generation",
}
__all__ = ["CheckpointError", "ModelConfig", "MoEConfig", "RollingCache", "Tokenizer", "Transformer"]
__all__ += ["generate", "load", "save", "stream"]


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(
            f"module 'minimistral' has no attribute {name!r}; its public names are {', '.join(__all__)}"
        )
    value = getattr(import_module(f"minimistral.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
