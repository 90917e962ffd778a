"""Download a model from the Hugging Face hub, and hash its files.

Scope: embedders. Out of scope: base models (`storage/weights/weights.py`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable
from pathlib import Path

from twin_resources.errors import TwinError


def download_model(
    name: str, folder: Path, *, patterns: Iterable[str], action: str, next_step: str
) -> Path:
    """Download the files of a model that match the patterns, and return `folder`.

    Args:
        name: hub id (owner/name).
        action, next_step: parts of the error.

    Raises:
        TwinError: the hub does not provide the model.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        snapshot_download(name, local_dir=folder, allow_patterns=list(patterns))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        found = f"no such folder, and the model hub answered: {error}"
        raise TwinError(action, found=found, next_step=next_step) from error
    return folder


def hash_model_files(paths: Iterable[Path], folder: Path, *, suffixes: Collection[str]) -> str:
    """Return the SHA-256 of the names and contents of the files with these suffixes."""
    digest = hashlib.sha256()
    for path in sorted(paths):
        if path.suffix in suffixes and path.is_file():
            digest.update(path.relative_to(folder).as_posix().encode())
            with path.open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()
