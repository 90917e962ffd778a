"""Test Ghost exports: published posts, without content for members only."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.unit.corpus.export_files import write_folder
from tests.unit.corpus.importers.importer_outcomes import ImporterOutcomes, read_export
from tests.unit.corpus.importers.platform_rows import build_post
from twin_assets.corpus.importers import ghost


def build_export(*posts: Any, is_wrapped: bool = True) -> dict[str, str]:
    tables = {
        "posts": list(posts),
        "posts_authors": [
            {"id": "1", "post_id": "p1", "author_id": "u1"},
            {"id": "2", "post_id": "p1", "author_id": "u2"},
        ],
        "users": [
            {"id": "u1", "name": "Ada", "email": "ada@example.org"},
            {"id": "u2", "name": "Grace", "email": "grace@example.org"},
        ],
        "tags": [{"id": "t1", "name": "Clocks"}, {"id": "t2", "name": "#internal"}],
        "posts_tags": [
            {"id": "1", "post_id": "p1", "tag_id": "t1"},
            {"id": "2", "post_id": "p1", "tag_id": "t2"},
        ],
        "members": [{"id": "m", "email": "reader@example.org"}],
    }
    database = {"meta": {"exported_on": 1753891082041, "version": "6.0.0"}, "data": tables}
    return {"ada.ghost.json": json.dumps({"db": [database]} if is_wrapped else database)}


def read(files: dict[str, str], folder: Path, *include: str) -> ImporterOutcomes:
    return read_export(write_folder(files, folder), ghost.IMPORTER, *include)


@pytest.mark.parametrize("is_wrapped", [True, False])
def test_a_post_is_read_with_its_authors_and_tags(is_wrapped: bool, tmp_path: Path) -> None:
    files = build_export(
        build_post(1, canonical_url="https://ada.example/a", locale="en"), is_wrapped=is_wrapped
    )
    record = read(files, tmp_path).record
    assert (record.source_id, record.title) == ("uuid-1", "Title & 1")
    assert (record.text, record.markup) == ("<p>text 1</p>", "html")
    assert (record.author, record.byline) == ("Ada, Grace", "posts_authors")
    assert record.tags == ("Clocks",)
    assert record.url == "https://ada.example/a"
    assert record.language == "en"
    assert record.created_at == datetime(2023, 2, 9, 18, 5, 9, tzinfo=UTC)
    assert "example.org" not in record.as_json()


def test_visibility_decides_what_is_read(tmp_path: Path) -> None:
    files = build_export(
        build_post(1, status="draft"),
        build_post(2, status="scheduled"),
        build_post(3, visibility="members"),
        build_post(4, visibility="paid"),
        build_post(5, visibility="tiers"),
        build_post(6, status="sent"),
        build_post(7, type="page"),
        build_post(8, status="", visibility="public"),
        build_post(9, page=1),
    )
    result = read(files, tmp_path)
    assert not result.records
    assert result.reason_counts == {"draft": 3, "followers": 2, "paid": 2, "page": 2}
    records = read(files, tmp_path, "drafts", "followers", "paid").records
    assert {record.visibility for record in records.values()} == {"private", "followers", "paid"}
    assert [key for key, record in records.items() if record.kind == "draft"] == [
        "uuid-1",
        "uuid-2",
        "uuid-8",
    ]


def test_gated_blocks_are_removed() -> None:
    page = (
        '<p>mine</p><!--kg-gated-block:begin nonMember:false memberSegment:"" --><p>CLOSED</p>'
        "<!--kg-gated-block:end--><!--kg-gated-block:begin nonMember:true --><p>open</p>"
        "<!--kg-gated-block:end--><!--members-only--><p>BELOW THE WALL</p>"
    )
    html = ghost.remove_gated_parts(page)
    assert "CLOSED" not in html
    assert "BELOW" not in html
    assert "<p>open</p>" in html
    unclosed = "<p>a</p><!--kg-gated-block:begin nonMember:false--><p>CLOSED</p>"
    assert ghost.remove_gated_parts(unclosed) == "<p>a</p>"


def test_bookmarks_and_buttons_are_removed(tmp_path: Path) -> None:
    html = (
        '<p>mine &amp; mine</p><figure class="kg-card kg-bookmark-card"><a>A CARD</a></figure>'
        '<div class="kg-card kg-button-card"><a>SUBSCRIBE</a></div>'
        '<blockquote class="twitter-tweet"><p>HIS WORDS</p></blockquote><p>end</p>'
    )
    assert (
        read(build_export(build_post(1, html=html)), tmp_path).record.text
        == "<p>mine &amp; mine</p><p>end</p>"
    )


def test_a_post_without_html_is_read_from_its_markdown_or_text(tmp_path: Path) -> None:
    files = build_export(
        build_post(1, html=None, markdown="from *markdown*"),
        build_post(2, html=None, plaintext="from words"),
        build_post(3, html=None, lexical='{"root": {"children": []}}'),
    )
    result = read(files, tmp_path)
    bodies = [(record.text, record.markup) for record in result.records.values()]
    assert bodies == [("from *markdown*", "markdown"), ("from words", "text")]
    assert result.reason_counts == {"no_text": 1}


def test_a_row_without_a_name_is_malformed_and_a_damaged_file_is_torn(tmp_path: Path) -> None:
    files = build_export(*(build_post(n) for n in range(1, 4)))
    body = files["ada.ghost.json"].replace('"id": "p2", "uuid": "uuid-2"', '"id": null')
    result = read({"ada.ghost.json": body}, tmp_path)
    assert list(result.records) == ["uuid-1", "uuid-3"]
    assert result.reason_counts == {"malformed_row": 1}
    for damaged in (body.replace("<p>text 3</p>", '<p>"text 3</p>'), body[:-40]):
        assert read({"ada.ghost.json": damaged}, tmp_path).records == {}
