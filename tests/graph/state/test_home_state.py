"""Test that a home tells the loss of its state store from a new home, on SQLite and PostgreSQL."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import dagster as dg
import pytest
import sqlalchemy as sa
from twin_cli.commands.doctor import open_home, run_check
from twin_cli.commands.outcome import open_registry

from twin_resources.access.keys import add_key, list_keys, open_key_store
from twin_resources.backup.restoring import restore
from twin_resources.backup.saving import back_up
from twin_resources.dagster_resources import RegistryResource, TablesResource
from twin_resources.erasure import journal
from twin_resources.erasure.erasure_target import ErasureSubject
from twin_resources.errors import TwinError
from twin_resources.home_marker import MARKER_NAME
from twin_resources.registry.registry import Registry
from twin_resources.settings import Settings, load_secrets
from twin_resources.storage.state.home_state import LostStateError, open_home_state
from twin_resources.storage.state.state import State


@pytest.fixture
def used_home(home: Settings, store_url: str, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Return a home without versions, whose only rows are a reader's key."""
    monkeypatch.setenv("TWIN_STATE_URL", store_url)
    settings = home.model_copy(update={"state_url": store_url})
    with closing(open_key_store(settings)) as state:
        add_key(state, role="reader", authors=["mara"], label="lent")
    return settings


def _drop_everything(settings: Settings) -> None:
    engine = sa.create_engine(settings.state_address, poolclass=sa.NullPool)
    metadata = sa.MetaData()
    metadata.reflect(engine)
    metadata.drop_all(engine)
    engine.dispose()


def _lose_file(settings: Settings, change: Callable[[Path], object]) -> None:
    file = Path(str(sa.make_url(settings.state_address).database))
    for suffix in ("-wal", "-shm"):
        file.with_name(file.name + suffix).unlink(missing_ok=True)
    change(file)


def _replace_with_new_store(settings: Settings) -> None:
    """Do what an unchecked program would do: create the tables in an empty store."""
    _drop_everything(settings)
    State.open(settings.state_address).close()


def _replace_with_another_homes_store(settings: Settings) -> None:
    _drop_everything(settings)
    other_home = settings.home.with_name("another home")
    open_home_state(settings.model_copy(update={"home": other_home})).close()


SQLITE_LOSSES: dict[str, Callable[[Settings], object]] = {
    "emptied file": lambda settings: _lose_file(settings, lambda file: file.write_bytes(b"")),
    "deleted file": lambda settings: _lose_file(settings, Path.unlink),
    "deleted folder": lambda settings: _lose_file(
        settings, lambda file: (file.unlink(), file.parent.rmdir())
    ),
    "empty database": lambda settings: _lose_file(
        settings,
        lambda file: (file.unlink(), sqlite3.connect(file).execute("VACUUM").connection.close()),
    ),
}
LOSSES: dict[str, Callable[[Settings], object]] = {
    **SQLITE_LOSSES,
    "dropped tables": _drop_everything,
    "tables created anew": _replace_with_new_store,
    "another home's store": _replace_with_another_homes_store,
}
DOORS: dict[str, Callable[[Settings], object]] = {
    "twin up, release, retrain": open_registry,
    "the gateway's keys": open_key_store,
    "a Dagster run": lambda _: RegistryResource().registry(),
    "an import": lambda _: TablesResource().tables(),
    "twin backup": lambda settings: back_up(settings, f"{settings.home}-{uuid4()}.tar"),
}


@pytest.mark.parametrize("loss", LOSSES)
def test_a_lost_store_is_refused_at_every_door(used_home: Settings, loss: str) -> None:
    if loss in SQLITE_LOSSES and not used_home.state_address.startswith("sqlite"):
        return
    LOSSES[loss](used_home)
    for _ in range(2):  # a refused open must not create what the next one accepts
        for door in DOORS.values():
            with pytest.raises(LostStateError, match=r"erased posts.*`twin restore FILE"):
                door(used_home)
        [finding] = run_check("state", open_home(used_home))
        assert finding.verdict == "fail"
        assert "`twin restore FILE --home NEW`" in finding.remedy


def _forget(settings: Settings, name: str) -> None:
    """Ask to erase a post, as `twin forget` does; the next open counts it."""
    with closing(open_home_state(settings)) as state:
        journal.open_request(state, ErasureSubject("post", "mara", name), asked_by="test")
    open_home_state(settings).close()


def test_an_older_copy_of_the_store_is_refused_at_every_door(
    used_home: Settings, tmp_path: Path
) -> None:
    _forget(used_home, "first")
    older = used_home.model_copy(update={"home": tmp_path / "older", "state_url": ""})
    back_up(used_home, str(tmp_path / "older.tar"))
    restore(older, str(tmp_path / "older.tar"), report=lambda _: None)
    open_key_store(older).close()  # in a home of its own, nothing says that it is older
    _forget(used_home, "second")
    for door in DOORS.values():
        door(used_home)
    if used_home.state_address.startswith("sqlite"):
        _lose_file(used_home, lambda file: shutil.copy(older.home / "state.sqlite", file))
    else:
        with closing(State.open(used_home.state_address)) as state, state.transaction() as rows:
            rows.execute(sa.delete(journal.requests).where(journal.requests.c.number == 2))
    for door in DOORS.values():
        with pytest.raises(LostStateError, match=r"has 1 of the 2 requests.*`twin restore FILE"):
            door(used_home)
    [finding] = run_check("state", open_home(used_home))
    assert (finding.verdict, "older copy" in finding.found) == ("fail", True)
    (used_home.home / MARKER_NAME).unlink()  # what the error says to who has no newer copy
    for door in DOORS.values():
        door(used_home)


def test_lost_keys_are_not_replaced_in_silence(used_home: Settings) -> None:
    first_secrets = load_secrets(used_home)
    open_home_state(used_home).close()
    (used_home.home / "secrets.json").unlink()
    for _ in range(2):
        with pytest.raises(TwinError, match=r"secrets\.json is missing.*--secrets"):
            load_secrets(used_home)
        [finding] = run_check("keys", open_home(used_home))
        assert (finding.verdict, "twin restore" in finding.remedy) == ("fail", True)
    (used_home.home / MARKER_NAME).unlink()  # what the error says to who wants new keys
    open_home_state(used_home).close()
    new_secrets = load_secrets(used_home)
    assert new_secrets.gateway_key != first_secrets.gateway_key
    assert load_secrets(used_home) == new_secrets


def test_restored_keys_are_remembered(used_home: Settings, tmp_path: Path) -> None:
    saved_secrets = load_secrets(used_home)
    for has_secrets in (True, False):
        backup = str(tmp_path / f"{has_secrets}.tar")
        back_up(used_home, backup, secrets=has_secrets)
        new = used_home.model_copy(update={"home": tmp_path / f"{has_secrets}", "state_url": ""})
        restore(new, backup, report=lambda _: None)
        assert (load_secrets(new) == saved_secrets) == has_secrets
        (new.home / "secrets.json").unlink()
        with pytest.raises(TwinError, match="is missing"):
            load_secrets(new)


def test_a_running_dagster_step_is_refused(used_home: Settings) -> None:
    _drop_everything(used_home)

    @dg.asset
    def publish_policy(registry: dg.ResourceParam[Registry]) -> None:
        registry.publish()

    result = dg.materialize(
        [publish_policy], resources={"registry": RegistryResource()}, raise_on_error=False
    )
    assert not result.success


def test_without_the_marker_tables_show_that_the_home_existed(used_home: Settings) -> None:
    table = used_home.home / "tables" / "mara" / "raw_posts.lance" / "data" / "part"
    table.parent.mkdir(parents=True)
    table.write_bytes(b"rows")
    (used_home.home / MARKER_NAME).unlink()
    open_home_state(used_home).close()  # the store has an identity: it is remembered again
    assert (used_home.home / MARKER_NAME).exists()
    (used_home.home / MARKER_NAME).unlink()
    _drop_everything(used_home)
    with pytest.raises(LostStateError, match="has tables"):
        open_home_state(used_home)


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"stat": ""}', '{"erasures": "3"}', '"state"', "\x00"]
)
def test_a_broken_marker_is_named_and_kept(used_home: Settings, content: str) -> None:
    marker = used_home.home / MARKER_NAME
    marker.write_text(content)
    with pytest.raises(TwinError, match=r"home\.json"):
        open_home_state(used_home)
    assert marker.read_text() == content


def test_a_restored_backup_is_the_homes_store(used_home: Settings, tmp_path: Path) -> None:
    back_up(used_home, str(tmp_path / "home.tar"))
    _drop_everything(used_home)
    new_home = used_home.model_copy(update={"home": tmp_path / "new"})
    if used_home.state_address.startswith("sqlite"):
        new_home = new_home.model_copy(update={"state_url": ""})
    restore(new_home, str(tmp_path / "home.tar"), report=lambda _: None)
    with closing(open_key_store(new_home)) as state:
        assert [key["label"] for key in list_keys(state)] == ["lent"]
    if new_home.state_url:  # the other hosts of the shared store go on too
        open_home_state(used_home).close()


def test_a_second_host_joins_the_shared_store(used_home: Settings) -> None:
    second = used_home.model_copy(update={"home": used_home.home.with_name("second")})
    open_home_state(second).close()
    first_marker = (used_home.home / MARKER_NAME).read_text()
    assert (second.home / MARKER_NAME).read_text() == first_marker
    _drop_everything(used_home)
    with pytest.raises(LostStateError):
        open_home_state(second)
