"""Run each `Call` of `COMMANDS` once, in order; the last one, `stop`, ends the stack."""

from __future__ import annotations

import pytest

from tests.live.newcomer.commands import COMMANDS, Call
from tests.live.newcomer.conftest import StartedStack
from twin_resources.processes.process_identity import find_marked_processes
from twin_resources.processes.stack import read_record

pytestmark = [pytest.mark.live, pytest.mark.timeout(900)]
CALLS = {name: row for name, row in COMMANDS.items() if isinstance(row, Call)}


@pytest.mark.parametrize("name", [name for name in CALLS if name != "stop"])
def test_a_command_works(started_stack: StartedStack, name: str) -> None:
    run_once(started_stack, name)


def test_stop_ends_the_stack(started_stack: StartedStack) -> None:
    """This test must run after the others, which need the stack."""
    run_once(started_stack, "stop")


def run_once(started_stack: StartedStack, name: str) -> None:
    row = CALLS[name]
    questions = started_stack.newcomer.work_dir / "questions.jsonl"
    questions.write_text('{"question": "How do I carry a clock?"}\n')
    values = {"TRACE": started_stack.trace_id, "QUESTIONS": str(questions)}
    arguments = [values.get(argument, argument) for argument in row.arguments]
    completed = started_stack.newcomer.run("twin", *arguments, timeout_s=400)
    assert completed.returncode == row.code, completed.stdout
    assert values.get(row.output, row.output) in completed.stdout, completed.stdout
    assert "Traceback" not in completed.stdout


def test_no_process_is_left(started_stack: StartedStack) -> None:
    record = read_record(started_stack.newcomer.settings)
    assert record is not None
    assert find_marked_processes(record.instance) == []


def test_the_package_can_be_uninstalled(started_stack: StartedStack) -> None:
    """This test must run last, because it removes the package from the tests' environment."""
    uninstall = started_stack.newcomer.type_line("python -m pip uninstall --yes llm-twin")
    assert uninstall.returncode == 0, uninstall.stdout
    assert not (started_stack.newcomer.bin_dir / "twin").exists()
    site = next((started_stack.newcomer.bin_dir.parent / "lib").glob("python3*/site-packages"))
    assert [path.name for path in site.glob("twin_*") if any(path.rglob("*.py"))] == []
