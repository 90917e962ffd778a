"""Render a one-line notice for display below its subject, never over it and never as markup.

Scope: the line, for a text or for a failure. Out of scope: its position.
A toast would cover the text, disappear before it is read, and show `<author>` as an empty tag.
"""
# pyright: strict

from __future__ import annotations

from twin_resources.errors import TwinError
from twin_resources.page.readable import escape_html


def notice(text: str, *, is_error: bool = False) -> str:
    """Return the line as HTML that a screen reader announces; empty for an empty text."""
    if not text:
        return ""
    role, kind = ("alert", "twin-bad") if is_error else ("status", "twin-good")
    return f'<p role="{role}" class="twin-notice {kind}">{escape_html(text)}</p>'


def error_notice(error: TwinError) -> str:
    """Return a notice of a failure: what was found, and what to do."""
    return notice(f"{error.found.rstrip('.')}. Next: {error.next_step}", is_error=True)
