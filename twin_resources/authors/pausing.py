"""Pause and resume an author's answers with a file that the gateway reads.

Scope: writing, reading and deleting the file. Out of scope: the refusal of a
question (`gateway/routing/model_names.py`), the command (`commands/operating.py`).
The file is `authors/<slug>.paused`, one line with the time and the reason. It is separate from the
author's file so that a pause holds while that file is broken or `twin up` rewrites it.
"""
# pyright: strict

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from twin_resources.atomic_writes import replace_file
from twin_resources.settings import Settings

SUFFIX = ".paused"
MAX_REASON_CHARACTERS = 300  # display limit; the line may have been written by hand


def pause_file(settings: Settings, slug: str) -> Path:
    return settings.authors_dir / f"{slug}{SUFFIX}"


def pause_author(settings: Settings, slug: str, *, reason: str) -> Path:
    """Stop an author's answers, or replace the reason if they are stopped already."""
    path = pause_file(settings, slug)
    day = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return replace_file(path, f"since {day}: {' '.join(reason.split())}\n")


def resume_author(settings: Settings, slug: str) -> bool:
    """Let the author answer again; return False if the author was not paused."""
    try:
        pause_file(settings, slug).unlink()
    except FileNotFoundError:
        return False
    return True


def pause_reason(path: Path) -> str:
    """Return the line of a pause file, or "" if there is none.
    A file that cannot be read pauses the author too.
    """
    try:
        line = path.read_text(encoding="utf-8", errors="replace").strip()
    except FileNotFoundError:
        return ""
    except OSError as error:
        line = f"{path.name} cannot be read ({error.strerror})"
    return " ".join(line.split())[:MAX_REASON_CHARACTERS] or "no reason was given"
