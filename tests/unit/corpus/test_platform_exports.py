"""Test which records the LinkedIn, Medium and Substack importers return, and why they skip rows."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.unit.corpus.export_files import Files, write_zip
from tests.unit.corpus.importers.platform_rows import SHARES_HEAD
from tests.unit.corpus.sample_exports import (
    EXPORTS,
    LINKEDIN,
    MALFORMED_EXPORTS,
    MALFORMED_SKIP_COUNTS,
    MEDIUM,
    RECORD_COUNTS,
    SENTENCE,
    SUBSTACK,
    TEXT_BY_OTHERS,
    build_link,
)
from twin_assets.corpus.exports import read_exports
from twin_assets.corpus.importers import linkedin, medium, substack
from twin_assets.corpus.importers.archive import open_archive
from twin_assets.corpus.importers.linkedin_shares import iter_share_rows
from twin_assets.corpus.importers.record import ExportRecord
from twin_resources.authors import OPT_INS

IMPORTERS = {module.NAME: module.IMPORTER for module in (linkedin, medium, substack)}


def read_export(
    name: str, files: Files, folder: Path, *, include: frozenset[str] = frozenset()
) -> tuple[list[ExportRecord], dict[str, int]]:
    """Return the included records, and how many rows were skipped for each reason."""
    with open_archive(write_zip(files, folder / "export.zip")) as archive:
        exports = read_exports(IMPORTERS[name], [archive], include=include)
    row_ids = [row_id for row_id, _ in exports.digests()]
    return [*exports.records(row_ids).values()], dict(exports.exclusion_counts)


@pytest.mark.parametrize("name", EXPORTS)
def test_malformed_rows_do_not_affect_other_posts(name: str, tmp_path: Path) -> None:
    records, reasons = read_export(name, MALFORMED_EXPORTS[name], tmp_path)
    assert reasons == MALFORMED_SKIP_COUNTS[name]
    skipped_rows = 1 if name == "substack" else 0  # the post with the malformed row
    assert len(records) == RECORD_COUNTS[name] - skipped_rows


@pytest.mark.parametrize("name", EXPORTS)
@pytest.mark.parametrize("include", [frozenset[str](), OPT_INS], ids=["default", "opt-ins"])
def test_records_are_stable_unique_and_without_text_by_others(
    name: str, include: frozenset[str], tmp_path: Path
) -> None:
    records, _ = read_export(name, EXPORTS[name], tmp_path, include=include)
    text = "\n".join(record.as_json() for record in records)
    assert [words for words in TEXT_BY_OTHERS if words in text] == []
    same_records, _ = read_export(name, EXPORTS[name], tmp_path, include=include)
    assert [record.digest() for record in records] == [record.digest() for record in same_records]
    assert len({record.row_id for record in records}) == len(records)
    assert all(record.source == name for record in records)


def test_a_share_has_text_time_and_address(tmp_path: Path) -> None:
    records, _ = read_export("linkedin", LINKEDIN, tmp_path)
    shares = {record.created_at: record for record in records if record.kind == "post"}
    share = shares[datetime(2023, 5, 1, 12, 34, 56, 789_000, UTC)]
    assert share.text == f'{SENTENCE}\n\nHe said "mend it", and I did. #clocks'
    assert share.url.startswith("https://www.linkedin.com/feed/update/urn:li:share:")
    assert (share.author, share.byline, share.tags) == ("Ada Lovelace", "Profile.csv", ("clocks",))
    records_by_first_word = {record.text.split(" ", maxsplit=1)[0]: record for record in records}
    assert records_by_first_word["Two"].text == f"Two lines,\nboth mine: {SENTENCE}"
    assert records_by_first_word["Two"].source_id.startswith("ugcPost:")
    assert records_by_first_word["It’s"].text == f"It’s a naïve clock. {SENTENCE}"


def test_an_article_has_title_and_date_but_no_head_in_its_text(tmp_path: Path) -> None:
    records, _ = read_export("linkedin", LINKEDIN, tmp_path)
    [article] = [record for record in records if record.kind == "article"]
    assert article.source_id == "article:on-clocks-ada-lovelace"
    assert article.url == "https://www.linkedin.com/pulse/on-clocks-ada-lovelace"
    assert (article.title, article.markup) == ("On clocks", "html")
    assert article.created_at == datetime(2022, 3, 2, 10, 30, tzinfo=UTC)
    assert "Second paragraph &amp; more." in article.text
    assert "Published on" not in article.text
    assert "<h1>" not in article.text


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
    line = f"2023-05-01 12:34:56,{build_link(7)},{commentary},https://x.y/?a,,MEMBER_NETWORK\n"
    for csv_text in (SHARES_HEAD + line, SHARES_HEAD + line + line):
        for row in iter_share_rows(csv_text):
            assert row is not None
            assert row["ShareCommentary"] == text
            assert (row["SharedUrl"], row["Visibility"]) == ("https://x.y/?a", "MEMBER_NETWORK")


def test_columns_are_found_by_name() -> None:
    csv_header = "Date,ShareLink,Visibility,ShareCommentary,MediaUrl\n"
    [row] = iter_share_rows(f'{csv_header}2023-05-01 12:34:56,{build_link(7)},PUBLIC,"a"\n"b",\n')
    assert row is not None
    assert (row["ShareCommentary"], row["Visibility"]) == ("a\nb", "PUBLIC")


def test_a_medium_story_has_its_fields_and_only_its_own_text(tmp_path: Path) -> None:
    [story], _ = read_export("medium", MEDIUM, tmp_path)
    assert (story.source_id, story.title, story.kind) == ("0123456789ab", "On clocks", "article")
    assert story.created_at == datetime(2020, 1, 2, 3, 4, 5, 678_000, UTC)
    assert (story.author, story.byline) == ("Ada Lovelace", "p-author")
    assert story.url == "https://medium.com/@ada/on-clocks-0123456789ab"
    assert SENTENCE in story.text
    assert "tick()" in story.text
    assert "On clocks" not in story.text


def test_opt_ins_include_drafts_and_responses(tmp_path: Path) -> None:
    include = frozenset({"drafts", "replies"})
    records, reasons = read_export("medium", MEDIUM, tmp_path, include=include)
    assert reasons == {}
    assert {record.kind: record.visibility for record in records} == {
        "article": "public",
        "reply": "public",
        "draft": "private",
    }


def test_a_substack_post_ends_at_the_paywall(tmp_path: Path) -> None:
    records, _ = read_export("substack", SUBSTACK, tmp_path)
    records_by_id = {record.source_id: record for record in records}
    assert set(records_by_id) == {"101", "103", "107"}
    assert (records_by_id["101"].title, records_by_id["101"].kind) == (
        "On clocks, again",
        "article",
    )
    assert records_by_id["101"].created_at == datetime(2024, 3, 1, 10, tzinfo=UTC)
    assert records_by_id["101"].text.startswith("<p>What they tell</p>")
    assert records_by_id["101"].text.endswith("<p>The end.</p>")
    assert "PAID" not in records_by_id["103"].text
    assert (records_by_id["107"].title, records_by_id["107"].kind) == ("Two lines", "post")


def test_opt_ins_include_paid_and_subscribers_posts(tmp_path: Path) -> None:
    records, reasons = read_export(
        "substack", SUBSTACK, tmp_path, include=frozenset({"paid", "followers"})
    )
    records_by_id = {record.source_id: record for record in records}
    assert reasons == {"draft": 1, "no_text": 1}
    assert (records_by_id["102"].visibility, records_by_id["105"].visibility) == (
        "paid",
        "followers",
    )
    assert "PAID WORDS" in records_by_id["103"].text
    assert "paywall" not in records_by_id["103"].text
