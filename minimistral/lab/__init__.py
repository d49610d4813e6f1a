"""What the notebooks show and ask: exercises that answer back, predictions, quizzes, progress, pictures and tools.

Names are imported on first use, so that checking an exercise does not load a plotting library.
"""

from importlib import import_module

_HOME = {
    "check": "checking",
    "hint": "hints",
    "exercises": "registry",
    "predict": "predictions",
    "reveal": "predictions",
    "quiz": "quizzes",
    "my_progress": "overview",
    "claims_table": "claims_panel",
    "pretest": "ten_questions",
    "progress_bar": "bars",
    "keep": "keeping",
    "kept": "keeping",
    "show": "picture",
    "show_figure": "article_figures",
    "show_source": "source",
    "Picture": "picture",
    "BlockXray": "tools.block_xray",
    "KeyDial": "tools.key_dial",
    "Heads": "tools.heads",
    "ArchitectureMap": "tools.architecture_map",
    "LogitLens": "tools.logit_lens",
    "ReceptiveField": "tools.receptive_field",
    "LiveCurve": "live_curve",
    "BufferPlayer": "tools.buffer_player",
    "Odometer": "tools.odometer",
    "TokenizerLens": "tools.tokenizer_lens",
    "Router": "tools.router",
    "BenchmarkExplorer": "tools.benchmark_explorer",
    "RoutingMap": "tools.routing_map",
    "BitPlayer": "tools.bit_player",
    "Chat": "tools.chat",
}
__all__ = sorted(_HOME)


def __getattr__(name: str):
    if name == "theme":
        return import_module("minimistral.lab.theme")
    if name not in _HOME:
        raise AttributeError(f"module 'minimistral.lab' has no attribute {name!r}; it has {', '.join(__all__)}")
    value = getattr(import_module(f"minimistral.lab.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
