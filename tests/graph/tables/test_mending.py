"""Damaged tables return to their newest undamaged version; the next sync restores the rest."""

from __future__ import annotations

import hashlib
import io
import json
import tempfile
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from rich.console import Console
from twin_cli.commands.doctor import stores
from twin_cli.commands.operating import run_repair
from twin_cli.running import app
from typer.testing import CliRunner

from tests.documented import documented, shape
from tests.graph.s3 import client_of, name_in_environment
from tests.graph.tables.words import index_full_text, sync_words
from twin_resources.settings import Settings
from twin_resources.storage.object_store import is_object_address, remove_objects
from twin_resources.storage.places import FileStore
from twin_resources.storage.state.state import State
from twin_resources.storage.tables.mending import plan_repair
from twin_resources.storage.tables.store import open_table
from twin_resources.storage.tables.tables import Tables

# `b` gives no row from the third version on; `e` is new in the fourth
STEPS = (
    {"a": "one two", "b": "three"},
    {"a": "one two", "b": "three", "c": "four"},
    {"a": "one two", "b": "", "c": "four five"},
    {"a": "one two", "b": "", "c": "four five", "e": "six seven eight"},
)


@pytest.fixture
def living(home: Settings) -> Tables:
    return tables_of(home)


def tables_of(home: Settings) -> Tables:
    tables = Tables(home.tables_base, state=State.open(home.state_address), lease_wait_s=1)
    for texts in STEPS:
        sync_words(tables, texts)
    return tables


def folder(tables: Tables) -> Path:
    return Path(tables.uri("words", "mara"))


def manifests(tables: Tables) -> list[str]:
    """Manifests, newest first: their names count down."""
    return FileStore(tables.uri("words", "mara")).list_files("_versions")


def newest_rows(tables: Tables) -> str:
    """The file of rows that was added last; a bucket's clock counts whole seconds only."""
    table = open_table(tables.uri("words", "mara"))
    assert table is not None
    last = max(table.dataset.get_fragments(), key=lambda fragment: fragment.fragment_id)
    return f"data/{last.data_files()[0].path}"


def write(tables: Tables, name: str, content: bytes) -> None:
    with tempfile.NamedTemporaryFile() as file:
        Path(file.name).write_bytes(content)
        FileStore(tables.uri("words", "mara")).store_file(name, Path(file.name))


def lose(tables: Tables, names: Sequence[str]) -> None:
    for name in names:
        address = f"{tables.uri('words', 'mara')}/{name}"
        if is_object_address(address):
            remove_objects(address)
        else:
            Path(address).unlink()


def empty_newest(tables: Tables) -> None:
    write(tables, manifests(tables)[0], b"")


def empty_three_newest(tables: Tables) -> None:
    for manifest in manifests(tables)[:3]:
        write(tables, manifest, b"")


def lose_newest_rows(tables: Tables) -> None:
    lose(tables, [newest_rows(tables)])


def cut_a_file_of_rows_and_the_newest_manifest(tables: Tables) -> None:
    newest = newest_rows(tables)
    empty_newest(tables)
    place = FileStore(tables.uri("words", "mara"))
    place.list_files()
    with place.open_file(newest) as stream:
        content = stream.read()
    write(tables, newest, content[:-10])


def lose_all_rows(tables: Tables) -> None:
    lose(tables, FileStore(tables.uri("words", "mara")).list_files("data"))


def lose_all_versions(tables: Tables) -> None:
    lose(tables, manifests(tables))


FAULTS = (
    empty_newest, empty_three_newest, lose_newest_rows, cut_a_file_of_rows_and_the_newest_manifest,
    lose_all_rows, lose_all_versions,
)  # fmt: skip


def content(base: str) -> str:
    digest, place = hashlib.sha256(), FileStore(base)
    for name in place.list_files():
        with place.open_file(name) as stream:
            digest.update(name.encode() + stream.read())
    return digest.hexdigest()


@pytest.fixture(params=["folder", "bucket"])
def anywhere(
    home: Settings, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Settings:
    """A home whose tables lie in a folder, or in a bucket of its own."""
    if request.param == "folder":
        return home
    endpoint = request.getfixturevalue("s3_endpoint")
    name_in_environment(monkeypatch, endpoint)
    name = f"mending-{uuid.uuid4().hex}"
    client_of(endpoint).create_bucket(Bucket=name)
    return home.model_copy(update={"tables_uri": f"s3://{name}/tables"})


def mend(home: Settings, *, agreed: bool) -> tuple[int, str]:
    said = io.StringIO()
    console = Console(width=300, file=said)
    code = run_repair(home, is_confirmed=agreed, as_json=False, console=console)
    return code, said.getvalue()


@pytest.mark.parametrize("fault", FAULTS, ids=lambda one: one.__name__)
def test_a_damaged_table_is_mended_as_it_was_said_and_a_sync_makes_the_rest_anew(
    anywhere: Settings, fault: Callable[[Tables], None]
) -> None:
    home, living = anywhere, tables_of(anywhere)
    whole, number = living.data_version("words", "mara"), living.lance_version("words", "mara")
    rows = living.read("words", "mara")
    assert number is not None
    fault(living)
    before = content(home.tables_base)
    code, said = mend(home, agreed=False)
    assert code == 1
    assert "words of mara" in said
    assert "nothing was changed" in said
    assert content(home.tables_base) == before
    plan = plan_repair(living.uri("words", "mara"))
    assert plan is not None

    code, said = mend(home, agreed=True)
    assert code == 0
    assert "1 table repaired" in said
    assert "`twin up`, then `twin import --author mara`" in said
    if plan.restore_version is None:
        assert "no version is intact" in said
        assert not living.exists("words", "mara")
    else:
        assert f"restored to version {plan.restore_version}" in said
        assert living.read("words", "mara").height == plan.rows
        now = living.lance_version("words", "mara")
        assert now is not None
        assert now > plan.restore_version
        assert now >= number, "a number that was used names no other rows"
    assert [check.verdict for check in stores.check_tables(home)] == ["ok"]
    assert mend(home, agreed=True) == (0, "every table and every database is intact\n")

    sync_words(living, STEPS[-1])
    assert living.data_version("words", "mara") == whole
    assert living.read("words", "mara").equals(rows)
    assert plan_repair(living.uri("words", "mara")) is None


def test_a_damaged_index_goes_and_every_row_stays(living: Tables, home: Settings) -> None:
    living.ensure_index("words", "mara", "post")
    index_full_text(living)
    rows, version = living.read("words", "mara"), living.data_version("words", "mara")
    for file in (folder(living) / "_indices").rglob("*.lance"):
        file.write_bytes(file.read_bytes()[:10])
    [failed, _] = stores.check_tables(home)
    assert "post_idx" in failed.found
    assert "`twin repair`" in failed.remedy
    code, output = mend(home, agreed=True)
    assert code == 0
    assert "all rows are kept" in output
    assert living.read("words", "mara").equals(rows)
    assert living.read("words", "mara", where="post = 'a'").height == 2
    assert living.data_version("words", "mara") == version
    living.ensure_index("words", "mara", "post")
    assert [check.verdict for check in stores.check_tables(home)] == ["ok"]


def test_a_tag_on_a_version_that_goes_is_said_and_goes(living: Tables, home: Settings) -> None:
    living.tag("words", "mara", "kept", 2)
    living.tag("words", "mara", "trained")
    lose_newest_rows(living)
    code, output = mend(home, agreed=True)
    assert code == 0
    assert "pinned versions that are lost: trained" in output
    assert living.read("words", "mara", version="kept").height == 3


def test_a_damaged_database_is_named_and_left_alone(living: Tables, home: Settings) -> None:
    (home.home / "traces.sqlite").write_bytes(b"this is no database" * 500)
    code, output = mend(home, agreed=True)
    assert code == 1
    assert "traces.sqlite is damaged" in output
    assert "`twin restore`" in output
    assert living.read("words", "mara").height == 7


def test_the_command_as_documented(living: Tables, home: Settings) -> None:
    empty_newest(living)
    result = CliRunner().invoke(app, ["repair", "--json", "--home", str(home.home)])
    assert shape(json.loads(result.stdout)) == shape(documented("repair"))
    assert json.loads(result.stdout)["done"] is False
    result = CliRunner().invoke(app, ["repair", "--yes", "--json", "--home", str(home.home)])
    assert json.loads(result.stdout)["done"] is True
    assert plan_repair(str(folder(living))) is None


@pytest.mark.parametrize(("typed", "code"), [("yes", 0), ("no", 1), ("", 1)])
def test_a_person_is_asked(
    living: Tables, home: Settings, monkeypatch: pytest.MonkeyPatch, typed: str, code: int
) -> None:
    empty_newest(living)
    monkeypatch.setattr(
        "twin_cli.commands.terminal_questions.is_interactive_terminal", lambda: True
    )
    asked: list[str] = []

    def read(question: str) -> str:
        asked.append(question)
        return typed

    console = Console(quiet=True)
    assert (
        run_repair(home, is_confirmed=False, as_json=False, console=console, read_line=read) == code
    )
    assert asked == ["Do this? yes/no [no]: "]
    assert (plan_repair(str(folder(living))) is None) == (typed == "yes")
