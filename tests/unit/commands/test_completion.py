"""Tab, `--version` and the help, as a shell and a person meet them."""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any, get_args

import pytest
import typer
from twin_cli import completion
from twin_cli import running as cli
from twin_cli.arguments import ASK, OPERATE, POSTS, START, VERSIONS
from twin_cli.commands.opening import PAGES
from twin_cli.running import app

from tests.unit.commands.cpu_seconds import times_the_libraries
from tests.unit.commands.test_cli import HEAVY
from twin_assets.serving.export.exported_weights import Format
from twin_resources.authors import OPT_INS
from twin_resources.registry.registry import Registry
from twin_resources.settings import Settings
from twin_resources.storage.state.state import State

TWIN = Path(sys.executable).with_name("twin")


def offered(words: str) -> list[str]:
    """What Tab offers at the end of a line, asked as the bash script asks."""
    asked = {"COMP_WORDS": words, "COMP_CWORD": str(len(shlex.split(words + " x")) - 1)}
    ran = subprocess.run(
        [sys.executable, "-m", "twin_cli"],
        env=os.environ | asked | {"_TWIN_COMPLETE": "complete_bash"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return ran.stdout.split()


@pytest.fixture
def written(home: Settings) -> Settings:
    """Two authors, one with two versions, the logs of two programs."""
    for slug in ("ada", "mara"):
        (home.authors_dir / f"{slug}.toml").parent.mkdir(exist_ok=True)
        (home.authors_dir / f"{slug}.toml").write_text(f'name = "{slug}"\n')
    home.logs_dir.mkdir()
    for name in ("gateway.log", "models.log", "gateway.log.1"):
        (home.logs_dir / name).touch()
    registry = Registry(State.open(home.state_address), policy_path=home.policy_path)
    for checkpoint in ("abc", "def"):
        registry.register(
            author="ada",
            checkpoint=checkpoint,
            folder="/c",
            adapter_gguf=None,
            base="/b",
            base_gguf="/b.gguf",
            template="t",
            dataset_version="d",
        )
    return home


def test_tab_offers_authors_versions_and_models_of_the_home(written: Settings) -> None:
    assert offered("twin ask --author ") == ["ada", "mara"]
    assert offered("twin versions --author m") == []  # the cursor stands behind it
    assert offered("twin export --author ada ") == ["v2", "v1"]
    assert offered("twin rollback --author mara ") == []
    assert "twin/mara@base" in offered("twin ask --model ")
    assert offered("twin logs ") == ["gateway", "models"]


def test_a_home_named_on_the_line_is_the_one_that_is_read(
    written: Settings, tmp_path: Path
) -> None:
    (tmp_path / "other" / "authors").mkdir(parents=True)
    (tmp_path / "other" / "authors" / "li.toml").touch()
    assert offered(f"twin ask --home {tmp_path / 'other'} --author ") == ["li"]
    assert offered(f"twin ask --home {tmp_path / 'nowhere'} --author ") == []


def test_a_version_needs_no_author_where_there_is_one(written: Settings) -> None:
    assert offered("twin release ") == []  # of two, which
    (written.authors_dir / "mara.toml").unlink()
    assert offered("twin release ") == ["v2", "v1"]


def test_a_state_store_that_cannot_be_read_offers_nothing(home: Settings) -> None:
    home.authors_dir.mkdir()
    (home.authors_dir / "ada.toml").touch()
    (home.home / "state.sqlite").write_bytes(b"no database")
    assert offered("twin release ") == []


def test_what_is_offered_from_a_list_is_what_there_is(home: Settings) -> None:
    assert set(completion.INCLUDED) == OPT_INS
    assert get_args(Format) == completion.FORMATS
    assert completion.PAGES == PAGES
    assert offered("twin export --format ") == list(completion.FORMATS)
    assert offered("twin open ") == list(PAGES)


def test_tab_offers_the_commands(home: Settings) -> None:
    assert {"up", "ask", "versions", "status"} <= set(offered("twin "))


def test_completing_loads_nothing_heavy_and_adds_next_to_nothing_to_the_libraries_it_needs(
    written: Settings,
) -> None:
    code = (
        "import sys\nfrom twin_cli import running as cli\n"
        "try:\n    cli.run([])\nexcept SystemExit:\n    pass\n"
        f"heavy = {[*HEAVY, 'pydantic_settings']!r}\n"
        "print([name for name in heavy if name in sys.modules], file=sys.stderr)\n"
    )
    asked = {"COMP_WORDS": "twin export --author ada ", "COMP_CWORD": "4"}
    environ = asked | {"_TWIN_COMPLETE": "complete_bash"}
    times, offers, errors = times_the_libraries(code, environ=environ)
    assert offers.split() == ["v2", "v1"]
    assert errors[-1] == "[]"
    assert times < 4


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash absent")
def test_what_install_completion_writes_works_in_bash(written: Settings, tmp_path: Path) -> None:
    person = tmp_path / "person"
    person.mkdir()
    environment = os.environ | {
        "HOME": str(person),
        "PATH": f"{TWIN.parent}:{os.environ['PATH']}",
    }

    def bash(script: str) -> str:
        ran = subprocess.run(
            ["bash", "--norc", "-c", script],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        return ran.stdout

    assert "completion installed" in bash("twin --install-completion; true")
    assert "_twin_completion" in bash("twin --show-completion; true")
    assert str(person / ".bash_completions") in (person / ".bashrc").read_text()
    words = 'COMP_WORDS=(twin ask --author ""); COMP_CWORD=3; _twin_completion twin'
    pressed = bash(f'source ~/.bashrc; {words}; echo "${{COMPREPLY[@]}}"')
    assert pressed.split() == ["ada", "mara"]


def test_version_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["--version"]) == 0
    line = capsys.readouterr().out
    assert line.count("\n") == 1
    assert line.startswith(f"llm-twin {metadata.version('llm-twin')}, ")
    assert f"Python {platform.python_version()}, {platform.system()} " in line


def test_version_without_an_installation_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("twin_cli.running.PROJECT", "llm-twin-that-is-not-there")
    assert cli.run(["--version"]) == 1
    assert "pip install" in capsys.readouterr().err


def leaves(words: tuple[str, ...], command: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
    """What can be typed: a group's own commands, where it is one."""
    inner = getattr(command, "commands", None)
    if inner is None:
        yield words, command
        return
    assert command.epilog, words
    for name, one in inner.items():
        yield from leaves((*words, name), one)


def test_every_command_is_in_a_panel_with_an_example_that_parses() -> None:
    group = typer.main.get_command(app)
    panels: list[str] = []
    for name, command in group.commands.items():  # type: ignore[attr-defined]
        panels.append(command.rich_help_panel)
        for words, one in leaves((name,), command):
            _, _, line = one.epilog.partition("Example: ")
            program, *called = shlex.split(line)
            rest = called[len(words) :]
            assert (program, *called[: len(words)]) == ("twin", *words)
            context = one.make_context(" ".join(words), list(rest))
            assert rest == [] or any(context.params.values()) or context.args
    order = [START, ASK, POSTS, VERSIONS, OPERATE]
    assert list(dict.fromkeys(panels)) == order
