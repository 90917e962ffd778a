"""Launch training runs: start, monitor and stop their processes.

Scope: the protocol `TrainingLauncher` and `LocalLauncher`, which trains on this machine.
Out of scope: the training loop and the job's contents (`twin_assets/training`), Dagster (an asset
passes its Pipes variables as `environment`), another machine for a step (`TWIN_STEPS_APART`).
Method: accelerate's launcher, https://huggingface.co/docs/accelerate/basic_tutorials/launch
"""

from twin_resources.models.training_launcher.local import LocalLauncher
from twin_resources.models.training_launcher.rank_processes import (
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
]
