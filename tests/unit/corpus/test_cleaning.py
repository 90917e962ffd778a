"""Test which posts are kept or dropped, and the reconciliation of their counts."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from dataframely.exc import ValidationError

from twin_assets.corpus import raw_posts_import
from twin_assets.corpus.cleaning import (
    RAW_COLUMNS,
    build_document_id,
    clean_all_posts,
    normalize_text,
)
from twin_assets.corpus.cleaning_verdicts import MIN_WORDS
from twin_assets.corpus.corpus_tables import RawPosts, column_types, validate_rows
from twin_assets.corpus.inventory import take_inventory
from twin_assets.corpus.reconciliation import count_dropped_by_reason, is_balanced, reconcile_posts

TEXT = "It's a note about clocks, and it has more than ten words in it."


def build_raw_rows(*posts: dict[str, Any]) -> pl.DataFrame:
    """Return rows of `raw_posts` with these fields, and defaults for the others."""
    defaults: dict[str, Any] = {
        "source": "/posts",
        "path": "/posts/a.md",
        "url": "",
        "author": "",
        "kind": "note",
        "title": "A title",
        "text": TEXT,
        "markup": "markdown",
        "created_at": None,
        "local_time": None,
        "updated_at": None,
        "tags": [],
        "file_hash": "h",
        "deleted": False,
        "problem": "",
    }
    rows = [
        defaults | {"source_id": f"{n}.md", "content_hash": str(post.get("text", TEXT))} | post
        for n, post in enumerate(posts)
    ]
    frame = pl.DataFrame(rows, schema=column_types(RawPosts))
    return frame.with_columns(pl.col("content_hash").replace("", "none")).select(RAW_COLUMNS)


def list_reasons(frame: pl.DataFrame) -> list[str]:
    return clean_all_posts(frame)["dropped_because"].to_list()


def test_the_day_of_a_document_is_the_one_that_its_site_shows() -> None:
    midnight_in_tokyo = datetime(2020, 1, 1, 15, tzinfo=UTC)
    posts = build_raw_rows(
        {"created_at": midnight_in_tokyo, "local_time": datetime(2020, 1, 2)},
        {"created_at": midnight_in_tokyo, "text": "Other words: " + TEXT.replace("clock", "boat")},
    )
    days = clean_all_posts(posts).sort("source_id")["published_at"].dt.date()
    assert days.to_list() == [date(2020, 1, 2), date(2020, 1, 1)]


def test_phone_numbers_are_recognized_by_the_language_of_the_post() -> None:
    spanish = "Esta es una nota sobre relojes y sus muelles, y mi amigo lo sabe: 612 34 56 78."
    english = "This is a note about clocks and their springs, and my friend knows: 612 34 56 78."
    rows = clean_all_posts(build_raw_rows({"text": spanish}, {"text": english})).to_dicts()
    assert [row["language"] for row in rows] == ["es", "en"]
    assert rows[0]["text"].endswith("lo sabe: [phone].")
    assert rows[1]["text"] == english


def test_a_kept_post_has_text_word_count_and_language() -> None:
    [row] = clean_all_posts(build_raw_rows({"title": " A \n title "})).to_dicts()
    assert row["text"] == TEXT
    assert (row["title"], row["words"], row["language"]) == ("A title", 14, "en")
    assert (row["kept"], row["dropped_because"], row["duplicate_of"]) == (True, "", "")


@pytest.mark.parametrize(
    ("post", "reason"),
    [
        ({"deleted": True, "kind": "tombstone", "text": "", "title": ""}, "deleted_at_the_source"),
        ({"problem": "not_utf8", "text": ""}, "not_utf8"),
        ({"kind": "draft"}, "draft"),
        ({"text": "Only three words."}, "too_short"),
        ({"text": "![image](a.png)"}, "no_text"),
        ({"text": "<html><body></body></html>", "markup": "html"}, "no_text"),
    ],
)
def test_a_dropped_post_is_a_row_with_a_reason(post: dict[str, Any], reason: str) -> None:
    [row] = clean_all_posts(build_raw_rows(post)).to_dicts()
    assert (row["kept"], row["dropped_because"], row["text"]) == (False, reason, "")


def test_short_notes_are_kept() -> None:
    short = "Use ctrl-w then x to swap two tmux panes quickly."
    assert len(short.split()) == MIN_WORDS
    assert list_reasons(build_raw_rows({"text": short})) == [""]


def test_the_earliest_of_equal_posts_is_kept() -> None:
    old, new = (datetime(year, 1, 1, tzinfo=UTC) for year in (2001, 2002))
    frame = clean_all_posts(
        build_raw_rows(
            {"source_id": "a", "created_at": None},
            {"source_id": "b", "created_at": new},
            {"source_id": "c", "created_at": old},
            {
                "source_id": "d",
                "text": "Boats are another matter, and these ten words are on sails.",
            },
        )
    )
    assert frame["dropped_because"].to_list() == ["duplicate", "duplicate", "", ""]
    assert frame["duplicate_of"].to_list() == [build_document_id("c")] * 2 + ["", ""]


@pytest.mark.parametrize(
    ("teaser", "reason"),
    [
        ({}, "near_duplicate"),
        ({"url": "", "title": "A clock"}, "near_duplicate"),
        ({"url": "http://a.example/clock"}, "near_duplicate"),
        ({"url": "https://a.example/boat/"}, ""),
        ({"source": "blog"}, ""),
        ({"text": "The clock of our town is a subject to which I shall return."}, ""),
    ],
)
def test_a_feeds_beginning_of_a_post_that_is_there_whole_is_a_copy(
    teaser: dict[str, Any], reason: str
) -> None:
    whole = f"{TEXT} " + " ".join(f"Wheel {n} has {n} teeth of brass." for n in range(20))
    page = {"url": "https://a.example/clock/index.html", "source": "blog"}
    frame = clean_all_posts(
        build_raw_rows(
            {"source_id": "b", "text": whole, "title": "A clock", **page},
            {"source_id": "a", "source": "feed", "title": "", "url": "https://a.example/clock/"}
            | {"created_at": datetime(2001, 1, 1, tzinfo=UTC)}
            | teaser,
        )
    )
    rows = {row["source_id"]: row for row in frame.to_dicts()}
    assert [rows[name]["dropped_because"] for name in "ab"] == [reason, ""]
    assert rows["a"]["duplicate_of"] == (build_document_id("b") if reason else "")


def test_a_list_of_posts_takes_no_paragraph_from_them() -> None:
    paragraphs = [f"Clock {n} of the town hall has {n} wheels and {n} hands." for n in range(6)]
    posts = [f"{text}\n\nNobody but me has mended number {n}." * 2 for n, text in
             enumerate(paragraphs)]  # fmt: skip
    tags = ["\n\n".join([paragraphs[0], *paragraphs[n : n + 3]]) for n in range(1, 4)]
    tags += ["\n\n".join([*paragraphs[:3], paragraphs[n]]) for n in range(3, 6)]
    frame = clean_all_posts(build_raw_rows(*({"text": text} for text in [*posts, *tags])))
    rows = {row["source_id"]: row for row in frame.to_dicts()}
    assert [rows[f"{n}.md"]["dropped_because"] for n in range(12)] == [""] * 6 + [
        "list_of_posts"
    ] * 6
    assert [rows[f"{n}.md"]["text"] for n in range(6)] == posts


def test_a_repeated_paragraph_of_prose_stays_in_the_oldest_post() -> None:
    introduction = " ".join(
        f"This series tells part {n} of the clock's long story." for n in "abcdef"
    )
    posts = [
        f"{introduction}\n\n"
        + " ".join(f"Wheel {n} of {word} has {n} teeth." for word in "abcdefghij")
        for n in range(6)
    ]
    frame = clean_all_posts(
        build_raw_rows(
            *(
                {"text": text, "created_at": datetime(2010 - n, 1, 1, tzinfo=UTC)}
                for n, text in enumerate(posts)
            )
        )
    )
    texts = dict(frame.select("source_id", "text").iter_rows())
    assert [introduction in texts[f"{n}.md"] for n in range(6)] == [False] * 5 + [True]


def test_a_draft_replaces_no_post() -> None:
    assert list_reasons(
        build_raw_rows({"kind": "draft"}, {}, {"deleted": True, "text": "", "kind": "tombstone"})
    ) == ["draft", "", "deleted_at_the_source"]


def test_no_rows_give_no_documents() -> None:
    assert clean_all_posts(build_raw_rows()).height == 0


def test_text_is_nfc_with_plain_line_ends_and_no_invisible_characters() -> None:
    assert (
        normalize_text("Jose\u0301\r\nit\u00a0is\u200b \ufeffso\x00\tya\rno")
        == "José\nit is so\tya\nno"
    )


def test_document_ids_depend_only_on_the_path() -> None:
    first = clean_all_posts(build_raw_rows({"source_id": "a.md", "text": TEXT}))
    second = clean_all_posts(build_raw_rows({"source_id": "a.md", "text": TEXT + " Edited."}))
    assert first["document_id"].to_list() == second["document_id"].to_list()
    assert build_document_id("a.md") != build_document_id("b.md")


CLEANED = pl.DataFrame(
    {
        "source_id": ["a", "b", "c"],
        "kept": [True, False, False],
        "dropped_because": ["", "draft", "draft"],
    }
)


def test_complete_counts_are_balanced() -> None:
    counts = reconcile_posts(pl.DataFrame({"source_id": ["a", "b", "c"]}), CLEANED)
    assert is_balanced(counts)
    assert (counts["imported"], counts["kept"], counts["dropped"]) == (3, 1, 2)


@pytest.mark.parametrize(
    ("raw_ids", "cleaned", "fault"),
    [
        (["a", "b", "c", "d"], CLEANED, "missing"),
        (["a", "b"], CLEANED, "unknown"),
        # One post is lost and another is duplicated, so only the totals agree.
        (["a", "b", "d"], pl.concat([CLEANED[:2], CLEANED[:1]]), "twice"),
        (
            ["a", "b", "c"],
            CLEANED.with_columns(pl.lit("").alias("dropped_because")),
            "without_reason",
        ),
    ],
)
def test_lost_or_unexplained_posts_are_not_balanced(
    raw_ids: list[str], cleaned: pl.DataFrame, fault: str
) -> None:
    counts = reconcile_posts(pl.DataFrame({"source_id": raw_ids}), cleaned)
    assert not is_balanced(counts)
    assert counts[fault] > 0


def test_reasons_are_counted_most_frequent_first() -> None:
    assert count_dropped_by_reason(pl.DataFrame({"dropped_because": ["", "b", "a", "b"]})) == {
        "b": 2,
        "a": 1,
    }


def test_the_schema_rejects_a_dropped_row_without_a_reason() -> None:
    from twin_assets.corpus.corpus_tables import CleanedDocuments

    good = clean_all_posts(build_raw_rows({}))
    with pytest.raises(ValidationError):
        validate_rows(good.with_columns(pl.lit(False).alias("kept")), CleanedDocuments)


@pytest.mark.long
def test_the_shared_posts_are_all_kept(shared_posts: Path) -> None:
    """The notes of the other shared author are cleaned in `test_preview.py`."""
    inventory = take_inventory([shared_posts / "skeeto"])
    rows = raw_posts_import.read_rows(raw_posts_import.build_inventory_frame(inventory), inventory)
    documents = clean_all_posts(rows.select(RAW_COLUMNS))
    assert documents.height == 461
    assert count_dropped_by_reason(documents) == {}
    assert documents["words"].sum() > 500_000
    assert documents["language"].unique().to_list() == ["en"]
