"""Test that a repair restores a table's newest intact version, and that a sync adds the rest."""

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
from twin_cli.commands.doctor import open_home, run_check
from twin_cli.commands.operating import run_repair
from twin_cli.running import app
from typer.testing import CliRunner

from tests.graph.s3 import make_s3_client, set_s3_environment
from tests.graph.tables.words import index_full_text, sync_words
from tests.json_examples import read_json_example, shape
from twin_resources.settings import Settings
from twin_resources.storage.file_store import FileStore
from twin_resources.storage.object_store import is_object_address, remove_objects
from twin_resources.storage.state.home_state import open_home_state
from twin_resources.storage.tables.store import open_table
from twin_resources.storage.tables.table_repair import plan_repair
from twin_resources.storage.tables.tables import Tables

# `b` has no row from the third version on; `e` is new in the fourth.
VERSION_TEXTS = (
    {"a": "one two", "b": "three"},
    {"a": "one two", "b": "three", "c": "four"},
    {"a": "one two", "b": "", "c": "four five"},
    {"a": "one two", "b": "", "c": "four five", "e": "six seven eight"},
)


@pytest.fixture
def word_tables(home: Settings) -> Tables:
    return create_word_tables(home)


def create_word_tables(home: Settings) -> Tables:
    tables = Tables(home.tables_base, state=open_home_state(home), lease_wait_s=1)
    for texts in VERSION_TEXTS:
        sync_words(tables, texts)
    return tables


def get_table_folder(tables: Tables) -> Path:
    return Path(tables.uri("words", "mara"))


def list_manifests(tables: Tables) -> list[str]:
    """Return the manifests, newest first, because their names count down."""
    return FileStore(tables.uri("words", "mara")).list_files("_versions")


def find_newest_data_file(tables: Tables) -> str:
    """Return the newest data file; the whole-second times of a bucket cannot identify it."""
    table = open_table(tables.uri("words", "mara"))
    assert table is not None
    newest = max(table.dataset.get_fragments(), key=lambda fragment: fragment.fragment_id)
    return f"data/{newest.data_files()[0].path}"


def write_file(tables: Tables, name: str, content: bytes) -> None:
    with tempfile.NamedTemporaryFile() as file:
        Path(file.name).write_bytes(content)
        FileStore(tables.uri("words", "mara")).store_file(name, Path(file.name))


def delete_files(tables: Tables, names: Sequence[str]) -> None:
    for name in names:
        address = f"{tables.uri('words', 'mara')}/{name}"
        if is_object_address(address):
            remove_objects(address)
        else:
            Path(address).unlink()


def empty_manifests(tables: Tables, *, count: int) -> None:
    for manifest in list_manifests(tables)[:count]:
        write_file(tables, manifest, b"")


def truncate_newest_rows_and_manifest(tables: Tables) -> None:
    newest = find_newest_data_file(tables)
    empty_manifests(tables, count=1)
    file_store = FileStore(tables.uri("words", "mara"))
    file_store.list_files()
    with file_store.open_file(newest) as stream:
        content = stream.read()
    write_file(tables, newest, content[:-10])


def delete_all_rows(tables: Tables) -> None:
    delete_files(tables, FileStore(tables.uri("words", "mara")).list_files("data"))


FAULTS: dict[str, Callable[[Tables], None]] = {
    "empty manifest": lambda tables: empty_manifests(tables, count=1),
    "three empty manifests": lambda tables: empty_manifests(tables, count=3),
    "no newest rows": lambda tables: delete_files(tables, [find_newest_data_file(tables)]),
    "cut rows and manifest": truncate_newest_rows_and_manifest,
    "no rows": delete_all_rows,
    "no versions": lambda tables: delete_files(tables, list_manifests(tables)),
}


def hash_files(base: str) -> str:
    digest, file_store = hashlib.sha256(), FileStore(base)
    for name in file_store.list_files():
        with file_store.open_file(name) as stream:
            digest.update(name.encode() + stream.read())
    return digest.hexdigest()


@pytest.fixture
def any_home(
    home: Settings, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Settings:
    """Return a home whose tables are in a folder or in a separate bucket."""
    if request.param == "folder":
        return home
    endpoint = request.getfixturevalue("s3_endpoint")
    set_s3_environment(monkeypatch, endpoint)
    name = f"repair-{uuid.uuid4().hex}"
    make_s3_client(endpoint).create_bucket(Bucket=name)
    return home.model_copy(update={"tables_uri": f"s3://{name}/tables"})


def repair(home: Settings, *, is_confirmed: bool) -> tuple[int, str]:
    output = io.StringIO()
    console = Console(width=300, file=output)
    code = run_repair(home, is_confirmed=is_confirmed, as_json=False, console=console)
    return code, output.getvalue()


@pytest.mark.long
@pytest.mark.parametrize(
    ("any_home", "fault"),
    [*(("folder", fault) for fault in FAULTS), ("bucket", "cut rows and manifest")],
    indirect=["any_home"],
)
def test_a_damaged_table_is_repaired_as_planned_and_a_sync_restores_the_rest(
    any_home: Settings, fault: str
) -> None:
    home, word_tables = any_home, create_word_tables(any_home)
    data_version = word_tables.data_version("words", "mara")
    lance_version = word_tables.lance_version("words", "mara")
    rows = word_tables.read("words", "mara")
    assert lance_version is not None
    FAULTS[fault](word_tables)
    before = hash_files(home.tables_base)
    code, output = repair(home, is_confirmed=False)
    assert (code, "words of mara" in output, "nothing was changed" in output) == (1, True, True)
    assert hash_files(home.tables_base) == before
    plan = plan_repair(word_tables.uri("words", "mara"))
    assert plan is not None

    code, output = repair(home, is_confirmed=True)
    assert (code, "1 table repaired; next: `twin up`, then `twin import --author" in output) == (
        0, True,
    )  # fmt: skip
    if plan.restore_version is None:
        assert "no version is intact" in output
        assert not word_tables.exists("words", "mara")
    else:
        assert f"restored to version {plan.restore_version}, " in output
        assert word_tables.read("words", "mara").height == plan.row_count
        restored_version = word_tables.lance_version("words", "mara")
        assert restored_version is not None
        assert restored_version > plan.restore_version
        assert restored_version >= lance_version, "a version number was reused for other rows"
    assert [check.verdict for check in run_check("tables", open_home(home))] == ["ok"]
    assert repair(home, is_confirmed=True) == (0, "every table and every database is intact\n")

    sync_words(word_tables, VERSION_TEXTS[-1])
    assert word_tables.data_version("words", "mara") == data_version
    assert word_tables.read("words", "mara").equals(rows)
    assert plan_repair(word_tables.uri("words", "mara")) is None


def test_a_damaged_index_is_dropped_and_every_row_stays(
    word_tables: Tables, home: Settings
) -> None:
    word_tables.ensure_index("words", "mara", "post")
    index_full_text(word_tables)
    rows, version = word_tables.read("words", "mara"), word_tables.data_version("words", "mara")
    for file in (get_table_folder(word_tables) / "_indices").rglob("*.lance"):
        file.write_bytes(file.read_bytes()[:10])
    [failed, _] = run_check("tables", open_home(home))
    assert "post_idx" in failed.found
    assert "`twin doctor --repair`" in failed.remedy
    code, output = repair(home, is_confirmed=True)
    assert code == 0
    assert "all rows are kept" in output
    assert word_tables.read("words", "mara").equals(rows)
    assert word_tables.read("words", "mara", where="post = 'a'").height == 2
    assert word_tables.data_version("words", "mara") == version
    word_tables.ensure_index("words", "mara", "post")
    assert [check.verdict for check in run_check("tables", open_home(home))] == ["ok"]


def test_a_tag_on_a_lost_version_is_reported_and_removed(
    word_tables: Tables, home: Settings
) -> None:
    word_tables.tag("words", "mara", "kept", 2)
    word_tables.tag("words", "mara", "trained")
    FAULTS["no newest rows"](word_tables)
    code, output = repair(home, is_confirmed=True)
    assert code == 0
    assert "pinned versions that are lost: trained" in output
    assert word_tables.read("words", "mara", version="kept").height == 3


def test_a_damaged_database_is_reported_and_left_unchanged(
    word_tables: Tables, home: Settings
) -> None:
    (home.home / "traces.sqlite").write_bytes(b"this is not a database" * 500)
    code, output = repair(home, is_confirmed=True)
    assert code == 1
    assert "traces.sqlite is damaged" in output
    assert "`twin restore`" in output
    assert word_tables.read("words", "mara").height == 7


def test_the_command_works_as_documented(word_tables: Tables, home: Settings) -> None:
    FAULTS["empty manifest"](word_tables)
    result = CliRunner().invoke(app, ["doctor", "--repair", "--json", "--home", str(home.home)])
    assert shape(json.loads(result.stdout)) == shape(read_json_example("doctor --repair"))
    assert json.loads(result.stdout)["done"] is False
    result = CliRunner().invoke(
        app, ["doctor", "--repair", "--yes", "--json", "--home", str(home.home)]
    )
    assert json.loads(result.stdout)["done"] is True
    assert plan_repair(str(get_table_folder(word_tables))) is None


@pytest.mark.parametrize(("answer", "exit_code"), [("yes", 0), ("no", 1), ("", 1)])
def test_a_person_must_confirm_the_repair(
    word_tables: Tables,
    home: Settings,
    monkeypatch: pytest.MonkeyPatch,
    answer: str,
    exit_code: int,
) -> None:
    FAULTS["empty manifest"](word_tables)
    monkeypatch.setattr(
        "twin_cli.commands.terminal_questions.is_interactive_terminal", lambda: True
    )
    questions: list[str] = []

    def read_line(question: str) -> str:
        questions.append(question)
        return answer

    console = Console(quiet=True)
    code = run_repair(home, is_confirmed=False, as_json=False, console=console, read_line=read_line)
    assert code == exit_code
    assert questions == ["Repair these tables? yes/no [no]: "]
    assert (plan_repair(str(get_table_folder(word_tables))) is None) == (answer == "yes")
