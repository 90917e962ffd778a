"""Test Mastodon archives: public posts and joined threads, without boosts and messages."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.unit.corpus.export_files import write_folder
from tests.unit.corpus.importers.importer_outcomes import ImporterOutcomes, read_export
from tests.unit.corpus.importers.platform_rows import ACCOUNT, FOLLOWERS, PUBLIC, build_note
from twin_assets.corpus.importers import mastodon


def build_outbox(*activities: Any) -> dict[str, str]:
    collection = {
        "@context": "https://www.w3.org/ns/activitystreams",
        "id": "outbox.json",
        "type": "OrderedCollection",
        "totalItems": len(activities),
        "orderedItems": list(activities),
    }
    actor = {
        "@context": [],
        "id": ACCOUNT,
        "type": "Person",
        "preferredUsername": "ada",
        "name": "Ada",
    }
    return {"outbox.json": json.dumps(collection), "actor.json": json.dumps(actor)}


def read(files: dict[str, str], folder: Path, *include: str) -> ImporterOutcomes:
    return read_export(write_folder(files, folder), mastodon.IMPORTER, *include)


def test_a_public_post_becomes_a_record(tmp_path: Path) -> None:
    tags = [{"type": "Hashtag", "name": "#clocks"}, {"type": "Mention", "name": "@bob"}]
    post = build_note(
        2, "<p>Mine &amp; mine</p>", tag=tags, summary="A title", updated="2023-03-01"
    )
    record = read(build_outbox(post), tmp_path).record
    assert record.source_id == "social.example/users/ada/statuses/2"
    assert record.text == "<p>Mine &amp; mine</p>"
    assert record.markup == "html"
    assert record.title == "A title"
    assert (record.author, record.byline, record.language) == ("Ada", "actor.json", "en")
    assert record.created_at == datetime(2023, 2, 2, 18, 5, 9, tzinfo=UTC)
    assert record.updated_at == datetime(2023, 3, 1, tzinfo=UTC)
    assert (record.visibility, record.tags) == ("public", ("clocks",))


def test_a_repeated_list_adds_no_row(tmp_path: Path) -> None:
    files = build_outbox(build_note(2, "<p>Mine</p>"), build_note(3, "<p>And more</p>"))
    doubled = files["outbox.json"].replace('"orderedItems"', '"orderedItems": [], "orderedItems"')
    assert json.loads(doubled)["orderedItems"]
    result = read(files | {"outbox.json": doubled}, tmp_path)
    assert (len(result.records), result.skip_reasons) == (2, {})


@pytest.mark.parametrize(
    ("to", "cc", "reason", "opt_in"),
    [
        (FOLLOWERS, PUBLIC, "unlisted", "followers"),
        (FOLLOWERS, "https://x.example/users/bob", "followers", "followers"),
        ("https://x.example/users/bob", "", "private", ""),
    ],
)
def test_non_public_posts_need_an_opt_in(
    to: str, cc: str, reason: str, opt_in: str, tmp_path: Path
) -> None:
    files = build_outbox(build_note(1, "<p>not for all</p>", to=to, cc=cc))
    assert read(files, tmp_path).reason_counts == {reason: 1}
    result = read(files, tmp_path, "followers", "private", "replies", "drafts", "paid")
    # A message to named people is never read.
    assert len(result.records) == (1 if opt_in else 0)


def test_boosts_replies_and_text_by_others_are_not_imported(tmp_path: Path) -> None:
    mention = '<span class="h-card"><a href="x" class="u-url mention">@<span>bob</span></a></span>'
    quoted = '<p class="quote-inline">RE: <a href="x">HIS WORDS</a></p><p>Well said.</p>'
    activities = (
        {"id": "b", "type": "Announce", "object": "https://x.example/1"},
        build_note(1, f"<p>{mention} no</p>", inReplyTo="https://x.example/users/bob/statuses/1"),
        build_note(2, "<p>HIS WORDS</p>", attributedTo="https://x.example/users/bob"),
        build_note(3, quoted),
        build_note(4, "<p>and more</p>", inReplyTo=f"{ACCOUNT}/statuses/1"),
        {"id": "d", "type": "Delete", "object": {}},
    )
    result = read(build_outbox(*activities), tmp_path)
    assert result.reason_counts == {"boost": 1, "reply": 2, "foreign_author": 1, "not_a_post": 1}
    assert result.record.text == "<p>Well said.</p>"
    result = read(build_outbox(*activities), tmp_path, "replies")
    answer = result.records["social.example/users/ada/statuses/1"]
    assert (answer.kind, answer.text) == ("reply", "<p>no</p>\n<p>and more</p>")


def test_threads_are_joined_without_private_posts(tmp_path: Path) -> None:
    activities = (
        build_note(1, "<p>one</p>"),
        build_note(2, "<p>two</p>", inReplyTo=f"{ACCOUNT}/statuses/1"),
        build_note(3, "<p>CLOSED</p>", to=FOLLOWERS, cc="", inReplyTo=f"{ACCOUNT}/statuses/2"),
    )
    result = read(build_outbox(*activities), tmp_path)
    assert result.record.text == "<p>one</p>\n<p>two</p>"
    assert result.reason_counts == {"joined_to_thread": 1, "followers": 1}


def test_a_single_outbox_names_no_author(tmp_path: Path) -> None:
    outbox = build_outbox(build_note(1, "<p>one</p>"))["outbox.json"]
    single_file = write_folder({"mine.json": outbox}, tmp_path / "alone") / "mine.json"
    assert read_export(single_file, mastodon.IMPORTER).record.author == ""


def test_an_activity_without_text_is_malformed_and_a_damaged_file_is_torn(tmp_path: Path) -> None:
    files = build_outbox(*(build_note(n, f"<p>post {n}</p>") for n in range(1, 4)))
    text = files["outbox.json"].replace('"content": "<p>post 2</p>"', '"content": 4', 1)
    result = read(files | {"outbox.json": text, "actor.json": "{"}, tmp_path)
    assert [key[-1] for key in sorted(result.records)] == ["1", "3"]
    assert result.reason_counts == {"malformed_row": 1}
    for damaged in (
        text.replace("<p>post 1</p>", '<p>"post 1</p>', 1),
        text[: text.index("post 3")],
    ):
        result = read(files | {"outbox.json": damaged}, tmp_path / "torn")
        assert result.reason_counts == {"torn": 1}
