"""Policy, servers and authors are followed; what cannot be read leaves the last good one."""

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

SERVED = ServedVersion(3, "c", "t", "", None, "", "")


def write_servers(home: Settings, **servers: bool) -> None:
    document: dict[str, Any] = {
        "schema": 1,
        "servers": {
            name: {"url": "http://127.0.0.1:1/v1", "alias": name, "key": "k", "ready": ready}
            for name, ready in servers.items()
        },
    }
    replace(home.servers_path, json.dumps(document))


def replace(path: Path, text: str) -> None:
    """Write as the writers do: a new file in the place of the old one."""
    partial = path.with_suffix(".partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def test_an_empty_home_is_no_error(home: Settings) -> None:
    live = LiveConfig(home)
    assert live.refresh() is False
    assert live.current.problems == ()
    assert live.current.authors == {}


def test_every_file_is_followed(home: Settings) -> None:
    live = LiveConfig(home)
    write_author(home, Author("ann", "Ann"))
    write_servers(home, base=True)
    write_policy(home.policy_path, Policy(authors={"ann": AuthorPolicy(stable=SERVED)}))
    assert live.refresh() is True
    before = live.current
    assert before.authors["ann"].name == "Ann"
    assert before.is_ready("base")
    assert before.get_author_policy("ann") == AuthorPolicy(stable=SERVED)
    assert live.refresh() is False

    write_author(home, Author("ann", "Ann B."))
    write_author(home, Author("bob", "Bob"))
    write_servers(home, base=False)
    assert live.refresh() is True
    assert live.current.authors["ann"].name == "Ann B."
    assert sorted(live.current.authors) == ["ann", "bob"]
    assert not live.current.is_ready("base")
    assert before.authors["ann"].name == "Ann"  # a request that holds it is not disturbed

    (home.authors_dir / "bob.toml").unlink()
    assert live.refresh() is True
    assert sorted(live.current.authors) == ["ann"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema": 99}', '{"authors": 3}'])
def test_an_unreadable_policy_keeps_the_last_good_one(home: Settings, text: str) -> None:
    good = Policy(authors={"ann": AuthorPolicy(stable=SERVED)})
    write_policy(home.policy_path, good)
    live = LiveConfig(home)
    live.refresh()
    replace(home.policy_path, text)
    assert live.refresh() is True
    assert live.current.policy == good
    assert "policy unreadable" in live.current.collect_problems("ann")[0]
    assert "last valid one" in live.current.problems[0]
    write_policy(home.policy_path, good)
    live.refresh()
    assert live.current.problems == ()


def test_an_unreadable_policy_at_the_start_is_told(home: Settings) -> None:
    home.policy_path.write_text("{", encoding="utf-8")
    live = LiveConfig(home)
    live.refresh()
    assert live.current.policy is None
    assert "nothing is used" in live.current.problems[0]


def test_one_authors_broken_settings_concern_that_author_only(home: Settings) -> None:
    for slug in ("ann", "bob"):
        write_author(home, Author(slug, slug))
    live = LiveConfig(home)
    live.refresh()
    replace(home.authors_dir / "ann.toml", "name = ")
    live.refresh()
    assert live.current.authors["ann"].name == "ann"
    assert len(live.current.collect_problems("ann")) == 1
    assert live.current.collect_problems("bob") == ()


def test_a_permission_that_was_lost_is_a_problem_too(home: Settings) -> None:
    write_servers(home, base=True)
    live = LiveConfig(home)
    live.refresh()
    home.servers_path.unlink()
    home.servers_path.mkdir()  # reads as an OSError for root as well
    live.refresh()
    assert live.current.is_ready("base")
    assert "servers unreadable" in live.current.problems[0]


def test_a_newer_list_of_servers_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "servers.json"
    path.write_text('{"schema": 2, "servers": {}}', encoding="utf-8")
    with pytest.raises(TwinError, match="same release"):
        read_servers(path)


def test_a_file_of_the_same_size_and_time_is_seen_by_its_inode(home: Settings) -> None:
    write_servers(home, base=True, v1=False)
    live = LiveConfig(home)
    live.refresh()
    stamp = home.servers_path.stat().st_mtime_ns
    text = home.servers_path.read_text(encoding="utf-8")
    replace(home.servers_path, text.replace("true", "tru2").replace("tru2", "true"))
    os.utime(home.servers_path, ns=(stamp, stamp))
    assert live.refresh() is True


def test_a_new_version_answers_when_its_server_is_warm_and_not_before(home: Settings) -> None:
    write_author(home, Author("ann", "Ann"))
    write_servers(home, base=True, **{"ann/v3": True})
    write_policy(home.policy_path, Policy(authors={"ann": AuthorPolicy(stable=SERVED)}))
    live = LiveConfig(home)
    live.refresh()

    fourth = AuthorPolicy(stable=ServedVersion(4, "d", "t", "", None, "", ""))
    write_policy(home.policy_path, Policy(authors={"ann": fourth}))
    assert live.refresh() is True
    assert live.current.get_author_policy("ann") == AuthorPolicy(stable=SERVED)

    write_servers(home, base=True, **{"ann/v3": True, "ann/v4": True})
    assert live.refresh() is True
    assert live.current.get_author_policy("ann") == fourth

    # back to no version at all is followed at once, whatever is warm
    write_policy(home.policy_path, Policy(authors={"ann": AuthorPolicy(stable=None)}))
    live.refresh()
    assert live.current.get_author_policy("ann") == AuthorPolicy(stable=None)


def test_a_new_version_is_followed_at_once_when_the_old_server_is_gone(home: Settings) -> None:
    write_author(home, Author("ann", "Ann"))
    write_servers(home, base=True, **{"ann/v3": True})
    write_policy(home.policy_path, Policy(authors={"ann": AuthorPolicy(stable=SERVED)}))
    live = LiveConfig(home)
    live.refresh()
    fourth = AuthorPolicy(stable=ServedVersion(4, "d", "t", "", None, "", ""))
    write_policy(home.policy_path, Policy(authors={"ann": fourth}))
    write_servers(home, base=True)
    live.refresh()
    assert live.current.get_author_policy("ann") == fourth
