"""Render a one-line notice, with markup escaped.

Scope: the HTML of a message or an error. Out of scope: its position on the page.
Notices appear below the related widget. A toast would cover the text, could disappear too early,
and would show `<author>` as an empty tag.
"""
# pyright: strict

from __future__ import annotations

from twin_resources.errors import TwinError
from twin_resources.page.escaping import escape_html
from twin_resources.page.gateway_client import GatewayError


def render_notice(text: str, *, is_error: bool = False) -> str:
    """Return a notice as HTML that a screen reader announces, or "" for an empty text."""
    if not text:
        return ""
    role, css_class = ("alert", "twin-bad") if is_error else ("status", "twin-good")
    return f'<p role="{role}" class="twin-notice {css_class}">{escape_html(text)}</p>'


def render_error_notice(error: TwinError) -> str:
    """Return a notice of an error: its cause, and the next step if the page's owner can take it."""
    if isinstance(error, GatewayError):
        return render_notice(error.found, is_error=True)
    return render_notice(f"{error.found.rstrip('.')}. Next: {error.next_step}", is_error=True)
