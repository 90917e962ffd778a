"""Dagster's databases are created once and completely, before any of its processes starts."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from twin_resources.errors import TwinError
from twin_resources.processes.dagster_home import DATABASES, write_dagster_home
from twin_resources.processes.programs import DAGSTER_YAML
from twin_resources.settings import Settings

pytestmark = pytest.mark.live
CONFIGURATION = DAGSTER_YAML


def count_heads(home: Path) -> list[int]:
    """Return the number of schema versions in each database."""
    return [
        sqlite3.connect(home / "dagster" / folder / file)
        .execute("SELECT count(*) FROM alembic_version")
        .fetchone()[0]
        for folder, file in DATABASES.items()
    ]


def write(settings: Settings, configuration: Path = CONFIGURATION) -> Path:
    code = settings.home / "supervisor" / "code.sock"
    return write_dagster_home(settings, configuration, code_socket=code, environ=os.environ)


def test_the_databases_are_created_once_and_kept(home: Settings) -> None:
    workspace = write(home)
    assert "code.sock" in workspace.read_text()
    assert (home.home / "supervisor").is_dir(), "the code server makes no folder for its socket"
    assert count_heads(home.home) == [1, 1]
    database = home.home / "dagster" / "schedules" / "schedules.db"
    before = (database.stat().st_ino, database.stat().st_mtime_ns)
    write(home)
    assert (database.stat().st_ino, database.stat().st_mtime_ns) == before
    assert not (home.home / "dagster.partial").exists()


def test_programs_that_start_at_once_create_the_databases_once(home: Settings) -> None:
    """The containers of a task start at once with `twin serve`."""
    program = (
        "import os, sys; from pathlib import Path;"
        "from twin_resources.processes.dagster_home import write_dagster_home;"
        "from twin_resources.settings import load_settings;"
        "write_dagster_home(load_settings(), Path(sys.argv[1]), code_socket=Path('c.sock'),"
        " environ=os.environ)"
    )
    command = [sys.executable, "-c", program, str(CONFIGURATION)]
    processes = [subprocess.Popen(command) for _ in range(3)]
    assert [process.wait() for process in processes] == [0, 0, 0]
    assert count_heads(home.home) == [1, 1]


@pytest.mark.drawn(1, of="runs that are cut short")
def test_the_databases_of_a_killed_start_are_completed(home: Settings) -> None:
    write(home)
    runs = home.home / "dagster" / "history" / "runs.db"
    inode = runs.stat().st_ino
    shutil.rmtree(home.home / "dagster" / "schedules")
    (home.home / "dagster.partial" / "schedules").mkdir(parents=True)
    write(home)
    assert count_heads(home.home) == [1, 1]
    assert runs.stat().st_ino == inode, "the recorded runs were deleted"


def test_a_users_dagster_yaml_is_kept_and_ours_is_updated(
    home: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    write(home)
    own = home.home / "dagster" / "dagster.yaml"
    own.write_text(own.read_text() + "# of a release before\n")
    write(home)
    assert own.read_bytes() == CONFIGURATION.read_bytes()
    assert not capsys.readouterr().err
    own.write_text("telemetry:\n  enabled: false\n")
    write(home)
    assert own.read_text() == "telemetry:\n  enabled: false\n"
    assert capsys.readouterr().err.count("not replaced") == 1


def test_an_invalid_configuration_is_reported(home: Settings, tmp_path: Path) -> None:
    invalid_file = tmp_path / "dagster.yaml"
    invalid_file.write_text("storage:\n  no_such_storage: {}\n")
    with pytest.raises(TwinError, match="no_such_storage"):
        write(home, invalid_file)
