"""The state of a training run on disk: all that the next step depends on, written whole or not at all."""

import json
import os
import pickle
from pathlib import Path

import torch
from torch import Tensor, nn

FILE_NAME, LOG_NAME = "training-state.pt", "training.jsonl"
# Settings that leave the weights alone may change between two parts of a run.
FREE_TO_CHANGE = {"evaluate_every", "save_every"}


class TrainingState:
    """Model, optimizer, random generators and the records so far; their number is the position in the data.

    `recipe` is a dict of dicts of plain values that a resumed run must share: the settings, the model, the data.
    """

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer, recipe: dict[str, dict]):
        self.model, self.optimizer, self.recipe = model, optimizer, recipe

    def save(self, folder: Path, records: list[dict]) -> None:
        """Write beside the old state, wait for the disk, then take its name: a kill leaves one or the other."""
        state = {
            "recipe": self.recipe,
            "records": records,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "random": torch.get_rng_state(),  # nothing in our model draws, but a module of the caller's may
            "random_cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        }
        folder.mkdir(parents=True, exist_ok=True)
        unfinished = folder / (FILE_NAME + ".unfinished")
        with unfinished.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, folder / FILE_NAME)

    def read(self, folder: Path) -> dict | None:
        """What `save` wrote, None where nothing was; ValueError if it cannot be read or its recipe differs from ours."""
        path = folder / FILE_NAME
        if not path.exists():
            return None
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
            recipe = state["recipe"]
        except (OSError, RuntimeError, EOFError, KeyError, TypeError, pickle.UnpicklingError) as error:
            why = str(error).strip().split("\n")[0] or "it is empty"
            raise ValueError(
                f"{path} is not a training state that can be read ({why}). Delete it to start over."
            ) from error
        for part, ours in self.recipe.items():
            theirs = recipe.get(part, {})
            for name in sorted((ours.keys() | theirs.keys()) - FREE_TO_CHANGE):
                if ours.get(name) != theirs.get(name):
                    raise ValueError(
                        f"{path} was written with {part} {name}={theirs.get(name)!r}, this run has {ours.get(name)!r}. "
                        "Give the same, or another folder to start a new run."
                    )
        return state

    def put_back(self, state: dict | None) -> list[dict]:
        """Go on from what `read` gave: its records, [] for None."""
        if state is None:
            return []
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["random"])
        if torch.cuda.is_available() and len(state["random_cuda"]) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all(state["random_cuda"])
        return state["records"]


class TrainingLog:
    """folder/training.jsonl, a line of JSON a record, there to be read while the run goes on; nothing where folder is None.

    It begins with the records of the state that the run resumes from: steps that were taken after it are taken again.
    """

    def __init__(self, folder: Path | None, records: list[dict]):
        self._file = None
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / LOG_NAME
            unfinished = path.with_name(LOG_NAME + ".unfinished")
            unfinished.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
            os.replace(unfinished, path)
            self._file = path.open("a", encoding="utf-8")

    def add(self, record: dict) -> None:
        if self._file:
            self._file.write(json.dumps(record) + "\n")
            self._file.flush()

    def __enter__(self) -> "TrainingLog":
        return self

    def __exit__(self, *error) -> None:
        if self._file:
            self._file.close()


def fingerprint(tokens: Tensor) -> dict[str, int]:
    """Enough to tell one text of token ids from another: its length, and a sum that depends on the order.

    >>> fingerprint(torch.tensor([3, 1])) == fingerprint(torch.tensor([1, 3]))
    False
    """
    weights = torch.arange(1, len(tokens) + 1)
    return {
        "tokens": len(tokens),
        "sum": int((tokens.long().cpu() * weights).sum()),
    }  # wraps at 2^63: still a fingerprint
