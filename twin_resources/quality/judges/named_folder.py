"""The folder of a model that a person names, and what its files say of which model it is.

Scope: a local folder or a download from the model hub, the hash of its files.
Out of scope: loading it (`entailment.py`), the names as settings
(`named.py`), base models and embedders, which are prepared (`storage/weights`).
"""
# pyright: strict

from __future__ import annotations

import hashlib
from pathlib import Path

from twin_resources.errors import TwinError

# Neither code nor pickles; of folders within it as well, where pooling is configured.
PATTERNS = ("*.json", "*.safetensors", "*.txt", "*.model")


def named_folder(name: str, *, into: Path, kind: str, setting: str) -> Path:
    """A local folder where it lies, else the model of that hub id below `into`.

    Args:
        kind: of model, for the error; `setting`: the variable that named it.

    Raises:
        TwinError: it is no folder, and the hub does not give it.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    from huggingface_hub import snapshot_download  # pyright: ignore[reportUnknownVariableType]
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    target = into / name.replace("/", "--")
    try:
        return Path(snapshot_download(name, local_dir=target, allow_patterns=list(PATTERNS)))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise TwinError(
            f"fetch the {kind} {name}",
            found=f"no such folder, and the model hub answered: {error}",
            next_step=f"name a folder or a hub id in {setting}, or unset it",
        ) from error


def files_hash(folder: Path) -> str:
    """SHA-256 over the files that decide what a model says, those of folders within it as well."""
    digest = hashlib.sha256()
    suffixes = {pattern.removeprefix("*") for pattern in PATTERNS}
    for path in sorted(folder.rglob("*")):
        within = path.relative_to(folder)
        hidden = any(part.startswith(".") for part in within.parts)  # what a download left behind
        if path.suffix in suffixes and path.is_file() and not hidden:
            digest.update(within.as_posix().encode())
            with path.open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()
