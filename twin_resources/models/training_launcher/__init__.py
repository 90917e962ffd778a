"""Launch training runs: start, monitor and stop their processes.

Scope: the protocol `TrainingLauncher` and its backends `local` (this machine) and `ray` (a Ray
cluster).
Out of scope: the training loop and the job's contents (`twin_assets/training`), Dagster (an asset
passes its Pipes variables as `environment`).
Method: accelerate's launcher, https://huggingface.co/docs/accelerate/basic_tutorials/launch
"""

from twin_resources.models.training_launcher.backends import make_launcher
from twin_resources.models.training_launcher.local import LocalLauncher
from twin_resources.models.training_launcher.machine import (
    ATTEMPT_ID_VARIABLE,
    OWNER_VARIABLE,
    RENDEZVOUS_VARIABLE,
    can_compute_in_bf16,
    is_owner_alive,
)
from twin_resources.models.training_launcher.training_job import (
    Message,
    TrainingDiedError,
    TrainingJob,
    TrainingLauncher,
)

__all__ = [
    "ATTEMPT_ID_VARIABLE",
    "OWNER_VARIABLE",
    "RENDEZVOUS_VARIABLE",
    "LocalLauncher",
    "Message",
    "TrainingDiedError",
    "TrainingJob",
    "TrainingLauncher",
    "can_compute_in_bf16",
    "is_owner_alive",
    "make_launcher",
]
