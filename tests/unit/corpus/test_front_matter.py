"""Test front matter in every form: fields and text, broken blocks, and posts without any."""

from __future__ import annotations

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest

from twin_assets.corpus.importers.byline_fields import read_byline
from twin_assets.corpus.importers.front_matter import (
    BrokenFrontMatterError,
    get_list_field,
    get_text_field,
    parse_local_datetime,
    split_front_matter,
)
from twin_assets.corpus.importers.visibility_rules import find_hidden_reason

# Each text with its fields; the post itself is "Text".
HEADS: list[tuple[str, dict[str, object]]] = [
    ("---\nTitle: A post\ntags: [a, b]\n---\nText", {"title": "A post", "tags": ["a", "b"]}),
    ("---\ntitle: &t A\nsummary: *t\n...\nText", {"title": "A", "summary": "A"}),
    ("---\n---\nText", {}),
    ("---\r\ntitle: A\r\n---\r\nText", {"title": "A"}),
    ('+++\r\ntitle = "A"\r\n+++\r\nText', {"title": "A"}),
    (
        "+++\ndate = 2021-03-04T05:06:07-08:00\n+++\nText",
        {"date": datetime(2021, 3, 4, 13, 6, 7, tzinfo=UTC)},
    ),
    ('{\n  "Title": "A post", "draft": true\n}\nText', {"title": "A post", "draft": True}),
    ("---toml\ntitle = 'A'\n---\nText", {"title": "A"}),
    ("title: A post\ntags:\n - a\n---\nText", {"title": "A post", "tags": ["a"]}),
    ("title=A\nstatus=draft\n~~~~~~\nText", {"title": "A", "status": "draft"}),
    ("Title: A\nTags: a,\n    b\n\nText", {"title": "A", "tags": "a, b"}),
    ("Title: A\nDate: 2020-01-02\nText", {"title": "A", "date": "2020-01-02"}),
    ("\n\n<!-- moved -->\n---\ntitle: A\n---\nText", {"title": "A"}),
    ("<!--\n.. title: A\n.. slug: b\n-->\nText", {"title": "A", "slug": "b"}),
    ("title:: A\nfamily:: [[B]] [[C]]\nText", {"title": "A", "family": "[[B]] [[C]]"}),
    # Blocks that their parser rejects are read entry by entry.
    ("---\ntitle: Foo: bar\ndraft: on # yet\n---\nText", {"title": "Foo: bar", "draft": True}),
    ("---\nfamily: [[Smith]] [[Jones]]\n---\nText", {"family": "[[Smith]] [[Jones]]"}),
    ("---\ntags:\n- 1: 2: 3\n- b\n---\nText", {"tags": ["1: 2: 3", "b"]}),
    ("---\ndate: 2021-13-45\n---\nText", {"date": "2021-13-45"}),
    ("---\nauthor: @ana\n\ttitle: A\n---\nText", {"author": "@ana title: A"}),
    ("---\ntitle: A\n\tdraft: true\n---\nText", {"title": "A draft: true", "draft": "true"}),
    ("---\na:: b: [[c]]\npublic:: false\n---\nText", {"a": "b: [[c]]", "public": False}),
    ("+++\ntitle = \n+++\nText", {"title": ""}),
    (
        '+++\ntitle = "A" "B"\ndate = 2020-01-02\n[extra]\ndraft = yes\n+++\nText',
        {"title": 'A" "B', "date": date(2020, 1, 2), "extra": {"draft": "yes"}},
    ),
]


@pytest.mark.parametrize(("text", "fields"), HEADS)
def test_fields_are_split_from_the_text(text: str, fields: dict[str, object]) -> None:
    assert split_front_matter(text) == (fields, "Text")


def test_a_title_above_the_fields_stays_in_the_text() -> None:
    fields, body = split_front_matter("# A\n\nStatus: 📝 Draft\nTags: b\n\nText")
    assert (fields, body) == ({"title": "A", "status": "📝 Draft", "tags": "b"}, "# A\n\nText")


@pytest.mark.parametrize(
    "text",
    [
        '{"a": 1} is an object of JSON',
        "{ not: JSON }\nText",
        "{}[]",
        "No front matter\n\n---\n\nat all",
        "---\n\nA thematic break first\n\n---\n\nand one more",
        "---\njust words\n---\nbody",
        "Note: a heading\n---\n\nText\n",
        "Title: a word\nof many meanings\n",
        "Question: who\nAnswer: nobody\nand so on\n",
        '---\nHe said: "so: what" and\nwent on, as one does\nfor a while.\n---\ntext',
        "How to hold a post back:\n\ndraft: true\n",
        "Set `published: false` in it.\n",
        "```yaml\ndraft: true\n```\nholds a post back",
        "A draft: true to life, it was\n",
        "",
        "---",
    ],
)
def test_prose_is_no_front_matter(text: str) -> None:
    assert split_front_matter(text) == ({}, text)


@pytest.mark.parametrize(
    "text",
    [
        "----\ntitle: Not yet\npublished: false\n---\nwords",
        "-\r-\ntitle: Not yet\npublished: false\n---\nwords",
        "--\r\ntitle: Not yet\r\npublished: false\r\n---\r\nwords",
        '++\ntitle = "Not yet"\ndraft = true\n+++\nwords',
        "---\ntitle Not yet\ndraft:true\n---\nwords",
        "title: Not yet\npublished: 'false'\n---\nwords",
        "# Not yet\n\nStatus: Draft\nand words of it\n",
        "- words\n  private:: true\n- more\n",
    ],
)
def test_a_draft_with_a_damaged_head_stays_a_draft(text: str) -> None:
    assert find_hidden_reason(split_front_matter(text)[0]) in {"draft", "private"}


@pytest.mark.parametrize(
    "text",
    [
        "---\ntitle: never closed\n\ntext",
        "---\na: " + "[" * 500_000 + "\n---\n",  # crashes the C composer of PyYAML
        "---\n" + "- " * 100_000 + "\n---\n",
        "---\na: &a {x: 1}\n" + "".join(f"b{n}: {{<<: *a}}\n" for n in range(17)) + "---\n",
        '{\n  "title": ' + "[" * 100_000,
        '{\n  "title": "A",\n  "draft": true,\n}\ntext',
    ],
)
def test_broken_blocks_are_errors(text: str) -> None:
    with pytest.raises(BrokenFrontMatterError):
        split_front_matter(text)


@pytest.mark.parametrize(
    ("value", "zone", "expected"),
    [
        ("2016-12-05 03:48:07 -0500", "", datetime(2016, 12, 5, 8, 48, 7, tzinfo=UTC)),
        ("December 5, 2016", "", datetime(2016, 12, 5, tzinfo=UTC)),
        ("Mon, 05 Dec 2016 03:48:07 EST", "", datetime(2016, 12, 5, 8, 48, 7, tzinfo=UTC)),
        ("2016-07-05 12:00", "America/New_York", datetime(2016, 7, 5, 16, tzinfo=UTC)),
        (date(2016, 7, 5), "America/New_York", datetime(2016, 7, 5, 4, tzinfo=UTC)),
        ("soon", "", None),
        ("Tuesday", "", None),
        ("0001-01-01T00:00:00+14:00", "", None),
        ("", "", None),
        (17, "", None),
    ],
)
def test_dates_become_utc(value: object, zone: str, expected: datetime | None) -> None:
    assert parse_local_datetime(value, ZoneInfo(zone) if zone else None) == expected


def test_fields_are_read_in_several_spellings() -> None:
    assert get_text_field({"title": None, "name": "  A\n name "}, "title", "name") == "A name"
    assert get_text_field({"title": 1984}, "title") == "1984"
    fields: dict[str, object] = {"tags": "a b", "categories": ["b", "c", None], "other": "two w, o"}
    assert get_list_field(fields, "tags", "categories") == ["a", "b", "c"]
    assert get_list_field(fields, "other") == ["two w", "o"]


@pytest.mark.parametrize(
    ("fields", "byline"),
    [
        ({"authors": ["Ada", {"name": "李"}]}, "Ada, 李"),
        (
            {"Author": "Ada", "translators": [{"name": "Bo Ek"}, "李"]},
            "Ada, translated by Bo Ek, 李",
        ),
        ({"translated-by": "Bo Ek"}, "translated by Bo Ek"),
        ({"author": {"name": "José"}, "translator": None}, "José"),
        ({"by": ["Ada Lovelace", "Bo Ek"]}, "Ada Lovelace, Bo Ek"),
        ({"By": "Ada Lovelace"}, "Ada Lovelace"),
        ({"by": "ada", "author": "Ada Lovelace"}, "Ada Lovelace"),
        ({"author_name": "Ada"}, "Ada"),
        ({"extra": {"translators": ["Bo Ek"]}}, "translated by Bo Ek"),
        ({"taxonomies": {"authors": ["Ada"]}}, "Ada"),
        ({"author": "Ada", "extra": {"author": "Bo Ek"}}, "Ada"),
        ({"contributors": ["Ada"], "editor": "Bo Ek", "reviewed_by": "Bo Ek"}, ""),
    ],
)
def test_fields_name_writers_and_translators(fields: dict[str, object], byline: str) -> None:
    assert read_byline(fields) == byline
