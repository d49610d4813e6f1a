"""Reading the fields of a config file one by one, strictly: JSON has types, and a checkpoint is no place to guess."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from minimistral.checkpoints.errors import CheckpointError

REQUIRED, AS_ABSENT = object(), object()
LARGEST_SIZE, LARGEST_LENGTH = 10**7, 2**40  # of a model's own sizes; of windows and contexts, which cost nothing
LARGEST = 1e30  # no epsilon or base comes near; JSON's whole numbers may exceed every float


@dataclass
class Fields:
    """The values of a config file, by name; each method raises a CheckpointError that names file and field."""

    path: Path
    values: dict[str, Any]
    assumed: set[str] = field(default_factory=set)  # names that the file leaves open, so that a default was taken

    def whole(self, name: str, default: Any = REQUIRED, null: Any = AS_ABSENT, most: int = LARGEST_SIZE) -> Any:
        """A whole number of 1 or more; `default` where the name is absent, `null` where it stands with null."""
        if null is not AS_ABSENT and name in self.values and self.values[name] is None:
            return null
        value = self.values.get(name)
        if value is None:
            return self._assume(name, default)
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
            raise self.error(name, value, f"a whole number from 1 to {most:,}")
        return value

    def number(self, name: str, default: Any = REQUIRED) -> Any:
        """A positive, finite number, as a float; null counts as absent."""
        value = self.values.get(name)
        if value is None:
            return self._assume(name, default)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise self.error(name, value, "a positive number")
        if not 0 < value <= LARGEST:
            raise self.error(name, value, "a positive, finite number")
        return float(value)

    def flag(self, name: str) -> bool:
        """True or false; false where absent or null."""
        value = self.values.get(name)
        if value is None:
            return self._assume(name, False)
        if not isinstance(value, bool):
            raise self.error(name, value, "true or false")
        return value

    def section(self, name: str) -> "Fields | None":
        """An object inside the file; None where absent or null."""
        value = self.values.get(name)
        if value is not None and not isinstance(value, dict):
            raise self.error(name, value, "an object {…} or null")
        return None if value is None else Fields(Path(f"{self.path}: {name}"), value)

    def refuse(self, name: str, why: str, allowed: tuple[Any, ...] = (None, False)) -> None:
        """CheckpointError if a field asks for what this library cannot honour."""
        value = self.values.get(name)
        if not any(value is one or (type(value) is type(one) and value == one) for one in allowed):
            raise CheckpointError(f"{self.path}: {name} = {shortened(value)}: {why}")

    def error(self, name: str, value: Any, wanted: str) -> CheckpointError:
        """The error for a field that holds something else than `wanted`."""
        return CheckpointError(f"{self.path}: {name} = {shortened(value)}; {wanted} is expected there.")

    def _assume(self, name: str, default: Any) -> Any:
        if default is REQUIRED:
            state = "is null" if name in self.values else "is missing"
            raise CheckpointError(f"{self.path}: {name} {state}, and the model cannot be built without it.")
        self.assumed.add(name)
        return default


def shortened(value: Any) -> str:
    """repr, cut: a hostile file may hold a value of megabytes."""
    try:
        text = repr(value)
    except ValueError:  # Python prints no whole number of more than 4,300 digits
        return "a number of thousands of digits"
    return text if len(text) <= 80 else text[:77] + "…"
