"""From what a caller names to a folder: a bundled model, a path, or a model of the Hugging Face hub."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from minimistral.checkpoints.errors import CheckpointError, naming
from minimistral.checkpoints.known_models import known_model

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
BUNDLED = Path(__file__).parent.parent / "pretrained"


def find_folder(name_or_path: str | os.PathLike, layers: int | Sequence[int] | None = None) -> Path:
    """The folder meant; CheckpointError says what was tried. A bundled name goes before a folder of the same name.

    Of a hub model that is not here the whole is downloaded, or with `layers` only these.
    """
    if not isinstance(name_or_path, (str, os.PathLike)) or not isinstance(os.fspath(name_or_path) or 0, str):
        raise ValueError(f"load({name_or_path!r}): give a bundled name, a folder or a hub id such as 'org/model'.")
    path = Path(name_or_path).expanduser()
    if isinstance(name_or_path, str) and name_or_path in bundled_names():
        return BUNDLED / name_or_path
    with naming(path):
        if path.is_dir():
            return path
        if path.exists():
            raise CheckpointError(f"{path}: is a file; give the folder it lies in.")
    if isinstance(name_or_path, str) and (known_model(name_or_path) or HUB_ID.fullmatch(name_or_path)):
        return _from_hub(name_or_path, layers)
    bundled = ", ".join(bundled_names()) or "none in this version"
    raise CheckpointError(f"{name_or_path}: no such folder, and no bundled model of that name (there is: {bundled}).")


def bundled_names() -> list[str]:
    """The models that come with the package."""
    return sorted(path.parent.name for path in BUNDLED.glob("*/params.json"))


def _from_hub(model: str, layers: int | Sequence[int] | None) -> Path:
    from minimistral.checkpoints.hub import find_or_download

    try:
        return find_or_download(model, layers)
    except CheckpointError as error:
        reason = str(error).removeprefix(f"{model}: ")
        raise CheckpointError(f"{model}: no such folder here, not in the Hugging Face cache, and: {reason}") from error


def files_worth_having(files: list[str]) -> list[str]:
    """Of a repository's files those that one complete layout needs, the one that `load` reads: never weights twice."""
    wanted = [name for name in files if re.fullmatch(r"(params|config|tokenizer)\.json|tokenizer\.model(\.v\d)?", name)]
    for config, pattern in (
        ("config.json", r"model\.safetensors"),
        ("config.json", r"model-\d+-of-\d+\.safetensors|model\.safetensors\.index\.json"),
        ("params.json", r"consolidated\.safetensors"),
        ("params.json", r"consolidated[.-]\d+(-of-\d+)?\.safetensors|consolidated\.safetensors\.index\.json"),
        ("config.json", r"pytorch_model\.bin"),
        ("config.json", r"pytorch_model-\d+-of-\d+\.bin|pytorch_model\.bin\.index\.json"),
        ("params.json", r"consolidated(\.\d+)?\.pth"),
        ("params.json", r"consolidated(\.\d+)?\.pt"),
    ):
        if config in files and (weights := [name for name in files if re.fullmatch(pattern, name)]):
            return wanted + weights
    return wanted
