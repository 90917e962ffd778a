"""Pause and resume an author's answers with a file that the gateway reads.

Scope: writing, reading and deleting the file. Out of scope: the refusal of a
question (`gateway/routing/model_names.py`), the command (`commands/operating.py`).

The file is `authors/<slug>.paused`, one line with the time and the reason. It is separate from the
author's file, so that a pause persists while that file is invalid or `twin up` rewrites it.
"""
# pyright: strict

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from twin_resources.atomic_writes import replace_file
from twin_resources.settings import Settings

PAUSE_SUFFIX = ".paused"
MAX_REASON_CHARACTERS = 300  # limit for display, because a person may have written the line


def pause_path(settings: Settings, slug: str) -> Path:
    """Return the path of the file that pauses an author while it exists."""
    return settings.authors_dir / f"{slug}{PAUSE_SUFFIX}"


def pause_author(settings: Settings, slug: str, *, reason: str) -> Path:
    """Pause an author's answers, or replace the reason of an existing pause."""
    path = pause_path(settings, slug)
    paused_at = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return replace_file(path, f"since {paused_at}: {' '.join(reason.split())}\n")


def resume_author(settings: Settings, slug: str) -> bool:
    """Resume the author's answers; return False if they were not paused."""
    try:
        pause_path(settings, slug).unlink()
    except FileNotFoundError:
        return False
    return True


def read_pause(path: Path) -> str:
    """Return the line of a pause file, or "" if there is no such file.

    A file that cannot be read pauses the author too.
    """
    try:
        line = path.read_text(encoding="utf-8", errors="replace").strip()
    except FileNotFoundError:
        return ""
    except OSError as error:
        line = f"{path.name} cannot be read ({error.strerror})"
    return " ".join(line.split())[:MAX_REASON_CHARACTERS] or "no reason was given"
