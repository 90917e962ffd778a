"""Test the commands in an environment with only the wheel: help, imports, `twin up`, errors."""

from __future__ import annotations

import json
import re

import pytest
import typer
from twin_cli.running import app

from tests.live.newcomer.commands import COMMANDS, OtherTest
from tests.live.newcomer.conftest import ROOT, Newcomer, StartedStack
from tests.module_imports import PROJECT_PACKAGES, third_party_imports
from tests.unit.installation.test_declared_imports import OPTIONAL, UNDECLARED

pytestmark = [pytest.mark.live, pytest.mark.timeout(900)]

POST = "_posts/2017-09-10-carrying-a-clock.md"
# Imports each module separately, so that one failure does not hide the next; prints the errors.
IMPORT_ALL = """
import importlib, json, pkgutil, sys
errors = {}
def try_import(name):
    try:
        importlib.import_module(name)
    except BaseException as error:
        errors[name] = f"{type(error).__name__}: {error}"
names = json.load(sys.stdin)
for package in names["ours"]:
    for module in pkgutil.walk_packages(importlib.import_module(package).__path__, package + "."):
        if not module.name.endswith("__main__") and ".samples" not in module.name:
            try_import(module.name)
for name in names["theirs"]:
    try_import(name)
print("\\n" + json.dumps(errors))
"""
# Runs `twin COMMAND --help` for all commands in one process.
ALL_HELP = """
import contextlib, io, json, sys
from twin_cli.running import main
results = {}
for name in sys.argv[1:]:
    sys.argv = ["twin", name, "--help"]
    with contextlib.redirect_stdout(io.StringIO()) as output:
        try:
            code = main()
        except SystemExit as error:
            code = error.code
    results[name] = (code or 0, output.getvalue())
print(json.dumps(results))
"""


def list_command_names() -> list[str]:
    return list(typer.main.get_command(app).commands)  # type: ignore[attr-defined]


def test_every_command_has_a_row() -> None:
    """If this fails, add a row for the new command to `commands.py`."""
    assert set(list_command_names()) == set(COMMANDS)
    for row in COMMANDS.values():
        if isinstance(row, OtherTest):
            assert (ROOT / row.test).is_file()


def test_the_environment_has_no_test_dependencies(newcomer: Newcomer) -> None:
    for module in ("pytest", "moto", "playwright", "psycopg2"):
        completed = newcomer.run("python", "-c", f"import {module}")
        assert "ModuleNotFoundError" in completed.stdout, module


def test_every_command_has_help(newcomer: Newcomer) -> None:
    """One process prints all help texts; `test_last_commands.py` runs each command in its own."""
    completed = newcomer.run("python", "-c", ALL_HELP, *list_command_names())
    results = json.loads(completed.stdout)
    assert list(results) == list_command_names()
    for name, (code, text) in results.items():
        assert code == 0, (name, text)
        assert f"usage: twin {name}" in text.lower(), text
    assert newcomer.run("twin", "--help").returncode == 0
    assert newcomer.run("twin", "--version").stdout.startswith("llm-twin ")
    assert newcomer.run("twin-train", "--help").returncode == 0


@pytest.mark.long
def test_every_import_of_our_modules_succeeds(newcomer: Newcomer) -> None:
    excluded = {*OPTIONAL, *UNDECLARED}
    external_modules = {
        imported.module for imported in third_party_imports() if imported.top not in excluded
    }
    script = newcomer.work_dir / "import_all.py"
    script.write_text(IMPORT_ALL)
    names = newcomer.work_dir / "imports.json"
    names.write_text(json.dumps({"ours": PROJECT_PACKAGES, "theirs": sorted(external_modules)}))
    completed = newcomer.type_line(
        "LITELLM_LOCAL_MODEL_COST_MAP=True python import_all.py < imports.json", timeout_s=600
    )
    errors = json.loads(completed.stdout.strip().splitlines()[-1])
    assert errors == {}


def test_up_answers_from_the_bundled_authors_posts(started_stack: StartedStack) -> None:
    assert "[6/6] ready" in started_stack.output
    assert "--no-train" in started_stack.output
    lines = started_stack.output.splitlines()
    assert len(lines) <= 60, "a user does not read more"
    lines = [line for line in lines if "still running" not in line]  # printed on a busy machine
    answers_index = next(
        number for number, line in enumerate(lines) if "; the best answers:" in line
    )
    link_index = next(number for number, line in enumerate(lines) if "/open?link=" in line)
    assert link_index < 12 < answers_index, "the link is not one of the first lines"
    quotations = [
        line for line in lines[answers_index:] if re.match(r"\s+— \S.*, \d{4}-\d\d-\d\d$", line)
    ]
    assert len(quotations) == 3
    assert "(base)" not in started_stack.output, "the base model's prose is shown"
    print(f"twin up --no-train --detach: {started_stack.seconds:.0f} s")  # noqa: T201 - shown by -s


def test_a_state_store_without_its_driver_names_the_extra(newcomer: Newcomer) -> None:
    url = "postgresql+psycopg2://twin@127.0.0.1:1/twin"
    up = newcomer.run("twin", "up", "--dry-run", TWIN_STATE_URL=url, TWIN_HOME="another home")
    assert up.returncode == 1
    assert "pip install 'llm-twin[aws]'" in up.stdout


def test_forget_dry_run_works_without_the_sourced_environment(started_stack: StartedStack) -> None:
    forget = started_stack.newcomer.run(
        "twin", "forget", "--author", "mara-lindqvist", "--post", POST, "--dry-run"
    )
    assert forget.returncode == 0, forget.stdout
    assert "nothing was changed" in forget.stdout
