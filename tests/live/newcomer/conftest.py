"""A newcomer's machine: the wheel in an environment with nothing else, an empty home, one stack.

Scope: that environment, what it is given, the one stack that the tests of this folder use.
Out of scope: which commands are run (`commands.py`, `documents.py`).

In the long form pip installs the wheel with its dependencies, as it would for a newcomer; in the
short one the distributions that it would choose are linked (`tests/wheel.py`), in 16 s for 3 min.
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

from tests.prepared_embedder import lend_weights, prepare_weights
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
    """Somebody who has installed the wheel and nothing else.

    Attributes:
        bin: of the environment; it is not on the search path unless a line is typed in a shell.
        work: the folder in which everything is typed; `.twin` arises there.
    """

    bin: Path
    work: Path

    @property
    def environment(self) -> dict[str, str]:
        """HOME and PATH, where pip finds packages here, and where temporary files lie.

        By TMPDIR a stack in a deep folder names its sockets: the tests look for the same ones.
        """
        kept = {
            name: value
            for name, value in os.environ.items()
            if name.startswith("PIP_") or name == "TMPDIR"
        }
        return {"HOME": str(self.work / "empty home"), "PATH": SYSTEM_PATH} | kept

    @property
    def settings(self) -> Settings:
        with pytest.MonkeyPatch.context() as patch:
            for name in [name for name in os.environ if name.startswith(("TWIN_", "LANGFUSE_"))]:
                patch.delenv(name)
            return load_settings(self.work / ".twin")

    def run(
        self, *command: str, timeout_s: float = 240, **environ: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a program of the environment with a bare search path; output and errors together."""
        return self._ran([str(self.bin / command[0]), *command[1:]], environ, timeout_s)

    def type(self, line: str, *, timeout_s: float = 240) -> subprocess.CompletedProcess[str]:
        """Run a line of a document in a shell in which the environment is active."""
        path = {"PATH": f"{self.bin}:{SYSTEM_PATH}", "ROOT": str(ROOT)}
        return self._ran(["bash", "-euc", line], path, timeout_s)

    def _ran(
        self, command: list[str], environ: Mapping[str, str], timeout_s: float
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=self.work,
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
    """Beside the checkout's own environment, because files are linked from there."""
    kept = ROOT / "build"
    kept.mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="newcomer-", dir=kept))
    try:
        wheel = build_wheel(folder / "wheel")
        if "not long" in str(request.config.getoption("markexpr")):
            scripts = make_bare_environment(folder / "environment", wheel)
        else:
            scripts = install_with_pip(folder / "environment", wheel)
        work = folder / "a folder of hers"
        (work / "empty home").mkdir(parents=True)
        yield Newcomer(scripts, work)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True)
class Started:
    """The stack that `twin up --no-train` left running.

    Attributes:
        said: what it printed; seconds: until it returned.
        trace: id of one answer.
    """

    newcomer: Newcomer
    said: str
    seconds: float
    trace: str


def _shorten_answers(settings: Settings) -> None:
    """What is asked after `twin up` needs an answer, not a long one: the author's own setting."""
    write_author(settings, replace(read_author(settings, AUTHOR), max_tokens=24))


@pytest.fixture(scope="package")
def started(newcomer: Newcomer) -> Iterator[Started]:
    """The bundled author's posts, imported; base model and retrieval answer."""
    lend_weights(prepare_weights(), newcomer.settings)  # else 90 MB from the registry, and 9 CPU s
    began = time.monotonic()
    try:
        up = newcomer.run("twin", "up", "--no-train", "--detach", timeout_s=560)
        seconds = time.monotonic() - began
        assert up.returncode == 0, up.stdout[-4000:]
        _shorten_answers(newcomer.settings)
        asked = newcomer.run("twin", "ask", QUESTION)
        found = re.search(r"\b[0-9a-f]{32}\b", asked.stdout)
        assert found, asked.stdout
        yield Started(newcomer, up.stdout, seconds, found.group())
    finally:
        logs = newcomer.settings.logs_dir
        stop_stack(newcomer.settings)
        if sys.exc_info()[0] is not None and logs.is_dir():  # else they go with the folder
            for log in sorted(logs.glob("*.log")):
                sys.stderr.write(f"--- {log.name}\n{log.read_text(errors='replace')[-2000:]}\n")
