"""Fixtures for every test tier: the shared data (or the reason to skip) and a fresh home.

Scope: fixtures that at least two tiers need. Out of scope: fixtures of one topic.
"""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings as hypothesis_settings

from tests.scratch import put_temporary_files_in_memory
from twin_resources.settings import Settings, load_settings

ROOT = Path(__file__).resolve().parent.parent
OTHER_STORES = {"postgresql", "postgresql_url", "s3_endpoint", "bucket"}  # fixtures and cases

# A shell starts background jobs with SIGINT ignored, and then tests of Ctrl-C could never pass.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
put_temporary_files_in_memory()

# The short form draws the same examples each time; the long form searches for new examples.
hypothesis_settings.register_profile("short", derandomize=True, deadline=None)
hypothesis_settings.register_profile("long", deadline=None, print_blob=True)


def is_short(config: pytest.Config) -> bool:
    """Return whether this is the short form of a check."""
    return "not long" in config.getoption("markexpr")


def pytest_configure(config: pytest.Config) -> None:
    hypothesis_settings.load_profile("short" if is_short(config) else "long")


@pytest.hookimpl(tryfirst=True)  # before `-m` deselects the long tests
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs PostgreSQL or S3 as long: each starts a server, and few homes have one."""
    for item in items:
        cases = getattr(item, "callspec", None)
        needed = {
            *getattr(item, "fixturenames", ()),
            *map(str, cases.params.values() if cases else ()),
        }
        if needed & OTHER_STORES:
            item.add_marker(pytest.mark.long)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[object]:
    """Exclude the objects that collection imports from garbage collection; they stay in memory."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    folder = Path(os.environ.get("TWIN_SHARED_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip("shared data absent: set TWIN_SHARED_DATA to run this test")
    return folder


@pytest.fixture(scope="session")
def shared_posts(shared_data: Path) -> Path:
    return shared_data / "posts"


def fresh_home(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Create an empty home in `folder`, set `TWIN_HOME` to it, and return its settings."""
    for name in [name for name in os.environ if name.startswith(("TWIN_", "LANGFUSE_"))]:
        if name not in {"TWIN_SHARED_DATA", "TWIN_WHEELS_DIR", "TWIN_TEST_LOGS"}:
            monkeypatch.delenv(name)
    folder.mkdir()
    monkeypatch.setenv("TWIN_HOME", str(folder))
    return load_settings()


def with_base(settings: Settings, base: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Return the settings with this base model, and set `TWIN_BASE_MODEL` to it."""
    monkeypatch.setenv("TWIN_BASE_MODEL", str(base))
    return settings.model_copy(update={"base_model": str(base)})


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Return the settings of a fresh home, to which `TWIN_HOME` is set."""
    return fresh_home(tmp_path / "home", monkeypatch)
