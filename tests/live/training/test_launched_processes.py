"""Test a rank that runs without a launcher."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from twin_resources.models.training_launcher import LocalLauncher, TrainingDiedError, TrainingJob
from twin_resources.settings import Settings

pytestmark = pytest.mark.live

KILLED_SCRIPT = """
import os, pathlib, subprocess
pathlib.Path(os.environ["TWIN_TRAINING_RENDEZVOUS"]).touch()
child = subprocess.Popen(["sleep", "3600"], start_new_session=True)
pathlib.Path(__file__).with_name("child").write_text(str(child.pid))
os.kill(os.getpid(), 9)
"""


def test_a_killed_single_process_is_reported(home: Settings, tmp_path: Path) -> None:
    """No launcher reports the signal or ends child processes."""
    (tmp_path / "killed.py").write_text(KILLED_SCRIPT, encoding="utf-8")
    job = TrainingJob(name="ann", folder=tmp_path, module="killed", ranks=1, mixed_precision="fp32")
    texts: list[str] = []

    with pytest.raises(TrainingDiedError) as error:
        LocalLauncher(home).run(
            job,
            on_message=lambda message: texts.append(str(message.get("text", ""))),
            environment={"PYTHONPATH": str(tmp_path)},
        )

    reason = "killed by Signal 9 (SIGKILL); if nobody sent it, memory ran out"
    assert [text.partition(";")[0] for text in texts] == [reason.partition(";")[0]]
    assert error.value.found.startswith(reason)
    assert not psutil.pid_exists(int((tmp_path / "child").read_text()))
    assert not list(tmp_path.glob("rendezvous-*"))
