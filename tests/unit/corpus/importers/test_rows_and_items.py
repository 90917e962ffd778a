"""JSON rows and XML items: what is damaged costs itself, whatever the damage and however long."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twin_assets.corpus.importers.json_rows import as_text, rows, string, strings
from twin_assets.corpus.importers.xml_items import (
    MAX_ITEM_CHARACTERS,
    XmlItem,
    declared_namespaces,
    hidden,
    items,
    parse,
)

BEGINS = re.compile(r'\{\s*"n"')


def read(text: str, key: str = "") -> list[object]:
    return [row if isinstance(row, str) else row["n"] for row in rows(text, begins=BEGINS, key=key)]


def test_a_whole_list() -> None:
    text = '[{"n": 1}, {"n": 2, "in": {"n": 9}}, {"n": "]}"}]'
    assert read(text) == [1, 2, "]}"]
    assert read("window.YTD.x.part0 = " + text + ";\n") == [1, 2, "]}"]
    assert read('{"a": [1], "rows" : ' + text + ', "b": {}}', "rows") == [1, 2, "]}"]
    assert read("[]") == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('[{"n": 1}, {"n": 2 "x": 1}, {"n": 3}]', [1, "malformed_row", 3]),
        ('[{"n": 1}, {"n": "2}, {"n": 3}]', [1, "malformed_row", 3]),
        ('[{"n": 1}, nonsense, {"n": 3}]', [1, "malformed_row", 3]),
        ('[{"n": 1}], {"n": 2}]', [1, "malformed_row", 2]),
        ('[{"n": 1} {"n": 2}]', [1, 2]),
        ('[{"n": 1}, [[[, {"n": 2}]', [1, "malformed_row", 2]),
        ('[{"n": 1}, 7, {"n": 2}]', [1, "malformed_row", 2]),
        ('[{"n": 1}, {"n": 2}', [1, 2, "torn"]),
        ('[{"n": 1}, {"n": "cut of', [1, "malformed_row", "torn"]),
        ('"n": 1}, {"n": 2}]', ["torn", 2]),
        ("", ["torn"]),
        ('[{"n": 1}, {"n": ' + "[" * 200_000 + ', {"n": 3}]', [1, "malformed_row", 3]),
        ('[{"n": 1}, {"n": ' + "9" * 9_000 + '}, {"n": 3}]', [1, "malformed_row", 3]),
    ],
)
def test_damage(text: str, found: list[object]) -> None:
    assert read(text) == found


def test_a_row_behind_the_end_is_lost_only_where_something_else_may_stand_there() -> None:
    text = '{"a": [{"n": 1}], "b": [{"n": 2}]}'
    assert [
        row if isinstance(row, str) else row["n"]
        for row in rows(text, begins=BEGINS, key="a", nothing_follows=False)
    ] == [1]
    assert read(text, "a") == [1, "malformed_row", 2]


def test_an_identifier_is_a_number_of_thirty_digits_at_most() -> None:
    assert string({"id": 10**30 - 1}, "id") == "9" * 30
    assert string({"id": 10**30}, "id") == ""
    assert string({"id": -5}, "id") == "-5"


def test_bytes_that_are_no_utf_8_cost_their_row() -> None:
    text = as_text(b'\xef\xbb\xbf[{"n": 1}, {"n": "\xff"}, {"n": "\xc3\xa9"}]')
    assert read(text) == [1, "malformed_row", "é"]


def test_fields_of_any_type() -> None:
    row = {"a": {"b": 7, "c": "x\x00\ud83dy"}, "list": ["p", 1, "q"], "one": "r", "yes": True}
    assert string(row, "a", "b") == "7"
    assert string(row, "a", "c") == "xy"
    assert string(row, "a") == string(row, "yes") == string(row, "a", "b", "z") == ""
    assert strings(row, "list") == ["p", "q"]
    assert strings(row, "one") == ["r"]
    assert strings(row, "none") == []


@settings(deadline=None, max_examples=60)
@given(st.text(max_size=30), st.integers(0, 400))
def test_whatever_is_inserted_between_rows_no_row_is_lost(noise: str, at: int) -> None:
    pieces = [json.dumps({"n": number, "t": 'a "quoted" [text] {x}'}) for number in range(6)]
    cut = at % (len(pieces) + 1)
    text = "[" + ", ".join(pieces[:cut]) + noise + ", ".join(pieces[cut:]) + "]"
    assert [one for one in read(text) if isinstance(one, int)] == list(range(6))


def cut(text: str, size: int = 7, **options: str) -> list[tuple[str, str]]:
    body = text.encode("utf-8", "surrogateescape")
    pieces = (body[start : start + size] for start in range(0, len(body), size))
    found = list(items(pieces, tags=("item", "entry"), **options))
    assert found[-1].text == ""
    return [(one.text, one.damage) for one in found[:-1]]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("<a><item>1</item>x<item n='2'>é</item></a>", ["<item>1</item>", "<item n='2'>é</item>"]),
        (
            "<item><![CDATA[</item><item>]]></item><items/><item/>",
            ["<item><![CDATA[</item><item>]]></item>", "<item/>"],
        ),
        ("<item><!-- </item> --></item>", ["<item><!-- </item> --></item>"]),
        ("<item>1<item>2</item>", ["<item>1 malformed_row", "<item>2</item>"]),
        ("<item>1</item><item>2", ["<item>1</item>", "<item>2 torn"]),
        ("<item><![CDATA[1</item><item>2</item>", ["<item><![CDATA[1</item>", "<item>2</item>"]),
        ("<![CDATA[ <item>1</item>", ["<item>1</item>"]),
        # a comment that lost its end does not hide what comes before the next comment's end
        ("<!-- x <item>1<!-- y --></item>", ["<item>1<!-- y --></item>"]),
        ("<!-- <item>1</item> --><item>2</item>", ["<item>2</item>"]),
    ],
)
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_items_are_cut_out(text: str, found: list[str], size: int) -> None:
    assert [f"{one} {damage}".strip() for one, damage in cut(text, size)] == found


@pytest.mark.parametrize(
    ("written", "read_as"),
    [
        ("&#9;&#10;&#13;", "\t\n\r"),
        ("&#8;&#11;&#31;&#x1f;", ""),
        ("&#32;&#x41;&#65;", " AA"),
        ("&#xd7ff;&#xd800;&#xdfff;&#xe000;", "\ud7ff\ue000"),
        ("&#xfffd;&#xfffe;&#xffff;", "\ufffd"),
        ("&#x10000;&#x10ffff;&#x110000;", "\U00010000\U0010ffff"),
        ("&#4a;", None),
        ("&amp;", "&"),
    ],
)
def test_characters_that_xml_forbids_are_left_out(written: str, read_as: str | None) -> None:
    found = parse(XmlItem(f"<item>{written}</item>"), namespaces={})
    assert (found.text or "" if found is not None else None) == read_as


def test_what_stands_before_and_after() -> None:
    one, last = items([b"<a>head<item>1</item>tail</a>"], tags=("item",))
    assert (one.before, last.before) == ("<a>head", "tail</a>")


def test_a_swallowed_item_is_found() -> None:
    one = XmlItem("<item><c><![CDATA[1</c></item>\n<item><c><![CDATA[2]]></c></item>")
    assert [each.text for each in hidden(one, tags=("item",))] == [
        "<item><c><![CDATA[2]]></c></item>"
    ]
    assert hidden(XmlItem("<item>1</item>"), tags=("item",)) == []


def test_an_endless_item_is_given_up_in_bounded_memory() -> None:
    def endless() -> Iterator[bytes]:
        yield b"<item>"
        for _ in range(3 * MAX_ITEM_CHARACTERS // (1 << 20)):
            yield b"x" * (1 << 20)
        yield b"<item>2</item>"

    found = list(items(endless(), tags=("item",)))
    assert [(one.text[:20], one.damage) for one in found] == [
        ("", "too_large"),
        ("<item>2</item>", ""),
        ("", ""),
    ]
    assert max(len(one.before) for one in found) <= 2 * MAX_ITEM_CHARACTERS


@pytest.mark.parametrize("piece", ["<![CDATA[", "<!--", "<item ", "<item>", "</item>", "]]>", "<"])
def test_many_marks_take_linear_time(piece: str) -> None:
    body = (piece * (1_000_000 // len(piece))).encode()
    began = time.process_time()
    assert list(items([body], tags=("item",)))
    assert time.process_time() - began < 20


def test_parsing_is_safe() -> None:
    names = declared_namespaces("<rss xmlns:wp='http://a' xmlns:x=\"http://b\" version='2'>")
    assert names == {"wp": "http://a", "x": "http://b"}
    found = parse(XmlItem("<item><wp:a>1\x08 &#x8;&#65;</wp:a></item>"), namespaces=names)
    assert found is not None
    assert found.findtext("{http://a}a") == "1 A"
    for broken in (
        "<item><wp:a></item>",
        "<item><no:a/></item>",
        "<item>&nbsp;</item>",
        "<item>\udc80</item>",
        '<!DOCTYPE a [<!ENTITY e "x">]><item>&e;</item>',
        "",
        "<item>&#zz;</item>",
    ):
        assert parse(XmlItem(broken), namespaces=names) is None
