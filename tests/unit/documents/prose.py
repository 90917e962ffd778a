"""The running text of a page: what a reader reads aloud.

Scope: which pages there are, taking code, tables and headings away, sentences, words.
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


def without_code(text: str) -> str:
    """A page without its fenced code."""
    return _FENCED.sub("", text)


def count_words(path: Path) -> int:
    """Words of a page, its tables included, its fenced code not."""
    return len(without_code(path.read_text(encoding="utf-8")).split())


def sentences(text: str) -> list[str]:
    """Sentences of the running text; a piece of code, a number or a path is one word."""
    text = _NO_PROSE.sub("", without_code(text))
    text = _LINK.sub(r"\1", re.sub(r"`[^`\n]*`", "code", text))
    text = _ITEM.sub("\n\n", text).replace("**", "").replace("*", "").replace("…", "")
    text = re.sub(r"(?<!\w)[.](?=\w)|(?<=\w)[.](?=\w)", "", text)  # .5, 3.11, README.md
    found: list[str] = []
    for paragraph in re.split(r"\n\s*\n", text):
        found += re.split(r"(?<=[.!?])[\"”)]?\s+", " ".join(paragraph.split()))
    return [one for one in found if len(one.split()) > 2]
