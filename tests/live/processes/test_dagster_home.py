"""Test that Dagster's databases are created once and completely before its processes start."""

from __future__ import annotations

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


def count_heads(home: Path) -> list[int]:
    """Return the number of schema versions in each database."""
    return [
        sqlite3.connect(home / "dagster" / folder / file)
        .execute("SELECT count(*) FROM alembic_version")
        .fetchone()[0]
        for folder, file in DATABASES.items()
    ]


def write_home(settings: Settings, configuration: Path = DAGSTER_YAML) -> Path:
    code_socket = settings.home / "supervisor" / "code.sock"
    return write_dagster_home(settings, configuration, code_socket=code_socket)


def test_the_databases_are_created_once_and_kept(home: Settings) -> None:
    workspace = write_home(home)
    assert "code.sock" in workspace.read_text()
    assert (home.home / "supervisor").is_dir(), "the code server makes no folder for its socket"
    assert count_heads(home.home) == [1, 1]
    database = home.home / "dagster" / "schedules" / "schedules.db"
    before = (database.stat().st_ino, database.stat().st_mtime_ns)
    write_home(home)
    assert (database.stat().st_ino, database.stat().st_mtime_ns) == before
    assert not (home.home / "dagster.partial").exists()


def test_programs_that_start_together_create_the_databases_once(home: Settings) -> None:
    """The containers of a task start together, each with `twin serve`."""
    program = (
        "import sys; from pathlib import Path;"
        "from twin_resources.processes.dagster_home import write_dagster_home;"
        "from twin_resources.settings import load_settings;"
        "write_dagster_home(load_settings(), Path(sys.argv[1]), code_socket=Path('c.sock'))"
    )
    command = [sys.executable, "-c", program, str(DAGSTER_YAML)]
    processes = [subprocess.Popen(command) for _ in range(3)]
    assert [process.wait() for process in processes] == [0, 0, 0]
    assert count_heads(home.home) == [1, 1]


def test_the_databases_of_a_killed_start_are_completed(home: Settings) -> None:
    write_home(home)
    runs_database = home.home / "dagster" / "history" / "runs.db"
    inode = runs_database.stat().st_ino
    shutil.rmtree(home.home / "dagster" / "schedules")
    (home.home / "dagster.partial" / "schedules").mkdir(parents=True)
    write_home(home)
    assert count_heads(home.home) == [1, 1]
    assert runs_database.stat().st_ino == inode, "the recorded runs were deleted"


def test_a_users_dagster_yaml_is_kept_and_a_generated_one_is_updated(
    home: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    write_home(home)
    instance_file = home.home / "dagster" / "dagster.yaml"
    instance_file.write_text(instance_file.read_text() + "# written by an earlier release\n")
    write_home(home)
    assert instance_file.read_bytes() == DAGSTER_YAML.read_bytes()
    assert not capsys.readouterr().err
    instance_file.write_text("telemetry:\n  enabled: false\n")
    write_home(home)
    assert instance_file.read_text() == "telemetry:\n  enabled: false\n"
    assert capsys.readouterr().err.count("not replaced") == 1


def test_an_invalid_configuration_is_reported(home: Settings, tmp_path: Path) -> None:
    invalid_file = tmp_path / "dagster.yaml"
    invalid_file.write_text("storage:\n  no_such_storage: {}\n")
    with pytest.raises(TwinError, match="no_such_storage"):
        write_home(home, invalid_file)
