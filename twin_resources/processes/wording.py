"""Small words in sentences for people, where they follow from a number.

Scope: singular and plural. Out of scope: sentences.
"""
# pyright: strict

from __future__ import annotations


def counted(count: int, noun: str, plural: str = "") -> str:
    """`1 post`, `2 posts`, `1,200 posts`.

    Args:
        noun: for one of them.
        plural: where it is not the noun with an s.
    """
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"
