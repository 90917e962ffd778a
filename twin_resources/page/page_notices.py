"""One line that tells what happened: below what it is about, never over it, never as markup.

Scope: that line, and a failure as one. Out of scope: where it stands.
A toast covers the text, is gone before it is read, and shows `<author>` as an empty tag.
"""
# pyright: strict

from __future__ import annotations

from twin_resources.errors import TwinError
from twin_resources.page.readable import as_text


def notice(text: str, *, bad: bool = False) -> str:
    """HTML of the line, which a screen reader reads out; of an empty text nothing."""
    if not text:
        return ""
    role, kind = ("alert", "twin-bad") if bad else ("status", "twin-good")
    return f'<p role="{role}" class="twin-notice {kind}">{as_text(text)}</p>'


def problem(error: TwinError) -> str:
    """A failure: what was found, and what to do."""
    return notice(f"{error.found.rstrip('.')}. Next: {error.next_step}", bad=True)
