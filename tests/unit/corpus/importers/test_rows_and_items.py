"""Test that JSON and XML members are read safely, completely or up to the first damage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from twin_assets.corpus.importers.archive import open_archive
from twin_assets.corpus.importers.json_rows import get_string, get_strings, load_document, map_rows
from twin_assets.corpus.importers.members import MemberError
from twin_assets.corpus.importers.record import SkippedItem
from twin_assets.corpus.importers.xml_items import has_merged_items, iter_elements


def read(body: bytes, folder: Path) -> object:
    (folder / "a.js").write_bytes(body)
    with open_archive(folder) as archive:
        return load_document(archive, "a.js")


@pytest.mark.parametrize(
    "body", [b'[{"n": 1}]', b'\xef\xbb\xbf[{"n": 1}]', b'window.YTD.tweets.part0 = [{"n": 1}];\r\n']
)
def test_documents_and_script_assignments_are_read(body: bytes, tmp_path: Path) -> None:
    assert read(body, tmp_path) == [{"n": 1}]


@pytest.mark.parametrize(
    "body", [b"", b'[{"n": 1}', b'[{"n": "\xff"}]', b"[" * 200_000, b"x = y = [1]", b"NaN[]"]
)
def test_a_damaged_document_is_torn(body: bytes, tmp_path: Path) -> None:
    with pytest.raises(MemberError, match="torn"):
        read(body, tmp_path)


def test_rows_that_are_not_objects_are_skipped() -> None:
    def pair(row: dict[str, Any], location: str) -> tuple[object, str]:
        return row, location

    assert list(map_rows("a", [{"n": 1}, 7, [{}]], pair)) == [
        ({"n": 1}, "a#0"),
        SkippedItem("a#1", "malformed_row"),
        SkippedItem("a#2", "malformed_row"),
    ]
    with pytest.raises(MemberError, match="torn"):
        next(map_rows("a", {"n": 1}, pair))


def test_numeric_identifiers_have_at_most_thirty_digits() -> None:
    assert get_string({"id": 10**30 - 1}, "id") == "9" * 30
    assert get_string({"id": 10**30}, "id") == ""
    assert get_string({"id": -5}, "id") == "-5"


def test_only_strings_and_integers_are_read_as_strings() -> None:
    row = {"a": {"b": 7, "c": "x\x00\ud83dy"}, "list": ["p", 1, "q"], "one": "r", "yes": True}
    assert get_string(row, "a", "b") == "7"
    assert get_string(row, "a", "c") == "xy"
    assert get_string(row, "a") == get_string(row, "yes") == get_string(row, "a", "b", "z") == ""
    assert get_strings(row, "list") == ["p", "q"]
    assert get_strings(row, "one") == ["r"]
    assert get_strings(row, "none") == []


def test_elements_are_read_up_to_the_damage(tmp_path: Path) -> None:
    filler = "x" * 200_000  # several pieces of a read
    texts: list[str] = []

    def read_texts(body: str) -> None:
        (tmp_path / "a.xml").write_text(body, encoding="utf-8")
        texts.clear()
        with open_archive(tmp_path) as archive:
            texts.extend(element.text[:3] for element in iter_elements(archive, "a.xml", "item"))

    read_texts(f"<a>\x08<item>1{filler}</item>-<b/><item>2\x0b{filler}</item></a>")
    assert texts == ["1xx", "2xx"]
    read_texts("<a><item>" + "".join(map(chr, range(32))) + "</item></a>")
    assert texts == ["\t\n\n"], "XML reads every line ending as one character"
    for damaged in (f"<a><item>1{filler}</item><item>2</itm>", f"<a><item>1{filler}</item><item>2"):
        with pytest.raises(MemberError, match="torn"):
            read_texts(damaged)
    (tmp_path / "a.xml").write_text(f"<a><item>1</item><item>{filler}</itm>", encoding="utf-8")
    intact: list[str] = []
    with open_archive(tmp_path) as archive, pytest.raises(MemberError):
        intact.extend(element.text for element in iter_elements(archive, "a.xml", "item"))
    assert intact == ["1"], "elements before the damage are read"
    (tmp_path / "other.dtd").write_text("this is no DTD")
    read_texts(f'<!DOCTYPE a SYSTEM "{(tmp_path / "other.dtd").as_uri()}"><a><item>1</item></a>')
    assert texts == ["1"], "no other file is read"


def test_an_item_that_contains_another_is_detected(tmp_path: Path) -> None:
    text = "<a><item><b>t</b><c><![CDATA[1</c></item>\n<item><c><![CDATA[2]]></c></item></a>"
    (tmp_path / "a.xml").write_text(text, encoding="utf-8")
    with open_archive(tmp_path) as archive:
        assert [
            has_merged_items(element) for element in iter_elements(archive, "a.xml", "item")
        ] == [True]
