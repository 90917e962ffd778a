"""Test that the documents have short sentences, and that each page states its kind."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import textstat

from tests.conftest import ROOT
from tests.unit.documents.prose import PAGES, split_sentences

MAX_MEAN_WORDS = 18
MAX_SENTENCE_WORDS = 35
MAX_RECORD_WORDS = 150
MAX_DECISIONS_WORDS = 4_500
DOCS = ROOT / "deploy" / "docs"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_sentences_are_short(path: Path) -> None:
    parts = split_sentences(path.read_text(encoding="utf-8"))

    assert parts
    assert [part for part in parts if textstat.lexicon_count(part) > MAX_SENTENCE_WORDS] == []
    text = "\n".join(part.rstrip(".!?:;") + "." for part in parts)
    assert textstat.words_per_sentence(text) <= MAX_MEAN_WORDS


@pytest.mark.parametrize("path", sorted(DOCS.glob("*.md")), ids=lambda path: path.name)
def test_a_page_states_its_kind(path: Path) -> None:
    kinds = re.findall(
        r"^\*(Tutorial|How-to|Reference|Explanation)\.\*", path.read_text("utf-8"), re.MULTILINE
    )
    assert len(kinds) == 1


def test_decisions_are_short_dated_records() -> None:
    page = (DOCS / "decisions.md").read_text(encoding="utf-8")
    records = [part for part in re.split(r"\n\n+(?=\*\*)", page)[1:] if part]

    assert len(records) > 50
    assert [
        record[:40] for record in records if not re.match(r"\*\*[^*]*2026-\d\d-\d\d", record)
    ] == []
    titles = [record.partition(". ")[2].partition("**")[0] for record in records]
    assert len(set(titles)) == len(titles)
    prose = [re.sub(r"^\|.*$|^#.*$", "", record, flags=re.MULTILINE) for record in records]
    assert [body[:40] for body in prose if len(body.split()) > MAX_RECORD_WORDS] == []
    assert len(page.split()) <= MAX_DECISIONS_WORDS
