"""An author whose answers are stopped: one file beside the author's, which the gateway follows.

Scope: writing it, reading it, taking it away. Out of scope: the refusal of a
question (`gateway/routing/model_names.py`), the command (`commands/operating.py`).

A file of its own, because a pause must hold whatever stands in the author's file, broken or
rewritten by `twin up` at that moment: `authors/<slug>.paused`, one line of when and why.
"""
# pyright: strict

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from twin_resources.atomic_writes import replace_file
from twin_resources.settings import Settings

SUFFIX = ".paused"
LONGEST = 300  # characters that are shown of a line that somebody wrote by hand


def pause_file(settings: Settings, slug: str) -> Path:
    return settings.authors_dir / f"{slug}{SUFFIX}"


def pause(settings: Settings, slug: str, *, reason: str) -> Path:
    """Stop an author's answers; a second time renews the reason."""
    path = pause_file(settings, slug)
    day = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return replace_file(path, f"since {day}: {' '.join(reason.split())}\n")


def resume(settings: Settings, slug: str) -> bool:
    """Let the author answer again; False: nothing was stopped."""
    try:
        pause_file(settings, slug).unlink()
    except FileNotFoundError:
        return False
    return True


def paused_because(path: Path) -> str:
    """The line of a pause file; "" without one. One that cannot be read stops the author too."""
    try:
        line = path.read_text(encoding="utf-8", errors="replace").strip()
    except FileNotFoundError:
        return ""
    except OSError as error:
        line = f"{path.name} cannot be read ({error.strerror})"
    return " ".join(line.split())[:LONGEST] or "no reason was written"
