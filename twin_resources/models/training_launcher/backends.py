"""Create the launcher of a training backend by its name.

Scope: choosing the launcher. Out of scope: the backends (`local.py`, `ray_cluster.py`).
"""
# pyright: strict

from __future__ import annotations

from twin_resources.errors import TwinError
from twin_resources.models.training_launcher.local import LocalLauncher
from twin_resources.models.training_launcher.training_job import TrainingLauncher
from twin_resources.settings import Settings


def make_launcher(backend: str, settings: Settings) -> TrainingLauncher:
    """Create the launcher of the backend `local` or `ray`; `""` means `Settings.train_backend`.

    Raises:
        TwinError: the backend does not exist, or its settings are inconsistent.
    """
    name = backend or settings.train_backend
    if name == "local":
        return LocalLauncher(settings)
    if name == "ray":
        from twin_resources.models.training_launcher.ray_cluster import RayLauncher

        return RayLauncher(settings)
    raise TwinError(
        f"launch training runs with the backend {name!r}",
        found="only `local` and `ray` exist",
        next_step="set TWIN_TRAIN_BACKEND to one of them",
    )
