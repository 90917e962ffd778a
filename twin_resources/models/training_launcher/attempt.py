"""An attempt that several machines take together, as one file that all of them see.

Scope: what the file says and how it is written and read. Out of scope: running a
share of it (`machine.py`).
"""
# pyright: strict

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from twin_resources.atomic_writes import replace_file
from twin_resources.errors import TwinError
from twin_resources.models.training_launcher.training_job import TrainingJob, job_of

SCHEMA = 1


@dataclass(frozen=True)
class Attempt:
    """One attempt at a training.

    Attributes:
        mark: another one each time.
        machines: how many take part.
        environment: for rank 0, beside the job's own.
        forks: as of `MachineShare`; the launcher's setting, whatever a worker's own says.
    """

    mark: str
    job: TrainingJob
    machines: int
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    forks: bool = True


def write_attempt(path: Path, attempt: Attempt) -> None:
    """Write the file (atomically, for this user alone: the environment may hold a secret)."""
    document = {
        "schema": SCHEMA,
        "mark": attempt.mark,
        "job": attempt.job.as_values(),
        "machines": attempt.machines,
        "environment": dict(attempt.environment),
        "forks": attempt.forks,
    }
    replace_file(path, json.dumps(document, indent=2, sort_keys=True))


def read_attempt(path: Path) -> Attempt | None:
    """What the file says; None when there is none.

    Raises:
        TwinError: another schema than this code knows.
    """
    try:
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    if document["schema"] != SCHEMA:
        raise TwinError(
            f"read {path}",
            found=f"schema {document['schema']}, this version knows {SCHEMA}",
            next_step="run the same release on every machine",
        )
    return Attempt(
        mark=document["mark"],
        job=job_of(document["job"]),
        machines=document["machines"],
        environment=document["environment"],
        forks=document.get("forks", True),  # written by an older release
    )
