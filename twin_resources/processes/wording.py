"""Format counted nouns in messages.

Scope: singular and plural forms. Out of scope: whole sentences.
"""
# pyright: strict

from __future__ import annotations


def format_count(count: int, noun: str, plural: str = "") -> str:
    """Format a count with its noun: `1 post`, `2 posts`, `1,200 posts`.

    Args:
        noun: singular form.
        plural: plural form; empty if it is the singular with an s.
    """
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"
