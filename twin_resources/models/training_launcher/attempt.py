"""Write and read the file that describes a training attempt to all of its machines.

Scope: the file's content. Out of scope: running a machine's share (`machine.py`).
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
from twin_resources.models.training_launcher.training_job import TrainingJob, job_from_values

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Attempt:
    """One attempt at a training run.

    Attributes:
        attempt_id: unique id of the attempt.
        job: the job to run.
        machine_count: number of machines.
        environment: variables for rank 0, in addition to those of the job.
        may_fork: see `MachineShare`; the launcher's setting overrides a worker's.
    """

    attempt_id: str
    job: TrainingJob
    machine_count: int
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    may_fork: bool = True


def write_attempt(path: Path, attempt: Attempt) -> None:
    """Write the file atomically; only this user can read it, because it may contain secrets."""
    document = {
        "schema": SCHEMA_VERSION,
        "mark": attempt.attempt_id,
        "job": attempt.job.to_json_dict(),
        "machines": attempt.machine_count,
        "environment": dict(attempt.environment),
        "forks": attempt.may_fork,
    }
    replace_file(path, json.dumps(document, indent=2, sort_keys=True))


def read_attempt(path: Path) -> Attempt | None:
    """Read the file, or return None if it does not exist.

    Raises:
        TwinError: the file has a different schema version.
    """
    try:
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    if document["schema"] != SCHEMA_VERSION:
        raise TwinError(
            f"read {path}",
            found=f"schema {document['schema']}, but this release reads schema {SCHEMA_VERSION}",
            next_step="run the same release on every machine",
        )
    return Attempt(
        attempt_id=document["mark"],
        job=job_from_values(document["job"]),
        machine_count=document["machines"],
        environment=document["environment"],
        may_fork=document.get("forks", True),  # older releases did not write this field
    )
