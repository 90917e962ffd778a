"""A stack: the supervised processes of one home, from start to stop, and after a crash.

Scope: the record of the running stack (`<home>/supervisor/stack.json`), starting and
stopping under a lock, and clearing away what a crash left. Out of scope: which programs
there are (`programs.py`), supervisord itself (`supervisor.py`), Dagster's runs
(`dagster_http.py`).

The record is written before the first process starts: whatever happens then, the marker that every
child carries is known, and the next command finds what is left.
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
from twin_resources.errors import TwinError
from twin_resources.private_files import database_files, take_from_others
from twin_resources.processes.child_environment import child_environment
from twin_resources.processes.endpoints import remove_endpoints
from twin_resources.processes.ports import choose_ports
from twin_resources.processes.process_identity import (
    ProcessIdentity,
    end_processes,
    find,
    identify,
    marked_processes,
    session_processes,
)
from twin_resources.processes.program_progress import ProgramProgress
from twin_resources.processes.supervisor import Program, Supervisor
from twin_resources.processes.wording import counted
from twin_resources.settings import Settings

SCHEMA = 1
SERVICES = ("gateway", "dagster", "traces", "chat")


class StackRuns(TwinError):
    """Another command has started the stack of this home."""


def _say_nothing(_line: str) -> None:
    return None


@dataclass(frozen=True)
class StackRecord:
    """What a home knows of its stack.

    Attributes:
        instance: value of `TWIN_INSTANCE` in every process of it.
        supervisor: supervisord, or None before it runs and after an orderly stop.
        ports: service → port.
        base_model, embedder, gateways: as chosen at the start; the next start keeps them unless
            told.
        author: slug that was brought up last.
        stopping: `twin stop` is at work; who waits for the stack need not wait any longer.
    """

    instance: str
    supervisor: ProcessIdentity | None
    ports: Mapping[str, int]
    base_model: str
    embedder: str
    author: str = ""
    stopping: bool = False
    gateways: int = 1
    schema: int = SCHEMA


@dataclass(frozen=True)
class Stack:
    """A running stack. `settings` carry the ports that it really listens on."""

    settings: Settings
    record: StackRecord
    supervisor: Supervisor

    @property
    def identity(self) -> ProcessIdentity:
        assert self.record.supervisor is not None  # only `find_stack` and `start_stack` make one
        return self.record.supervisor

    def is_alive(self) -> bool:
        """Whether its supervisor still runs; the stack ends with it."""
        return find(self.identity) is not None

    def pids(self) -> dict[str, ProcessIdentity]:
        """Name → process of the supervisor and of every program that is up.

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
class Stopped:
    """What a stop did.

    Attributes:
        was_running: a supervisor was alive.
        ended: processes that had outlived it and were ended one by one.
    """

    was_running: bool
    ended: int


def read_record(settings: Settings) -> StackRecord | None:
    """The record of this home, of a running, a stopped or a crashed stack; None: never started.

    Raises:
        TwinError: a newer version wrote it.
    """
    path = _record_path(settings)
    try:
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except json.JSONDecodeError:
        return None  # cut short by a full disk or a power cut; ports and choices are rebuilt
    if document.get("schema", 0) > SCHEMA:
        raise TwinError(
            "read the record of the stack",
            found=f"{path} has schema {document['schema']}, this version knows {SCHEMA}",
            next_step="use the newer llm-twin that started the stack",
        )
    supervisor = document.pop("supervisor")
    identity = ProcessIdentity(**supervisor) if supervisor else None
    return StackRecord(supervisor=identity, **document)


def find_stack(settings: Settings) -> Stack | None:
    """The running stack of this home, or None; a stranger with its recorded pid is none."""
    record = read_record(settings)
    if record is None or record.supervisor is None or find(record.supervisor) is None:
        return None
    return Stack(_with_record(settings, record), record, _supervisor(settings))


def start_stack(
    settings: Settings,
    *,
    programs: Callable[[Settings], Sequence[Program]],
    environ: Mapping[str, str] = os.environ,
    requested_ports: Sequence[str] = (),
    report: Callable[[str], object] = _say_nothing,
) -> Stack:
    """Start the stack of this home, after clearing away what a crashed one left.

    Args:
        programs: gives the programs once the ports are chosen.
        environ: the environment of the person who starts it; children get an allow-list of it.
        requested_ports: services whose port must be the one in `settings`.
        report: told, line by line, what was recovered and which port had to give way.

    Raises:
        StackRuns: another command was quicker; use its stack.
        TwinError: a requested port is taken, the supervisor did not start.
    """
    with _lock(settings, report=report):
        if find_stack(settings) is not None:
            raise StackRuns(
                f"start the stack of {settings.home}",
                found="it runs already",
                next_step="use it, or end it with `twin stop`",
            )
        for line in _kept_from_others(settings):
            report(line)
        former = read_record(settings)
        for line in _clear_away(settings, former):
            report(line)
        wanted = {name: int(getattr(settings, f"{name}_port")) for name in SERVICES}
        ports = choose_ports(
            wanted,
            host=settings.host,
            requested=requested_ports,
            preferred=former.ports if former else None,
        )
        for name, port in ports.items():
            if port != wanted[name]:
                report(f"{name} listens on port {port}: {wanted[name]} is in use or was before")
        record = StackRecord(
            instance=secrets.token_hex(8),
            supervisor=None,
            ports=ports,
            base_model=settings.base_model,
            embedder=settings.embedder,
            author=former.author if former else "",
            gateways=settings.gateways,
        )
        settings = _with_record(settings, record)
        _write_record(settings, record)
        try:
            identity = _supervisor(settings).start(
                programs(settings),
                environment=child_environment(settings, instance=record.instance, environ=environ),
                identifier=f"twin-{record.instance}",
            )
        except BaseException:
            end_processes(marked_processes(record.instance))
            raise
        record = replace(record, supervisor=identity)
        _write_record(settings, record)
        return Stack(settings, record, _supervisor(settings))


def stop_stack(settings: Settings, *, report: Callable[[str], object] = _say_nothing) -> Stopped:
    """End every process that the stack of this home started, and nothing else. Safe to repeat."""
    if not _record_path(settings).parent.is_dir():
        return Stopped(was_running=False, ended=0)  # never started: leave no trace either
    with _lock(settings, report=report):
        record = read_record(settings)
        if record is None:
            remove_endpoints(settings.home)
            return Stopped(was_running=False, ended=0)
        leader = record.supervisor
        was_running = leader is not None and find(leader) is not None
        if was_running and leader is not None:
            of_session = session_processes(leader)
            if not _supervisor(settings).shutdown(leader):
                report("the supervisor did not end in time; ending its processes one by one")
        else:
            of_session = []
        survivors = [process for process in of_session if process.is_running()]
        ended = end_processes([*survivors, *marked_processes(record.instance)])
        remove_endpoints(settings.home)
        _write_record(settings, replace(record, supervisor=None, stopping=False))
        return Stopped(was_running=was_running, ended=ended)


def announce_stop(settings: Settings) -> None:
    """Tell every command that waits for this stack that it is about to end."""
    record = read_record(settings)
    if record is not None:
        _write_record(settings, replace(record, stopping=True))


def remember_author(settings: Settings, slug: str) -> None:
    """Note whom `twin up` served last: commands that name no author mean this one."""
    record = read_record(settings)
    if record is not None and record.author != slug:
        _write_record(settings, replace(record, author=slug))


def chosen_settings(settings: Settings) -> Settings:
    """`settings` with models and gateways of the last start, where nobody named another."""
    record = read_record(settings)
    if record is None:
        return settings
    chosen = {
        name: getattr(record, name)
        for name in ("base_model", "embedder", "gateways")
        if name not in settings.model_fields_set
    }
    return settings.model_copy(update=chosen)


def _kept_from_others(settings: Settings) -> list[str]:
    """Home, databases and logs are made their owner's alone; a line for what could not be."""
    home, logs = settings.home, settings.logs_dir
    folders = [home, logs, *(home / name for name in ("chat", "dagster", "supervisor"))]
    files = [
        *(file for path in home.glob("*.sqlite") for file in database_files(path)),
        *(path for path in logs.rglob("*") if path.is_file()),
    ]
    left = take_from_others([*folders, *files])
    return [f"others can read {path}, which is not this user's: chmod go= {path}" for path in left]


def _clear_away(settings: Settings, record: StackRecord | None) -> list[str]:
    """End what a dead supervisor left and remove its files; says what was done."""
    if record is None:
        return []
    lines: list[str] = []
    if record.supervisor is not None:
        lines.append(
            f"the last stack (supervisor pid {record.supervisor.pid}) ended without `twin stop`"
        )
    leftovers = marked_processes(record.instance)
    if leftovers:
        ended = counted(end_processes(leftovers), "process", "processes")
        lines.append(f"ended {ended} that it had left")
    remove_endpoints(settings.home)
    return lines


def _with_record(settings: Settings, record: StackRecord) -> Settings:
    ports = {f"{name}_port": port for name, port in record.ports.items()}
    chosen = {name: getattr(record, name) for name in ("base_model", "embedder", "gateways")}
    return settings.model_copy(update=ports | chosen)


def _supervisor(settings: Settings) -> Supervisor:
    return Supervisor(settings.home / "supervisor", settings.logs_dir)


def _record_path(settings: Settings) -> Path:
    return settings.home / "supervisor" / "stack.json"


def _write_record(settings: Settings, record: StackRecord) -> None:
    path = _record_path(settings)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    replace_file(path, json.dumps(asdict(record), indent=2) + "\n")


@contextmanager
def _lock(settings: Settings, *, report: Callable[[str], object]) -> Generator[None]:
    """Hold the home's start/stop lock; the kernel drops it with a killed holder.

    Raises:
        TwinError: its holder stands still, or was waited for an hour.
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
                holder = _holder(stream)
                if why := progress.given_up(holder, settings.logs_dir / "supervisor.log"):
                    raise TwinError(
                        f"start or stop the stack of {settings.home}",
                        found=f"another `twin` (process {holder or 'unknown'}) is at it, {why}",
                        next_step="wait for it or end it, and try again",
                    ) from error
                if not is_announced:
                    report("another `twin` is starting or stopping this stack; waiting for it")
                    is_announced = True
                time.sleep(0.1)
        # a disk too full for a number: whoever waits then sees the log alone
        with suppress(OSError):
            os.ftruncate(stream.fileno(), 0)
            os.write(stream.fileno(), str(os.getpid()).encode())
        yield


def _holder(stream: TextIO) -> int:
    """Who wrote its number last; 0: nobody did, or it is being written."""
    stream.seek(0)
    text = stream.read()
    return int(text) if text.isdecimal() else 0
