"""Test tables of posts: each row is a post, and a wrong column or row is named with its line."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.previews import preview_posts
from tests.unit.corpus.export_files import write_folder
from tests.unit.corpus.importers.importer_outcomes import read_export
from tests.unit.corpus.test_preview import build_sentences
from twin_assets.corpus.importers import table
from twin_assets.corpus.inventory import take_inventory
from twin_resources.errors import TwinError
from twin_resources.settings import Settings

_CSV = (
    "title,date,author,text,url\n"
    'On clocks,2024-05-31,Ada,"Two lines,\nboth ""mine"".",https://a.example/1\n'
)
_ROW = {
    "title": "On clocks",
    "date": "2024-05-31",
    "author": "Ada",
    "text": 'Two lines,\nboth "mine".',
    "url": "https://a.example/1",
}


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("posts.csv", _CSV.encode()),
        ("posts.csv", _CSV.replace("\n", "\r\n", 1).encode("utf-8-sig")),
        ("posts.csv", _CSV.replace(",", ";").replace("lines;", "lines,").encode("utf-16")),
        ("posts.csv", _CSV.replace(",", "\t").replace("lines\t", "lines,").encode()),
        ("posts.csv", _CSV.replace("title,date", "Title, DATE").encode()),
        ("posts.jsonl", json.dumps(_ROW).encode() + b"\n\n"),
        ("download", json.dumps(_ROW).encode()),
    ],
)
def test_a_row_becomes_a_post(name: str, body: bytes, tmp_path: Path) -> None:
    record = read_export(write_folder({name: body}, tmp_path) / name, table.IMPORTER).record
    assert {column: getattr(record, column) for column in ("title", "author", "text", "url")} == {
        column: value for column, value in _ROW.items() if column != "date"
    }
    assert record.created_at == datetime(2024, 5, 31, tzinfo=UTC)
    assert (record.source_id, record.kind, record.markup) == ("a.example/1", "post", "markdown")


@pytest.mark.parametrize(
    ("name", "body", "sentence"),
    [
        (
            "a.csv",
            "title,content\nA,words\n",
            'line 1 has columns besides title, date, author, text, url: "c',
        ),
        ("a.csv", "text,sender,to\nwords,Bob,Ada\n", ': "sender", "to"'),
        ("a.csv", "text,status\nwords,draft\n", ': "status"'),
        ("a.csv", "text,text\nwords,words\n", ": one name twice"),
        ("a.csv", "title,date\nA,2024-05-31\n", 'line 1 has no column "text"'),
        ("a.csv", "title,text\nA,words\n\nB,words,more\n", "line 4 has 3 cells instead of 2"),
        (
            "a.csv",
            'title,text\nA,"two\nlines"\nB,"one" more\n',
            "line 4 begins a row that is no CSV",
        ),
        ("a.csv", 'title,text\nA,"never closed\n\n', "line 2 begins a row that is no CSV"),
        (
            "a.csv",
            "date,text\n31.31.2024,words\n",
            'line 2 has the date "31.31.2024": write it like 2024-05-31',
        ),
        ("a.csv", "date,text\n03/04/2024,words\n", 'line 2 has the date "03/04/2024"'),
        (
            "a.csv",
            "url,text\nb.example,words\n",
            'line 2 has the url "b.example", which is no http',
        ),
        (
            "a.csv",
            f"text\n{'x' * 2_000_001}\n",
            "line 2 has a text of more than 2,000,000 characters",
        ),
        ("a.csv", b"text\n\x00\x01\x02\x03", "it is not text in UTF-8"),
        ("a.jsonl", '{"text": "a"}\n{"text": "b", "to": "Bob"}\n', "line 2 has columns besides"),
        ("a.jsonl", '{"text": "a"}\n{"text": "b"\n', "line 2 is no JSON object"),
        ("a.jsonl", '{"text": "a"}\n["b"]\n', "line 2 is no JSON object"),
        (
            "a.jsonl",
            '{"text": "a", "date": 2024}\n',
            'line 1 has a "date" that is no text in quotes',
        ),
        ("a.jsonl", '{"messages": [{"role": "user"}]}\n', "line 1 has columns besides"),
    ],
)
def test_a_wrong_column_or_row_is_named(
    name: str, body: str | bytes, sentence: str, tmp_path: Path
) -> None:
    for source in (write_folder({name: body}, tmp_path), tmp_path / name):
        with pytest.raises(TwinError) as excinfo:
            take_inventory([source])
        assert excinfo.value.found.startswith(f"{name}: ")
        assert sentence in excinfo.value.found
        assert "A table of posts" in excinfo.value.next_step


def test_rows_without_an_address_have_an_identifier_that_an_edit_keeps(tmp_path: Path) -> None:
    rows = ["On clocks,2024-05-31,words\n", "On lamps,,words\n", "On clocks,2024-05-31,others\n"]
    head = "title,date,text\n"
    first = read_export(write_folder({"a.csv": head + "".join(rows)}, tmp_path), table.IMPORTER)
    edited = head + rows[1] + rows[0].replace("words", "new words")
    second = read_export(write_folder({"a.csv": edited}, tmp_path), table.IMPORTER)
    assert len(first.records) == 3
    assert second.records.keys() < first.records.keys()
    assert {record.kind for record in second.records.values()} == {"post", "note"}


def test_rows_that_are_no_public_post_are_counted(tmp_path: Path) -> None:
    chat = '"[12/03/20, 10:11:12] Bob: hello\n[12/03/20, 10:11:40] Ada: hi"'
    rows = [
        "mine,",
        ",",
        "not yet,2999-01-01",
        f"{chat},",
        '<p class="wp-block-embed">HIS</p>,',
        "mine,",
    ]
    text = "text,date\n" + "\n".join(rows) + "\n"
    result = read_export(write_folder({"a.csv": text}, tmp_path), table.IMPORTER)
    assert result.record.text == "mine"
    assert result.reason_counts == {"no_text": 2, "not_yet_published": 1, "chat": 1, "duplicate": 1}
    assert result.skip_reasons["a.csv:5"] == "chat"


@pytest.mark.parametrize(
    ("bylines", "kept", "dropped"),
    [
        (None, 6, {}),
        (["Ada Lovelace"] * 6, 6, {}),
        (["Ada Lovelace"] * 4 + ["Bob Ruiz"] * 2, 4, {"foreign_byline": 2}),
        (
            ["Ada Lovelace"] * 3 + ["Bob Ruiz"] * 2 + [""],
            3,
            {"foreign_byline": 2, "unsigned_among_others": 1},
        ),
        (["Ada Lovelace, Bob Ruiz"] + ["Ada Lovelace"] * 5, 5, {"co_signed": 1}),
        (["Bob Ruiz"] * 6, 0, {"foreign_byline": 6}),
    ],
)
def test_rows_of_another_author_are_not_the_authors(
    bylines: list[str] | None, kept: int, dropped: dict[str, int], tmp_path: Path
) -> None:
    rows = [
        {"text": build_sentences(n), "date": f"2024-05-0{n + 1}"}
        | ({} if bylines is None else {"author": bylines[n]})
        for n in range(6)
    ]
    path = tmp_path / "posts.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = Settings(home=tmp_path / "home")
    result = preview_posts(settings, path, name="Ada Lovelace")
    assert (result.kept, result.dropped) == (kept, dropped)
