"""LinkedIn, Medium, Substack: what is taken, what is left out and why, and nothing of others'."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.unit.corpus.exports_by_hand import (
    EXPORTS,
    KEPT,
    LINKEDIN,
    MALFORMED,
    MALFORMED_FOUND,
    MEDIUM,
    NOT_THE_AUTHORS,
    SENTENCE,
    SUBSTACK,
    Files,
    as_folder,
    as_tar,
    as_zip,
    share_link,
)
from twin_assets.corpus.importers import linkedin, medium, substack
from twin_assets.corpus.importers.archive import open_archive
from twin_assets.corpus.importers.linkedin_shares import iter_share_rows
from twin_assets.corpus.importers.recognition import find_importer
from twin_assets.corpus.importers.record import ExportRecord, Skipped, exclusion_reason
from twin_resources.authors import OPT_INS

IMPORTERS = {"linkedin": linkedin, "medium": medium, "substack": substack}


def read(
    name: str, files: Files, at: Path, *, include: frozenset[str] = frozenset()
) -> tuple[list[ExportRecord], dict[str, int]]:
    """Records and reasons, with the opt-ins applied as an import applies them."""
    with open_archive(as_zip(files, at / "export.zip")) as archive:
        found = list(IMPORTERS[name].read(archive, include=include))
    reasons = Counter(
        one.reason if isinstance(one, Skipped) else exclusion_reason(one, include) for one in found
    )
    kept = [
        one for one in found if isinstance(one, ExportRecord) and not exclusion_reason(one, include)
    ]
    assert reasons.pop("", 0) == len(kept)
    return kept, dict(reasons)


@pytest.mark.parametrize("name", EXPORTS)
def test_every_packing_is_recognised_by_its_content(name: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    files = EXPORTS[name]
    for path in (
        as_folder(files, tmp_path / "folder"),
        as_zip(files, tmp_path / "renamed.bin"),
        as_zip(files, tmp_path / "nested.zip", below="ada-2024/"),
        as_tar(files, tmp_path / "export.tar.gz"),
    ):
        with open_archive(path) as archive:
            importer = find_importer(archive)
            assert importer is not None, path
            assert name == importer.name, path
            kept = list(importer.read(archive, include=frozenset()))
        records = [
            one
            for one in kept
            if isinstance(one, ExportRecord) and not exclusion_reason(one, frozenset())
        ]
        assert len(records) == KEPT[name], path


@pytest.mark.parametrize("name", EXPORTS)
def test_a_malformed_export_loses_nothing_else(name: str, tmp_path: Path) -> None:
    kept, reasons = read(name, MALFORMED[name], tmp_path)
    assert reasons == MALFORMED_FOUND[name]
    lost = 1 if name == "substack" else 0  # the post whose own row is the broken one
    assert len(kept) == KEPT[name] - lost


@pytest.mark.parametrize("name", EXPORTS)
def test_other_peoples_words_and_addresses_never_enter(name: str, tmp_path: Path) -> None:
    for include in (frozenset[str](), OPT_INS):
        kept, _ = read(name, EXPORTS[name], tmp_path, include=include)
        everything = "\n".join(one.as_json() for one in kept)
        assert [text for text in NOT_THE_AUTHORS if text in everything] == []


@pytest.mark.parametrize("name", EXPORTS)
def test_records_are_the_same_each_time_and_have_ids_of_their_own(
    name: str, tmp_path: Path
) -> None:
    first, _ = read(name, EXPORTS[name], tmp_path, include=OPT_INS)
    again, _ = read(name, EXPORTS[name], tmp_path, include=OPT_INS)
    assert [one.digest() for one in first] == [one.digest() for one in again]
    assert len({one.row_id for one in first}) == len(first)
    assert all(one.source == name for one in first)


def test_a_share_has_its_words_its_time_and_its_address(tmp_path: Path) -> None:
    kept, _ = read("linkedin", LINKEDIN, tmp_path)
    shares = {one.created_at: one for one in kept if one.kind == "post"}
    first = shares[datetime(2023, 5, 1, 12, 34, 56, 789_000, UTC)]
    assert first.text == f'{SENTENCE}\n\nHe said "mend it", and I did. #clocks'
    assert first.url.startswith("https://www.linkedin.com/feed/update/urn:li:share:")
    assert (first.author, first.byline, first.tags) == ("Ada Lovelace", "Profile.csv", ("clocks",))
    by_text = {one.text.split(" ", maxsplit=1)[0]: one for one in kept}
    assert by_text["Two"].text == f"Two lines,\nboth mine: {SENTENCE}"
    assert by_text["Two"].source_id.startswith("ugcPost:")
    assert by_text["It’s"].text == f"It’s a naïve clock. {SENTENCE}"


def test_an_article_has_title_date_and_a_body_without_its_head(tmp_path: Path) -> None:
    kept, _ = read("linkedin", LINKEDIN, tmp_path)
    [article] = [one for one in kept if one.kind == "article"]
    assert article.source_id == "article:on-clocks-ada-lovelace"
    assert article.url == "https://www.linkedin.com/pulse/on-clocks-ada-lovelace"
    assert (article.title, article.markup) == ("On clocks", "html")
    assert article.created_at == datetime(2022, 3, 2, 10, 30, tzinfo=UTC)
    assert "Second paragraph &amp; more." in article.text
    assert "Published on" not in article.text
    assert "<h1>" not in article.text


HEAD = "Date,ShareLink,ShareCommentary,SharedUrl,MediaUrl,Visibility\n"


@pytest.mark.parametrize(
    ("written", "read_as"),
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
def test_each_way_in_which_linkedin_quotes_a_commentary(written: str, read_as: str) -> None:
    line = f"2023-05-01 12:34:56,{share_link(7)},{written},https://x.y/?a,,MEMBER_NETWORK\n"
    for text in (HEAD + line, HEAD + line + line):
        for row in iter_share_rows(text):
            assert row is not None
            assert row["ShareCommentary"] == read_as
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


def test_drafts_and_responses_come_when_they_are_asked_for(tmp_path: Path) -> None:
    include = frozenset({"drafts", "replies"})
    kept, reasons = read("medium", MEDIUM, tmp_path, include=include)
    assert reasons == {}
    assert {one.kind: one.visibility for one in kept} == {
        "article": "public",
        "reply": "public",
        "draft": "private",
    }


def test_a_substack_post_is_cut_at_the_paywall(tmp_path: Path) -> None:
    kept, _ = read("substack", SUBSTACK, tmp_path)
    by_id = {one.source_id: one for one in kept}
    assert set(by_id) == {"101", "103", "107"}
    assert (by_id["101"].title, by_id["101"].kind) == ("On clocks, again", "article")
    assert by_id["101"].created_at == datetime(2024, 3, 1, 10, tzinfo=UTC)
    assert by_id["101"].text.startswith("<p>What they tell</p>")
    assert by_id["101"].text.endswith("<p>The end.</p>")
    assert "PAID" not in by_id["103"].text
    assert (by_id["107"].title, by_id["107"].kind) == ("Two lines", "post")


def test_paid_and_listed_posts_come_when_they_are_asked_for(tmp_path: Path) -> None:
    kept, reasons = read("substack", SUBSTACK, tmp_path, include=frozenset({"paid", "followers"}))
    by_id = {one.source_id: one for one in kept}
    assert reasons == {"draft": 1, "no_text": 1}
    assert (by_id["102"].visibility, by_id["105"].visibility) == ("paid", "followers")
    assert "PAID WORDS" in by_id["103"].text
    assert "paywall" not in by_id["103"].text
