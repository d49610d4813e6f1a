"""What reading a checkpoint's config gives, whichever layout it stands in."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minimistral.checkpoints.errors import CheckpointError
from minimistral.config import ModelConfig, MoEConfig


@dataclass(frozen=True)
class ConfigFile:
    """A config, the file it was read from, and what that file left open."""

    path: Path
    config: ModelConfig
    assumed: frozenset[str]  # fields of ModelConfig that the file does not state
    dtype: str | None = None  # what the file says of its weights
    notes: tuple[str, ...] = ()  # what whoever loads it should know


def build(path: Path, experts: tuple[int, int] | None, **values: Any) -> ModelConfig:
    """A ModelConfig with `experts` = (E, K) or None; numbers that cannot be become a CheckpointError of the file."""
    try:
        return ModelConfig(**values, moe=None if experts is None else MoEConfig(*experts))
    except ValueError as error:
        raise CheckpointError(f"{path}: {error}") from None


def refuse_disagreement(one: ConfigFile, other: ConfigFile) -> None:
    """Two config files of one folder must describe the same model wherever both say something."""
    for name, value in vars(one.config).items():
        if name == "max_position_embeddings" or name in one.assumed | other.assumed:
            continue
        if value != getattr(other.config, name):
            raise CheckpointError(
                f"{one.path} says {name} = {value!r}, {other.path} says {getattr(other.config, name)!r}. "
                "Correct one of them, or choose a layout: load(…, layout='native') or 'hub'."
            )
