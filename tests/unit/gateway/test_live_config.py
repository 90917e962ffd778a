"""Test that changes of policy, servers and authors are read, and invalid files are not used."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from twin_resources.authors import Author, write_author
from twin_resources.errors import TwinError
from twin_resources.gateway.config.live_config import LiveConfig, read_servers
from twin_resources.registry.policy import AuthorPolicy, Policy, ServedVersion, write_policy
from twin_resources.settings import Settings

VERSION_3 = ServedVersion(3, "c", "t", "", None, "", "")
NEXT_POLICY = AuthorPolicy(stable=ServedVersion(4, "d", "t", "", None, "", ""))


def write_servers(home: Settings, **servers: bool) -> None:
    document: dict[str, Any] = {
        "schema": 1,
        "servers": {
            name: {"url": "http://127.0.0.1:1/v1", "alias": name, "key": "k", "ready": ready}
            for name, ready in servers.items()
        },
    }
    home.host_dir.mkdir(exist_ok=True)
    replace_file(home.servers_path, json.dumps(document))


def replace_file(path: Path, text: str) -> None:
    """Replace a file with a new one, as the product does."""
    partial = path.with_suffix(".partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def serve_version_3(home: Settings) -> LiveConfig:
    """Return the configuration of a home in which version 3 of ann answers."""
    write_author(home, Author("ann", "Ann"))
    write_servers(home, base=True, **{"ann/v3": True})
    write_policy(home.policy_path, Policy(authors={"ann": AuthorPolicy(stable=VERSION_3)}))
    live_config = LiveConfig(home)
    live_config.refresh()
    return live_config


def test_an_empty_home_is_not_an_error(home: Settings) -> None:
    live_config = LiveConfig(home)
    assert live_config.refresh() is False
    assert live_config.current.problems == ()
    assert live_config.current.authors == {}


def test_changes_of_every_file_are_read(home: Settings) -> None:
    live_config = LiveConfig(home)
    write_author(home, Author("ann", "Ann"))
    write_servers(home, base=True)
    write_policy(home.policy_path, Policy(authors={"ann": AuthorPolicy(stable=VERSION_3)}))
    assert live_config.refresh() is True
    earlier_snapshot = live_config.current
    assert earlier_snapshot.authors["ann"].name == "Ann"
    assert earlier_snapshot.is_ready("base")
    assert earlier_snapshot.get_author_policy("ann") == AuthorPolicy(stable=VERSION_3)
    assert live_config.refresh() is False

    write_author(home, Author("ann", "Ann B."))
    write_author(home, Author("bob", "Bob"))
    write_servers(home, base=False)
    assert live_config.refresh() is True
    assert live_config.current.authors["ann"].name == "Ann B."
    assert sorted(live_config.current.authors) == ["ann", "bob"]
    assert not live_config.current.is_ready("base")
    assert earlier_snapshot.authors["ann"].name == "Ann"  # A snapshot never changes.

    (home.authors_dir / "bob.toml").unlink()
    assert live_config.refresh() is True
    assert sorted(live_config.current.authors) == ["ann"]


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "[1]", "7", '{"schema": 99}', '{"authors": 3}', '{"authors": [1]}',
     '{"authors": {"ann": 3}}'],
)  # fmt: skip
def test_an_unreadable_policy_keeps_the_last_valid_one(home: Settings, text: str) -> None:
    valid_policy = Policy(authors={"ann": AuthorPolicy(stable=VERSION_3)})
    write_policy(home.policy_path, valid_policy)
    live_config = LiveConfig(home)
    live_config.refresh()
    replace_file(home.policy_path, text)
    assert live_config.refresh() is True
    assert live_config.current.policy == valid_policy
    assert "policy unreadable" in live_config.current.collect_problems("ann")[0]
    assert "its last valid content" in live_config.current.problems[0]
    write_policy(home.policy_path, valid_policy)
    live_config.refresh()
    assert live_config.current.problems == ()


def test_an_unreadable_policy_at_the_start_is_reported(home: Settings) -> None:
    home.policy_path.write_text("{", encoding="utf-8")
    live_config = LiveConfig(home)
    live_config.refresh()
    assert live_config.current.policy is None
    assert "it is not used" in live_config.current.problems[0]


def test_one_authors_invalid_settings_affect_only_that_author(home: Settings) -> None:
    for slug in ("ann", "bob"):
        write_author(home, Author(slug, slug))
    live_config = LiveConfig(home)
    live_config.refresh()
    replace_file(home.authors_dir / "ann.toml", "name = ")
    live_config.refresh()
    assert live_config.current.authors["ann"].name == "ann"
    assert len(live_config.current.collect_problems("ann")) == 1
    assert live_config.current.collect_problems("bob") == ()


@pytest.mark.parametrize(
    "text", [None, "[]", "[1]", "7", '"servers"', '{"servers": [1]}', '{"servers": {"v1": 3}}', "{"]
)
def test_an_unreadable_servers_file_keeps_the_last_valid_one(
    home: Settings, text: str | None
) -> None:
    write_servers(home, base=True)
    live_config = LiveConfig(home)
    live_config.refresh()
    if text is None:
        home.servers_path.unlink()
        home.servers_path.mkdir()  # Reading it raises an OSError for root too.
    else:
        replace_file(home.servers_path, text)
    live_config.refresh()
    assert live_config.current.is_ready("base")
    assert "servers unreadable" in live_config.current.problems[0]


def test_a_newer_list_of_servers_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "servers.json"
    path.write_text('{"schema": 2, "servers": {}}', encoding="utf-8")
    with pytest.raises(TwinError, match="same release"):
        read_servers(path)


def test_a_replaced_file_is_recognized_by_its_inode(home: Settings) -> None:
    write_servers(home, base=True, v1=False)
    live_config = LiveConfig(home)
    live_config.refresh()
    modified_ns = home.servers_path.stat().st_mtime_ns
    text = home.servers_path.read_text(encoding="utf-8")
    replace_file(home.servers_path, text.replace("true", "tru2").replace("tru2", "true"))
    os.utime(home.servers_path, ns=(modified_ns, modified_ns))
    assert live_config.refresh() is True


def test_a_new_version_answers_once_its_server_is_ready(home: Settings) -> None:
    live_config = serve_version_3(home)
    write_policy(home.policy_path, Policy(authors={"ann": NEXT_POLICY}))
    assert live_config.refresh() is True
    assert live_config.current.get_author_policy("ann") == AuthorPolicy(stable=VERSION_3)

    write_servers(home, base=True, **{"ann/v3": True, "ann/v4": True})
    assert live_config.refresh() is True
    assert live_config.current.get_author_policy("ann") == NEXT_POLICY

    # The removal of the stable version needs no ready server.
    write_policy(home.policy_path, Policy(authors={"ann": AuthorPolicy(stable=None)}))
    live_config.refresh()
    assert live_config.current.get_author_policy("ann") == AuthorPolicy(stable=None)


def test_a_new_version_is_used_at_once_if_the_old_server_is_gone(home: Settings) -> None:
    live_config = serve_version_3(home)
    write_policy(home.policy_path, Policy(authors={"ann": NEXT_POLICY}))
    write_servers(home, base=True)
    live_config.refresh()
    assert live_config.current.get_author_policy("ann") == NEXT_POLICY
