"""Test that doctor knows what must exist: tables and databases that were written and are gone."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from twin_cli.commands.doctor import DoctorFinding, open_home, run_check

from tests.stored_rows import store_rows
from twin_resources.authors import Author, write_author
from twin_resources.home_marker import MARKER_NAME
from twin_resources.settings import Settings
from twin_resources.storage.state.database_files import copy_database
from twin_resources.storage.state.known_databases import DATABASE_CONTENTS, remember_databases
from twin_resources.storage.tables.newest_versions import (
    forget_written_tables,
    list_written_tables,
)
from twin_resources.storage.tables.tables import Tables

ASSETS = ("raw_posts", "cleaned_documents", "embeddings")


@pytest.fixture
def written_home(home: Settings, tables: Tables) -> Settings:
    """Return a home with three tables each of two authors."""
    for slug in ("ann", "bob"):
        write_author(home, Author(slug=slug, name=slug.title()))
        for asset in ASSETS:
            store_rows(tables, asset, slug, [{"id": "1", "text": "a"}], key="id")
    return home


def _check_tables(home: Settings) -> tuple[list[DoctorFinding], DoctorFinding]:
    *failures, summary = run_check("tables", open_home(home))
    return failures, summary


@pytest.mark.parametrize("asset", ASSETS)
def test_a_deleted_table_is_missed(written_home: Settings, tables: Tables, asset: str) -> None:
    assert _check_tables(written_home)[0] == []
    shutil.rmtree(tables.uri(asset, "ann"))
    [failure], summary = _check_tables(written_home)
    assert failure.verdict == "fail"
    assert failure.found.startswith(f"{asset} of ann: ")
    assert "twin import --author ann" in failure.remedy
    assert "5 tables" in summary.found
    store_rows(tables, asset, "ann", [{"id": "1", "text": "a"}], key="id")
    assert _check_tables(written_home)[0] == []


def test_all_tables_of_an_author_or_home_are_missed(written_home: Settings) -> None:
    shutil.rmtree(Path(written_home.tables_base) / "ann")
    assert len(_check_tables(written_home)[0]) == len(ASSETS)
    shutil.rmtree(written_home.tables_base)
    failures = [
        finding
        for finding in run_check("tables", open_home(written_home))
        if finding.verdict == "fail"
    ]
    assert len(failures) == 2 * len(ASSETS)


def test_an_erased_authors_tables_are_not_missed(written_home: Settings, tables: Tables) -> None:
    shutil.rmtree(Path(written_home.tables_base) / "ann")
    forget_written_tables(tables.state, [tables.uri(asset, "ann") for asset in ASSETS])
    assert _check_tables(written_home)[0] == []
    written = list_written_tables(tables.state, written_home.tables_base)
    assert written == {("bob", asset) for asset in ASSETS}


@pytest.mark.parametrize("name", DATABASE_CONTENTS)
def test_a_database_that_its_program_made_anew_is_said_until_a_person_goes_on(
    home: Settings, name: str
) -> None:
    file = home.home / name
    file.parent.mkdir(parents=True, exist_ok=True)

    def find_failures() -> list[str]:
        findings = run_check("databases", open_home(home))
        return [finding.found for finding in findings if finding.verdict != "ok"]

    def make_anew() -> None:
        with closing(sqlite3.connect(file)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("CREATE TABLE rows (id INTEGER)")

    make_anew()
    assert find_failures() == [] == remember_databases(home)
    with closing(sqlite3.connect(file)) as connection:  # as an erasure does
        connection.execute("INSERT INTO rows VALUES (1)")
        connection.commit()
        connection.execute("VACUUM")
    copy_database(file, file.with_suffix(".copy"))
    file.with_suffix(".copy").replace(file)
    assert find_failures() == [] == remember_databases(home)

    for path in file.parent.glob(f"{file.name}*"):
        path.unlink()
    [failure] = find_failures()
    assert "is missing" in failure
    file.touch()
    [failure] = find_failures()
    assert "is empty" in failure
    file.unlink()
    make_anew()
    for _ in range(2):  # the next start keeps in mind what was there
        [failure] = find_failures()
        assert str(file) in failure
        assert f"a new file, although this home had it: {DATABASE_CONTENTS[name]}" in failure
        [lost_database] = remember_databases(home)
        assert str(lost_database) == failure
    (home.home / MARKER_NAME).unlink()  # what doctor says to who goes on without
    assert find_failures() == [] == remember_databases(home)
