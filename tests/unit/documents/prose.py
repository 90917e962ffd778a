"""Extract the running text of a page, without code, tables and headings.

Scope: the list of pages, removing code, tables and headings, splitting the text into sentences.
Out of scope: the limits (`test_language.py`, `tests/unit/test_size.py`).
"""

from __future__ import annotations

import re
from pathlib import Path

from tests.conftest import ROOT

GENERATED = {"command.md", "python-reference.md", "settings.md"}
PAGES = [
    ROOT / "README.md",
    *(
        path
        for path in sorted((ROOT / "deploy" / "docs").glob("*.md"))
        if path.name not in GENERATED
    ),
]
_FENCED = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)
_NO_PROSE = re.compile(r"^(?:#|\||>| {4,}\S|!\[).*$", re.MULTILINE)
_LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
_ITEM = re.compile(r"^ *(?:[-*]|\d+\.) ", re.MULTILINE)


def remove_code(text: str) -> str:
    """Return a page without its fenced code."""
    return _FENCED.sub("", text)


def count_words(path: Path) -> int:
    """Count the words of a page with its tables but without its fenced code."""
    return len(remove_code(path.read_text(encoding="utf-8")).split())


def split_sentences(text: str) -> list[str]:
    """Return the sentences of the running text; a piece of code, a number or a path is one word."""
    text = _NO_PROSE.sub("", remove_code(text))
    text = _LINK.sub(r"\1", re.sub(r"`[^`\n]*`", "code", text))
    text = _ITEM.sub("\n\n", text).replace("**", "").replace("*", "").replace("…", "")
    text = re.sub(r"(?<!\w)[.](?=\w)|(?<=\w)[.](?=\w)", "", text)  # .5, 3.11, README.md
    parts: list[str] = []
    for paragraph in re.split(r"\n\s*\n", text):
        parts += re.split(r"(?<=[.!?])[\"”)]?\s+", " ".join(paragraph.split()))
    return [sentence for sentence in parts if len(sentence.split()) > 2]
