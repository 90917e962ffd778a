"""Test which parts of logs, documents, databases and jobs the store `files` erases or keeps."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.unit.erasure.test_erasure_target import ERASED_AUTHOR, PATH, make_erased_post
from twin_assets.checkpoints.job import write_rows
from twin_resources.authors import Author, write_author
from twin_resources.erasure.data_store import Installation
from twin_resources.erasure.home_files import HomeFiles
from twin_resources.settings import Settings

ERASED_TEXT = "in March the old clock of my uncle stopped for good"


@pytest.fixture
def files(home: Settings) -> Iterator[HomeFiles]:
    installation = Installation.for_settings(home)
    yield HomeFiles(installation)
    installation.state.close()


def write_file(home: Settings, name: str, text: str) -> Path:
    path = home.home / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (f"one\n{ERASED_TEXT}\ntwo\n", "one\ntwo\n"),
        ("1\nin March the old\nclock of my uncle\nstopped\n2\n", "1\nstopped\n2\n"),
        (f"{ERASED_TEXT}\none\n{ERASED_TEXT}\n", "one\n"),
        ("in March the old\nclock of my uncle stopped\ntwo", "two"),
        ("one\nin March the old\nclock of my uncle stopped", "one\n"),
        ("1\nin March the\nold clock of my\nuncle\n2\n3\n4\n5\n", "1\n2\n3\n4\n5\n"),
        ("1\n2\n3\n4\n5\nin March the old clock\nof my uncle\n6\n", "1\n2\n3\n4\n5\n6\n"),
        (f"one\n{ERASED_TEXT}", "one\n"),
    ],
)
def test_a_log_loses_the_lines_with_the_text(files: HomeFiles, before: str, after: str) -> None:
    home = files.installation.settings
    log = write_file(home, "logs/dagster.log", before)
    writer = log.open("a")
    assert files.find_remaining(make_erased_post()) == ["logs/dagster.log: bytes"]
    assert files.erase(make_erased_post()) == 1
    with writer:
        writer.write("later\n")
    assert log.read_text() == after + "later\n", "the process can no longer write to its log"
    assert files.find_remaining(make_erased_post()) == []
    assert files.erase(make_erased_post()) == 0


def test_matching_entries_rows_and_files_are_deleted(files: HomeFiles) -> None:
    home = files.installation.settings
    document = {
        "a": [ERASED_TEXT, "stays"],
        PATH: 1,
        "b": {"inner": ERASED_TEXT, "n": None},
        "c": 2.5,
    }
    parts = write_file(home, "work/parts.json", json.dumps(document))
    whole_document = write_file(home, "work/whole.json", json.dumps(ERASED_TEXT))
    half = write_file(home, "work/half.json", '{"a": "' + ERASED_TEXT)
    page = write_file(home, "work/page.html", f"<p>{ERASED_TEXT}</p>")
    other = write_file(home, "work/other.html", "<p>nothing of it</p>")
    database = home.home / "work" / "notes.sqlite"
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("CREATE TABLE more (text)")
        connection.execute("INSERT INTO more VALUES (?)", (ERASED_TEXT,))
        connection.execute("CREATE TABLE notes (text)")
        rows = [(ERASED_TEXT,), ("stays",), ("of the uncle, deleted before",)]
        connection.executemany("INSERT INTO notes VALUES (?)", rows)
        connection.execute("PRAGMA secure_delete = OFF")
        connection.execute("DELETE FROM notes WHERE text LIKE '%before'")
        connection.commit()
    assert b"deleted before" in database.read_bytes()
    (home.home / "work" / "link.html").symlink_to(other)
    assert files.erase(make_erased_post()) == 5
    assert json.loads(parts.read_text()) == {"a": ["stays"], "b": {"n": None}, "c": 2.5}
    assert json.loads(whole_document.read_text()) == {}
    assert [path.exists() for path in (half, page, other)] == [False, False, True]
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("SELECT text FROM notes").fetchall() == [("stays",)]
        assert connection.execute("SELECT text FROM more").fetchall() == []
    assert b"uncle" not in database.read_bytes(), "a free page still contains the text"
    assert files.find_remaining(make_erased_post()) == []


def test_a_training_job_is_deleted_as_a_whole(files: HomeFiles) -> None:
    home = files.installation.settings
    for job in ("one", "two"):
        write_file(home, f"work/training/{job}/settings.yaml", "steps: 3")
        text = ERASED_TEXT if job == "one" else "nothing"
        write_rows(home.work_dir / "training" / job / "samples.json", [{"m": text}])
    assert files.erase(make_erased_post()) == 2
    assert [path.name for path in (home.home / "work" / "training").iterdir()] == ["two"]


def test_files_of_other_stores_are_unchanged(files: HomeFiles, tmp_path: Path) -> None:
    home = files.installation.settings
    posts = home.home / "posts"
    write_author(home, Author("bea", "Bea", sources=(str(posts),)))
    files_of_other_stores = [
        write_file(home, name, ERASED_TEXT)
        for name in (
            "weights/base/notes.txt", "checkpoints/ada/c1/report.txt", "dagster/history.txt",
            "forgetting/1.txt", "posts/2019.txt", "tables/ada/notes.txt", "traces.sqlite",
            "host/outbox.sqlite-wal",
        )
    ]  # fmt: skip
    outside = tmp_path / "outside.txt"
    outside.write_text(ERASED_TEXT)
    (home.home / "link.txt").symlink_to(outside)
    own = write_file(home, "work/traces.sqlite-old.txt", ERASED_TEXT)
    assert files.find_remaining(make_erased_post()) == ["work/traces.sqlite-old.txt: bytes"]
    assert files.erase(make_erased_post()) == 1
    assert all(path.read_text() == ERASED_TEXT for path in files_of_other_stores)
    assert (own.read_text(), outside.read_text()) == ("", ERASED_TEXT)


def test_files_and_folders_named_after_an_author_are_deleted(files: HomeFiles) -> None:
    home = files.installation.settings
    for slug in ("ada", "adam"):
        write_file(home, f"authors/{slug}.toml", f'name = "{slug}"')
        write_file(home, f"progress/{slug}.json", "{}")
        write_file(home, f"logs/model-server-{slug}-v1.log", "up")
        write_file(home, f"reports/{slug}/first.html", "figures")
        write_file(home, f"reports/{slug}/second.html", "figures")
        write_file(home, f"reports/{slug}/deep/{slug}.html", "figures")
        write_file(home, f"checkpoints/{slug}/report.html", "in the store `checkpoints`")
    texts = sorted(files.find_remaining(ERASED_AUTHOR))
    assert [text for text in texts if "named after" in text] == [
        text
        for text in texts
        if text.startswith(("authors/…", "logs/…", "progress/…", "reports/…"))
    ]
    assert len(files.find_remaining(make_erased_post())) == 0, (
        "a post must not match files named after its author"
    )
    assert files.erase(ERASED_AUTHOR) == 6, (
        "three separate files and the three files in the author's reports folder"
    )
    paths = {str(path.relative_to(home.home)) for path in home.home.rglob("*ada*")}
    assert paths == {
        "authors/adam.toml", "progress/adam.json", "logs/model-server-adam-v1.log",
        "reports/adam", "reports/adam/deep/adam.html", "checkpoints/ada", "checkpoints/adam",
    }  # fmt: skip
    assert files.find_remaining(ERASED_AUTHOR) == []
