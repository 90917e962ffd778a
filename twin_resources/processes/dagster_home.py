"""Prepare Dagster's home before its processes start: settings, workspace and empty databases.

Scope: the contents of `<home>/dagster` at the start of a stack. Out of scope: the
processes (`programs.py`), runs (`dagster_http.py`).

One process creates the databases, in a folder beside the home. Otherwise the webserver and the code
server would both create them. In about one start in a hundred the schema version was then stored
twice ("more than one head present"), and the daemon never started.
"""
# pyright: strict

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from twin_resources.dagster_runs import CODE_LOCATION
from twin_resources.errors import TwinError
from twin_resources.processes.child_environment import child_environment, list_withheld_variables
from twin_resources.processes.program_progress import run_for_output
from twin_resources.settings import Settings

# Folder → the database in it, as Dagster's SQLite storage lays them out.
DATABASES = {"history": "runs.db", "schedules": "schedules.db"}
# The first line of every `dagster.yaml` that a release has written.
GENERATED_HEADER = (
    "# Dagster's instance on one machine: copied to $DAGSTER_HOME at each start of the stack."
)


def workspace_path(settings: Settings) -> Path:
    """Return the workspace file for webserver and daemon."""
    return settings.home / "dagster" / "workspace.yaml"


def write_dagster_home(
    settings: Settings, configuration: Path, *, code_socket: Path, environ: Mapping[str, str]
) -> Path:
    """Write `<home>/dagster`, and keep existing files except settings from an earlier start.
    A `dagster.yaml` from another source is kept, with a notice on standard error.
    With a module in `workspace.yaml`, the webserver and the daemon would each start a code server.
    The daemon would start a new one every minute, at 5 CPU seconds each. The file therefore names
    one shared server.

    Args:
        configuration: the `dagster.yaml` to copy.
        code_socket: the socket of the shared code server.
        environ: as for the programs of the stack.

    Returns:
        The workspace file for webserver and daemon.

    Raises:
        TwinError: Dagster could not create its databases.
    """
    folder = settings.home / "dagster"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    instance = folder / "dagster.yaml"
    if _is_replaceable(instance):
        shutil.copyfile(configuration, instance)
    else:
        sys.stderr.write(f"{instance} was not written by llm-twin: it is used and not replaced\n")
    if not all((folder / name / file).is_file() for name, file in DATABASES.items()):
        _create_databases(settings, folder, environ)
    workspace = workspace_path(settings)
    server = {"socket": str(code_socket), "location_name": CODE_LOCATION}
    # JSON is valid YAML and quotes every value
    workspace.write_text(json.dumps({"load_from": [{"grpc_server": server}]}), encoding="utf-8")
    return workspace


def _is_replaceable(instance: Path) -> bool:
    """Return whether the file is absent, generated, or empty after an interrupted copy."""
    if not instance.exists():
        return True
    text = instance.read_text(encoding="utf-8").strip()
    return not text or text.startswith(GENERATED_HEADER)


def _create_databases(settings: Settings, folder: Path, environ: Mapping[str, str]) -> None:
    """Create the databases beside the home; an interrupted start begins again."""
    partial = folder.with_name("dagster.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(mode=0o700)
    shutil.copyfile(folder / "dagster.yaml", partial / "dagster.yaml")
    environment = child_environment(settings, instance="", environ=environ)
    for name in list_withheld_variables(settings, needed_for=(), environ=environ):
        environment.pop(name, None)
    completed = run_for_output(
        [sys.executable, "-m", "dagster", "instance", "info"],
        environment=environment | {"DAGSTER_HOME": str(partial)},
    )
    if completed.returncode != 0:
        raise TwinError(
            f"make Dagster's databases in {partial}",
            found=f"`dagster instance info` ended with {completed.returncode}: "
            f"{completed.stderr.decode('utf-8', 'replace')[-1000:]}",
            next_step="correct the cause, and start again",
        )
    for name, file in DATABASES.items():
        # settings from another source may keep the databases elsewhere
        if (partial / name).is_dir() and not (folder / name / file).is_file():
            shutil.rmtree(folder / name, ignore_errors=True)
            (partial / name).rename(folder / name)
    shutil.rmtree(partial)
