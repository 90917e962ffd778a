"""The picture of a corpus is drawn anew when it would look different, and only then."""

from __future__ import annotations

import json
from dataclasses import asdict

from twin_assets.corpus.cleaned_documents_plot import CorpusShape, draw

WORDS = [10 + n % 2_000 for n in range(60_000)]


def test_ten_posts_among_many_do_not_show() -> None:
    before = CorpusShape.of({"en": 60_000, "de": 30_000}, WORDS)
    after = CorpusShape.of({"en": 60_010, "de": 30_000}, [*WORDS, *[500] * 10])
    assert after != before
    assert after.looks_like(before)


def test_what_shows_is_drawn() -> None:
    before = CorpusShape.of({"en": 600, "de": 30}, WORDS)
    assert not CorpusShape.of({"en": 610, "de": 30}, WORDS).looks_like(before)
    assert not CorpusShape.of({"en": 600, "fr": 30}, WORDS).looks_like(before)
    assert not CorpusShape.of({"en": 600}, WORDS).looks_like(before)
    assert not CorpusShape.of({"en": 600, "de": 30}, [*WORDS, 9_000]).looks_like(before)
    assert not CorpusShape.of({"en": 600, "de": 30}, WORDS[: len(WORDS) // 2]).looks_like(before)


def test_a_shape_counts_each_document_once_and_is_kept() -> None:
    shape = CorpusShape.of({f"l{n}": 20 - n for n in range(12)}, [1, 5, 5, 80])
    assert sum(shape.documents) == 4
    assert list(shape.languages)[-1] == "others"
    assert sum(shape.languages.values()) == sum(20 - n for n in range(12))
    assert CorpusShape.from_document(json.loads(json.dumps(asdict(shape)))) == shape


def test_nothing_is_drawn_as_well() -> None:
    nothing = CorpusShape.of({}, [])
    assert nothing.looks_like(CorpusShape.of({}, []))
    assert not nothing.looks_like(CorpusShape.of({"en": 1}, [12]))
    assert draw(nothing, title="Ann").startswith(b"\x89PNG")
    assert draw(CorpusShape.of({"en": 3}, [1, 2, 700]), title="Ann").startswith(b"\x89PNG")
