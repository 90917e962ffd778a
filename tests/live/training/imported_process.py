"""Fork each training run of these tests from a process that has imported the libraries.

Scope: that process, and the command that requests a fork.
Out of scope: launching a user's training (`training_launcher/`), which `test_training.py`,
`test_kills.py` and `test_forked_ranks.py` test.

A short training of the tiny model takes 5 CPU seconds of imports and half a second of steps. The
launcher starts a small client here. The client sends its arguments, environment and outputs, waits,
and exits like the fork; the fork itself runs as with `python -m`. Tests that inspect processes
cannot use it, because /proc shows a fork with its parent's command line and environment.
"""

from __future__ import annotations

import contextlib
import json
import os
import runpy
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

NO_THREADS = {"OPENBLAS_NUM_THREADS": "1"}  # numpy's threads do not survive a fork


class ImportedProcess:
    """A process that starts on first use and ends with `end` or with its creator."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def build_command(self, words: list[str], environment: Mapping[str, str]) -> list[str]:
        """Return the command that runs `python -m` with these arguments as a fork."""
        address = self._folder / "socket"  # short, because the path of a socket is limited
        if self._process is None:
            with (self._folder / "log").open("wb") as log:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", __name__, str(address)],
                    env={**environment, **NO_THREADS},
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            while not address.exists():
                assert self._process.poll() is None, (self._folder / "log").read_text()
                time.sleep(0.02)
        return [sys.executable, "-S", "-E", __file__, "--ask", str(address), *words]

    def end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()


def ask(address: str, words: list[str]) -> int:
    """Request a fork from the process at `address`; return its exit code or die from its signal."""
    request = {"words": words, "environment": dict(os.environ), "folder": str(Path.cwd())}
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(address)
        body = json.dumps(request).encode()
        socket.send_fds(connection, [len(body).to_bytes(8, "big")], [0, 1, 2])
        connection.sendall(body)
        answers = connection.makefile("r")
        fork_pid = int(answers.readline())

        def forward(number: int, _frame: Any) -> None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(fork_pid, number)

        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, forward)
        code = int(answers.readline())
    if code < 0:
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    return code


def serve(address: str) -> None:
    """Fork on each request; return only in a fork, after its module has run."""
    from twin_assets.training.worker_preload import import_ahead
    from twin_resources.models.training_launcher.forked_ranks import list_other_threads

    selector = selectors.DefaultSelector()
    selector.register(sys.stdin, selectors.EVENT_READ)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(f"{address}.new")
    listener.listen()
    Path(f"{address}.new").rename(address)
    selector.register(listener, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            if key.fileobj is sys.stdin:  # the creator of this process has ended
                raise SystemExit
            if key.fileobj is listener:
                client, _ = listener.accept()
                request, outputs = _receive_request(client)
                words = request["words"]
                import_ahead(Path(words[words.index("--job") + 1]))
                assert not list_other_threads()
                sys.stdout.flush()
                sys.stderr.flush()
                pid = os.fork()
                if pid == 0:
                    selector.close()
                    listener.close()
                    client.close()
                    _run(request, outputs)
                    return
                for output in outputs:
                    os.close(output)
                client.sendall(f"{pid}\n".encode())
                exit_descriptor = os.pidfd_open(pid)
                selector.register(client, selectors.EVENT_READ, (pid, None))
                selector.register(exit_descriptor, selectors.EVENT_READ, (pid, client))
                continue
            pid, client = key.data
            selector.unregister(key.fileobj)
            if client is None:  # the client was killed
                os.killpg(pid, signal.SIGKILL)
                continue
            os.close(key.fd)
            _, status = os.waitpid(pid, 0)
            with contextlib.suppress(KeyError):
                selector.unregister(client)
            with contextlib.suppress(BrokenPipeError):
                client.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
            client.close()


def _receive_request(client: socket.socket) -> tuple[dict[str, Any], list[int]]:
    length, outputs, _, _ = socket.recv_fds(client, 8, 3)
    with client.makefile("rb") as stream:
        return json.loads(stream.read(int.from_bytes(length, "big"))), outputs


def _run(request: Mapping[str, Any], outputs: list[int]) -> None:
    os.setsid()
    for descriptor, output in enumerate(outputs):
        os.dup2(output, descriptor)
        os.close(output)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv = list(request["words"])
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    if sys.argv[1] == "--ask":
        raise SystemExit(ask(sys.argv[2], sys.argv[3:]))
    serve(sys.argv[1])
