"""Every command in an environment that has only the wheel: its help, once for real, its imports."""

from __future__ import annotations

import json
import re

import pytest
import typer
from twin_cli.running import app

from tests.imported import OURS, imports_of_ours
from tests.live.newcomer.commands import COMMANDS, Elsewhere
from tests.live.newcomer.conftest import ROOT, Newcomer, Started
from tests.unit.installation.test_declared_imports import BROUGHT_BY_HAND, OPTIONAL

pytestmark = [pytest.mark.live, pytest.mark.timeout(900)]

POST = "_posts/2017-09-10-carrying-a-clock.md"
# Each by itself, so that one failure does not hide the next; what a module does not find is told.
IMPORT_ALL = """
import importlib, json, pkgutil, sys
found = {}
def take(name):
    try:
        importlib.import_module(name)
    except BaseException as error:
        found[name] = f"{type(error).__name__}: {error}"
wanted = json.load(sys.stdin)
for package in wanted["ours"]:
    for module in pkgutil.walk_packages(importlib.import_module(package).__path__, package + "."):
        if not module.name.endswith("__main__") and ".samples" not in module.name:
            take(module.name)
for name in wanted["theirs"]:
    take(name)
print("\\n" + json.dumps(found))
"""
# What `bin/twin` does, for one command after the other.
ALL_HELP = """
import contextlib, io, json, sys
from twin_cli.running import main
said = {}
for name in sys.argv[1:]:
    sys.argv = ["twin", name, "--help"]
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        try:
            code = main()
        except SystemExit as ended:
            code = ended.code
    said[name] = (code or 0, printed.getvalue())
print(json.dumps(said))
"""


def names() -> list[str]:
    return list(typer.main.get_command(app).commands)  # type: ignore[attr-defined]


def test_every_command_has_a_row() -> None:
    """A new command: write in `commands.py` how it is run for real."""
    assert set(names()) == set(COMMANDS)
    for row in COMMANDS.values():
        if isinstance(row, Elsewhere):
            assert (ROOT / row.test).is_file()


def test_nothing_of_the_tests_is_in_the_environment(newcomer: Newcomer) -> None:
    for module in ("pytest", "moto", "playwright", "psycopg2", "ray"):
        ran = newcomer.run("python", "-c", f"import {module}")
        assert "ModuleNotFoundError" in ran.stdout, module


def test_every_command_answers_help(newcomer: Newcomer) -> None:
    """In one process; each command runs in one of its own in `test_last_commands.py`."""
    ran = newcomer.run("python", "-c", ALL_HELP, *names())
    said = json.loads(ran.stdout)
    assert list(said) == names()
    for name, (code, text) in said.items():
        assert code == 0, (name, text)
        assert f"usage: twin {name}" in text.lower(), text
    assert newcomer.run("twin", "--help").returncode == 0
    assert newcomer.run("twin", "--version").stdout.startswith("llm-twin ")
    assert newcomer.run("twin-train", "--help").returncode == 0


@pytest.mark.long
def test_everything_that_a_module_imports_is_there(newcomer: Newcomer) -> None:
    left_out = {*OPTIONAL, *BROUGHT_BY_HAND}
    theirs = {one.module for one in imports_of_ours() if one.top not in left_out}
    script = newcomer.work / "import_all.py"
    script.write_text(IMPORT_ALL)
    wanted = newcomer.work / "imports.json"
    wanted.write_text(json.dumps({"ours": OURS, "theirs": sorted(theirs)}))
    ran = newcomer.type(
        "LITELLM_LOCAL_MODEL_COST_MAP=True python import_all.py < imports.json", timeout_s=600
    )
    found = json.loads(ran.stdout.strip().splitlines()[-1])
    assert found == {}


def test_up_answers_from_the_bundled_authors_posts(started: Started) -> None:
    assert "[6/6] ready" in started.said
    assert "--no-train" in started.said
    lines = started.said.splitlines()
    assert len(lines) <= 60, "what a first run says is read"
    answered = next(n for n, line in enumerate(lines) if "; the best answers:" in line)
    link = next(number for number, line in enumerate(lines) if "/open?link=" in line)
    assert link < 12 < answered, "the link is one of the first lines"
    quoted = [line for line in lines[answered:] if re.match(r"\s+— \S.*, \d{4}-\d\d-\d\d$", line)]
    assert len(quoted) == 3
    assert "(base)" not in started.said, "no prose of a model that was not trained"
    print(f"twin up --no-train --detach: {started.seconds:.0f} s")  # noqa: T201 - shown by -s


def test_a_state_store_without_its_driver_names_the_extra(newcomer: Newcomer) -> None:
    url = "postgresql+psycopg2://twin@127.0.0.1:1/twin"
    ran = newcomer.run("twin", "up", "--dry-run", TWIN_STATE_URL=url, TWIN_HOME="another home")
    assert ran.returncode == 1
    assert "pip install 'llm-twin[aws]'" in ran.stdout


def test_what_would_be_forgotten_is_told_without_the_sourced_environment(started: Started) -> None:
    ran = started.newcomer.run(
        "twin", "forget", "--author", "mara-lindqvist", "--post", POST, "--dry-run"
    )
    assert ran.returncode == 0, ran.stdout
    assert "nothing was changed" in ran.stdout
