"""Test the keys of the home and of the state store (an SQLite file)."""

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


def require_refusal(keyring: keys.Keyring, authorization: str) -> RefusedError:
    with pytest.raises(RefusedError) as excinfo:
        keyring.find(authorization)
    return excinfo.value


def test_the_keys_of_the_home_are_found_without_the_store(home: Settings) -> None:
    def fail_to_open() -> State:
        raise AssertionError("the store was opened")

    keyring = keys.Keyring(load_secrets(home), open_state=fail_to_open)
    secrets = load_secrets(home)
    admin = keyring.find(f"Bearer {secrets.gateway_master_key}")
    reader = keyring.find(f"bearer  {secrets.gateway_key} ")
    assert (admin.role, reader.role) == ("admin", "reader")
    assert admin.may_ask("anyone")
    assert reader.may_ask("anyone")
    assert admin.reader != reader.reader
    assert (len(admin.reader), len(keys.key_id_from_hash("ab" * 32))) == (16, 16)


@pytest.mark.parametrize("authorization", ["", "Bearer", "Bearer ", "Basic abc", "sk-twin-x"])
def test_a_missing_key_is_refused(home: Settings, authorization: str) -> None:
    error = require_refusal(keys.open_keyring(home), authorization)
    assert (error.status, error.code) == (401, "missing_key")
    assert "endpoints.json" in str(error)


@pytest.mark.parametrize("wrong_key", ["sk-wrong", "sk-é", "x" * 100_000])
def test_a_wrong_key_is_refused_and_not_repeated(home: Settings, wrong_key: str) -> None:
    error = require_refusal(keys.open_keyring(home), f"Bearer {wrong_key}")
    assert (error.status, error.code) == (401, "wrong_key")
    assert wrong_key not in str(error)


def test_an_added_key_has_its_role_and_authors(home: Settings, state: State) -> None:
    secret = keys.add_key(state, role="author", authors=["ann", "ann"], label="Ann")
    with pytest.raises(TwinError, match="a key with the label 'Ann'"):
        keys.add_key(state, role="reader", authors=["ann"], label="Ann")
    inspector = sa.inspect(state.engine)
    assert inspector.get_pk_constraint("gateway_keys")["constrained_columns"] == ["key_hash"]
    key = keys.open_keyring(home).find(f"Bearer {secret}")
    assert (key.role, key.authors, key.label) == ("author", frozenset({"ann"}), "Ann")
    assert not key.may_ask("bob")


def test_neither_store_nor_reader_id_contains_the_key(home: Settings, state: State) -> None:
    secret = keys.add_key(state, role="reader", authors=["*"], label="all")
    key = keys.open_keyring(home).find(f"Bearer {secret}")
    with state.read_transaction() as connection:
        rows = connection.execute(sa.select(keys.gateway_keys)).all()
    stored = json.dumps([list(row) for row in rows])
    assert secret not in stored
    assert key.reader not in stored
    assert secret not in str(keys.list_keys(state))


def test_a_revoked_key_is_refused_within_a_second(home: Settings, state: State) -> None:
    now = 100.0
    keyring = keys.Keyring(load_secrets(home), open_state=lambda: state, clock=lambda: now)
    secret = keys.add_key(state, role="reader", authors=["*"], label="all")
    assert keyring.find(f"Bearer {secret}").role == "reader"
    keys.revoke_key(state, "all")
    assert keyring.find(f"Bearer {secret}").role == "reader"
    now += 1.0
    assert require_refusal(keyring, f"Bearer {secret}").status == 401
    assert keys.add_key(state, role="reader", authors=["*"], label="all") != secret


def test_the_cache_of_wrong_keys_is_bounded(home: Settings, state: State) -> None:
    keyring = keys.open_keyring(home)
    cache = keyring._cache  # pyright: ignore[reportPrivateUsage]
    cache.update({f"wrong {number}": (0.0, None) for number in range(9_999)})
    require_refusal(keyring, "Bearer sk-twin-one")
    assert len(cache) == 10_000
    require_refusal(keyring, "Bearer sk-twin-another")
    assert len(cache) == 1


def test_an_unreadable_store_is_a_503(home: Settings, tmp_path: Path) -> None:
    unreadable_home = home.model_copy(update={"state_url": f"sqlite:///{tmp_path}"})
    error = require_refusal(keys.open_keyring(unreadable_home), "Bearer sk-anything")
    assert (error.status, error.code) == (503, "keys_unreadable")


@pytest.mark.parametrize(
    ("role", "authors", "label"),
    [("owner", ["*"], "a"), ("reader", [], "a"), ("reader", ["*"], "")],
)
def test_a_key_needs_role_authors_and_label(
    state: State, role: keys.Role, authors: list[str], label: str
) -> None:
    with pytest.raises(TwinError):
        keys.add_key(state, role=role, authors=authors, label=label)


def test_a_key_has_its_limits(home: Settings, state: State) -> None:
    limits = keys.KeyLimits(frozenset({"paid"}), per_minute=60, at_once=4, usd_per_day=2.0)
    secret = keys.add_key(state, role="site", authors=["ann"], label="my site", limits=limits)
    key = keys.open_keyring(home).find(f"Bearer {secret}")
    assert key.limits == limits
    assert (key.may_use_alias("paid"), key.may_use_alias(""), key.may_use_alias("base")) == (
        True, True, False,
    )  # fmt: skip
    [row] = keys.list_keys(state)
    assert (row["id"], row["aliases"], row["usd_per_day"]) == (key.id, ["paid"], 2.0)
    assert key.for_reader("user-1").id == key.id, "a site pays for its readers"
    secrets = load_secrets(home)
    for home_key in (secrets.gateway_key, secrets.gateway_master_key):
        assert keys.open_keyring(home).find(f"Bearer {home_key}").limits == keys.NO_LIMITS


def test_only_a_sites_key_distinguishes_readers(state: State, home: Settings) -> None:
    keyring = keys.open_keyring(home)
    for role in keys.ROLES:
        secret = keys.add_key(state, role=role, authors=["*"], label=role)
        key = keyring.find(f"Bearer {secret}")
        reader_key = key.for_reader("user-1")
        assert (reader_key.reader != key.reader) is (role == "site"), role
        assert key.for_reader("") == key
        assert (reader_key.role, reader_key.authors, reader_key.limits) == (
            role,
            key.authors,
            key.limits,
        )


def test_a_key_without_limits_may_not_use_the_paid_model(home: Settings, state: State) -> None:
    secret = keys.add_key(state, role="reader", authors=["*"], label="plain")
    assert keys.open_keyring(home).find(f"Bearer {secret}").limits == keys.KeyLimits()
    assert not keys.KeyLimits().aliases & {"paid"}


@pytest.mark.parametrize(
    "limits",
    [
        keys.KeyLimits(frozenset({"payed"})),
        keys.KeyLimits(per_minute=0),
        keys.KeyLimits(at_once=-1),
        keys.KeyLimits(usd_per_day=float("nan")),
        keys.KeyLimits(usd_per_day=-1.0),
        *(
            keys.KeyLimits(origins=frozenset({origin, "https://example.org"}))
            for origin in (
                *("*", "null", "example.org", "https://*.example.org", "https://example.org/"),
                *("https://a@b.c", "https://Example.org", "file://x", "https://"),
            )
        ),
    ],
)
def test_an_invalid_limit_is_refused(state: State, limits: keys.KeyLimits) -> None:
    with pytest.raises(TwinError):
        keys.add_key(state, role="reader", authors=["*"], label="a", limits=limits)
    assert keys.list_keys(state) == []
