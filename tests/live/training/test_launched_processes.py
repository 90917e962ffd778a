"""Test ranks started by accelerate's launcher or without a launcher."""

from __future__ import annotations

import subprocess
from pathlib import Path

import psutil
import pytest

from twin_resources.models.training_launcher import LocalLauncher, TrainingDiedError, TrainingJob
from twin_resources.models.training_launcher.rank_processes import (
    build_command,
    build_environment,
)
from twin_resources.settings import Settings

pytestmark = pytest.mark.live

RANK_SCRIPT = """
import os
names = ("RANK", "WORLD_SIZE", "ACCELERATE_USE_DEEPSPEED", "ACCELERATE_DEEPSPEED_CONFIG_FILE")
line = " ".join(os.environ[name] for name in names)
os.write(1, f"{line}\\n".encode())  # at once: both ranks write to one pipe, without a buffer
"""


def test_the_launcher_configures_both_ranks(tmp_path: Path) -> None:
    (tmp_path / "one_rank.py").write_text(RANK_SCRIPT, encoding="utf-8")
    job = TrainingJob(
        name="ann",
        folder=tmp_path,
        module="one_rank",
        ranks=2,
        deepspeed={"zero_optimization": {"stage": 2}},
        mixed_precision="fp32",
    )
    command = build_command(job, may_fork=False)
    environment = build_environment(job, "mark", may_fork=False)

    result = subprocess.run(
        command,
        env=environment | {"PYTHONPATH": f"{tmp_path}:{environment['PYTHONPATH']}"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )

    assert result.returncode == 0, result.stderr[-3000:]
    config_path = str(tmp_path / "deepspeed.json")
    assert sorted(result.stdout.splitlines()) == [
        f"{rank} 2 true {config_path}" for rank in range(2)
    ]


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
