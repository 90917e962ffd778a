"""Runs every command of `twin` once, in the order of the rows; the last command ends the stack."""

from __future__ import annotations

import pytest

from tests.live.newcomer.commands import COMMANDS, Run
from tests.live.newcomer.conftest import StartedStack
from twin_resources.processes.process_identity import find_marked_processes
from twin_resources.processes.stack import read_record

pytestmark = [pytest.mark.live, pytest.mark.timeout(900)]
RUN_HERE = {name: row for name, row in COMMANDS.items() if isinstance(row, Run)}


@pytest.mark.drawn(8)
@pytest.mark.parametrize("name", [name for name in RUN_HERE if name != "stop"])
def test_a_command_works(started: StartedStack, name: str) -> None:
    run_once(started, name)


def test_stop_ends_the_stack(started: StartedStack) -> None:
    """This test must run after the others, which need the stack."""
    run_once(started, "stop")


def run_once(started: StartedStack, name: str) -> None:
    row = RUN_HERE[name]
    questions = started.newcomer.work / "questions.jsonl"
    questions.write_text('{"question": "How do I carry a clock?"}\n')
    values = {"TRACE": started.trace, "QUESTIONS": str(questions)}
    arguments = [values.get(argument, argument) for argument in row.arguments]
    completed = started.newcomer.run("twin", *arguments, timeout_s=400)
    assert completed.returncode == row.code, completed.stdout
    assert values.get(row.says, row.says) in completed.stdout, completed.stdout
    assert "Traceback" not in completed.stdout


def test_no_process_is_left(started: StartedStack) -> None:
    record = read_record(started.newcomer.settings)
    assert record is not None
    assert find_marked_processes(record.instance) == []


def test_the_package_can_be_uninstalled(started: StartedStack) -> None:
    """This test must run last, because it removes the package from the tests' environment."""
    uninstall = started.newcomer.type("python -m pip uninstall --yes llm-twin")
    assert uninstall.returncode == 0, uninstall.stdout
    assert not (started.newcomer.bin / "twin").exists()
    site = next((started.newcomer.bin.parent / "lib").glob("python3*/site-packages"))
    assert [path.name for path in site.glob("twin_*") if any(path.rglob("*.py"))] == []
