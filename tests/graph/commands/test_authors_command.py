"""Test `twin authors apply`: its output and its changes; a second run changes nothing."""

from __future__ import annotations

import io
from contextlib import closing
from pathlib import Path

import pytest
from rich.console import Console
from twin_cli.commands.authors_command import run_apply

from tests.model_versions import register_version
from tests.postgresql_server import postgresql, postgresql_url
from twin_resources.authors import Author, write_author
from twin_resources.authors.pausing import pause_author
from twin_resources.errors import TwinError
from twin_resources.registry.host_sync import Follower
from twin_resources.registry.registry import Registry
from twin_resources.registry.shared_files import share_file
from twin_resources.settings import Settings
from twin_resources.storage.state.state import State

__all__ = ["postgresql", "postgresql_url"]  # fixtures


def run_command(settings: Settings, *, is_confirmed: bool = True) -> tuple[int, list[str]]:
    output = io.StringIO()
    console = Console(width=300, file=output)
    code = run_apply(settings, settings.authors_dir, is_confirmed=is_confirmed, console=console)
    return code, output.getvalue().splitlines()


def test_a_home_with_a_local_state_cannot_share_authors(home: Settings) -> None:
    with pytest.raises(TwinError, match="the state store belongs to this home alone"):
        run_command(home)


def test_a_folder_of_author_files_is_shared_once(
    home: Settings, postgresql_url: str, tmp_path: Path
) -> None:
    first_host = home.model_copy(update={"state_url": postgresql_url})
    with pytest.raises(TwinError, match=r"no \*.toml"):
        run_command(first_host)
    write_author(first_host, Author("ann", "Ann"))
    write_author(first_host, Author("bob", "Bob"))
    share_file(first_host, pause_author(first_host, "bob", reason="a test's own"))
    code, lines = run_command(first_host, is_confirmed=False)
    assert (code, lines[:2]) == (1, ["new: authors/ann.toml", "new: authors/bob.toml"])
    assert run_command(first_host)[0] == 0
    assert run_command(first_host) == (0, ["author files: no changes"])
    (first_host.authors_dir / "bob.toml").unlink()
    write_author(first_host, Author("ann", "Ann Bell"))
    assert run_command(first_host)[1] == ["changed: authors/ann.toml", "deleted: authors/bob.toml"]
    (first_host.authors_dir / "ann.toml").write_text("name = [")
    with pytest.raises(TwinError, match="correct the TOML"):
        run_command(first_host)
    second_host = first_host.model_copy(update={"home": tmp_path / "there"})
    Follower(second_host).poll_once()
    files = {path.name: path.read_text() for path in second_host.authors_dir.iterdir()}
    assert files.keys() == {"ann.toml", "bob.paused"}, "the files do not match the shared store"
    assert "Ann Bell" in files["ann.toml"]


def test_earlier_versions_are_stored_with_paths_relative_to_the_home(
    home: Settings, postgresql_url: str, tmp_path: Path
) -> None:
    folder = home.checkpoints_dir / "ann" / "0a"
    folder.mkdir(parents=True)
    (folder / "adapter.gguf").write_bytes(b"w")
    stores = {"state_url": postgresql_url, "store_uri": str(tmp_path / "store")}
    first_host = home.model_copy(update=stores)
    second_host = first_host.model_copy(update={"home": tmp_path / "there"})
    write_author(first_host, Author("ann", "Ann"))
    with closing(State.open(postgresql_url)) as state:
        old_registry = Registry(state, policy_path=tmp_path / "elsewhere" / "policy.json")
        register_version(  # with paths of its host, as an earlier release did
            old_registry, "ann", "0a", folder=str(folder), adapter_gguf=str(folder / "adapter.gguf")
        )
        assert run_command(first_host)[1] == ["new: authors/ann.toml", "stored: checkpoints/ann/0a"]
        assert run_command(first_host)[1] == ["author files: no changes"]
        registry = Registry(state, policy_path=second_host.policy_path)
        assert registry.get("ann", 1).folder == str(second_host.checkpoints_dir / "ann" / "0a")
        registry.move("ann", 1, "refused", actor="gate", reason="test")
        registry.move("ann", 1, "stable", actor="person", reason="test", force=True)
    follower = Follower(second_host)
    follower.poll_once()
    assert (follower.lag_reason, follower.problems) == ("", "")
    assert (second_host.checkpoints_dir / "ann" / "0a" / "adapter.gguf").read_bytes() == b"w"
