"""Render a one-line notice for display below its subject, never over it and never as markup.

Scope: the line, for a text or for a failure. Out of scope: its position.
A toast would cover the text, disappear before it is read, and show `<author>` as an empty tag.
"""
# pyright: strict

from __future__ import annotations

from twin_resources.errors import TwinError
from twin_resources.page.readable import as_text


def notice(text: str, *, bad: bool = False) -> str:
    """Return the line as HTML that a screen reader announces; empty for an empty text."""
    if not text:
        return ""
    role, kind = ("alert", "twin-bad") if bad else ("status", "twin-good")
    return f'<p role="{role}" class="twin-notice {kind}">{as_text(text)}</p>'


def problem(error: TwinError) -> str:
    """Return a notice of a failure: what was found, and what to do."""
    return notice(f"{error.found.rstrip('.')}. Next: {error.next_step}", bad=True)
