"""Format counted nouns in messages.

Scope: singular and plural. Out of scope: sentences.
"""
# pyright: strict

from __future__ import annotations


def format_count(count: int, noun: str, plural: str = "") -> str:
    """Format a count with its noun: `1 post`, `2 posts`, `1,200 posts`.

    Args:
        noun: the singular.
        plural: the plural, if it is not the noun with an s.
    """
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"
