"""Apply a context: the settings of a deployment on other hosts, read from one of this user's files.

Scope: finding the file of `twin --context NAME`, and replacing the settings in the environment.
Out of scope: the settings (`twin_resources/settings.py`), copying the deployment's author files
(`registry/shared_files.py`).
"""
# pyright: strict

from __future__ import annotations

import os
import stat
from pathlib import Path

import typer
from dotenv import dotenv_values

from twin_resources.errors import TwinError

_SETTING_PREFIXES = ("TWIN_", "LANGFUSE_")


def apply_context(name: str) -> None:
    """Replace the settings in the environment with those of a context's file.

    The file has lines `NAME=value`. The shell's own `TWIN_` and `LANGFUSE_` variables are removed,
    so that no setting of another deployment stays in force. Without `TWIN_HOME`, the home is a
    folder beside the file.

    Raises:
        TwinError: there is no such context, or other users can read its secrets.
    """
    folder = Path(typer.get_app_dir("llm-twin"))
    path = folder / f"{name}.env"
    if not path.is_file():
        names = ", ".join(sorted(file.stem for file in folder.glob("*.env"))) or "none"
        raise TwinError(
            f"use the context {name!r}",
            found=f"no file {path}; the contexts are: {names}",
            next_step="write it with the deployment's settings, one NAME=value line for each "
            "(deploy/docs/deployment.md)",
        )
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise TwinError(
            f"use the context {name!r}",
            found=f"other users can read {path}, which contains secrets",
            next_step=f"chmod 600 {path}",
        )
    for variable in [key for key in os.environ if key.startswith(_SETTING_PREFIXES)]:
        del os.environ[variable]
    values = {key: value or "" for key, value in dotenv_values(path, interpolate=False).items()}
    os.environ.update({"TWIN_HOME": str(folder / name)} | values)
