"""Test how documents are split by date, hash and similarity."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from twin_assets.instructions.splits import (
    SplitDocument,
    SplitRow,
    draw_splits,
    name_subject,
)

WORDS = ("lorem", "tide", "harbour", "engine", "willow", "copper", "lantern", "orchard")


def build_text(number: int) -> str:
    """Return 200 words that share no five-word sequence with the text of another number."""
    return " ".join(
        f"{WORDS[(number * 7 + step) % 8]}{number * 1000 + step}" for step in range(200)
    )


def build_documents(count: int, *, dated: bool = True, first: int = 0) -> list[SplitDocument]:
    start = datetime(2015, 1, 1, tzinfo=UTC)
    return [
        SplitDocument(f"doc-{n:04d}", start + timedelta(days=n) if dated else None, build_text(n))
        for n in range(first, first + count)
    ]


def list_splits(draws: list[SplitRow]) -> dict[str, str]:
    return {draw.document_id: draw.split for draw in draws}


def test_the_newest_tenth_of_the_first_import_is_held_out() -> None:
    draws = draw_splits(build_documents(100), existing_rows=[])
    newest = {draw.document_id for draw in draws if draw.because == "newest"}
    assert newest == {f"doc-{n:04d}" for n in range(90, 100)}
    assert all(draw.split == "held_out" for draw in draws if draw.because == "newest")


def test_one_of_a_few_long_essays_is_held_out() -> None:
    """With so few documents, a draw by hash might hold out none."""
    for count in (2, 5, 6):
        draws = draw_splits(build_documents(count), existing_rows=[])
        newest = [draw.document_id for draw in draws if draw.because == "newest"]
        assert newest == [f"doc-{count - 1:04d}"]
    assert [draw.because for draw in draw_splits(build_documents(1), existing_rows=[])] == ["hash"]


def test_a_tenth_of_the_remaining_documents_is_held_out_by_hash() -> None:
    draws = draw_splits(build_documents(1000), existing_rows=[])
    by_hash = [draw for draw in draws if draw.because == "hash"]
    held_out_count = sum(draw.split == "held_out" for draw in by_hash)
    assert 0.07 < held_out_count / len(by_hash) < 0.13


def test_later_posts_are_split_by_hash() -> None:
    first = draw_splits(build_documents(100), existing_rows=[])
    rows = draw_splits(build_documents(300), existing_rows=first)
    assert len(rows) == 200
    assert {draw.because for draw in rows} == {"hash"}
    assert 0.04 < sum(draw.split == "held_out" for draw in rows) / 200 < 0.16


def test_splits_do_not_depend_on_order_or_repetition() -> None:
    first = draw_splits(build_documents(50), existing_rows=[])
    assert list_splits(draw_splits(build_documents(50)[::-1], existing_rows=[])) == list_splits(
        first
    )
    assert draw_splits(build_documents(50), existing_rows=first) == []


def test_undated_documents_are_drawn_by_hash() -> None:
    draws = draw_splits(build_documents(200, dated=False), existing_rows=[])
    assert {draw.because for draw in draws} == {"hash"}


def test_a_near_duplicate_gets_the_split_of_the_stored_document() -> None:
    rows = draw_splits(build_documents(100), existing_rows=[])
    for split in ("train", "held_out"):
        for earlier in [draw for draw in rows if draw.split == split][:5]:
            number = int(earlier.document_id[-4:])
            words = build_text(number).split()
            words[100] = "changed"
            copy = SplitDocument("copy", datetime(2030, 1, 1, tzinfo=UTC), " ".join(words))
            (draw,) = draw_splits([copy], existing_rows=rows)
            assert (draw.split, draw.because) == (split, f"like {earlier.document_id}")


def test_near_duplicates_share_a_split() -> None:
    old, *others = build_documents(100)
    repost = SplitDocument(
        "repost", datetime(2030, 1, 1, tzinfo=UTC), old.text + " and a last word"
    )
    draws = {
        draw.document_id: draw for draw in draw_splits([repost, old, *others], existing_rows=[])
    }
    assert draws["repost"].because == f"like {old.document_id}"
    assert draws["repost"].split == draws[old.document_id].split


def test_translations_share_a_split_whenever_they_come() -> None:
    """In the first import the newest posts are held out, so half of a pair would be, by age."""
    documents = [
        replace(document, subject=name_subject("site", f"{n}/index.md"))
        for n, document in enumerate(build_documents(100))
    ]
    translations = [
        replace(
            document,
            document_id=f"{document.document_id}-fr",
            text=build_text(5000 + n),
            subject=name_subject("site", f"{n}/index.fr.md"),
        )
        for n, document in enumerate(documents)
    ]
    first_rows = draw_splits(documents, existing_rows=[])
    subjects = {document.document_id: document.subject for document in documents}
    both_at_once = list_splits(draw_splits([*translations, *documents], existing_rows=[]))
    later = list_splits(draw_splits(translations, existing_rows=first_rows, subjects=subjects))
    for document in documents:
        name = document.document_id
        assert both_at_once[name] == both_at_once[f"{name}-fr"]
        assert later[f"{name}-fr"] == list_splits(first_rows)[name]
    assert set(later.values()) == {"train", "held_out"}
    assert name_subject("site", "fr/walk.md") == name_subject("site", "en/walk.md")
    assert name_subject("site", "notes/tide.pt-br.adoc") == name_subject("site", "notes/tide.adoc")
    assert name_subject("site", "a.md") != name_subject("other", "a.md")


def test_a_text_with_few_shared_words_is_not_a_duplicate() -> None:
    rows = draw_splits(build_documents(20), existing_rows=[])
    half = SplitDocument("half", None, " ".join(build_text(3).split()[:60]) + " " + build_text(500))
    (draw,) = draw_splits([half], existing_rows=rows)
    assert draw.because == "hash"
