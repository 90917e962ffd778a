"""Exports of LinkedIn, Medium and Substack: their records, and the reasons for other rows."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.unit.corpus.packing import Files, write_zip
from tests.unit.corpus.sample_exports import (
    EXPORTS,
    KEPT,
    LINKEDIN,
    MALFORMED,
    MALFORMED_FOUND,
    MEDIUM,
    NOT_THE_AUTHORS,
    SENTENCE,
    SUBSTACK,
    share_link,
)
from twin_assets.corpus.importers import linkedin, medium, substack
from twin_assets.corpus.importers.archive import open_archive
from twin_assets.corpus.importers.linkedin_shares import iter_share_rows
from twin_assets.corpus.importers.recognition import find_importer
from twin_assets.corpus.importers.record import ExportRecord, Skipped, find_exclusion_reason
from twin_resources.authors import OPT_INS

IMPORTERS = {"linkedin": linkedin, "medium": medium, "substack": substack}


def read(
    name: str, files: Files, folder: Path, *, include: frozenset[str] = frozenset()
) -> tuple[list[ExportRecord], dict[str, int]]:
    """Return the records and the reasons for other rows, with the given opt-ins."""
    with open_archive(write_zip(files, folder / "export.zip")) as archive:
        outcomes = list(IMPORTERS[name].read(archive, include=include))
    records: list[ExportRecord] = []
    reasons: Counter[str] = Counter()
    for outcome in outcomes:
        if isinstance(outcome, Skipped):
            reasons[outcome.reason] += 1
        elif reason := find_exclusion_reason(outcome, include):
            reasons[reason] += 1
        else:
            records.append(outcome)
    return records, dict(reasons)


@pytest.mark.parametrize("name", EXPORTS)
def test_an_export_below_a_folder_is_recognised(name: str, tmp_path: Path) -> None:
    path = write_zip(EXPORTS[name], tmp_path / "nested.zip", below="ada-2024/")
    with open_archive(path) as archive:
        importer = find_importer(archive)
        assert importer is not None
        assert importer.name == name
        outcomes = list(importer.read(archive, include=frozenset()))
    records = [outcome for outcome in outcomes if isinstance(outcome, ExportRecord)]
    assert sum(not find_exclusion_reason(record, frozenset()) for record in records) == KEPT[name]


@pytest.mark.parametrize("name", EXPORTS)
def test_malformed_rows_and_pages_lose_no_other_post(name: str, tmp_path: Path) -> None:
    records, reasons = read(name, MALFORMED[name], tmp_path)
    assert reasons == MALFORMED_FOUND[name]
    skipped_rows = 1 if name == "substack" else 0  # the post with the malformed row
    assert len(records) == KEPT[name] - skipped_rows


@pytest.mark.parametrize("name", EXPORTS)
@pytest.mark.parametrize("include", [frozenset[str](), OPT_INS], ids=["default", "opt-ins"])
def test_records_are_stable_unique_and_without_text_by_others(
    name: str, include: frozenset[str], tmp_path: Path
) -> None:
    records, _ = read(name, EXPORTS[name], tmp_path, include=include)
    text = "\n".join(record.as_json() for record in records)
    assert [words for words in NOT_THE_AUTHORS if words in text] == []
    same_records, _ = read(name, EXPORTS[name], tmp_path, include=include)
    assert [record.digest() for record in records] == [record.digest() for record in same_records]
    assert len({record.row_id for record in records}) == len(records)
    assert all(record.source == name for record in records)


def test_a_share_has_text_time_and_address(tmp_path: Path) -> None:
    records, _ = read("linkedin", LINKEDIN, tmp_path)
    shares = {record.created_at: record for record in records if record.kind == "post"}
    first = shares[datetime(2023, 5, 1, 12, 34, 56, 789_000, UTC)]
    assert first.text == f'{SENTENCE}\n\nHe said "mend it", and I did. #clocks'
    assert first.url.startswith("https://www.linkedin.com/feed/update/urn:li:share:")
    assert (first.author, first.byline, first.tags) == ("Ada Lovelace", "Profile.csv", ("clocks",))
    by_first_word = {record.text.split(" ", maxsplit=1)[0]: record for record in records}
    assert by_first_word["Two"].text == f"Two lines,\nboth mine: {SENTENCE}"
    assert by_first_word["Two"].source_id.startswith("ugcPost:")
    assert by_first_word["It’s"].text == f"It’s a naïve clock. {SENTENCE}"


def test_an_article_has_title_and_date_but_no_head_in_its_text(tmp_path: Path) -> None:
    records, _ = read("linkedin", LINKEDIN, tmp_path)
    [article] = [record for record in records if record.kind == "article"]
    assert article.source_id == "article:on-clocks-ada-lovelace"
    assert article.url == "https://www.linkedin.com/pulse/on-clocks-ada-lovelace"
    assert (article.title, article.markup) == ("On clocks", "html")
    assert article.created_at == datetime(2022, 3, 2, 10, 30, tzinfo=UTC)
    assert "Second paragraph &amp; more." in article.text
    assert "Published on" not in article.text
    assert "<h1>" not in article.text


HEAD = "Date,ShareLink,ShareCommentary,SharedUrl,MediaUrl,Visibility\n"


@pytest.mark.parametrize(
    ("commentary", "text"),
    [
        ('"First."\n""\n"Third ""q"" end."', 'First.\n\nThird "q" end.'),
        ('"First."\n""\n"Third."\n', "First.\n\nThird."),
        ('"First.""\n""""\n""Third."', "First.\n\nThird."),
        ('"First\n\nThird ""q"" end."', 'First\n\nThird "q" end.'),
        ('"He said ""yes""\n""No"" was it."', 'He said "yes"\n"No" was it.'),
        ('"A "bare" quote, and a comma."', 'A "bare" quote, and a comma.'),
        ("Plain words", "Plain words"),
        ("", ""),
    ],
)
def test_commentaries_are_unquoted(commentary: str, text: str) -> None:
    line = f"2023-05-01 12:34:56,{share_link(7)},{commentary},https://x.y/?a,,MEMBER_NETWORK\n"
    for csv_text in (HEAD + line, HEAD + line + line):
        for row in iter_share_rows(csv_text):
            assert row is not None
            assert row["ShareCommentary"] == text
            assert (row["SharedUrl"], row["Visibility"]) == ("https://x.y/?a", "MEMBER_NETWORK")


def test_columns_are_found_by_name() -> None:
    head = "Date,ShareLink,Visibility,ShareCommentary,MediaUrl\n"
    [row] = iter_share_rows(f'{head}2023-05-01 12:34:56,{share_link(7)},PUBLIC,"a"\n"b",\n')
    assert row is not None
    assert (row["ShareCommentary"], row["Visibility"]) == ("a\nb", "PUBLIC")


def test_a_medium_story_has_its_fields_and_only_its_own_text(tmp_path: Path) -> None:
    [story], _ = read("medium", MEDIUM, tmp_path)
    assert (story.source_id, story.title, story.kind) == ("0123456789ab", "On clocks", "article")
    assert story.created_at == datetime(2020, 1, 2, 3, 4, 5, 678_000, UTC)
    assert (story.author, story.byline) == ("Ada Lovelace", "p-author")
    assert story.url == "https://medium.com/@ada/on-clocks-0123456789ab"
    assert SENTENCE in story.text
    assert "tick()" in story.text
    assert "On clocks" not in story.text


def test_opt_ins_include_drafts_and_responses(tmp_path: Path) -> None:
    include = frozenset({"drafts", "replies"})
    records, reasons = read("medium", MEDIUM, tmp_path, include=include)
    assert reasons == {}
    assert {record.kind: record.visibility for record in records} == {
        "article": "public",
        "reply": "public",
        "draft": "private",
    }


def test_a_substack_post_ends_at_the_paywall(tmp_path: Path) -> None:
    records, _ = read("substack", SUBSTACK, tmp_path)
    by_id = {record.source_id: record for record in records}
    assert set(by_id) == {"101", "103", "107"}
    assert (by_id["101"].title, by_id["101"].kind) == ("On clocks, again", "article")
    assert by_id["101"].created_at == datetime(2024, 3, 1, 10, tzinfo=UTC)
    assert by_id["101"].text.startswith("<p>What they tell</p>")
    assert by_id["101"].text.endswith("<p>The end.</p>")
    assert "PAID" not in by_id["103"].text
    assert (by_id["107"].title, by_id["107"].kind) == ("Two lines", "post")


def test_opt_ins_include_paid_and_subscribers_posts(tmp_path: Path) -> None:
    records, reasons = read(
        "substack", SUBSTACK, tmp_path, include=frozenset({"paid", "followers"})
    )
    by_id = {record.source_id: record for record in records}
    assert reasons == {"draft": 1, "no_text": 1}
    assert (by_id["102"].visibility, by_id["105"].visibility) == ("paid", "followers")
    assert "PAID WORDS" in by_id["103"].text
    assert "paywall" not in by_id["103"].text
