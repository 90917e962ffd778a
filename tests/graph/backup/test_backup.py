"""A home backed up and restored: into nothing, elsewhere, onto PostgreSQL and S3, the same hashes.

The home is that of `test_former_home.py`, with a checkpoint, weights, an outbox and secrets beside.
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

from tests.documented import documented, shape
from tests.graph.s3 import client_of, name_in_environment
from tests.graph.tables.words import sync_words
from tests.graph.test_former_home import former
from tests.postgresql_server import postgresql, postgresql_url
from twin_resources.access.account_rows import account_tables
from twin_resources.access.keys import _metadata as key_tables
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
from twin_resources.storage.state.state import State
from twin_resources.storage.storage_faults import DamagedError, DiskFullError
from twin_resources.storage.tables.tables import Tables

__all__ = ["former", "postgresql", "postgresql_url"]  # fixtures
AUTHOR = "ada"


@pytest.fixture
def living(former: Settings) -> Settings:
    """The former home, lived in: keys, an account, a journal, a checkpoint, weights, a score."""
    load_secrets(former)
    with closing(State.open(former.state_address)) as state:
        journal.open_journal(state)
        number = journal.open_request(
            state, ErasureSubject("reader", "", "0" * 16), asked_by="test"
        )
        with state.transaction() as connection:
            account_tables.create_all(connection)
            key_tables.create_all(connection)
        assert number == 1
        Registry(state, policy_path=former.policy_path).publish()
    weights = former.weights_dir / "tiny" / "0123"
    weights.mkdir(parents=True)
    (weights / "model.safetensors").write_bytes(bytes(range(256)) * 40_000)
    shutil.copyfile(weights / "model.safetensors", weights / "again.safetensors")
    checkpoint = former.checkpoints_dir / AUTHOR / "abcd"
    checkpoint.mkdir(parents=True)
    base = {"folder": str(weights), "near": f"{former.home}-other/x"}
    (checkpoint / "manifest.json").write_text(json.dumps({"base": base}), encoding="utf-8")
    outbox = Outbox(outbox_path(former))
    outbox.put_scores([QueuedScore("s1", "t1", "thumbs", 1.0)])
    outbox.close()
    replace_file(former.home / "endpoints.json", '{"gateway_key": "sk-twin-kept-out"}')
    (former.logs_dir).mkdir()
    (former.logs_dir / "gateway.log").write_text("kept out", encoding="utf-8")
    return former


def hashes(settings: Settings) -> dict[str, Any]:
    """What must be equal: data and Lance versions of tables, rows of state, policy, files."""
    home, base = str(settings.home), settings.tables_base

    def plain(value: Any) -> Any:
        text = json.dumps(value, default=str).replace(base, "BASE")
        return json.loads(re.sub(rf"{re.escape(home)}(?![\w.-])", "HOME", text))

    with closing(State.open(settings.state_address)) as state:
        tables = Tables(base, state=state)
        versions = {
            asset: (tables.data_version(asset, AUTHOR), tables.lance_version(asset, AUTHOR))
            for asset in tables.assets(AUTHOR)
        }
        metadata = sa.MetaData()
        with state.read_transaction() as connection:
            metadata.reflect(connection)
            rows = {
                table.name: sorted(
                    plain([dict(row) for row in connection.execute(sa.select(table)).mappings()]),
                    key=repr,
                )
                for table in metadata.sorted_tables
                if table.name not in {"leases", "ended_leases"}
            }
        registry = Registry(state, policy_path=settings.policy_path)
        versions_of = [plain(vars(item)) for item in registry.versions(AUTHOR)]
    policy = replace(read_policy(settings.policy_path), written_at="")
    files = {
        path.relative_to(settings.home).as_posix(): plain(path.read_text(encoding="latin-1"))
        for folder in ("authors", "checkpoints", "weights")
        for path in (settings.home / folder).rglob("*")
        if path.is_file()
    }
    return {
        "tables": versions,
        "rows": rows,
        "versions": versions_of,
        "policy": plain(policy_of(policy)),
        "files": files,
    }


def policy_of(policy: Policy) -> dict[str, Any]:
    return {slug: vars(author) for slug, author in policy.authors.items()}


def quiet(_line: str) -> None:
    """No report."""


def new_home(settings: Settings, name: str, **values: str) -> Settings:
    return settings.model_copy(update={"home": settings.home.parent / name, **values})


def test_a_restore_into_nothing_has_the_same_hashes(living: Settings, tmp_path: Path) -> None:
    before = hashes(living)
    assert len(before["tables"]) >= 5
    assert before["versions"]
    file = tmp_path / "saved" / "twin.tar"
    record = back_up(living, str(file), report=quiet)
    assert file.stat().st_mode & 0o777 == 0o600
    assert [table.asset for table in record.tables] == sorted(before["tables"])
    restored = new_home(living, "restored")
    restore(restored, str(file), report=quiet)
    assert hashes(restored) == before
    assert hashes(living) == before
    with sqlite3.connect(outbox_path(restored)) as outbox:
        assert outbox.execute("SELECT count(*) FROM waiting").fetchone() == (1,)
    was, _ = TraceTables(living.home / "traces.sqlite").observations(parse_observation_query({}))
    now, _ = TraceTables(restored.home / "traces.sqlite").observations(parse_observation_query({}))
    assert now == was
    assert now
    runs = "SELECT run_id, status FROM runs ORDER BY run_id"
    counts = [
        sqlite3.connect(home.home / "dagster" / "history" / "runs.db").execute(runs).fetchall()
        for home in (living, restored)
    ]
    assert counts[0] == counts[1]
    manifest = json.loads(
        (restored.checkpoints_dir / AUTHOR / "abcd" / "manifest.json").read_text(encoding="utf-8")
    )
    assert manifest["base"]["folder"] == str(restored.weights_dir / "tiny" / "0123")
    assert manifest["base"]["near"] == f"{living.home}-other/x", "another folder, alike in name"
    assert read_author(restored, AUTHOR) == read_author(living, AUTHOR)
    for left_out in ("secrets.json", "endpoints.json", "logs"):
        assert not (restored.home / left_out).exists()
    assert b"sk-twin" not in file.read_bytes()


def test_secrets_come_along_when_asked_for(living: Settings, tmp_path: Path) -> None:
    file = tmp_path / "twin.tar"
    assert back_up(living, str(file), secrets=True, report=quiet).has_secrets
    restored = new_home(living, "restored")
    restore(restored, str(file), report=quiet)
    assert vars(load_secrets(restored)) == vars(load_secrets(living))
    assert (restored.home / "secrets.json").stat().st_mode & 0o777 == 0o600


@pytest.mark.drawn(1, of="backups elsewhere")
def test_from_sqlite_to_postgresql_and_back(
    living: Settings, tmp_path: Path, postgresql_url: str
) -> None:
    before = hashes(living)
    back_up(living, str(tmp_path / "one.tar"), report=quiet)
    server = new_home(living, "on-a-server", state_url=postgresql_url)
    restore(server, str(tmp_path / "one.tar"), report=quiet)
    assert not (server.home / "state.sqlite").exists()
    assert hashes(server) == before
    with closing(State.open(postgresql_url)) as state:
        reader = ErasureSubject("reader", "", "1" * 16)
        number = journal.open_request(state, reader, asked_by="test")
        assert number == 2, "its numbers go on behind those of the backup"
    changed = hashes(server)
    back_up(server, str(tmp_path / "two.tar"), report=quiet)
    returned = new_home(living, "back-again")
    restore(returned, str(tmp_path / "two.tar"), report=quiet)
    assert hashes(returned) == changed


@pytest.mark.drawn(1, of="backups elsewhere")
def test_to_s3_and_from_s3(
    living: Settings, postgresql_url: str, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name_in_environment(monkeypatch, s3_endpoint)
    client = client_of(s3_endpoint)
    client.create_bucket(Bucket="backups")
    before = hashes(living)
    back_up(living, "s3://backups/monday", report=quiet)
    names = [item["Key"] for item in client.list_objects_v2(Bucket="backups")["Contents"]]
    record = back_up(living, "s3://backups/monday", report=quiet)  # only new contents
    names_after = [one["Key"] for one in client.list_objects_v2(Bucket="backups")["Contents"]]
    assert set(names) <= set(names_after)
    assert len(names_after) - len(names) <= 4  # the databases that were opened in between
    contents = {file.sha256 for table in record.tables for file in table.files}
    assert len(names) < sum(len(table.files) for table in record.tables) + len(record.files) + 2
    assert {f"monday/contents/{sha}" for sha in contents} <= set(names_after)
    restored = new_home(
        living, "in-the-cloud", state_url=postgresql_url, tables_uri="s3://backups/tables"
    )
    restore(restored, "s3://backups/monday", report=quiet)
    assert not (restored.home / "tables").exists()
    assert hashes(restored) == before
    back_up(restored, "s3://backups/tuesday", report=quiet)
    returned = new_home(living, "on-one-machine")
    restore(returned, "s3://backups/tuesday", report=quiet)
    assert hashes(returned) == before


def test_the_commands_as_documented(living: Settings, tmp_path: Path) -> None:
    before, file = hashes(living), str(tmp_path / "twin.tar")
    runner = CliRunner()
    result = runner.invoke(app, ["backup", file, "--json", "--home", str(living.home)])
    assert result.exit_code == 0, result.output
    assert shape(json.loads(result.stdout)) == shape(documented("backup"))
    restored = new_home(living, "restored")
    result = runner.invoke(app, ["restore", file, "--home", str(restored.home)])
    assert result.exit_code == 0, result.output
    assert "as it was on" in " ".join(result.stdout.split())
    assert hashes(restored) == before
    result = runner.invoke(app, ["backup", file, "--home", str(living.home)])
    assert isinstance(result.exception, TwinError)
    assert "a file with that name exists" in result.exception.found


@pytest.fixture
def saved(living: Settings, tmp_path: Path) -> str:
    back_up(living, str(tmp_path / "twin.tar"), report=quiet)
    return str(tmp_path / "twin.tar")


def test_a_restore_writes_over_nothing(
    living: Settings, saved: str, postgresql_url: str, tmp_path: Path
) -> None:
    before = hashes(living)
    with pytest.raises(TwinError, match=r"something in .*--home NEW"):
        restore(living, saved, report=quiet)
    restored = new_home(living, "new", state_url=postgresql_url)
    restore(restored, saved, report=quiet)
    with pytest.raises(TwinError, match="rows in postgresql"):
        restore(new_home(living, "newer", state_url=postgresql_url), saved, report=quiet)
    (tmp_path / "tables" / "x").mkdir(parents=True)
    (tmp_path / "tables" / "x" / "y").write_text("mine", encoding="utf-8")
    foreign = new_home(living, "newest", tables_uri=str(tmp_path / "tables"))
    with pytest.raises(TwinError, match="other files in"):
        restore(foreign, saved, report=quiet)
    assert not foreign.home.exists()
    assert hashes(living) == before


def test_one_command_at_a_time_restores_into_a_home(living: Settings, saved: str) -> None:
    """Two at once wrote into one folder, and the failing one advised a new backup."""
    restored = new_home(living, "once")
    others: list[BaseException] = []

    def meanwhile(_line: str) -> None:
        if not others:
            with pytest.raises(TwinError, match="which another command fills") as caught:
                restore(restored, saved, report=quiet)
            others.append(caught.value)

    restore(restored, saved, report=meanwhile)
    assert len(others) == 1
    assert hashes(restored) == hashes(living)


def test_a_backup_that_is_not_whole_restores_nothing(
    living: Settings, saved: str, tmp_path: Path
) -> None:
    restored = new_home(living, "new")
    saved_bytes = Path(saved).read_bytes()
    cut = tmp_path / "cut.tar"
    cut.write_bytes(saved_bytes[: len(saved_bytes) // 2])
    with pytest.raises(TwinError, match="not a complete backup"):
        restore(restored, str(cut), report=quiet)
    with tarfile.open(saved) as tar:
        largest = max(tar.getmembers(), key=lambda one: one.size)
    wrong = bytearray(saved_bytes)
    wrong[largest.offset_data + 100] ^= 1
    (tmp_path / "wrong.tar").write_bytes(wrong)
    with pytest.raises(TwinError, match="the bytes differ from the saved ones"):
        restore(restored, str(tmp_path / "wrong.tar"), report=quiet)
    with pytest.raises(TwinError, match="not a complete backup"):
        restore(restored, str(tmp_path / "none.tar"), report=quiet)
    assert not restored.home.exists()
    assert not list(living.home.parent.glob("*.restoring"))


@pytest.mark.drawn(1, of="backups elsewhere")
def test_a_home_is_saved_while_others_write_to_it(living: Settings, tmp_path: Path) -> None:
    """Tables, state and outbox are each saved as of one moment; no writer fails."""
    ended, written = threading.Event(), [0]

    def write() -> None:
        outbox = Outbox(outbox_path(living))
        with closing(State.open(living.state_address)) as state:
            tables = Tables(living.tables_base, state=state)
            while not ended.is_set():
                number = written[0]
                sync_words(tables, {f"p{at}": f"word {number}" for at in range(number % 7 + 1)})
                outbox.put_scores([QueuedScore(f"n{number}", "t1", "thumbs", 1.0)])
                written[0] += 1
        outbox.close()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        while written[0] < 2 and writer.is_alive():
            time.sleep(0.01)
        before = written[0]
        for turn in range(3):
            back_up(living, str(tmp_path / f"{turn}.tar"), report=quiet)
        assert writer.is_alive()
        assert written[0] > before
    finally:
        ended.set()
        writer.join()
    for turn in range(3):
        restored = new_home(living, f"restored-{turn}")
        restore(restored, str(tmp_path / f"{turn}.tar"), report=quiet)
        with closing(State.open(restored.state_address)) as state:
            rows = Tables(restored.tables_base, state=state).read("words", "mara")
        assert rows.height in range(2, 15)
        check_database(outbox_path(restored))


def test_a_damaged_table_is_not_saved_as_if_it_were_whole(living: Settings, tmp_path: Path) -> None:
    file = next(Path(living.tables_base).rglob("cleaned_documents.lance/data/*.lance"))
    file.write_bytes(file.read_bytes()[:-40])
    with pytest.raises(DamagedError, match="cleaned_documents"):
        back_up(living, str(tmp_path / "twin.tar"), report=quiet)
    assert list(tmp_path.glob("twin.tar*")) == []


def test_a_backup_for_which_there_is_no_room_says_so_and_leaves_no_part(
    living: Settings, tmp_path: Path
) -> None:
    from tests.small_disk import small_disk

    with small_disk(tmp_path / "small", megabytes=2) as disk:
        with pytest.raises(DiskFullError):
            back_up(living, str(disk.path / "twin.tar"), report=quiet)
        assert list(disk.path.iterdir()) == []


def test_tables_that_are_made_for_a_copy_are_those_that_the_code_makes(
    postgresql_url: str, tmp_path: Path
) -> None:
    """Types, keys and indexes of tables that their module creates at its first use."""
    parts = (ledger_tables, account_tables, key_tables, journal._metadata)  # pyright: ignore
    with closing(State.open(f"sqlite:///{tmp_path / 'from.sqlite'}")) as source:
        with source.transaction() as connection:
            for part in parts:
                part.create_all(connection)
        with closing(State.open(postgresql_url)) as target:
            with source.read_transaction() as read, target.transaction() as written:
                copy_rows(read, written)
            copied = described(target.engine)
            with target.transaction() as connection:
                for part in parts:
                    part.drop_all(connection)
                    part.create_all(connection)
            assert copied == described(target.engine)


def described(engine: sa.Engine) -> dict[str, Any]:
    look = sa.inspect(engine)
    return {
        name: {
            "columns": {
                column["name"]: (
                    str(column["type"]),
                    column["nullable"],
                    "nextval" in str(column["default"]) or column["default"],
                )
                for column in look.get_columns(name)
            },
            "key": look.get_pk_constraint(name)["constrained_columns"],
            "unique": sorted(
                tuple(unique_constraint["column_names"])
                for unique_constraint in look.get_unique_constraints(name)
            ),
            "indexes": sorted(
                (tuple(index["column_names"]), index["unique"]) for index in look.get_indexes(name)
            ),
        }
        for name in look.get_table_names()
    }


def test_a_folder_is_moved_where_it_is_named_and_nowhere_else() -> None:
    moved = {"/a/home": "/b", "/a/home/tables": "s3://bucket/tables"}
    assert replace_paths("/a/home/tables/x.lance", moved) == "s3://bucket/tables/x.lance"
    assert replace_paths('{"folder": "/a/home"}', moved) == '{"folder": "/b"}'
    assert replace_paths("sqlite:////a/home/state.sqlite", moved) == "sqlite:////b/state.sqlite"
    for other in ("/a/home2/x", "/a/home.old", "/x/a/home/y", "a/home"):
        assert replace_paths(other, moved) == other
