"""Posts to a tuned answer by the command of a new user, with nothing outside to talk to."""

from __future__ import annotations

import json
import re
import stat
import subprocess
from pathlib import Path

import pytest

from tests.live.whole.conftest import Lived

pytestmark = [pytest.mark.live, pytest.mark.timeout(3000)]


def _changed(path: Path) -> float:
    return path.stat().st_mtime


def test_posts_become_a_tuned_answer_and_nothing_goes_outside(
    lived_whole: Lived, process_logs: Path
) -> None:
    lived_whole.keep_logs(process_logs)
    home, said, work = lived_whole.settings, lived_whole.said, lived_whole.work
    assert lived_whole.run.returncode == 0, said[-4000:]
    assert dict(lived_whole.run.attempts) == {}, "these wanted to leave the machine"

    # the stages, the verdict, the answers
    assert [int(number) for number in re.findall(r"^\[(\d)/6\]", said, re.MULTILINE)][:5] == [
        *range(1, 6)
    ]
    assert "verdict 0" in said, said[-4000:]
    explained = json.loads((work / "explained.json").read_text())
    text = json.dumps(explained)
    assert "v1" in text
    assert "posts" in text

    # two DeepSpeed ranks trained it
    # the retraining after the forgotten post may have come as far before the stack was stopped
    manifest = min(home.checkpoints_dir.glob("jose-nunez/*/manifest.json"), key=_changed)
    ran = json.loads(manifest.read_text())["effective"]
    assert (ran["ranks"], ran["zero_stage"]) == (2, 2)

    # the doctor finds nothing that fails in a stack that answers
    examined = json.loads((work / "doctor.json").read_text())
    verdicts = {check["name"]: check["verdict"] for check in examined["checks"]}
    assert examined["ok"] is True
    asked = {"stack", "programs", "ports", "Dagster", "gateway", "model server", "trace store"}
    assert {verdicts[name] for name in asked} == {"ok"}, examined

    # the same facts in endpoints.json, private; a second start trains nothing
    facts = json.loads((work / "endpoints.json").read_text())
    wanted = {"schema", "home", "dagster", "gateway", "gateway_key", "models", "logs", "pids"}
    assert wanted <= set(facts)
    assert all(set(pid) == {"pid", "started"} for pid in facts["pids"].values())
    assert stat.S_IMODE((work / "endpoints.json").stat().st_mode) == 0o600
    assert "training:" not in (work / "again.log").read_text()

    # an import finds what changed, and the search follows at once
    imported = (work / "import.log").read_text()
    assert "posts added 1, edited 1, deleted 1" in imported
    assert "no retraining starts automatically" in imported
    assert "The lamp at Skerrin Point" in (work / "found.log").read_text()
    assert "The last pub open is the ivy" not in (work / "gone.log").read_text()

    # nothing is left
    left = subprocess.run(
        ["pgrep", "-f", str(home.home)], capture_output=True, text=True, check=False
    )
    assert left.stdout.split() == []
