"""Render a one-line notice that is shown below its subject, with its markup escaped.

Scope: the line for a text or for a failure. Out of scope: its position.
A toast would cover the text, could disappear too early, and would show `<author>` as an empty tag.
"""
# pyright: strict

from __future__ import annotations

from twin_resources.errors import TwinError
from twin_resources.page.readable import escape_html


def notice(text: str, *, is_error: bool = False) -> str:
    """Return the line as HTML that a screen reader announces, or "" for an empty string."""
    if not text:
        return ""
    role, kind = ("alert", "twin-bad") if is_error else ("status", "twin-good")
    return f'<p role="{role}" class="twin-notice {kind}">{escape_html(text)}</p>'


def render_error_notice(error: TwinError) -> str:
    """Return a notice of a failure with its cause and the next step."""
    return notice(f"{error.found.rstrip('.')}. Next: {error.next_step}", is_error=True)
