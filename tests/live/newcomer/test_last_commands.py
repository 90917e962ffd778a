"""Every command of `twin` once for real, in the order of its row; the last one ends the stack."""

from __future__ import annotations

import pytest

from tests.live.newcomer.commands import COMMANDS, Run
from tests.live.newcomer.conftest import Started
from twin_resources.processes.process_identity import find_marked_processes
from twin_resources.processes.stack import read_record

pytestmark = [pytest.mark.live, pytest.mark.timeout(900)]
RUN_HERE = {name: row for name, row in COMMANDS.items() if isinstance(row, Run)}


@pytest.mark.drawn(8)
@pytest.mark.parametrize("name", [name for name in RUN_HERE if name != "stop"])
def test_once_for_real(started: Started, name: str) -> None:
    run_once(started, name)


def test_stop(started: Started) -> None:
    """Behind all others, which need the stack."""
    run_once(started, "stop")


def run_once(started: Started, name: str) -> None:
    row = RUN_HERE[name]
    questions = started.newcomer.work / "questions.jsonl"
    questions.write_text('{"question": "How do I carry a clock?"}\n')
    words = {"TRACE": started.trace, "QUESTIONS": str(questions)}
    arguments = [words.get(argument, argument) for argument in row.arguments]
    ran = started.newcomer.run("twin", *arguments, timeout_s=400)
    assert ran.returncode == row.code, ran.stdout
    assert words.get(row.says, row.says) in ran.stdout, ran.stdout
    assert "Traceback" not in ran.stdout


def test_nothing_is_left(started: Started) -> None:
    record = read_record(started.newcomer.settings)
    assert record is not None
    assert find_marked_processes(record.instance) == []


def test_it_can_be_uninstalled(started: Started) -> None:
    """The last of all: what is removed is in the folder that this test run made."""
    removed = started.newcomer.type("python -m pip uninstall --yes llm-twin")
    assert removed.returncode == 0, removed.stdout
    assert not (started.newcomer.bin / "twin").exists()
    site = next((started.newcomer.bin.parent / "lib").glob("python3*/site-packages"))
    assert [path.name for path in site.glob("twin_*") if any(path.rglob("*.py"))] == []
