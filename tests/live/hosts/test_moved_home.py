"""A home moved to PostgreSQL, a bucket and a shared disk gives the same answers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.live.gateway.stack import embed_passages
from tests.live.hosts.host import GATEWAY, MODELS, Host
from tests.live.hosts.test_two_hosts import add_version, ask, is_serving, prepare_host, release
from twin_resources.authors import Author, write_author
from twin_resources.authors.pausing import pause_author
from twin_resources.registry.registry import Registry
from twin_resources.settings import Settings
from twin_resources.storage.state.home_state import open_home_state
from twin_resources.storage.state.state_tables import metadata
from twin_resources.storage.tables.tables import Tables

pytestmark = pytest.mark.live


@pytest.fixture
def old_host(tmp_path: Path, shared: dict[str, str]) -> Iterator[Host]:
    """Yield a host with SQLite and folders."""
    addresses = ("TWIN_STATE_URL", "TWIN_TABLES_URI")
    environment = {name: value for name, value in shared.items() if name not in addresses}
    host = Host(tmp_path / "alone", environment)
    yield host
    host.stop()


def count_rows(settings: Settings) -> dict[str, int]:
    count = sa.select(sa.func.count())
    with closing(open_home_state(settings)) as state, state.read_transaction() as conn:
        return {
            table.name: conn.execute(count.select_from(table)).scalar_one()
            for table in metadata.sorted_tables
        }


def read_data_versions(settings: Settings) -> dict[str, str]:
    with closing(open_home_state(settings)) as state:
        tables = Tables(settings.tables_base, state=state)
        return {asset: tables.data_version(asset, "ann") for asset in tables.list_assets("ann")}


def test_a_home_moves_from_one_host_to_several(
    old_host: Host, shared: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare_host(old_host, monkeypatch)
    embed_passages(old_host.settings, "bo")
    write_author(old_host.settings, Author("bo", "Bo Hill"))
    pause_author(old_host.settings, "bo", reason="a test's own")
    with closing(open_home_state(old_host.settings)) as state:
        registry = Registry(state, policy_path=old_host.settings.policy_path)
        add_version(old_host, registry, 1)
        release(registry, 1)
    old_host.start(GATEWAY, MODELS)
    old_host.wait(lambda: is_serving(old_host, 1))
    answer = ask(old_host)
    old_host.stop()
    rows_before = count_rows(old_host.settings)
    tables_before = read_data_versions(old_host.settings)
    backup = old_host.run("twin_cli", "backup", str(tmp_path / "home.tar"))
    assert backup.returncode == 0, backup.stdout + backup.stderr

    new_host = Host(tmp_path / "new", shared)
    for name, value in new_host.environment.items():
        monkeypatch.setenv(name, value)
    restored = new_host.run("twin_cli", "restore", str(tmp_path / "home.tar"))
    assert restored.returncode == 0, restored.stdout + restored.stderr

    assert count_rows(new_host.settings) == rows_before
    assert read_data_versions(new_host.settings) == tables_before != {}
    second_host = Host(tmp_path / "second", shared, new_host)
    try:
        for host in (new_host, second_host):
            host.start(GATEWAY, MODELS)
        for host in (new_host, second_host):
            host.wait(lambda host=host: is_serving(host, 1))
            assert ask(host) == answer
            assert (host.settings.authors_dir / "bo.paused").is_file()
    finally:
        for host in (new_host, second_host):
            host.stop()
