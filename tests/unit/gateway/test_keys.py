"""Who may ask whom: the two keys of a home, and those of the state store (a real SQLite file)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import sqlalchemy as sa

from twin_resources.errors import TwinError
from twin_resources.gateway import keys
from twin_resources.gateway.refusals import Refused
from twin_resources.settings import Settings, load_secrets
from twin_resources.state.state import State


@pytest.fixture
def state(home: Settings) -> State:
    return keys.open_keys(home)


def refused(ring: keys.Keyring, authorization: str) -> Refused:
    with pytest.raises(Refused) as caught:
        ring.find(authorization)
    return caught.value


def test_the_keys_of_the_home_need_no_store(home: Settings) -> None:
    def no_store() -> State:
        raise AssertionError("the store was opened")

    ring = keys.Keyring(load_secrets(home), state=no_store)
    secrets = load_secrets(home)
    admin = ring.find(f"Bearer {secrets.gateway_master_key}")
    reader = ring.find(f"bearer  {secrets.gateway_key} ")
    assert (admin.role, reader.role) == ("admin", "reader")
    assert admin.may_ask("anyone")
    assert reader.may_ask("anyone")
    assert admin.reader != reader.reader


@pytest.mark.parametrize("authorization", ["", "Bearer", "Bearer ", "Basic abc", "sk-twin-x"])
def test_a_missing_key_says_where_to_find_one(home: Settings, authorization: str) -> None:
    error = refused(keys.keyring_of(home), authorization)
    assert (error.status, error.code) == (401, "missing_key")
    assert "endpoints.json" in error.next_step


@pytest.mark.parametrize("sent", ["sk-wrong", "sk-é", "x" * 100_000])
def test_a_wrong_key_is_refused_and_not_repeated(home: Settings, sent: str) -> None:
    error = refused(keys.keyring_of(home), f"Bearer {sent}")
    assert (error.status, error.code) == (401, "wrong_key")
    assert sent not in str(error)


def test_a_made_key_has_its_role_and_authors(home: Settings, state: State) -> None:
    made = keys.add_key(state, role="author", authors=["ann", "ann"], label="Ann")
    found = keys.keyring_of(home).find(f"Bearer {made}")
    assert (found.role, found.authors, found.label) == ("author", frozenset({"ann"}), "Ann")
    assert not found.may_ask("bob")


def test_the_store_and_the_trace_hold_no_key(home: Settings, state: State) -> None:
    made = keys.add_key(state, role="reader", authors=["*"], label="all")
    found = keys.keyring_of(home).find(f"Bearer {made}")
    with state.reading() as connection:
        rows = connection.execute(sa.select(keys.gateway_keys)).all()
    stored = json.dumps([list(row) for row in rows])
    assert made not in stored
    assert found.reader not in stored
    assert made not in str(keys.list_keys(state))


def test_a_revoked_key_is_refused_within_a_second(home: Settings, state: State) -> None:
    now = 100.0
    ring = keys.Keyring(load_secrets(home), state=lambda: state, clock=lambda: now)
    made = keys.add_key(state, role="reader", authors=["*"], label="all")
    assert ring.find(f"Bearer {made}").role == "reader"
    keys.revoke_key(state, "all")
    assert ring.find(f"Bearer {made}").role == "reader"
    now += 1.0
    assert refused(ring, f"Bearer {made}").status == 401
    assert keys.add_key(state, role="reader", authors=["*"], label="all") != made


def test_a_store_that_cannot_be_read_is_no_wrong_key(home: Settings, tmp_path: Path) -> None:
    broken = home.model_copy(update={"state_url": f"sqlite:///{tmp_path}"})
    error = refused(keys.keyring_of(broken), "Bearer sk-anything")
    assert (error.status, error.code) == (503, "keys_unreadable")


@pytest.mark.parametrize(
    ("role", "authors", "label"),
    [("owner", ["*"], "a"), ("reader", [], "a"), ("reader", ["*"], "")],
)
def test_a_key_without_role_author_or_label_is_not_made(
    state: State, role: keys.Role, authors: list[str], label: str
) -> None:
    with pytest.raises(TwinError):
        keys.add_key(state, role=role, authors=authors, label=label)


def test_the_command_adds_lists_and_revokes(
    home: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    assert keys.main(["add", "Ann", "--role", "author", "--author", "ann"]) == 0
    made = capsys.readouterr().out.strip()
    assert keys.keyring_of(home).find(f"Bearer {made}").role == "author"
    assert keys.main(["add", "Ann", "--author", "ann"]) == 1
    assert "another label" in capsys.readouterr().err
    assert keys.main(["list"]) == 0
    assert "label=Ann" in capsys.readouterr().out
    assert keys.main(["revoke", "Ann"]) == 0
    assert keys.main(["revoke", "Ann"]) == 1
