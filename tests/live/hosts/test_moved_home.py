"""A home of one host, moved to PostgreSQL and a bucket, answers the same on another host."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.live.gateway.stack import embed_passages
from tests.live.hosts.host import GATEWAY, MODELS, Host
from tests.live.hosts.test_two_hosts import ask, prepare, release, serves, train
from twin_resources.authors import Author, write_author
from twin_resources.authors.pausing import pause_author
from twin_resources.registry.registry import Registry
from twin_resources.settings import Settings
from twin_resources.storage.state.state import State
from twin_resources.storage.state.state_tables import metadata
from twin_resources.storage.tables.tables import Tables

pytestmark = pytest.mark.live


@pytest.fixture
def alone(tmp_path: Path, shared: dict[str, str]) -> Iterator[Host]:
    """Yield a host with SQLite and folders."""
    addresses = ("TWIN_STATE_URL", "TWIN_TABLES_URI", "TWIN_STORE_URI")
    environment = {name: value for name, value in shared.items() if name not in addresses}
    host = Host(tmp_path / "alone", environment)
    yield host
    host.stop()


def count_rows(settings: Settings) -> dict[str, int]:
    with closing(State.open(settings.state_address)) as state, state.read_transaction() as rows:
        return {
            table.name: rows.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
            for table in metadata.sorted_tables
        }


def table_versions(settings: Settings) -> dict[str, str]:
    with closing(State.open(settings.state_address)) as state:
        tables = Tables(settings.tables_base, state=state)
        return {asset: tables.data_version(asset, "ann") for asset in tables.list_assets("ann")}


@pytest.mark.drawn(2, of="long flows")
def test_a_home_of_one_host_moves_to_many(
    alone: Host, hosts: tuple[Host, Host], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(alone, monkeypatch)
    embed_passages(alone.settings, "bo")
    write_author(alone.settings, Author("bo", "Bo Hill"))
    pause_author(alone.settings, "bo", reason="a test's own")
    with closing(State.open(alone.settings.state_address)) as state:
        registry = Registry(state, policy_path=alone.settings.policy_path)
        train(alone, registry, 1)
        release(registry, 1)
    alone.start(GATEWAY, MODELS)
    alone.wait(lambda: serves(alone, 1))
    answer = ask(alone)
    alone.stop()
    rows_before, tables_before = count_rows(alone.settings), table_versions(alone.settings)
    backup = alone.run("twin_cli", "backup", str(tmp_path / "home.tar"))
    assert backup.returncode == 0, backup.stdout + backup.stderr

    new_host = hosts[0]
    for name, value in new_host.environment.items():
        monkeypatch.setenv(name, value)
    restored = new_host.run("twin_cli", "restore", str(tmp_path / "home.tar"))
    assert restored.returncode == 0, restored.stdout + restored.stderr

    assert count_rows(new_host.settings) == rows_before | {"shared_files": 3, "ended_leases": 0}
    assert table_versions(new_host.settings) == tables_before != {}
    for host in hosts:
        host.start(GATEWAY, MODELS)
    for host in hosts:
        host.wait(lambda host=host: serves(host, 1))
        assert ask(host) == answer
        assert (host.settings.authors_dir / "bo.paused").is_file()
