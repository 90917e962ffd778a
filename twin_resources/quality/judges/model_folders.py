"""Find or download the folder of a configured model, and hash its files.

Scope: a local folder or a download from the model hub, and the hash of its files.
Out of scope: loading the model (`entailment.py`), its name in the settings (`named.py`), base
models and embedders (`storage/weights`).
"""
# pyright: strict

from __future__ import annotations

import hashlib
from pathlib import Path

from twin_resources.errors import TwinError

# Excludes code and pickles. Subfolders are included because they may configure pooling.
MODEL_FILE_PATTERNS = ("*.json", "*.safetensors", "*.txt", "*.model")


def resolve_model_folder(name: str, *, download_folder: Path, kind: str, setting: str) -> Path:
    """Return a model's local folder, downloading the model to `download_folder` if necessary.

    Args:
        kind: the kind of model, for the error.
        setting: the variable that contains the name, for the error.

    Raises:
        TwinError: the name is not a local folder, and the hub does not provide the model.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    from huggingface_hub import snapshot_download  # pyright: ignore[reportUnknownVariableType]
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    target = download_folder / name.replace("/", "--")
    try:
        return Path(
            snapshot_download(name, local_dir=target, allow_patterns=list(MODEL_FILE_PATTERNS))
        )
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise TwinError(
            f"fetch the {kind} {name}",
            found=f"no such folder, and the model hub answered: {error}",
            next_step=f"name a folder or a hub id in {setting}, or unset it",
        ) from error


def hash_model_files(folder: Path) -> str:
    """Return the SHA-256 of the files that determine a model's output, including subfolders."""
    digest = hashlib.sha256()
    suffixes = {pattern.removeprefix("*") for pattern in MODEL_FILE_PATTERNS}
    for path in sorted(folder.rglob("*")):
        relative_path = path.relative_to(folder)
        is_hidden = any(part.startswith(".") for part in relative_path.parts)  # left by a download
        if path.suffix in suffixes and path.is_file() and not is_hidden:
            digest.update(relative_path.as_posix().encode())
            with path.open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()
