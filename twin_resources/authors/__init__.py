"""Read and write authors' files, their consent and their pauses.

Scope: facts about an author that do not depend on posts. Out of scope: settings of the
whole home (`settings.py`).
"""
# pyright: strict

from twin_resources.authors.author_file import (
    CONTEXT_TOKENS,
    FREQUENCY_PENALTY,
    OPT_INS,
    SAMPLES_DIR,
    Author,
    list_author_slugs,
    list_readable_authors,
    read_author,
    read_counted_scores,
    write_author,
)

__all__ = [
    "CONTEXT_TOKENS",
    "FREQUENCY_PENALTY",
    "OPT_INS",
    "SAMPLES_DIR",
    "Author",
    "list_author_slugs",
    "list_readable_authors",
    "read_author",
    "read_counted_scores",
    "write_author",
]
