"""Test that a new user's commands lead from posts to a tuned answer without outside services."""

from __future__ import annotations

import json
import re
import stat
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.live.whole.conftest import QUESTION, SCRIPT, WORD, FinishedStack

pytestmark = [pytest.mark.live, pytest.mark.timeout(3000)]


def test_the_stack_is_asked_every_command_of_the_readme() -> None:
    table = (ROOT / "README.md").read_text(encoding="utf-8").partition("\n## Use it\n")[2]
    commands = re.findall(r"^\| `(twin [a-z-]+)", table, re.MULTILINE)
    assert len(commands) == 9
    assert [command for command in commands if f"{command} " not in SCRIPT] == []


def _modified_at(path: Path) -> float:
    return path.stat().st_mtime


def test_posts_become_a_tuned_answer_and_nothing_goes_outside(
    finished_stack: FinishedStack, process_logs: Path
) -> None:
    finished_stack.copy_logs(process_logs)
    home, output, work = finished_stack.settings, finished_stack.output, finished_stack.work
    assert finished_stack.run.returncode == 0, output[-4000:]
    assert dict(finished_stack.run.attempts) == {}, "processes tried to reach the outside"

    # the stages, the verdict, the answers
    assert [int(number) for number in re.findall(r"^\[(\d)/6\]", output, re.MULTILINE)][:5] == [
        *range(1, 6)
    ]
    assert "verdict 0" in output, output[-4000:]
    explained = json.loads((work / "explained.json").read_text())
    text = json.dumps(explained)
    assert "v1" in text
    assert "posts" in text

    # a reader's votes are at their answers: one by the command, one on the page
    traces = {
        row["trace_id"]: row for row in json.loads((work / "traces.json").read_text())["traces"]
    }
    visit = json.loads((work / "page.json").read_text())
    assert visit["errors"] == []
    assert traces[visit["trace_id"]]["question"] == QUESTION
    assert WORD in visit["answer"]
    voted = [
        row for row in traces.values() if any(score["name"] == "thumbs" for score in row["scores"])
    ]
    assert [
        score["value"] for row in voted for score in row["scores"] if score["name"] == "thumbs"
    ] == [1, 1]

    # after a killed gateway, the next one answers; a release and a rollback change who answers
    assert "trace" in (work / "answer_after_kill.log").read_text()
    states = {
        row["version"]: row["state"]
        for row in json.loads((work / "versions.json").read_text())["versions"]
    }
    assert states == {"v1": "stable", "v2": "rolled_back"}

    # two DeepSpeed ranks trained it; the retraining after the forgotten post may have finished too
    manifest = min(home.checkpoints_dir.glob("jose-nunez/*/manifest.json"), key=_modified_at)
    effective = json.loads(manifest.read_text())["effective"]
    assert (effective["ranks"], effective["zero_stage"]) == (2, 2)

    # the doctor finds no failure in a working stack
    report = json.loads((work / "doctor.json").read_text())
    verdicts = {check["name"]: check["verdict"] for check in report["checks"]}
    assert report["ok"] is True
    required = {"stack", "state", "tables", "Dagster", "gateway", "model server", "traces"}
    assert {verdicts[name] for name in required} == {"ok"}, report

    # endpoints.json has the documented fields and is private; a second start trains nothing
    facts = json.loads((work / "endpoints.json").read_text())
    fields = {"schema", "home", "dagster", "gateway", "gateway_key", "models", "logs", "pids"}
    assert fields <= set(facts)
    assert all(set(pid) == {"pid", "started"} for pid in facts["pids"].values())
    assert stat.S_IMODE((work / "endpoints.json").stat().st_mode) == 0o600
    assert "training:" not in (work / "again.log").read_text()

    # an import finds the changes, and the search uses them immediately
    import_log = (work / "import.log").read_text()
    assert "posts added 1, edited 1, deleted 1" in import_log
    assert "no retraining starts automatically" in import_log
    assert "The lamp at Skerrin Point" in (work / "new_post_answer.log").read_text()
    assert "The last pub open is the ivy" not in (work / "deleted_post_answer.log").read_text()

    # no process remains
    remaining = subprocess.run(
        ["pgrep", "-f", str(home.home)], capture_output=True, text=True, check=False
    )
    assert remaining.stdout.split() == []
