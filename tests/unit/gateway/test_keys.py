"""Who may ask whom: the two keys of a home, and those of the state store (a real SQLite file)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import sqlalchemy as sa

from twin_resources.access import keys
from twin_resources.access.refusals import RefusedError
from twin_resources.errors import TwinError
from twin_resources.settings import Settings, load_secrets
from twin_resources.storage.state.state import State


@pytest.fixture
def state(home: Settings) -> State:
    return keys.open_key_store(home)


def refused(ring: keys.Keyring, authorization: str) -> RefusedError:
    with pytest.raises(RefusedError) as caught:
        ring.find(authorization)
    return caught.value


def test_the_keys_of_the_home_need_no_store(home: Settings) -> None:
    def no_store() -> State:
        raise AssertionError("the store was opened")

    ring = keys.Keyring(load_secrets(home), open_state=no_store)
    secrets = load_secrets(home)
    admin = ring.find(f"Bearer {secrets.gateway_master_key}")
    reader = ring.find(f"bearer  {secrets.gateway_key} ")
    assert (admin.role, reader.role) == ("admin", "reader")
    assert admin.may_ask("anyone")
    assert reader.may_ask("anyone")
    assert admin.reader != reader.reader
    assert (len(admin.reader), len(keys.key_id_from_hash("ab" * 32))) == (16, 16)


@pytest.mark.parametrize("authorization", ["", "Bearer", "Bearer ", "Basic abc", "sk-twin-x"])
def test_a_missing_key_says_where_to_find_one(home: Settings, authorization: str) -> None:
    error = refused(keys.open_keyring(home), authorization)
    assert (error.status, error.code) == (401, "missing_key")
    assert "endpoints.json" in error.next_step
    assert error.found == ("no bearer key" if authorization else "no key")


@pytest.mark.parametrize("sent", ["sk-wrong", "sk-é", "x" * 100_000])
def test_a_wrong_key_is_refused_and_not_repeated(home: Settings, sent: str) -> None:
    error = refused(keys.open_keyring(home), f"Bearer {sent}")
    assert (error.status, error.code) == (401, "wrong_key")
    assert sent not in str(error)


def test_a_made_key_has_its_role_and_authors(home: Settings, state: State) -> None:
    made = keys.add_key(state, role="author", authors=["ann", "ann"], label="Ann")
    with pytest.raises(TwinError, match="a key with the label 'Ann'"):
        keys.add_key(state, role="reader", authors=["ann"], label="Ann")
    known = sa.inspect(state.engine)
    for table in ("gateway_keys", "gateway_key_limits"):
        assert known.get_pk_constraint(table)["constrained_columns"] == ["key_hash"]
    found = keys.open_keyring(home).find(f"Bearer {made}")
    assert (found.role, found.authors, found.label) == ("author", frozenset({"ann"}), "Ann")
    assert not found.may_ask("bob")


def test_the_store_and_the_trace_hold_no_key(home: Settings, state: State) -> None:
    made = keys.add_key(state, role="reader", authors=["*"], label="all")
    found = keys.open_keyring(home).find(f"Bearer {made}")
    with state.read_transaction() as connection:
        rows = connection.execute(sa.select(keys.gateway_keys)).all()
    stored = json.dumps([list(row) for row in rows])
    assert made not in stored
    assert found.reader not in stored
    assert made not in str(keys.list_keys(state))


def test_a_revoked_key_is_refused_within_a_second(home: Settings, state: State) -> None:
    now = 100.0
    ring = keys.Keyring(load_secrets(home), open_state=lambda: state, clock=lambda: now)
    made = keys.add_key(state, role="reader", authors=["*"], label="all")
    assert ring.find(f"Bearer {made}").role == "reader"
    keys.revoke_key(state, "all")
    assert ring.find(f"Bearer {made}").role == "reader"
    now += 1.0
    assert refused(ring, f"Bearer {made}").status == 401
    assert keys.add_key(state, role="reader", authors=["*"], label="all") != made


def test_a_flood_of_wrong_keys_does_not_fill_the_memory(home: Settings, state: State) -> None:
    ring = keys.open_keyring(home)
    remembered = ring._cache  # pyright: ignore[reportPrivateUsage]
    remembered.update({f"wrong {number}": (0.0, None) for number in range(9_999)})
    refused(ring, "Bearer sk-twin-one")
    assert len(remembered) == 10_000
    refused(ring, "Bearer sk-twin-another")
    assert len(remembered) == 1


def test_a_store_that_cannot_be_read_is_no_wrong_key(home: Settings, tmp_path: Path) -> None:
    broken = home.model_copy(update={"state_url": f"sqlite:///{tmp_path}"})
    error = refused(keys.open_keyring(broken), "Bearer sk-anything")
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


def test_a_key_knows_its_limits(home: Settings, state: State) -> None:
    limits = keys.KeyLimits(frozenset({"paid"}), per_minute=60, at_once=4, usd_per_day=2.0)
    made = keys.add_key(state, role="site", authors=["ann"], label="my site", limits=limits)
    found = keys.open_keyring(home).find(f"Bearer {made}")
    assert found.limits == limits
    assert (found.may_use_alias("paid"), found.may_use_alias(""), found.may_use_alias("base")) == (
        True, True, False,
    )  # fmt: skip
    [row] = keys.list_keys(state)
    assert (row["id"], row["aliases"], row["usd_per_day"]) == (found.id, ["paid"], 2.0)
    assert found.for_reader("user-1").id == found.id, "a site's readers spend the site's money"
    secrets = load_secrets(home)
    for mine in (secrets.gateway_key, secrets.gateway_master_key):
        assert keys.open_keyring(home).find(f"Bearer {mine}").limits == keys.NO_LIMITS


def test_only_a_site_names_its_readers(state: State, home: Settings) -> None:
    ring = keys.open_keyring(home)
    for role in keys.ROLES:
        made = keys.add_key(state, role=role, authors=["*"], label=role)
        key = ring.find(f"Bearer {made}")
        named = key.for_reader("user-1")
        assert (named.reader != key.reader) is (role == "site"), role
        assert key.for_reader("") == key
        assert (named.role, named.authors, named.limits) == (role, key.authors, key.limits)


def test_a_key_that_was_made_before_may_not_name_the_paid_model(
    home: Settings, state: State
) -> None:
    made = keys.add_key(state, role="reader", authors=["*"], label="old", limits=keys.NO_LIMITS)
    with state.transaction() as connection:
        connection.execute(sa.delete(keys.gateway_key_limits))
    assert keys.open_keyring(home).find(f"Bearer {made}").limits == keys.KeyLimits()
    assert not keys.KeyLimits().aliases & {"paid"}


@pytest.mark.parametrize(
    "limits",
    [
        keys.KeyLimits(frozenset({"payed"})),
        keys.KeyLimits(per_minute=0),
        keys.KeyLimits(at_once=-1),
        keys.KeyLimits(usd_per_day=float("nan")),
        keys.KeyLimits(usd_per_day=-1.0),
    ],
)
def test_a_limit_that_is_none_is_refused(state: State, limits: keys.KeyLimits) -> None:
    with pytest.raises(TwinError):
        keys.add_key(state, role="reader", authors=["*"], label="a", limits=limits)
    assert keys.list_keys(state) == []
