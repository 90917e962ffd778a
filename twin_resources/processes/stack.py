"""Start and stop a stack (the supervised processes of one home), and clean up after a crash.

Scope: the record of the running stack (`<home>/supervisor/stack.json`), starting and stopping under
a lock, and cleaning up after a crash.
Out of scope: the list of programs (`programs.py`), supervisord itself (`supervisor.py`), Dagster's
runs (`dagster_http.py`).

The record is written before the first process starts. It contains the instance id that every child
has in its environment. After any failure, the next command can therefore find the remaining
processes.
"""
# pyright: strict

from __future__ import annotations

import fcntl
import json
import os
import secrets
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TextIO

from twin_resources.atomic_writes import replace_file
from twin_resources.errors import TwinError, check_schema
from twin_resources.private_files import database_files, restrict_to_owner
from twin_resources.processes.child_environment import child_environment
from twin_resources.processes.endpoints import remove_endpoints
from twin_resources.processes.ports import choose_ports
from twin_resources.processes.process_identity import (
    ProcessIdentity,
    end_processes,
    find_marked_processes,
    find_process,
    find_session_processes,
    identify,
)
from twin_resources.processes.program_progress import ProgramProgress
from twin_resources.processes.supervisor import Program, Supervisor
from twin_resources.processes.wording import format_count
from twin_resources.settings import Settings

SCHEMA_VERSION = 1
SERVICES = ("gateway", "dagster", "traces", "chat")


class StackRunningError(TwinError):
    """Another command has started the stack of this home."""


def _discard_line(_line: str) -> None:
    return None


@dataclass(frozen=True)
class StackRecord:
    """A home's record of its stack.

    Attributes:
        instance: value of `TWIN_INSTANCE` in every process of the stack.
        supervisor: supervisord's process, or None before it runs and after an orderly stop.
        ports: ports by service.
        base_model, embedder, gateways: values of the last start; the next start keeps them unless
            the user sets others.
        author: author slug of the last `twin up`.
        stopping: whether `twin stop` is running; commands then stop waiting for the stack.
    """

    instance: str
    supervisor: ProcessIdentity | None
    ports: Mapping[str, int]
    base_model: str
    embedder: str
    author: str = ""
    stopping: bool = False
    gateways: int = 1
    schema: int = SCHEMA_VERSION


@dataclass(frozen=True)
class Stack:
    """A running stack; `settings` contains the ports on which it listens."""

    settings: Settings
    record: StackRecord
    supervisor: Supervisor

    @property
    def identity(self) -> ProcessIdentity:
        assert self.record.supervisor is not None  # `find_stack` and `start_stack` set it
        return self.record.supervisor

    def is_alive(self) -> bool:
        """Return whether the supervisor is still running; the stack ends with it."""
        return find_process(self.identity) is not None

    def pids(self) -> dict[str, ProcessIdentity]:
        """Return the processes of the supervisor and of all running programs, by name.

        Raises:
            TwinError: the supervisor does not answer.
        """
        identities = {"supervisor": self.identity}
        for name, state in self.supervisor.states().items():
            identity = identify(state.pid) if state.pid else None
            if identity is not None:
                identities[name] = identity
        return identities


@dataclass(frozen=True)
class StopResult:
    """The result of a stop.

    Attributes:
        was_running: whether a supervisor was running.
        ended_count: number of processes that outlived the supervisor and were ended separately.
    """

    was_running: bool
    ended_count: int


def read_record(settings: Settings) -> StackRecord | None:
    """Read the record of a running, stopped or crashed stack; return None if there is no record.

    Raises:
        TwinError: a newer version wrote the record.
    """
    path = _record_path(settings)
    try:
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except json.JSONDecodeError:
        return None  # truncated by a full disk or a power cut; new ports will be chosen
    check_schema(
        f"read the record of the stack in {path}",
        document.get("schema", 0),
        SCHEMA_VERSION,
        next_step="use the newer llm-twin that started the stack",
    )
    supervisor = document.pop("supervisor")
    identity = ProcessIdentity(**supervisor) if supervisor else None
    return StackRecord(supervisor=identity, **document)


def find_stack(settings: Settings) -> Stack | None:
    """Return the running stack of this home, or None, even if another process has its old pid."""
    record = read_record(settings)
    if record is None or record.supervisor is None or find_process(record.supervisor) is None:
        return None
    return Stack(_apply_record(settings, record), record, _make_supervisor(settings))


def find_running_settings(settings: Settings) -> Settings:
    """Return the settings of this home's running stack, or `settings` if none is running."""
    stack = find_stack(settings)
    return settings if stack is None else stack.settings


def start_stack(
    settings: Settings,
    *,
    programs: Callable[[Settings], Sequence[Program]],
    requested_ports: Sequence[str] = (),
    report: Callable[[str], object] = _discard_line,
) -> Stack:
    """Start the stack of this home, after cleaning up a crashed one.

    Args:
        programs: function that returns the programs once the ports are chosen.
        requested_ports: services whose port must be the one in `settings`.
        report: function that receives a line for each cleanup and for each changed port.

    Raises:
        StackRunningError: another command has started the stack, which the caller can use.
        TwinError: a requested port is taken, or the supervisor did not start.
    """
    with _hold_start_stop_lock(settings, report=report):
        if find_stack(settings) is not None:
            raise StackRunningError(
                f"start the stack of {settings.home}",
                found="it is already running",
                next_step="use it, or stop it with `twin stop`",
            )
        for line in _restrict_access(settings):
            report(line)
        former_record = read_record(settings)
        for line in _clean_up_after_crash(settings, former_record):
            report(line)
        default_ports = {name: int(getattr(settings, f"{name}_port")) for name in SERVICES}
        ports = choose_ports(
            default_ports,
            host=settings.host,
            requested_services=requested_ports,
            last_ports=former_record.ports if former_record else None,
        )
        for name, port in ports.items():
            if port != default_ports[name]:
                report(
                    f"{name} listens on port {port}: {default_ports[name]} is in use, or "
                    "the stack used another port before"
                )
        record = StackRecord(
            instance=secrets.token_hex(8),
            supervisor=None,
            ports=ports,
            base_model=settings.base_model,
            embedder=settings.embedder,
            author=former_record.author if former_record else "",
            gateways=settings.gateways,
        )
        settings = _apply_record(settings, record)
        _write_record(settings, record)
        try:
            identity = _make_supervisor(settings).start(
                programs(settings),
                environment=child_environment(
                    settings, instance=record.instance, environ=os.environ
                ),
                identifier=f"twin-{record.instance}",
            )
        except BaseException:
            end_processes(find_marked_processes(record.instance))
            raise
        record = replace(record, supervisor=identity)
        _write_record(settings, record)
        return Stack(settings, record, _make_supervisor(settings))


def stop_stack(
    settings: Settings, *, report: Callable[[str], object] = _discard_line
) -> StopResult:
    """End all processes of this home's stack and no others; repeated calls are safe."""
    if not _record_path(settings).parent.is_dir():
        return StopResult(was_running=False, ended_count=0)  # the stack was never started
    with _hold_start_stop_lock(settings, report=report):
        record = read_record(settings)
        if record is None:
            remove_endpoints(settings.home)
            return StopResult(was_running=False, ended_count=0)
        leader = record.supervisor
        was_running = leader is not None and find_process(leader) is not None
        if was_running and leader is not None:
            session_members = find_session_processes(leader)
            if not _make_supervisor(settings).shutdown(leader):
                report("the supervisor did not stop in time; ending its processes one by one")
        else:
            session_members = []
        survivors = [process for process in session_members if process.is_running()]
        ended_count = end_processes([*survivors, *find_marked_processes(record.instance)])
        remove_endpoints(settings.home)
        _write_record(settings, replace(record, supervisor=None, stopping=False))
        return StopResult(was_running=was_running, ended_count=ended_count)


def announce_stop(settings: Settings) -> None:
    """Record that the stack is about to end, so that commands stop waiting for it."""
    record = read_record(settings)
    if record is not None:
        _write_record(settings, replace(record, stopping=True))


def record_last_author(settings: Settings, slug: str) -> None:
    """Record the author of the last `twin up` as the default for commands without an author."""
    record = read_record(settings)
    if record is not None and record.author != slug:
        _write_record(settings, replace(record, author=slug))


def restore_last_settings(settings: Settings) -> Settings:
    """Return `settings` with the last start's models and gateways unless the user set others."""
    record = read_record(settings)
    if record is None:
        return settings
    saved_values = {
        name: getattr(record, name)
        for name in ("base_model", "embedder", "gateways")
        if name not in settings.model_fields_set
    }
    return settings.model_copy(update=saved_values)


def _restrict_access(settings: Settings) -> list[str]:
    """Make home, databases and logs private; return a line for each path where this failed."""
    home, logs = settings.home, settings.logs_dir
    folders = [home, logs, *(home / name for name in ("chat", "dagster", "supervisor"))]
    files = [
        *(file for path in home.glob("*.sqlite") for file in database_files(path)),
        *(path for path in logs.rglob("*") if path.is_file()),
    ]
    accessible_paths = restrict_to_owner([*folders, *files])
    return [
        f"other users can read {path}, which belongs to another user: run chmod go= {path}"
        for path in accessible_paths
    ]


def _clean_up_after_crash(settings: Settings, record: StackRecord | None) -> list[str]:
    """End the processes of a dead supervisor and remove its files; return lines for the user."""
    if record is None:
        return []
    lines: list[str] = []
    if record.supervisor is not None:
        lines.append(
            f"the last stack (supervisor pid {record.supervisor.pid}) ended without `twin stop`"
        )
    leftovers = find_marked_processes(record.instance)
    if leftovers:
        ended_processes = format_count(end_processes(leftovers), "process", "processes")
        lines.append(f"ended {ended_processes} that were left over")
    remove_endpoints(settings.home)
    return lines


def _apply_record(settings: Settings, record: StackRecord) -> Settings:
    ports = {f"{name}_port": port for name, port in record.ports.items()}
    saved_values = {name: getattr(record, name) for name in ("base_model", "embedder", "gateways")}
    return settings.model_copy(update=ports | saved_values)


def _make_supervisor(settings: Settings) -> Supervisor:
    return Supervisor(settings.home / "supervisor", settings.logs_dir)


def _record_path(settings: Settings) -> Path:
    return settings.home / "supervisor" / "stack.json"


def _write_record(settings: Settings, record: StackRecord) -> None:
    path = _record_path(settings)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    replace_file(path, json.dumps(asdict(record), indent=2) + "\n")


@contextmanager
def _hold_start_stop_lock(
    settings: Settings, *, report: Callable[[str], object]
) -> Generator[None]:
    """Hold the home's start/stop lock; the kernel releases it if the holder is killed.

    Raises:
        TwinError: the holder is idle or has held the lock for an hour.
    """
    path = settings.home / "supervisor" / "lock"
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    progress = ProgramProgress()
    with path.open("a+") as stream:
        is_announced = False
        while True:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                pid = _read_lock_holder(stream)
                if reason := progress.find_stop_reason(pid, settings.logs_dir / "supervisor.log"):
                    raise TwinError(
                        f"start or stop the stack of {settings.home}",
                        found=f"another `twin` (process {pid or '?'}) is doing this: {reason}",
                        next_step="wait for it or end it, and try again",
                    ) from error
                if not is_announced:
                    report("another `twin` is starting or stopping this stack; waiting for it")
                    is_announced = True
                time.sleep(0.1)
        # A full disk has no space for the pid; a waiting command then monitors only the log.
        with suppress(OSError):
            os.ftruncate(stream.fileno(), 0)
            os.write(stream.fileno(), str(os.getpid()).encode())
        yield


def _read_lock_holder(stream: TextIO) -> int:
    """Return the pid in the lock file, or 0 if it is missing or incomplete."""
    stream.seek(0)
    text = stream.read()
    return int(text) if text.isdecimal() else 0
