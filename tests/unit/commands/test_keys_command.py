"""Test `twin keys` as typed: a new key, its limits, its revocation and its spending."""

from __future__ import annotations

import json
from contextlib import closing
from typing import Any

import pytest
from twin_cli.running import run

from tests.json_examples import read_json_example, shape
from twin_resources.access.account import open_account
from twin_resources.access.keys import KeyLimits, open_key_store, open_keyring
from twin_resources.authors import Author, write_author
from twin_resources.settings import Settings

SITE = ["--author", "Mara Lindqvist", "--role", "site", "--usd-per-day", "2", "--per-minute", "60"]


@pytest.fixture
def mara_home(home: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("COLUMNS", "120")
    write_author(home, Author("mara-lindqvist", "Mara Lindqvist"))
    return home


def run_keys(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    assert run(["keys", *arguments]) == code
    output = capsys.readouterr()
    return output.out if code == 0 else output.err


def run_keys_json(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    return json.loads(run_keys(capsys, *arguments, "--json"))


def test_a_key_is_created_listed_and_revoked(
    mara_home: Settings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    created = run_keys_json(capsys, "add", "my site", *SITE, "--alias", "@paid", "--at-once", "4")
    assert shape(created) == shape(read_json_example("keys add"))
    key = open_keyring(mara_home).find(f"Bearer {created['key']}")
    assert (key.role, sorted(key.authors)) == ("site", ["mara-lindqvist"])
    assert (key.limits.per_minute, key.limits.at_once, key.limits.usd_per_day) == (60, 4, 2.0)
    assert key.limits.aliases == {"paid"}
    key_list = run_keys_json(capsys, "list")
    table = run_keys(capsys, "list")
    for text in ("my site", "site", "mara-lindqvist", "@paid", "60", "$2.00"):
        assert text in table
    assert created["key"] not in table + json.dumps(key_list)
    monkeypatch.setenv("COLUMNS", "70")
    assert "…" not in run_keys(capsys, "list"), "long cells must wrap"
    assert run_keys_json(capsys, "revoke", "my site") == {"revoked": "my site"}
    monkeypatch.delenv("COLUMNS")
    assert "no keys except the two of this home" in run_keys(capsys, "list")
    assert "twin keys list" in run_keys(capsys, "revoke", "my site", code=1)


def test_the_key_is_printed_alone_on_its_line(
    mara_home: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    secret, note = run_keys(capsys, "add", "everyone", "--author", "*").splitlines()
    key = open_keyring(mara_home).find(f"Bearer {secret}")
    assert key.may_ask("anybody")
    assert "not shown again" in note


def test_the_line_for_a_site_contains_a_key_that_spends_nothing_else(
    mara_home: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["widget", "Mara Lindqvist", "--url", "https://t.example/v1/", "--json"]
    line += ["--origin", "https://b.example", "--origin", "https://a.example"]
    assert run(line) == 0
    made = json.loads(capsys.readouterr().out)
    assert shape(made) == shape(read_json_example("widget"))
    assert made["html"].startswith('<script async src="https://t.example/twin.js?v=')
    assert f'data-key="{made["key"]}"' in made["html"]
    key = open_keyring(mara_home).find(f"Bearer {made['key']}")
    origins = frozenset({"https://a.example", "https://b.example"})
    assert key.limits == KeyLimits(frozenset(), 60, None, 0.0, origins)
    assert run(line) == 1
    assert "revoke that key first" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["add", "a", "--author", "nobody"], "this home has mara-lindqvist"),
        (["add", "a", "--author", "*", "--alias", "@payed"], "name one of @stable"),
        (["add", " ", "--author", "*"], "a label"),
    ],
)
def test_invalid_arguments_are_explained(
    mara_home: Settings, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert message in run_keys(capsys, *arguments, code=1)
    assert run_keys_json(capsys, "list")["keys"] == []


def test_usage_is_shown_by_key_and_by_purpose(
    mara_home: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    secret = run_keys_json(capsys, "add", "my site", *SITE)["key"]
    key = open_keyring(mara_home).find(f"Bearer {secret}")
    with closing(open_key_store(mara_home)) as state:
        account = open_account(mara_home, state)
        reservation: Any = {"author": "mara-lindqvist", "max_usd": 0.003}
        account.settle(account.reserve(purpose="answer", key=key.id, **reservation), 0.002)
        account.reserve(purpose="answer", key=key.id, **reservation)
        account.settle(account.reserve(purpose="teacher", key="", **reservation), 0.001)
    listed = run_keys_json(capsys, "list")
    assert shape(listed) == shape(read_json_example("keys list"))
    document = listed["spending"]
    assert document["keys"] == [
        {"name": "my site", "today_usd": 0.002, "reserved_usd": 0.003, "usd_per_day": 2.0,
         "month_usd": 0.002, "month_requests": 1},
    ]  # fmt: skip
    assert [line["name"] for line in document["purposes"]] == ["teacher"]
    assert document["home"]["today_usd"] == 0.003
    table = run_keys(capsys, "list")
    assert "$0.0020" in table
    assert "$2.00" in table
    run_keys(capsys, "revoke", "my site")
    spending = run_keys_json(capsys, "list")["spending"]
    assert spending["keys"][0]["name"] == "my site (revoked)"
