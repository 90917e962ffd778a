"""Test that a home restored to an empty folder, PostgreSQL or S3 has the same hashes as before.

The home is that of the erasure tests with another checkpoint, weights and secrets added.
"""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
import tarfile
import threading
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from twin_cli.running import app
from typer.testing import CliRunner

from tests.graph.erasure.conftest import UsedHome, used_home, used_home_folders
from tests.graph.s3 import make_s3_client, set_s3_environment
from tests.graph.tables.words import sync_words
from tests.json_examples import read_json_example, shape
from tests.postgresql_server import postgresql, postgresql_url
from twin_resources.access.account import account_tables
from twin_resources.access.keys import key_tables
from twin_resources.atomic_writes import replace_file
from twin_resources.authors import read_author
from twin_resources.backup.restoring import restore
from twin_resources.backup.saving import back_up
from twin_resources.backup.state_rows import copy_rows, replace_paths
from twin_resources.erasure import journal
from twin_resources.erasure.erasure_target import ErasureSubject
from twin_resources.errors import TwinError
from twin_resources.observability.langfuse.outbox import Outbox, QueuedScore, outbox_path
from twin_resources.observability.trace_store.queries import parse_observation_query
from twin_resources.observability.trace_store.trace_tables import TraceTables
from twin_resources.quality.ledger.ledger_tables import metadata as ledger_tables
from twin_resources.registry.policy import Policy, read_policy
from twin_resources.registry.registry import Registry
from twin_resources.settings import Settings, load_secrets
from twin_resources.storage.state.database_files import check_database
from twin_resources.storage.state.home_state import open_home_state
from twin_resources.storage.state.state import State
from twin_resources.storage.storage_faults import DamagedError, DiskFullError
from twin_resources.storage.tables.tables import Tables

__all__ = ["postgresql", "postgresql_url", "used_home", "used_home_folders"]  # fixtures
AUTHOR = "ada"


@pytest.fixture
def full_home(used_home: UsedHome) -> Settings:
    """Add keys, an account, a journal, a checkpoint, weights and a score to a used home."""
    home = used_home.settings
    for path in home.home.parent.iterdir():
        if path.name not in {"home", "saved", "sources"}:  # of an earlier test
            shutil.rmtree(path)
    for link in [path for path in home.weights_dir.iterdir() if path.is_symlink()]:
        link.unlink()
    load_secrets(home)
    with closing(open_home_state(home)) as state:
        journal.open_journal(state)
        number = journal.open_request(
            state, ErasureSubject("reader", "", "0" * 16), asked_by="test"
        )
        with state.transaction() as connection:
            account_tables.create_all(connection)
            key_tables.create_all(connection)
        assert number == 1
        Registry(state, policy_path=home.policy_path).publish()
    weights = home.weights_dir / "tiny" / "0123"
    weights.mkdir(parents=True)
    (weights / "model.safetensors").write_bytes(bytes(range(256)) * 40_000)
    shutil.copyfile(weights / "model.safetensors", weights / "again.safetensors")
    checkpoint = home.checkpoints_dir / AUTHOR / "abcd"
    checkpoint.mkdir(parents=True)
    base = {"folder": str(weights), "near": f"{home.home}-other/x"}
    (checkpoint / "manifest.json").write_text(json.dumps({"base": base}), encoding="utf-8")
    outbox = Outbox(outbox_path(home))
    outbox.put_scores([QueuedScore("s1", "t1", "thumbs", 1.0)])
    outbox.close()
    replace_file(home.home / "endpoints.json", '{"gateway_key": "sk-twin-kept-out"}')
    (home.logs_dir / "gateway.log").write_text("kept out", encoding="utf-8")
    return home


def compute_hashes(settings: Settings) -> dict[str, Any]:
    """Return what must not change: versions of tables, rows of the state, policy and files."""
    home, base = str(settings.home), settings.tables_base

    def mask(value: Any) -> Any:
        text = json.dumps(value, default=str).replace(base, "BASE")
        return json.loads(re.sub(rf"{re.escape(home)}(?![\w.-])", "HOME", text))

    with closing(open_home_state(settings)) as state:
        tables = Tables(base, state=state)
        versions = {
            asset: (tables.data_version(asset, AUTHOR), tables.lance_version(asset, AUTHOR))
            for asset in tables.list_assets(AUTHOR)
        }
        metadata = sa.MetaData()
        with state.read_transaction() as connection:
            metadata.reflect(connection)
            rows = {
                table.name: sorted(
                    mask([dict(row) for row in connection.execute(sa.select(table)).mappings()]),
                    key=repr,
                )
                for table in metadata.sorted_tables
                if table.name != "written_tables"  # each check of a table adds to it
            }
        registry = Registry(state, policy_path=settings.policy_path)
        registry_versions = [mask(vars(item)) for item in registry.versions(AUTHOR)]
    policy = replace(read_policy(settings.policy_path), written_at="")
    files = {
        path.relative_to(settings.home).as_posix(): mask(path.read_text(encoding="latin-1"))
        for folder in ("authors", "checkpoints", "weights")
        for path in (settings.home / folder).rglob("*")
        if path.is_file()
    }
    return {
        "tables": versions,
        "rows": rows,
        "versions": registry_versions,
        "policy": mask(policy_to_dict(policy)),
        "files": files,
    }


def policy_to_dict(policy: Policy) -> dict[str, Any]:
    return {slug: vars(author) for slug, author in policy.authors.items()}


def ignore(_line: str) -> None:
    """Discard a progress line."""


def new_home(settings: Settings, name: str, **values: str) -> Settings:
    return settings.model_copy(update={"home": settings.home.parent / name, **values})


def test_a_restore_into_nothing_has_the_same_hashes(full_home: Settings, tmp_path: Path) -> None:
    before = compute_hashes(full_home)
    assert len(before["tables"]) >= 5
    assert before["versions"]
    file = tmp_path / "saved" / "twin.tar"
    record = back_up(full_home, str(file), report=ignore)
    assert file.stat().st_mode & 0o777 == 0o600
    assert [table.asset for table in record.tables] == sorted(before["tables"])
    restored = new_home(full_home, "restored")
    restore(restored, str(file), report=ignore)
    assert compute_hashes(restored) == before
    assert compute_hashes(full_home) == before
    with sqlite3.connect(outbox_path(restored)) as outbox:
        assert outbox.execute("SELECT count(*) FROM waiting").fetchone() == (5,)
    query = parse_observation_query({})
    saved, _ = TraceTables(full_home.home / "traces.sqlite").observations(query)
    read, _ = TraceTables(restored.home / "traces.sqlite").observations(query)
    assert read == saved
    assert read
    runs = "SELECT run_id, status FROM runs ORDER BY run_id"
    run_rows = [
        sqlite3.connect(home.home / "dagster" / "history" / "runs.db").execute(runs).fetchall()
        for home in (full_home, restored)
    ]
    assert run_rows[0] == run_rows[1]
    manifest = json.loads(
        (restored.checkpoints_dir / AUTHOR / "abcd" / "manifest.json").read_text(encoding="utf-8")
    )
    assert manifest["base"]["folder"] == str(restored.weights_dir / "tiny" / "0123")
    assert manifest["base"]["near"] == f"{full_home.home}-other/x", "another path was replaced"
    assert read_author(restored, AUTHOR) == read_author(full_home, AUTHOR)
    for omitted_name in ("secrets.json", "endpoints.json", "logs"):
        assert not (restored.home / omitted_name).exists()
    assert b"sk-twin" not in file.read_bytes()


@pytest.mark.long
def test_secrets_are_saved_on_request(full_home: Settings, tmp_path: Path) -> None:
    file = tmp_path / "twin.tar"
    assert back_up(full_home, str(file), secrets=True, report=ignore).has_secrets
    restored = new_home(full_home, "restored")
    restore(restored, str(file), report=ignore)
    assert vars(load_secrets(restored)) == vars(load_secrets(full_home))
    assert (restored.home / "secrets.json").stat().st_mode & 0o777 == 0o600


@pytest.mark.long
def test_a_backup_moves_from_sqlite_to_postgresql_and_back(
    full_home: Settings, tmp_path: Path, postgresql_url: str
) -> None:
    before = compute_hashes(full_home)
    back_up(full_home, str(tmp_path / "one.tar"), report=ignore)
    server = new_home(full_home, "on-a-server", state_url=postgresql_url)
    restore(server, str(tmp_path / "one.tar"), report=ignore)
    assert not (server.home / "state.sqlite").exists()
    assert compute_hashes(server) == before
    with closing(State.open(postgresql_url)) as state:
        reader = ErasureSubject("reader", "", "1" * 16)
        number = journal.open_request(state, reader, asked_by="test")
        assert number == 2, "the numbers do not continue those of the backup"
    hashes_after_change = compute_hashes(server)
    back_up(server, str(tmp_path / "two.tar"), report=ignore)
    returned = new_home(full_home, "back-again")
    restore(returned, str(tmp_path / "two.tar"), report=ignore)
    assert compute_hashes(returned) == hashes_after_change


@pytest.mark.long
def test_a_home_moves_to_postgresql_and_s3_and_back(
    full_home: Settings,
    postgresql_url: str,
    s3_endpoint: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    set_s3_environment(monkeypatch, s3_endpoint)
    make_s3_client(s3_endpoint).create_bucket(Bucket="tables")
    before = compute_hashes(full_home)
    back_up(full_home, str(tmp_path / "one.tar"), report=ignore)
    cloud = new_home(
        full_home, "in-the-cloud", state_url=postgresql_url, tables_uri="s3://tables/a"
    )
    restore(cloud, str(tmp_path / "one.tar"), report=ignore)
    assert not (cloud.home / "tables").exists()
    assert compute_hashes(cloud) == before
    back_up(cloud, str(tmp_path / "two.tar"), report=ignore)
    returned = new_home(full_home, "on-one-machine")
    restore(returned, str(tmp_path / "two.tar"), report=ignore)
    assert compute_hashes(returned) == before
    with pytest.raises(TwinError, match="aws s3 cp"):
        back_up(full_home, "s3://backups/monday", report=ignore)


@pytest.mark.long
def test_the_commands_work_as_documented(full_home: Settings, tmp_path: Path) -> None:
    before, file = compute_hashes(full_home), str(tmp_path / "twin.tar")
    runner = CliRunner()
    result = runner.invoke(app, ["backup", file, "--json", "--home", str(full_home.home)])
    assert result.exit_code == 0, result.output
    assert shape(json.loads(result.stdout)) == shape(read_json_example("backup"))
    restored = new_home(full_home, "restored")
    result = runner.invoke(app, ["restore", file, "--home", str(restored.home)])
    assert result.exit_code == 0, result.output
    assert "as it was on" in " ".join(result.stdout.split())
    assert compute_hashes(restored) == before
    result = runner.invoke(app, ["backup", file, "--home", str(full_home.home)])
    assert isinstance(result.exception, TwinError)
    assert "a file with that name exists" in result.exception.found


@pytest.fixture
def backup_path(full_home: Settings, tmp_path: Path) -> str:
    back_up(full_home, str(tmp_path / "twin.tar"), report=ignore)
    return str(tmp_path / "twin.tar")


@pytest.mark.long
def test_a_restore_overwrites_nothing(
    full_home: Settings, backup_path: str, postgresql_url: str, tmp_path: Path
) -> None:
    before = compute_hashes(full_home)
    with pytest.raises(TwinError, match=r"is not empty.*--home NEW"):
        restore(full_home, backup_path, report=ignore)
    restored = new_home(full_home, "new", state_url=postgresql_url)
    restore(restored, backup_path, report=ignore)
    with pytest.raises(TwinError, match="rows in postgresql"):
        restore(new_home(full_home, "newer", state_url=postgresql_url), backup_path, report=ignore)
    (tmp_path / "tables" / "x").mkdir(parents=True)
    (tmp_path / "tables" / "x" / "y").write_text("mine", encoding="utf-8")
    foreign = new_home(full_home, "newest", tables_uri=str(tmp_path / "tables"))
    with pytest.raises(TwinError, match="other files in"):
        restore(foreign, backup_path, report=ignore)
    assert not foreign.home.exists()
    assert compute_hashes(full_home) == before


@pytest.mark.long
def test_a_second_restore_into_the_same_home_is_refused(
    full_home: Settings, backup_path: str
) -> None:
    """Two restores once wrote into the same folder, and the failure advised another backup."""
    restored = new_home(full_home, "once")
    errors: list[BaseException] = []

    def restore_again(_line: str) -> None:
        if not errors:
            with pytest.raises(TwinError, match="another command is writing to") as error:
                restore(restored, backup_path, report=ignore)
            errors.append(error.value)

    restore(restored, backup_path, report=restore_again)
    assert len(errors) == 1
    assert compute_hashes(restored) == compute_hashes(full_home)


def test_an_incomplete_backup_restores_nothing(
    full_home: Settings, backup_path: str, tmp_path: Path
) -> None:
    restored = new_home(full_home, "new")
    saved_bytes = Path(backup_path).read_bytes()
    truncated = tmp_path / "cut.tar"
    truncated.write_bytes(saved_bytes[: len(saved_bytes) // 2])
    with pytest.raises(TwinError, match="not a complete backup"):
        restore(restored, str(truncated), report=ignore)
    with tarfile.open(backup_path) as tar:
        largest = max(tar.getmembers(), key=lambda member: member.size)
    altered = bytearray(saved_bytes)
    altered[largest.offset_data + 100] ^= 1
    (tmp_path / "wrong.tar").write_bytes(altered)
    with pytest.raises(TwinError, match="the bytes differ from the saved ones"):
        restore(restored, str(tmp_path / "wrong.tar"), report=ignore)
    with pytest.raises(TwinError, match="not a complete backup"):
        restore(restored, str(tmp_path / "none.tar"), report=ignore)
    assert not restored.home.exists()
    assert not list(full_home.home.parent.glob("*.restoring"))


@pytest.mark.long
def test_a_home_is_saved_while_others_write_to_it(full_home: Settings, tmp_path: Path) -> None:
    """Tables, state and outbox are each saved as they were at one moment; no writer fails."""
    stop_event, write_counts = threading.Event(), [0]

    def write() -> None:
        outbox = Outbox(outbox_path(full_home))
        with closing(open_home_state(full_home)) as state:
            tables = Tables(full_home.tables_base, state=state)
            while not stop_event.is_set():
                number = write_counts[0]
                sync_words(tables, {f"p{n}": f"word {number}" for n in range(number % 7 + 1)})
                outbox.put_scores([QueuedScore(f"n{number}", "t1", "thumbs", 1.0)])
                write_counts[0] += 1
        outbox.close()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        while write_counts[0] < 2 and writer.is_alive():
            time.sleep(0.01)
        before = write_counts[0]
        for number in range(3):
            back_up(full_home, str(tmp_path / f"{number}.tar"), report=ignore)
        assert writer.is_alive()
        assert write_counts[0] > before
    finally:
        stop_event.set()
        writer.join()
    for number in range(3):
        restored = new_home(full_home, f"restored-{number}")
        restore(restored, str(tmp_path / f"{number}.tar"), report=ignore)
        with closing(open_home_state(restored)) as state:
            rows = Tables(restored.tables_base, state=state).read("words", "mara")
        assert rows.height in range(2, 15)
        check_database(outbox_path(restored))


def test_a_damaged_table_is_not_saved(full_home: Settings, tmp_path: Path) -> None:
    file = next(Path(full_home.tables_base).rglob("cleaned_documents.lance/data/*.lance"))
    file.write_bytes(file.read_bytes()[:-40])
    with pytest.raises(DamagedError, match="cleaned_documents"):
        back_up(full_home, str(tmp_path / "twin.tar"), report=ignore)
    assert list(tmp_path.glob("twin.tar*")) == []


def test_a_backup_on_a_full_disk_is_an_error_and_leaves_no_file(
    full_home: Settings, tmp_path: Path
) -> None:
    from tests.small_disk import small_disk

    with small_disk(tmp_path / "small", megabytes=2) as disk:
        with pytest.raises(DiskFullError):
            back_up(full_home, str(disk.path / "twin.tar"), report=ignore)
        assert list(disk.path.iterdir()) == []


def test_tables_created_for_a_copy_equal_those_of_the_code(
    postgresql_url: str, tmp_path: Path
) -> None:
    """The copy creates the same columns, keys and indexes as the modules do at first use."""
    schemas = (ledger_tables, account_tables, key_tables, journal._metadata)  # pyright: ignore
    with closing(State.open(f"sqlite:///{tmp_path / 'from.sqlite'}")) as source:
        with source.transaction() as connection:
            for schema in schemas:
                schema.create_all(connection)
        with closing(State.open(postgresql_url)) as target:
            with source.read_transaction() as read, target.transaction() as write:
                copy_rows(read, write)
            copied_tables = describe_tables(target.engine)
            with target.transaction() as connection:
                for schema in schemas:
                    schema.drop_all(connection)
                    schema.create_all(connection)
            assert copied_tables == describe_tables(target.engine)


def describe_tables(engine: sa.Engine) -> dict[str, Any]:
    database = sa.inspect(engine)
    return {
        name: {
            "columns": {
                column["name"]: (
                    str(column["type"]),
                    column["nullable"],
                    "nextval" in str(column["default"]) or column["default"],
                )
                for column in database.get_columns(name)
            },
            "key": database.get_pk_constraint(name)["constrained_columns"],
            "unique": sorted(
                tuple(unique_constraint["column_names"])
                for unique_constraint in database.get_unique_constraints(name)
            ),
            "indexes": sorted(
                (tuple(index["column_names"]), index["unique"])
                for index in database.get_indexes(name)
            ),
        }
        for name in database.get_table_names()
    }


def test_only_exact_folder_names_are_replaced() -> None:
    replacements = {"/a/home": "/b", "/a/home/tables": "s3://bucket/tables"}
    assert replace_paths("/a/home/tables/x.lance", replacements) == "s3://bucket/tables/x.lance"
    assert replace_paths('{"folder": "/a/home"}', replacements) == '{"folder": "/b"}'
    assert (
        replace_paths("sqlite:////a/home/state.sqlite", replacements) == "sqlite:////b/state.sqlite"
    )
    for other in ("/a/home2/x", "/a/home.old", "/x/a/home/y", "a/home"):
        assert replace_paths(other, replacements) == other
