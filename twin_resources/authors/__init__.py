"""Authors: their files in the home, their consent, whether they are paused.

Scope: what is known of an author without looking at a post. Out of scope: what
holds for a whole home (`settings.py`).
"""
# pyright: strict

from twin_resources.authors.author_file import (
    CONTEXT_TOKENS,
    FREQUENCY_PENALTY,
    OPT_INS,
    SAMPLES,
    Author,
    author_slugs,
    counted_scores,
    list_authors,
    read_author,
    readable_authors,
    write_author,
)

__all__ = [
    "CONTEXT_TOKENS",
    "FREQUENCY_PENALTY",
    "OPT_INS",
    "SAMPLES",
    "Author",
    "author_slugs",
    "counted_scores",
    "list_authors",
    "read_author",
    "readable_authors",
    "write_author",
]
