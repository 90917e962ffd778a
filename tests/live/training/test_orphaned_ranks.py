"""Test that an attempt ends orphaned ranks of earlier attempts."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from twin_assets.checkpoints.job import Job
from twin_assets.checkpoints.recipe import load_recipe
from twin_assets.training.ranks import end_orphaned_ranks
from twin_resources.models.training_launcher import ATTEMPT_ID_VARIABLE, OWNER_VARIABLE

pytestmark = pytest.mark.live

JOB = Job(
    folder=Path(),
    base_name="tiny",
    base_folder=Path(),
    ranks=1,
    recipe=load_recipe("smollm2-135m-cpu"),
)


def test_only_orphaned_ranks_of_the_same_job_are_ended(tmp_path: Path) -> None:
    alive = psutil.Process()
    exited_process = subprocess.Popen([sys.executable, "-c", ""])
    owners = {
        "alive": f"{alive.pid}:{alive.create_time()}",
        "gone": f"{exited_process.pid}:{psutil.Process(exited_process.pid).create_time()}",
    }
    exited_process.wait()
    jobs = {name: replace(JOB, folder=tmp_path / name) for name in ("mine", "another's")}

    def start_rank(job: str, owner: str) -> subprocess.Popen[bytes]:
        arguments = ["-c", "import time; time.sleep(600)", "--job", str(jobs[job].path)]
        variables = {OWNER_VARIABLE: owners[owner], ATTEMPT_ID_VARIABLE: "an earlier attempt"}
        return subprocess.Popen([sys.executable, *arguments], env=os.environ | variables)

    orphan = start_rank("mine", "gone")
    other_ranks = [start_rank("mine", "alive"), start_rank("another's", "gone")]
    try:
        assert end_orphaned_ranks(jobs["mine"]) == 1
        assert not psutil.pid_exists(orphan.pid)
        assert [process.poll() for process in other_ranks] == [None, None]
    finally:
        for process in (orphan, *other_ranks):
            process.kill()
            process.wait()
