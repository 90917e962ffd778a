"""Test front matter in YAML, TOML and JSON, and broken blocks."""

from __future__ import annotations

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest

from twin_assets.corpus.importers import front_matter
from twin_assets.corpus.importers.byline_fields import read_byline
from twin_assets.corpus.importers.front_matter import (
    BrokenFrontMatterError,
    get_list_field,
    get_text_field,
    parse_datetime,
    split_front_matter,
)
from twin_assets.corpus.importers.visibility_rules import find_hidden_reason


@pytest.mark.parametrize(
    ("text", "fields", "body"),
    [
        (
            "---\nTitle: A post\ntags: [a, b]\n---\n\nText\n",
            {"title": "A post", "tags": ["a", "b"]},
            "\nText\n",
        ),
        ("---\ntitle: &t A\nsummary: *t\n...\nText", {"title": "A", "summary": "A"}, "Text"),
        ("---\n---\nText", {}, "Text"),
        ("---\r\ntitle: A\r\n---\r\nText", {"title": "A"}, "Text"),
        ('+++\r\ntitle = "A"\r\n+++\r\nText', {"title": "A"}, "Text"),
        (
            '+++\ntitle = "A"\ndate = 2021-03-04T05:06:07-08:00\n+++\nText',
            {"title": "A", "date": datetime(2021, 3, 4, 13, 6, 7, tzinfo=UTC)},
            "Text",
        ),
        (
            '{\n  "Title": "A post", "draft": true\n}\n\nText\n',
            {"title": "A post", "draft": True},
            "\nText\n",
        ),
        ('{"title": "A"}', {"title": "A"}, ""),
    ],
)
def test_yaml_toml_and_json_are_split_from_the_text(
    text: str, fields: dict[str, object], body: str
) -> None:
    assert split_front_matter(text) == (fields, body)


def test_hexo_may_leave_out_the_opening_fence() -> None:
    fields, body = split_front_matter("title: A post\ntags:\n - a\n---\nText\n\n---\n\nmore\n")
    assert (fields, body) == ({"title": "A post", "tags": ["a"]}, "Text\n\n---\n\nmore\n")
    fields, _ = split_front_matter("title: Not yet\npublished: 'false'\n---\nwords")
    assert find_hidden_reason(fields) == "draft"
    heading = "Note: a heading\n---\n\nText\n"
    assert split_front_matter(heading) == ({}, heading)


@pytest.mark.parametrize(
    "text",
    [
        '{"a": 1} is an object of JSON',
        "{ not: JSON }\nText",
        "{% include x %}\nText",
        "{}[]",
        "No front matter\n\n---\n\nat all",
        "---\n\nA thematic break first\n\n---\n\nand one more",
        "---\njust words\n---\nbody",
        "",
        "---",
    ],
)
def test_a_thematic_break_is_not_front_matter(text: str) -> None:
    assert split_front_matter(text) == ({}, text)


@pytest.mark.parametrize(
    "text",
    [
        "---\ntitle: never closed\n\ntext",
        "---\na: " + "[" * 5000 + "\n---\n",
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
    ("value", "expected"),
    [
        ("2016-12-05 03:48:07 -0500", datetime(2016, 12, 5, 8, 48, 7, tzinfo=UTC)),
        ("2016-12-05T03:48:07Z", datetime(2016, 12, 5, 3, 48, 7, tzinfo=UTC)),
        ("December 5, 2016", datetime(2016, 12, 5, tzinfo=UTC)),
        ("Mon, 05 Dec 2016 03:48:07 EST", datetime(2016, 12, 5, 8, 48, 7, tzinfo=UTC)),
        ("2016-12-05", datetime(2016, 12, 5, tzinfo=UTC)),
        (
            datetime.fromisoformat("2021-03-04T05:06:07-08:00"),
            datetime(2021, 3, 4, 13, 6, 7, tzinfo=UTC),
        ),
        ("soon", None),
        ("Tuesday", None),
        ("0001-01-01T00:00:00+14:00", None),
        ("", None),
        (17, None),
        (None, None),
    ],
)
def test_dates_become_utc(value: object, expected: datetime | None) -> None:
    assert parse_datetime(value) == expected


def test_a_date_without_zone_is_in_the_sites_zone() -> None:
    zone = ZoneInfo("America/New_York")
    assert parse_datetime("2016-07-05 12:00", zone) == datetime(2016, 7, 5, 16, tzinfo=UTC)
    fields, _ = split_front_matter("---\ndate: 2016-07-05\n---\n")
    assert parse_datetime(fields["date"], zone) == datetime(2016, 7, 5, 4, tzinfo=UTC)


def test_fields_are_read_in_several_spellings() -> None:
    assert get_text_field({"title": None, "name": "  A\n name "}, "title", "name") == "A name"
    assert get_text_field({"title": 1984}, "title") == "1984"
    assert get_text_field({"title": ["a"]}, "title") == ""
    assert get_list_field(
        {"tags": "a b", "categories": ["b", "c", None]}, "tags", "categories"
    ) == ["a", "b", "c"]
    assert get_list_field({"tags": "two words, one"}, "tags") == ["two words", "one"]
    assert read_byline({"author": {"name": "José"}}) == "José"
    assert read_byline({"authors": ["Ada", {"name": "李"}]}) == "Ada, 李"
    assert read_byline({"title": "x"}) == ""
    assert read_byline({"Author": "Ada", "translators": [{"name": "Bo Ek"}, "李"]}) == (
        "Ada, translated by Bo Ek, 李"
    )
    assert read_byline({"translated-by": "Bo Ek"}) == "translated by Bo Ek"
    assert read_byline({"author": "Ada", "translator": None}) == "Ada"


def test_the_c_yaml_parser_agrees_with_the_python_one(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "---\ntitle: Ünïcode\ndate: 2020-01-02 03:04:05 +0100\n---\nx"
    with_c_parser = split_front_matter(text)
    monkeypatch.delattr(front_matter.yaml, "CSafeLoader", raising=False)
    assert split_front_matter(text) == with_c_parser


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("---\ntitle: Foo: bar\ndraft: on # yet\n---\ntext", {"title": "Foo: bar", "draft": True}),
        ("---\nfamily: [[Smith]] [[Jones]]\n---\ntext", {"family": "[[Smith]] [[Jones]]"}),
        ("---\ntags:\n- 1: 2: 3\n- b\n---\ntext", {"tags": ["1: 2: 3", "b"]}),
        ("---\ndate: 2021-13-45\n---\ntext", {"date": "2021-13-45"}),
        ("---\nauthor: @ana\n\ttitle: A\n---\ntext", {"author": "@ana title: A"}),
        ("---\ntitle: A\n\tdraft: true\n---\ntext", {"title": "A draft: true", "draft": "true"}),
        ("---\ntitle: 'It's late'\n---\ntext", {"title": "It's late"}),
        ("---\na:: b: [[c]]\npublic:: false\n---\ntext", {"a": "b: [[c]]", "public": False}),
        ("+++\ntitle = \n+++\ntext", {"title": ""}),
        (
            '+++\ntitle = "A" "B"\ndate = 2020-01-02\n[extra]\ndraft = yes\n+++\ntext',
            {"title": 'A" "B', "date": date(2020, 1, 2), "extra": {"draft": "yes"}},
        ),
        ("---toml\ntitle = 'A'\n---\ntext", {"title": "A"}),
        ("\n\n<!-- moved -->\n---\ntitle: A\n---\ntext", {"title": "A"}),
        ("title:: A\nfamily:: [[B]] [[C]]\n- text", {"title": "A", "family": "[[B]] [[C]]"}),
        ("# A\n\nStatus: 📝 Draft\n\ntext", {"title": "A", "status": "📝 Draft"}),
        ("A\n===\n\nstatus: draft\n\ntext", {"title": "A", "status": "draft"}),
    ],
)
def test_an_invalid_head_is_read_line_by_line(text: str, fields: dict[str, object]) -> None:
    parsed, body = split_front_matter(text)
    assert parsed == fields
    assert body.endswith("text")
    assert not set(body.split()) & {"---", "+++", "draft:", "date:", "}"}


def test_a_block_of_prose_between_breaks_stays_prose() -> None:
    text = '---\nHe said: "so: what" and\nwent on, as one does\nfor a while.\n---\ntext'
    assert split_front_matter(text) == ({}, text)


@pytest.mark.parametrize(
    "text",
    [
        "----\ntitle: Not yet\npublished: false\n---\nwords",
        "-\r-\ntitle: Not yet\npublished: false\n---\nwords",
        "--\r\ntitle: Not yet\r\npublished: false\r\n---\r\nwords",
        '++\ntitle = "Not yet"\ndraft = true\n+++\nwords',
        "---\ntitle Not yet\ndraft:true\n---\nwords",
        "# Not yet\n\nStatus: Draft\nand words of it\n",
        "- words\n  private:: true\n- more\n",
    ],
)
def test_a_draft_with_a_damaged_fence_stays_a_draft(text: str) -> None:
    assert find_hidden_reason(split_front_matter(text)[0]) in {"draft", "private"}


@pytest.mark.parametrize(
    "text",
    [
        "How to hold a post back:\n\ndraft: true\n",
        "Set `published: false` in it.\n",
        "```yaml\ndraft: true\n```\nholds a post back",
        "A draft: true to life, it was\n",
    ],
)
def test_a_post_about_drafts_is_not_a_draft(text: str) -> None:
    assert split_front_matter(text) == ({}, text)
