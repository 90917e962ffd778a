"""What a file's suffix says: which markup it holds, which reader makes Markdown of it, how long it
may be.

Scope: names alone. Out of scope: bytes (`post_head`), readers (`text_formats`).
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Mapping

MAX_POST_BYTES = 2_000_000
"""A longer file is not a post (the longest of 2,332 posts measured has 31 KB) and is not read."""
MAX_DOCUMENT_BYTES = 50_000_000
"""The same of a document with its pictures in it (.docx, .odt, .pdf)."""

ASCIIDOC = frozenset({"adoc", "asciidoc", "asc"})
PANDOC: Mapping[str, str] = {
    "rst": "rst",
    "org": "org",
    **dict.fromkeys(sorted(ASCIIDOC), "asciidoc"),
    "textile": "textile",
    "dj": "djot",
    "docx": "docx",
    "odt": "odt",
}
"""Suffix → pandoc's name of the format."""
OFFICE = frozenset({"docx", "odt", "pdf"})
"""Formats of files that are no text: zips, and PDF."""
WITH_EXTRA = frozenset({*PANDOC, "pdf"})
NOT_MARKDOWN = frozenset({*WITH_EXTRA, "ipynb", "txt"})

_MARKUP: dict[str, str] = {
    **dict.fromkeys(("md", "markdown", "mdown", "mkd", "mkdn", "mdx", "qmd", "rmd"), "markdown"),
    **dict.fromkeys(("html", "htm", "xhtml"), "html"),
}


def markup_of(name: str) -> str:
    """`markdown` or `html` by the file's suffix; "" for every other file."""
    dot = name.rfind(".")
    return _MARKUP.get(name[dot + 1 :].lower(), "") if dot >= 0 else ""


def suffix_of(name: str) -> str:
    """The suffix by which a format is known, lower case; "" for every other file."""
    suffix = name[name.rfind(".") + 1 :].lower() if "." in name else ""
    return suffix if suffix in NOT_MARKDOWN else ""


def most_bytes(name: str) -> int:
    """How long a file of this name may be to be read."""
    return MAX_DOCUMENT_BYTES if suffix_of(name) in OFFICE else MAX_POST_BYTES
