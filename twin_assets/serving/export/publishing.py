"""Publish an export on a model hub: a repository with a card and a tag for the version.

Scope: the files to send, the check for private folders, the upload. Out of scope: writing the
export (`exporting.py`), the card's text (`model_card.py`), choosing the version
(`deploy/twin_cli/commands/publishing_command.py`).

The hub is Hugging Face's, or a hub with the same API at `HF_ENDPOINT`; `HF_TOKEN` grants access.
Both variables are defined by huggingface_hub:
https://huggingface.co/docs/huggingface_hub/guides/upload
"""
# pyright: strict

from __future__ import annotations

import json
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from typing import Any

from twin_assets.checkpoints.job import write_json
from twin_assets.serving.export.exporting import RECORD_FILE_NAME
from twin_resources.errors import TwinError

CARD_FILE_NAME = "README.md"
_TEXT_SUFFIXES = {".json", ".jinja", ".md", ".txt"}


def replace_base_folder(export: Path, *, base: str) -> dict[str, Any]:
    """Replace the base model's folder in an export with its hub name; return the record.

    Args:
        base: name returned by `model_card.base_hub_name`.
    """
    record: dict[str, Any] = json.loads((export / RECORD_FILE_NAME).read_text(encoding="utf-8"))
    record["base"]["name"] = base
    write_json(export / RECORD_FILE_NAME, record)
    config = export / "adapter_config.json"
    if config.exists():
        document: dict[str, Any] = json.loads(config.read_text(encoding="utf-8"))
        write_json(config, document | {"base_model_name_or_path": base})
    return record


def ensure_no_private_folders(export: Path, folders: Iterable[Path]) -> None:
    """Check that no text file of an export contains the path of a folder on this machine.

    Raises:
        TwinError: a file contains such a path.
    """
    private_folders = sorted({str(folder.resolve()) for folder in folders} - {"/"})
    for file in sorted(path for path in export.rglob("*") if path.suffix in _TEXT_SUFFIXES):
        text = file.read_text(encoding="utf-8")
        if leaked_folder := next((folder for folder in private_folders if folder in text), None):
            raise TwinError(
                "publish the version",
                found=f"{file.name} contains {leaked_folder}, a folder on this machine",
                next_step="report this with the base model's name; nothing was sent",
            )


def upload(export: Path, repository: str, *, public: bool, tag: str) -> str:
    """Upload all files of an export in one commit; return the commit's URL.

    Args:
        repository: `organization/name`, created if missing. The commit removes files of an earlier
            version.
        public: whether everyone may read it; the visibility of an existing repository must match.
        tag: tag for this commit, moved if it exists.

    Raises:
        TwinError: the hub refused the upload or cannot be reached, or the repository's visibility
            differs from `public` (nothing is sent in that case).
    """
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    hub: Any = import_module("huggingface_hub").HfApi()  # its types are partial
    action = f"publish to {repository}"
    try:
        hub.create_repo(repository, private=not public, exist_ok=True)
        # an existing repository keeps its visibility
        if (is_public := not hub.model_info(repository).private) != public:
            raise TwinError(
                action,
                found=f"the repository is already {'public' if is_public else 'private'}",
                next_step="specify another repository, or change its visibility on the hub"
                + (", or pass --public" if is_public else ""),
            )
        commit = hub.upload_folder(
            repo_id=repository,
            folder_path=export,
            commit_message=f"llm-twin {tag}",
            delete_patterns="*",
        )
        if any(ref.name == tag for ref in hub.list_repo_refs(repository).tags):
            hub.delete_tag(repository, tag=tag)
        hub.create_tag(repository, tag=tag, revision=commit.oid)
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        raise TwinError(
            action,
            found=f"the model hub answered: {error}",
            next_step="check the name, HF_TOKEN (it needs write access) and HF_ENDPOINT",
        ) from error
    return str(commit.commit_url)
