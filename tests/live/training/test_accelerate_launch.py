"""accelerate's launcher starts the ranks of DeepSpeed and does not import it for that."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from twin_resources.models.training_launcher import TrainingJob
from twin_resources.models.training_launcher.machine import MachineShare, command, environment_of

pytestmark = pytest.mark.live

RANK = """
import os
names = ("RANK", "WORLD_SIZE", "ACCELERATE_USE_DEEPSPEED", "ACCELERATE_DEEPSPEED_CONFIG_FILE")
print(*(os.environ[name] for name in names), flush=True)
"""


def test_the_launcher_hands_the_configuration_to_both_ranks_and_imports_no_deepspeed(
    tmp_path: Path,
) -> None:
    (tmp_path / "one_rank.py").write_text(RANK, encoding="utf-8")
    job = TrainingJob(
        name="ann",
        folder=tmp_path,
        module="one_rank",
        ranks=2,
        deepspeed={"zero_optimization": {"stage": 2}},
        mixed_precision="fp32",
    )
    python, *words = command(job, MachineShare())
    own = environment_of(job, "mark", MachineShare())

    ran = subprocess.run(
        [python, "-X", "importtime", *words],
        env=own | {"PYTHONPATH": f"{tmp_path}:{own['PYTHONPATH']}"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )

    assert ran.returncode == 0, ran.stderr[-3000:]
    told = str(tmp_path / "deepspeed.json")
    assert sorted(ran.stdout.splitlines()) == [f"{rank} 2 true {told}" for rank in range(2)]
    imported = {line.rpartition("|")[2].strip() for line in ran.stderr.splitlines()}
    assert {"accelerate", "torch.distributed.run"} <= imported
    assert not [name for name in imported if name.partition(".")[0] == "deepspeed"]
