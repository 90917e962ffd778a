"""Set up a newcomer's machine: an environment with only the wheel, an empty home, one stack.

Scope: that environment, and the stack that the tests of this folder share.
Out of scope: the commands (`commands.py`, `documents.py`).

In the long tests, pip installs the wheel with its dependencies, as for a newcomer. Otherwise, the
same distributions are linked (`tests/wheel.py`), which takes 16 s instead of 3 min.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.prepared_embedder import link_weights, prepare_weights
from tests.wheel import build_wheel, install_with_pip, make_bare_environment
from twin_resources.authors import read_author, write_author
from twin_resources.processes.stack import stop_stack
from twin_resources.settings import Settings, load_settings

ROOT = Path(__file__).resolve().parents[3]
SYSTEM_PATH = "/usr/bin:/bin"
AUTHOR = "mara-lindqvist"
QUESTION = "How do I carry a clock?"


@dataclass(frozen=True)
class Newcomer:
    """A user who has installed only the wheel.

    Attributes:
        bin_dir: folder of the environment's programs; on the search path only in `type_line`.
        work_dir: the working directory, in which `.twin` is created.
    """

    bin_dir: Path
    work_dir: Path

    @property
    def environment(self) -> dict[str, str]:
        """The variables HOME and PATH, pip's settings, and TMPDIR.

        A stack in a deep folder puts its sockets in TMPDIR, and the tests must find them.
        """
        inherited = {
            name: value
            for name, value in os.environ.items()
            if name.startswith("PIP_") or name == "TMPDIR"
        }
        return {"HOME": str(self.work_dir / "empty home"), "PATH": SYSTEM_PATH} | inherited

    @property
    def settings(self) -> Settings:
        with pytest.MonkeyPatch.context() as patch:
            for name in [name for name in os.environ if name.startswith(("TWIN_", "LANGFUSE_"))]:
                patch.delenv(name)
            return load_settings(self.work_dir / ".twin")

    def run(
        self, *command: str, timeout_s: float = 240, **environ: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a program of the environment; its standard error is part of the output."""
        return self._run([str(self.bin_dir / command[0]), *command[1:]], environ, timeout_s)

    def type_line(self, line: str, *, timeout_s: float = 240) -> subprocess.CompletedProcess[str]:
        """Run a line of a document in a shell with the environment active."""
        path = {"PATH": f"{self.bin_dir}:{SYSTEM_PATH}", "ROOT": str(ROOT)}
        return self._run(["bash", "-euc", line], path, timeout_s)

    def _run(
        self, command: list[str], environ: Mapping[str, str], timeout_s: float
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=self.work_dir,
            env=self.environment | dict(environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout_s,
            check=False,
        )


@pytest.fixture(scope="package")
def newcomer(request: pytest.FixtureRequest) -> Iterator[Newcomer]:
    """Install the wheel in a new environment on the file system of the checkout, for hard links."""
    build = ROOT / "build"
    build.mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="newcomer-", dir=build))
    try:
        wheel = build_wheel(folder / "wheel")
        if "not long" in str(request.config.getoption("markexpr")):
            bin_dir = make_bare_environment(folder / "environment", wheel)
        else:
            bin_dir = install_with_pip(folder / "environment", wheel)
        work_dir = folder / "a folder of hers"
        (work_dir / "empty home").mkdir(parents=True)
        yield Newcomer(bin_dir, work_dir)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True)
class StartedStack:
    """The stack that `twin up --no-train` started.

    Attributes:
        output: the command's output.
        seconds: time until the command returned.
        trace_id: trace id of an answer.
    """

    newcomer: Newcomer
    output: str
    seconds: float
    trace_id: str


@pytest.fixture(scope="package")
def started_stack(newcomer: Newcomer) -> Iterator[StartedStack]:
    """Start a stack with the bundled author's posts and the base model."""
    link_weights(prepare_weights(), newcomer.settings)  # saves a download of 90 MB and 9 CPU s
    started_at = time.monotonic()
    try:
        up = newcomer.run("twin", "up", "--no-train", "--detach", timeout_s=560)
        seconds = time.monotonic() - started_at
        assert up.returncode == 0, up.stdout[-4000:]
        author = read_author(newcomer.settings, AUTHOR)
        write_author(newcomer.settings, replace(author, max_tokens=24))  # tests need no more
        ask = newcomer.run("twin", "ask", QUESTION)
        trace_match = re.search(r"\b[0-9a-f]{32}\b", ask.stdout)
        assert trace_match, ask.stdout
        yield StartedStack(newcomer, up.stdout, seconds, trace_match.group())
    finally:
        logs = newcomer.settings.logs_dir
        stop_stack(newcomer.settings)
        if sys.exc_info()[0] is not None and logs.is_dir():  # the folder is about to be removed
            for log in sorted(logs.glob("*.log")):
                sys.stderr.write(f"--- {log.name}\n{log.read_text(errors='replace')[-2000:]}\n")
