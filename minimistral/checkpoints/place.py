"""From what a caller names to a folder: a bundled model, a path, or a model of the Hugging Face hub."""

import os
import re
from pathlib import Path

from minimistral.checkpoints.catalog import read_catalog
from minimistral.checkpoints.errors import CheckpointError, naming
from minimistral.checkpoints.folder import find_checkpoint

BUNDLED = Path(__file__).parent.parent / "pretrained"


def find_folder(name_or_path: str | os.PathLike) -> Path:
    """The folder meant; CheckpointError says what was tried. A bundled name goes before a folder of the same name."""
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
    if isinstance(name_or_path, str) and re.fullmatch(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", name_or_path):
        return _from_hub(name_or_path)
    bundled = ", ".join(bundled_names()) or "none in this version"
    raise CheckpointError(f"{name_or_path}: no such folder, and no bundled model of that name (there is: {bundled}).")


def bundled_names() -> list[str]:
    """The models that come with the package."""
    return sorted(path.parent.name for path in BUNDLED.glob("*/params.json"))


def _from_hub(model_id: str) -> Path:
    """The snapshot in the local Hugging Face cache, downloaded first if it is not there."""
    try:
        from huggingface_hub import HfApi, snapshot_download
    except ImportError:
        raise CheckpointError(
            f"{model_id}: no such folder here. To read it from the Hugging Face hub, `pip install huggingface_hub`."
        ) from None
    try:
        cached = Path(snapshot_download(model_id, local_files_only=True))
        read_catalog(find_checkpoint(cached).weights)  # a download that was interrupted leaves a part
        return cached
    except Exception:  # nothing usable in the cache; huggingface_hub's own error types differ between versions
        pass
    try:
        files = files_worth_having(HfApi().list_repo_files(model_id))
        return Path(snapshot_download(model_id, allow_patterns=files))
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise CheckpointError(
            f"{model_id}: no such folder here, not in the Hugging Face cache, and the hub gave: {reason} "
            "Check the name, the connection, and for a gated model `hf auth login`."
        ) from error


def files_worth_having(files: list[str]) -> list[str]:
    """Of a repository's files those that one complete layout needs: never the same weights twice."""
    wanted = [name for name in files if re.fullmatch(r"(params|config|tokenizer)\.json|tokenizer\.model(\.v\d)?", name)]
    for pattern in (
        r"model(-\d+-of-\d+)?\.safetensors(\.index\.json)?",
        r"consolidated.*\.safetensors(\.index\.json)?",
        r"pytorch_model(-\d+-of-\d+)?\.bin(\.index\.json)?",
        r"consolidated.*\.pth?",
    ):
        if weights := [name for name in files if re.fullmatch(pattern, name)]:
            return wanted + weights
    return wanted
