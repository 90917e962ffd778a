"""`twin authors apply`: what it says, what it changes, and that twice is once."""

from __future__ import annotations

import io
from contextlib import closing
from pathlib import Path

import pytest
from rich.console import Console
from twin_cli.commands.authors_command import run_apply

from tests.postgresql_server import postgresql, postgresql_url
from tests.registered import register_version
from twin_resources.authors import Author, write_author
from twin_resources.authors.pausing import pause_author
from twin_resources.errors import TwinError
from twin_resources.registry.following import Follower
from twin_resources.registry.registry import Registry
from twin_resources.registry.shared_files import share_file
from twin_resources.settings import Settings
from twin_resources.storage.state.state import State

__all__ = ["postgresql", "postgresql_url"]  # fixtures


def applied(settings: Settings, *, agreed: bool = True) -> tuple[int, list[str]]:
    said = io.StringIO()
    console = Console(width=300, file=said)
    code = run_apply(settings, settings.authors_dir, is_confirmed=agreed, console=console)
    return code, said.getvalue().splitlines()


def test_one_home_alone_has_nothing_to_share(home: Settings) -> None:
    with pytest.raises(TwinError, match="the state store belongs to this home alone"):
        applied(home)


def test_a_folder_of_author_files_is_shared_once(
    home: Settings, postgresql_url: str, tmp_path: Path
) -> None:
    here = home.model_copy(update={"state_url": postgresql_url})
    with pytest.raises(TwinError, match=r"no \*.toml"):
        applied(here)
    write_author(here, Author("ann", "Ann"))
    write_author(here, Author("bob", "Bob"))
    share_file(here, pause_author(here, "bob", reason="a test's own"))
    code, said = applied(here, agreed=False)
    assert (code, said[:2]) == (1, ["new: authors/ann.toml", "new: authors/bob.toml"])
    assert applied(here)[0] == 0
    assert applied(here) == (0, ["author files: nothing to do"])
    (here.authors_dir / "bob.toml").unlink()
    write_author(here, Author("ann", "Ann Bell"))
    assert applied(here)[1] == ["changed: authors/ann.toml", "gone: authors/bob.toml"]
    (here.authors_dir / "ann.toml").write_text("name = [")
    with pytest.raises(TwinError, match="correct the TOML"):
        applied(here)
    there = here.model_copy(update={"home": tmp_path / "there"})
    Follower(there).poll_once()
    files = {path.name: path.read_text() for path in there.authors_dir.iterdir()}
    assert files.keys() == {"ann.toml", "bob.paused"}, "a pause is no part of the folder"
    assert "Ann Bell" in files["ann.toml"]


def test_versions_from_before_are_stored_and_named_by_the_home(
    home: Settings, postgresql_url: str, tmp_path: Path
) -> None:
    folder = home.checkpoints_dir / "ann" / "0a"
    folder.mkdir(parents=True)
    (folder / "adapter.gguf").write_bytes(b"w")
    stores = {"state_url": postgresql_url, "store_uri": str(tmp_path / "store")}
    here = home.model_copy(update=stores)
    there = here.model_copy(update={"home": tmp_path / "there"})
    write_author(here, Author("ann", "Ann"))
    with closing(State.open(postgresql_url)) as state:
        before = Registry(state, policy_path=tmp_path / "elsewhere" / "policy.json")
        register_version(  # as a release did that stored the paths of its host
            before, "ann", "0a", folder=str(folder), adapter_gguf=str(folder / "adapter.gguf")
        )
        assert applied(here)[1] == ["new: authors/ann.toml", "stored: checkpoints/ann/0a"]
        assert applied(here)[1] == ["author files: nothing to do"]
        registry = Registry(state, policy_path=there.policy_path)
        assert registry.get("ann", 1).folder == str(there.checkpoints_dir / "ann" / "0a")
        registry.move("ann", 1, "refused", actor="gate", reason="test")
        registry.move("ann", 1, "stable", actor="person", reason="test", force=True)
    follower = Follower(there)
    follower.poll_once()
    assert (follower.lag_reason, follower.problems) == ("", "")
    assert (there.checkpoints_dir / "ann" / "0a" / "adapter.gguf").read_bytes() == b"w"
