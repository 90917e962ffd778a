"""Derive a file's markup, format and maximum size from its suffix.

Scope: rules based on the file's name.
Out of scope: reading bytes (`post_head`), and readers of formats (`text_formats`).
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Mapping

MAX_POST_BYTES = 2_000_000
"""Maximum size of a post that is read; the largest of 2,332 measured posts has 31 KB."""
MAX_DOCUMENT_BYTES = 50_000_000
"""Maximum size of a document, including its pictures (.docx, .odt, .pdf)."""

ASCIIDOC_SUFFIXES = frozenset({"adoc", "asciidoc", "asc"})
PANDOC_FORMATS: Mapping[str, str] = {
    "rst": "rst",
    "org": "org",
    **dict.fromkeys(sorted(ASCIIDOC_SUFFIXES), "asciidoc"),
    "textile": "textile",
    "dj": "djot",
    "docx": "docx",
    "odt": "odt",
}
"""Pandoc's format names by suffix."""
BINARY_SUFFIXES = frozenset({"docx", "odt", "pdf"})
"""Suffixes of binary formats: PDF, and formats that are zip files."""
EXTRA_SUFFIXES = frozenset({*PANDOC_FORMATS, "pdf"})
"""Suffixes of formats that need the extra `formats`."""
NON_MARKDOWN_SUFFIXES = frozenset({*EXTRA_SUFFIXES, "ipynb", "txt"})

_MARKUP: dict[str, str] = {
    **dict.fromkeys(("md", "markdown", "mdown", "mkd", "mkdn", "mdx", "qmd", "rmd"), "markdown"),
    **dict.fromkeys(("html", "htm", "xhtml"), "html"),
}


def get_markup(name: str) -> str:
    """Return `markdown` or `html` by the file's suffix, or "" for any other file."""
    dot_index = name.rfind(".")
    return _MARKUP.get(name[dot_index + 1 :].lower(), "") if dot_index >= 0 else ""


def get_known_suffix(name: str) -> str:
    """Return the suffix of a known format in lower case, or "" for any other file."""
    suffix = name[name.rfind(".") + 1 :].lower() if "." in name else ""
    return suffix if suffix in NON_MARKDOWN_SUFFIXES else ""


def get_max_file_bytes(name: str) -> int:
    """Return the maximum size, in bytes, of a file with this name."""
    return MAX_DOCUMENT_BYTES if get_known_suffix(name) in BINARY_SUFFIXES else MAX_POST_BYTES
