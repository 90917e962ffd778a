"""Test that one author's broken file stops no command for another, and that doctor says it."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console
from twin_cli.commands.doctor import open_home, run_check
from twin_cli.commands.import_and_forget import resolve_subject
from twin_cli.commands.subject import choose_author, choose_subject, save_subject
from twin_cli.commands.versions import run_versions

from twin_resources.authors import Author, read_counted_scores, write_author
from twin_resources.erasure.data_store import Installation
from twin_resources.erasure.home_files import HomeFiles
from twin_resources.errors import TwinError
from twin_resources.gateway.config.live_config import LiveConfig
from twin_resources.page.author_files import AuthorFiles
from twin_resources.settings import Settings

BROKEN: dict[str, bytes] = {
    "unclosed": b'name = "Bob"\nsources = ["/srv/bobs posts"',
    "empty value": b"name =\n",
    "not UTF-8": b'name = "\xff\xfe"',
    "NUL": b"\0\0\0\0",
    "a wrong type": b"name = 3\n",
    "a table instead of a list": b'name = "Bob"\n[sources]\nx = 1\n',
    "nested too deeply": b"sources = " + b"[" * 5000,
    "bad scores": b'name = "Bob"\n[scores]\nthumbs = 7\n',
    "JSON": b'{"name": "Bob"}',
}


@pytest.mark.parametrize("name", [*BROKEN, "a folder"])
def test_a_broken_file_stops_nothing_for_another_author(
    home: Settings, tmp_path: Path, name: str
) -> None:
    posts = tmp_path / "posts"
    posts.mkdir()
    (posts / "a.md").write_text("# A\n\ntext\n")
    write_author(home, Author("ann", "Ann", sources=(str(posts),)))
    broken_file = home.authors_dir / "bob.toml"
    if name == "a folder":
        broken_file.mkdir()
    else:
        broken_file.write_bytes(BROKEN[name])

    # ask, traces, feedback, versions, retrain, forget
    assert choose_author(home, "Ann").slug == "ann"
    assert resolve_subject(home, post="", author="ann", reader="")[0].author == "ann"
    output = io.StringIO()
    options = {"author": "ann", "as_json": False, "console": Console(file=output)}
    assert run_versions(home, **options) == 0  # type: ignore[arg-type]
    # up, import: by name, by folder, and a new author's
    for path, author in ((None, "Ann"), (posts, ""), (posts, "Ann"), (posts, "Cleo")):
        subject = choose_subject(home, path, name=author)
        assert subject.slug == ("cleo" if author == "Cleo" else "ann")
    save_subject(home, subject)
    # the gateway, the page, scores, sensors, forgetting
    live_config = LiveConfig(home)
    live_config.refresh()
    assert {"ann", "cleo"} <= set(live_config.current.authors)
    assert AuthorFiles(home).names() == {"ann": "Ann", "cleo": "Cleo"}
    assert set(read_counted_scores(home)) <= {"ann", "cleo"}
    claimed_paths = HomeFiles(Installation.for_settings(home))._list_claimed_paths()
    assert posts in claimed_paths
    assert (Path("/srv/bobs posts") in claimed_paths) == (name == "unclosed")

    findings = run_check("authors", open_home(home))
    assert [finding.verdict for finding in findings].count("fail") == 1
    assert "bob" in findings[0].found
    for choose in (choose_author, lambda home, name: choose_subject(home, None, name=name)):
        with pytest.raises(TwinError, match=r"bob"):
            choose(home, "bob")


def test_the_last_served_author_is_not_replaced_by_another(home: Settings) -> None:
    write_author(home, Author("ann", "Ann"))
    (home.authors_dir / "bob.toml").write_text("name = [")
    with pytest.raises(TwinError, match="ann, bob"):
        choose_author(home)
