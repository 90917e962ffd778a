"""Each claim over cleaned documents, with data that must break it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl
import pytest

from twin_assets.corpus import document_claims

PARAGRAPHS = [
    "It's the first paragraph, and it isn't short: it has commas, and full stops. Has it?",
    "Here's the second one; nobody's sure why. It doesn't matter, really, does it?",
    "A third, since three aren't enough! There's a fourth, and that's the last of them.",
    "The fourth paragraph's here. It wasn't easy, but it's done, and that's all, folks.",
]
TEXT = "\n\n".join(PARAGRAPHS)


def measured(*texts: str, source: str = TEXT, markup: str = "markdown", kept: bool = True) -> Any:
    ids = [f"d{number}" for number in range(len(texts))]
    documents = pl.DataFrame(
        {
            "document_id": ids,
            "source_id": ids,
            "title": ["A title" for _ in ids],
            "text": texts,
            "language": ["en" for _ in ids],
            "kept": [kept for _ in ids],
        }
    )
    sources = pl.DataFrame(
        {"source_id": ids, "text": [source for _ in ids], "markup": [markup for _ in ids]}
    )
    return document_claims.measure(documents, sources)


def test_a_clean_document_keeps_all_claims() -> None:
    frame = measured(TEXT)
    assert document_claims.platform_boilerplate(frame).holds
    assert document_claims.personal_data(frame).holds
    kept = document_claims.punctuation_and_paragraphs(frame)
    assert kept.holds
    assert kept.counted["marks_a_word"] == kept.counted["marks_a_word_before"] > 0.1


def test_a_button_that_is_left_breaks_it() -> None:
    claim = document_claims.platform_boilerplate(measured(TEXT, f"{TEXT}\n\nSubscribe now"))
    assert not claim.holds
    assert claim.counted["platform_lines"] == 1


def test_a_foot_under_every_post_breaks_it() -> None:
    texts = [
        f"{subject} {TEXT.replace('the', subject)}\n\nAnn builds clocks in Bern and writes letters."
        for subject in (
            *("boats", "lamps", "kites", "bells", "trams", "wheels", "doors", "maps", "nets"),
            *("pens", "cups", "hats", "oars", "keys"),
        )
    ]
    claim = document_claims.platform_boilerplate(measured(*texts))
    assert not claim.holds
    assert (
        claim.counted["platform_lines"],
        claim.counted["documents_with_repeated_lines"],
    ) == (0, 14)


def test_an_address_that_is_left_breaks_it() -> None:
    claim = document_claims.personal_data(measured(TEXT, f"{TEXT} Write to ann.lee@clockmail.ch"))
    assert not claim.holds
    assert claim.counted == {"documents": 1, "pieces": 1}


def test_dropped_documents_break_nothing() -> None:
    frame = measured("Subscribe now", "ann.lee@clockmail.ch", kept=False)
    assert document_claims.platform_boilerplate(frame).holds
    assert document_claims.personal_data(frame).holds
    assert document_claims.punctuation_and_paragraphs(frame).holds


@pytest.mark.parametrize(
    ("spoiled", "fault"),
    [
        (TEXT.replace("'", "").replace(",", "").replace(".", ""), "stripped"),
        (TEXT.replace("\n\n", " "), "flattened"),
    ],
)
@pytest.mark.parametrize("markup", ["markdown", "html"])
def test_what_the_handbooks_cleaning_does_breaks_it(spoiled: str, fault: str, markup: str) -> None:
    source = "".join(f"<p>{part}</p>" for part in PARAGRAPHS) if markup == "html" else TEXT
    claim = document_claims.punctuation_and_paragraphs(
        measured(spoiled, source=source, markup=markup)
    )
    assert not claim.holds
    assert claim.counted[fault] == 1


def test_link_targets_and_code_are_no_prose() -> None:
    """What cleaning takes out on purpose does not count as lost."""
    link = "[clock](https://a.example/x,y;z?a=b.c.d.e.f.g.h)"
    source = TEXT.replace("paragraph", link) + "\n\n```\na.b; c, d. e! f? g's\n```"
    claim = document_claims.punctuation_and_paragraphs(
        measured(TEXT.replace("paragraph", "clock"), source=source)
    )
    assert claim.holds


def documents(*rows: tuple[str, bool]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "source_id": [f"{number}.md" for number in range(len(rows))],
            "source": ["posts" for _ in rows],
            "byline": [byline for byline, _ in rows],
            "kept": [kept for _, kept in rows],
        }
    )


def test_a_kept_post_of_somebody_else_breaks_it() -> None:
    own = [("Ann Lee", True), ("Ann Lee", True), ("", True)]
    assert document_claims.foreign_bylines(documents(*own, ("Bo Ek", False)), ["Ann Lee"]).holds
    broken = document_claims.foreign_bylines(documents(*own, ("Bo Ek", True)), ["Ann Lee"])
    assert not broken.holds
    assert broken.counted == {"kept": 1, "dropped": 0}


def test_the_byline_of_most_posts_is_the_authors_own() -> None:
    rows = [("anniebuildsclocks", True)] * 3 + [("Bo Ek", True)]
    claim = document_claims.foreign_bylines(documents(*rows), ["Ann Lee"])
    assert claim.counted == {"kept": 1, "dropped": 0}


def test_the_only_signed_post_is_not_the_authors_own() -> None:
    """Only guests are signed in many a blog: half of all its posts count, not of the signed."""
    rows = [("", True)] * 3 + [("Bo Ek", True)]
    assert not document_claims.foreign_bylines(documents(*rows), ["Ann Lee"]).holds


def near(texts: Mapping[str, str]) -> document_claims.DocumentClaim:
    def texts_of(names: Sequence[str]) -> Mapping[str, str]:
        return {name: texts[name] for name in names}

    return document_claims.near_duplicates(measured(*texts.values()), texts_of)


def test_two_copies_that_are_left_break_it() -> None:
    other = " ".join(f"quite another word{number}" for number in range(60))
    claim = near({"d0": TEXT, "d1": other, "d2": TEXT + " And three words more."})
    assert not claim.holds
    assert claim.counted["pairs"] == 1


def test_texts_that_differ_are_no_copies() -> None:
    texts = {
        f"d{n}": " ".join(f"word{n} is number{n * k} here" for k in range(40)) for n in range(20)
    }
    assert near(texts).holds


def test_pairs_that_are_compared_grow_with_the_documents_and_not_with_their_square() -> None:
    claim = near({f"d{n}": f"{TEXT} And number{n} at the end." for n in range(200)})
    assert not claim.holds
    assert claim.counted["compared"] + claim.counted["not_compared"] <= 200 * 8


def test_two_copies_among_many_that_share_a_phrase_are_found() -> None:
    phrase = " ".join(f"as everybody knows{step}" for step in range(6))
    texts = {
        f"d{n}": f"{phrase} " + " ".join(f"word{n}x{k} stands" for k in range(30))
        for n in range(100)
    }
    texts["d99"] = texts["d0"] + " Once more."
    claim = near(texts)
    assert not claim.holds
    assert claim.counted["pairs"] == 1
