"""Prepare Dagster's home before its processes start: settings, workspace and empty databases.

Scope: the contents of `<home>/dagster` when a stack starts. Out of scope: the processes
(`programs.py`), runs (`dagster_http.py`).

A single process creates the databases, in a folder next to Dagster's home; others wait for its
lock. Otherwise, the webserver and the code server would both create them. In about one start in a
hundred, the schema version was then stored twice ("more than one head present"), and the daemon
never started.
"""
# pyright: strict

from __future__ import annotations

import fcntl
import json
import os
import shutil
import sys
from pathlib import Path

from twin_resources.atomic_writes import replace_file
from twin_resources.dagster_runs import CODE_LOCATION
from twin_resources.errors import TwinError
from twin_resources.processes.child_environment import child_environment, list_withheld_variables
from twin_resources.processes.program_progress import run_for_output
from twin_resources.settings import Settings

# Database file by folder, in the layout of Dagster's SQLite storage.
DATABASES = {"history": "runs.db", "schedules": "schedules.db"}
# First line of every `dagster.yaml` that a release has written.
GENERATED_HEADER = (
    "# Dagster's instance on one machine: copied to $DAGSTER_HOME at each start of the stack."
)


def workspace_path(settings: Settings) -> Path:
    """Return the path of the workspace file for the webserver and the daemon."""
    return settings.home / "dagster" / "workspace.yaml"


def write_dagster_home(settings: Settings, configuration: Path, *, code_socket: Path) -> Path:
    """Write `<home>/dagster`, and keep existing files except settings from an earlier start.

    A `dagster.yaml` from another source is kept, with a notice on standard error. `workspace.yaml`
    names one shared code server. If it named a module, the webserver and the daemon would each
    start a code server, and the daemon a new one every minute, at 5 CPU seconds each.

    Args:
        configuration: path of the `dagster.yaml` to copy.
        code_socket: socket of the shared code server.

    Returns:
        The path of the workspace file for the webserver and the daemon.

    Raises:
        TwinError: Dagster could not create its databases.
    """
    folder = settings.home / "dagster"
    for directory in (folder, code_socket.parent):
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (folder / "start.lock").open("w") as lock:  # the kernel releases it if a start is killed
        fcntl.flock(lock, fcntl.LOCK_EX)
        instance_file = folder / "dagster.yaml"
        if _is_replaceable(instance_file):
            replace_file(instance_file, configuration.read_bytes())
        else:
            sys.stderr.write(
                f"{instance_file} was not written by llm-twin: it is used and not replaced\n"
            )
        if not all((folder / name / file).is_file() for name, file in DATABASES.items()):
            _create_databases(settings, folder)
        server = {"socket": str(code_socket), "location_name": CODE_LOCATION}
        # JSON is valid YAML and quotes every value.
        document = json.dumps({"load_from": [{"grpc_server": server}]})
        return replace_file(workspace_path(settings), document)


def _is_replaceable(instance_file: Path) -> bool:
    """Return whether the file is absent, generated, or empty after an interrupted copy."""
    if not instance_file.exists():
        return True
    text = instance_file.read_text(encoding="utf-8").strip()
    return not text or text.startswith(GENERATED_HEADER)


def _create_databases(settings: Settings, folder: Path) -> None:
    """Create the databases next to Dagster's home; an interrupted start creates them again."""
    partial_folder = folder.with_name("dagster.partial")
    shutil.rmtree(partial_folder, ignore_errors=True)
    partial_folder.mkdir(mode=0o700)
    shutil.copyfile(folder / "dagster.yaml", partial_folder / "dagster.yaml")
    environment = child_environment(settings, instance="", environ=os.environ)
    for name in list_withheld_variables(settings, needed_for=(), environ=os.environ):
        environment.pop(name, None)
    result = run_for_output(
        [sys.executable, "-m", "dagster", "instance", "info"],
        environment=environment | {"DAGSTER_HOME": str(partial_folder)},
    )
    if result.returncode != 0:
        raise TwinError(
            f"create Dagster's databases in {partial_folder}",
            found=f"`dagster instance info` ended with {result.returncode}: "
            f"{result.stderr.decode('utf-8', 'replace')[-1000:]}",
            next_step="correct the cause, and start again",
        )
    for name, file in DATABASES.items():
        # Settings from another source may place the databases elsewhere.
        if (partial_folder / name).is_dir() and not (folder / name / file).is_file():
            shutil.rmtree(folder / name, ignore_errors=True)
            (partial_folder / name).rename(folder / name)
    shutil.rmtree(partial_folder)
