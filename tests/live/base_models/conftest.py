"""Provide a home, and texts to train small tokenizers."""

from __future__ import annotations

from pathlib import Path

import pytest

from twin_resources import authors
from twin_resources.settings import Settings


@pytest.fixture(scope="session")
def texts() -> list[str]:
    folder = Path(authors.__file__).parent / "samples"
    return [path.read_text(encoding="utf-8") for path in sorted(folder.rglob("*.md"))[:30]]


@pytest.fixture
def home(home: Settings, process_logs: Path) -> Settings:
    """Return a fresh home; the report of a failed test names its logs."""
    home.logs_dir.symlink_to(process_logs)
    return home
