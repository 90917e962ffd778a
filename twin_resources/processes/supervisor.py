"""Run the stack's supervisor: supervisord with a generated configuration.

Scope: the configuration file, starting supervisord, and XML-RPC calls over its Unix socket.
Out of scope: the list of programs and their readiness (`programs.py`), processes that supervisord
has lost (`process_identity.py`).
Source: http://supervisord.org/configuration.html, http://supervisord.org/api.html

supervisord runs in its own session, so Ctrl-C in the terminal reaches only the command, which then
shuts the stack down in order. Each failed start delays the next start by one more second.
"""
# pyright: strict

from __future__ import annotations

import hashlib
import os
import re
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from xmlrpc.client import Fault, ServerProxy

import psutil

from twin_resources.errors import TwinError
from twin_resources.processes.process_identity import (
    ProcessIdentity,
    end_processes,
    find_process,
    identify,
)
from twin_resources.processes.program_progress import ProgramProgress

# A Unix socket's path has at most 108 bytes (104 on macOS), including the final zero. supervisord
# binds to the path with its pid appended and then links the path to that socket.
MAX_SOCKET_PATH = 104 - 1 - len(".4194304")

SUPERVISORD_MODULE = "twin_resources.processes.supervisord_process"
GROUP = "twin"
_UP_STATES = ("STARTING", "RUNNING")
_ALREADY_STARTED_FAULT = 60
_NOT_RUNNING_FAULT = 70
_SHUTTING_DOWN_FAULT = 6
_RESTART_TIMEOUT_S = 5.0  # supervisord checks once a second


@dataclass(frozen=True)
class Program:
    """One supervised program.

    Attributes:
        name: name in logs, `endpoints.json` and `twin status`.
        command: argument vector; arguments may contain spaces, quotes and percent signs.
        directory: working directory.
        autostart: whether the program starts with supervisord; if not, call
            `Supervisor.start_program`.
        start_s: seconds that the program must stay up to count as started.
        stop_s: seconds between SIGTERM and SIGKILL for the process group.
        retries: number of consecutive failed starts before supervisord gives up.
        withheld_variables: environment variables of the stack that are empty for this program.
    """

    name: str
    command: tuple[str, ...]
    directory: Path
    autostart: bool = True
    start_s: int = 3
    stop_s: int = 8
    retries: int = 8
    withheld_variables: tuple[str, ...] = ()


@dataclass(frozen=True)
class ProgramState:
    """The state of a program.

    Attributes:
        state: supervisord's name for the state (RUNNING, BACKOFF, FATAL …).
        stopped_at: time when the program last ended, requested or not, in seconds since the epoch;
            0 if it has never ended.
    """

    name: str
    state: str
    pid: int
    log: Path
    stopped_at: int = 0

    @property
    def is_up(self) -> bool:
        return self.state in _UP_STATES


def socket_path(folder: Path, name: str = "supervisor") -> Path:
    """Return the path of a socket: in `folder`, or in a private folder if that path is too long.

    If `folder` exists, it then contains a link to the socket, so that a shell with another TMPDIR
    finds it.

    Args:
        name: name of the socket; `supervisor` is the control socket.

    Raises:
        TwinError: the private folder belongs to another user or is open to others, or no short
            path exists.
    """
    path = link = folder / f"{name}.sock"
    if len(os.fsencode(path)) <= MAX_SOCKET_PATH:
        return path
    if link.is_symlink() and (linked_path := link.readlink()).parent.is_dir():
        _make_private_folder(linked_path.parent)
        return linked_path
    private_name = f"twin-{os.getuid()}"
    digest = hashlib.sha256(os.fsencode(path)).hexdigest()[:16]
    for parent in (Path(tempfile.gettempdir()), Path("/tmp")):
        path = parent / private_name / f"{digest}.sock"
        if len(os.fsencode(path)) <= MAX_SOCKET_PATH:
            _make_private_folder(path.parent)
            if folder.is_dir():
                link.unlink(missing_ok=True)
                link.symlink_to(path)
            return path
    raise TwinError(
        f"choose a path for the socket {name}",
        found=f"{path} is longer than {MAX_SOCKET_PATH} bytes",
        next_step="set TMPDIR to a shorter folder",
    )


def _make_private_folder(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise TwinError(
            "create a private folder for the supervisor's socket",
            found=f"{folder} belongs to user {status.st_uid} or is open to others",
            next_step="remove it, or set TMPDIR to a folder of your own",
        )


def quote(text: str) -> str:
    """Quote an argument or value for supervisord's configuration, with percent signs doubled.

    Raises:
        ValueError: the text contains a line break, which the file format cannot represent.
    """
    if "\n" in text or "\r" in text:
        raise ValueError(f"a supervised program's argument has a line break: {text!r}")
    escaped_text = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped_text}"'


def render_configuration(
    programs: Sequence[Program], *, folder: Path, logs: Path, socket: Path, identifier: str
) -> str:
    """Return the text of `supervisord.conf`; secrets are in the environment, not in this file."""

    def escape_path(path: Path) -> str:
        return str(path).replace("%", "%%")

    lines = [
        "; generated at each start by twin_resources/processes/supervisor.py",
        "[unix_http_server]",
        f"file={escape_path(socket)}",
        "chmod=0600",
        "[supervisord]",
        f"logfile={escape_path(logs / 'supervisor.log')}",
        "logfile_maxbytes=5MB",
        "logfile_backups=1",
        "loglevel=info",
        f"pidfile={escape_path(folder / 'supervisord.pid')}",
        f"childlogdir={escape_path(logs)}",
        f"identifier={identifier}",
        "nodaemon=true",
        "silent=true",
        "strip_ansi=true",
        "[rpcinterface:supervisor]",
        "supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface",
    ]
    # supervisord stops the programs of a group at the same time, but other programs in sequence.
    lines += [f"[group:{GROUP}]", f"programs={','.join(program.name for program in programs)}"]
    for program in programs:
        withheld_assignments = ",".join(f'{name}=""' for name in program.withheld_variables)
        lines += [
            f"[program:{program.name}]",
            f"command={' '.join(map(quote, program.command))}",
            f"directory={escape_path(program.directory)}",
            f"autostart={str(program.autostart).lower()}",
            "autorestart=true",
            "umask=077",
            f"startsecs={program.start_s}",
            f"startretries={program.retries}",
            f"stopwaitsecs={program.stop_s}",
            "stopasgroup=true",
            "killasgroup=true",
            # supervisord expands only this option twice (supervisor 4.3, options.py).
            f"stdout_logfile={escape_path(logs / f'{program.name}.log').replace('%', '%%')}",
            "redirect_stderr=true",
            "stdout_logfile_maxbytes=10MB",
            "stdout_logfile_backups=2",
            *([f"environment={withheld_assignments}"] if withheld_assignments else []),
        ]
    return "\n".join(lines) + "\n"


class Supervisor:
    """One supervisord process, identified by its folder.

    Args:
        folder: folder of the configuration, the pid file and (if its path is short) the socket.
        logs: folder with `supervisor.log` and one `<program>.log` per program.
    """

    def __init__(self, folder: Path, logs: Path) -> None:
        self.folder = folder
        self.logs = logs

    def start(
        self,
        programs: Sequence[Program],
        *,
        environment: Mapping[str, str],
        identifier: str,
    ) -> ProcessIdentity:
        """Start supervisord with its autostart programs; return when it answers.

        Args:
            environment: complete environment of supervisord and its programs.

        Raises:
            TwinError: supervisord ended or was idle before it answered; the error shows its log.
        """
        for directory in (self.folder, self.logs):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        socket = socket_path(self.folder)
        for stale_file in (socket, self.folder / "supervisord.pid"):
            stale_file.unlink(missing_ok=True)
        text = render_configuration(
            programs, folder=self.folder, logs=self.logs, socket=socket, identifier=identifier
        )
        path = self.folder / "supervisord.conf"
        path.write_text(text, encoding="utf-8")
        boot_log = self.logs / "supervisor-start.log"
        descriptor = os.open(boot_log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", SUPERVISORD_MODULE, "-c", str(path)],
                env=dict(environment),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                umask=0o077,  # supervisord opens the logs of all programs
            )
        identity = identify(process.pid)
        progress, failure = ProgramProgress(), ""
        while identity is not None and process.poll() is None and not failure:
            if self.is_responding():
                return identity
            time.sleep(0.05)
            failure = progress.find_stop_reason(process.pid, boot_log)
        if process.poll() is None:
            end_processes([psutil.Process(process.pid)])
        raise TwinError(
            "start the supervisor of the stack",
            found=read_tail(boot_log, lines=5) or failure or f"exit status {process.poll()}",
            next_step=f"read {self.logs / 'supervisor.log'}",
        )

    def is_responding(self) -> bool:
        """Return whether supervisord answers on the socket of this folder."""
        try:
            with self._connect() as remote:
                remote.getState()
        except (OSError, Fault):
            return False
        return True

    def states(self) -> dict[str, ProgramState]:
        """Return the state of every program by name.

        Raises:
            TwinError: supervisord does not answer or is shutting down.
        """
        with self._connect_or_raise("list the programs of the supervisor") as remote:
            programs = cast("list[dict[str, Any]]", remote.getAllProcessInfo())
        return {
            row["name"]: ProgramState(
                name=row["name"],
                state=row["statename"],
                pid=row["pid"],
                log=self.logs / f"{row['name']}.log",
                stopped_at=row["stop"],
            )
            for row in programs
        }

    def last_exit(self, name: str) -> str:
        """Return how a program last ended, such as `exit status 1` or `terminated by SIGKILL`.

        The source is supervisord's log, because the next start clears the exit status in the
        program's state. The result is "" if the end of the log has no such line. Requested stops do
        not count.
        """
        pattern = re.compile(rf"exited: {re.escape(name)} \((.+?); (?:not )?expected\)")
        exits = pattern.findall(read_tail(self.logs / "supervisor.log", lines=200))
        return exits[-1] if exits else ""

    def start_program(self, name: str) -> None:
        """Start a program unless it is already running."""
        self._start_or_stop("start", name, ignored_fault=_ALREADY_STARTED_FAULT)

    def stop_program(self, name: str) -> None:
        """Stop a program and its process group unless it is already stopped.

        supervisord counts a program that has just exited as stopped and restarts it shortly after.
        This method therefore waits for that restart.
        """
        self._start_or_stop("stop", name, ignored_fault=_NOT_RUNNING_FAULT)
        deadline = time.monotonic() + _RESTART_TIMEOUT_S
        while self.states()[name].state == "EXITED" and time.monotonic() < deadline:
            time.sleep(0.1)
            self._start_or_stop("stop", name, ignored_fault=_NOT_RUNNING_FAULT)

    def _start_or_stop(self, verb: str, name: str, *, ignored_fault: int) -> None:
        with self._connect_or_raise(f"{verb} the program {name}") as remote:
            call = remote.startProcess if verb == "start" else remote.stopProcess
            try:
                # Do not wait for a start, because callers check readiness over HTTP.
                call(f"{GROUP}:{name}", verb == "stop")
            except Fault as fault:
                if fault.faultCode == _SHUTTING_DOWN_FAULT:
                    raise
                if fault.faultCode != ignored_fault:
                    raise TwinError(
                        f"{verb} the program {name}",
                        found=fault.faultString,
                        next_step=f"read {self.logs / f'{name}.log'}",
                    ) from fault

    def shutdown(self, identity: ProcessIdentity, *, wait_s: float = 25.0) -> bool:
        """Ask supervisord to stop its programs and exit; return False if it is still running."""
        process = find_process(identity)
        if process is None:
            return True
        try:
            with self._connect() as remote:
                remote.shutdown()
        except (OSError, Fault):
            process.terminate()  # the socket does not exist; SIGTERM has the same effect
        deadline = time.monotonic() + wait_s
        while time.monotonic() < deadline:
            with suppress(ChildProcessError):  # another command is the parent
                os.waitpid(identity.pid, os.WNOHANG)  # so that the child does not remain a zombie
            if find_process(identity) is None:
                return True
            time.sleep(0.05)
        return False

    @contextmanager
    def _connect(self) -> Generator[Any]:
        from supervisor.xmlrpc import SupervisorTransport  # pyright: ignore[reportMissingTypeStubs]

        address = f"unix://{socket_path(self.folder)}"
        with closing(SupervisorTransport(None, None, serverurl=address)) as transport:
            # The transport connects to `address`; xmlrpc.client needs the URL but does not use it.
            yield cast(
                Any, ServerProxy("http://127.0.0.1", transport=cast(Any, transport))
            ).supervisor

    @contextmanager
    def _connect_or_raise(self, action: str) -> Generator[Any]:
        try:
            with self._connect() as remote:
                yield remote
        except OSError as error:
            raise TwinError(
                action,
                found=f"the supervisor does not answer ({error})",
                next_step="run `twin stop`, then `twin up`",
            ) from error
        except Fault as fault:
            if fault.faultCode != _SHUTTING_DOWN_FAULT:
                raise
            raise TwinError(
                action,
                found="the stack is being stopped",
                next_step="start it again with `twin up`",
            ) from fault


def read_tail(path: Path, *, lines: int = 12) -> str:
    """Return the last lines of a log, or "" if the file does not exist."""
    try:
        with path.open("rb") as stream:
            stream.seek(0, os.SEEK_END)
            stream.seek(max(0, stream.tell() - 16_384))
            text = stream.read().decode("utf-8", errors="replace")
    except FileNotFoundError:
        return ""
    return "\n".join(text.strip().splitlines()[-lines:])
