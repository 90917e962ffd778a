"""The virtual environment of this checkout: made once, renewed when what it rests on changes.

Belongs here: `.venv`, pip, bytecode, the stamp that makes a second start quick, and what a failed
pip means.
Does not belong here: looking at the machine (`preflight.py`), model weights (`weights/`), and any
import outside the standard library: it runs before anything is installed.

    python3 -I deploy/checkout/installation.py [EXTRA …]      exit code 0: `.venv/bin/twin` is there
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[2]
CLOCK_EVERY_S = 10.0  # a terminal is not silent for longer
LOG_CLOCK_S = 30.0  # in a log, and each further line of a wait takes twice as long
STARTS_WITH = (
    "dagster._cli, dagster._daemon.cli, dagster_webserver.app, twin_assets.definitions",
    "litellm.proxy.proxy_server, granian, langfuse",
    "torch, transformers, peft, accelerate, lancedb, openvino",
)
"""What the first `twin up` imports, in processes side by side."""
KNOWN_FAILURES = (
    ("No space left on device", "the disk is full", "free some space and run this again"),
    (
        "Could not find a version that satisfies",
        "the package registry does not have a pinned version",
        "check pip's index settings (`pip config list`) and run this again",
    ),
    (
        "Failed to establish a new connection|Temporary failure in name resolution|Read timed out",
        "the package registry does not answer",
        "check the network or pip's proxy settings and run this again",
    ),
    (
        "CERTIFICATE_VERIFY_FAILED",
        "the package registry's certificate is not trusted",
        "name your certificates with PIP_CERT and run this again",
    ),
)


class InstallationFailed(Exception):
    """What was tried, what was found, what to do next."""

    def __init__(self, tried: str, *, found: str, next_step: str) -> None:
        super().__init__(f"Tried to {tried}. Found: {found}. Next: {next_step}.")


def install(project: Path, extras: Sequence[str]) -> bool:
    """Bring `.venv` to what pyproject.toml and the constraints say.

    Returns:
        Whether anything had to be done.

    Raises:
        InstallationFailed: the environment could not be made or filled.
    """
    with _only_one(project):
        wanted = fingerprint(project)
        stamp = project / ".venv" / ".installed"
        before = read_stamp(stamp)
        have = set(before.get("extras", ())) if before.get("fingerprint") == wanted else None
        if have is not None and have >= set(extras) and _works(project):
            return False
        stamp.unlink(missing_ok=True)
        if not _works(project):
            _make_environment(project)
        _install_torch(project)
        every = sorted(set(extras) | (have or set()))
        names = f"[{','.join(every)}]" if every else ""
        constraints = str(project / "deploy" / "constraints.txt")
        _pip(
            project,
            ["--constraint", constraints, "--editable", f"{project}{names}"],
            tried=f"install llm-twin{names}",
        )
        if compiles_when_used(os.environ):
            _compile_the_start(project)
        stamp.write_text(json.dumps({"fingerprint": wanted, "extras": every}), encoding="utf-8")
        return True


@contextmanager
def _only_one(project: Path) -> Iterator[None]:
    """Two starts at once would write into the same environment: the second waits."""
    with (project / "pyproject.toml").open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def fingerprint(project: Path) -> str:
    """What the environment rests on: the two files, the Python, and where the checkout lies."""
    parts = [
        (project / "pyproject.toml").read_bytes(),
        (project / "deploy" / "constraints.txt").read_bytes(),
        platform.python_version().encode(),
        str(project).encode(),
    ]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def read_stamp(stamp: Path) -> dict[str, Any]:
    """What the last installation left, or nothing when it did not come to its end."""
    try:
        document = json.loads(stamp.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


def _python(project: Path) -> Path:
    return project / ".venv" / "bin" / "python"


def _works(project: Path) -> bool:
    """Whether the environment's Python runs and is this one (a system upgrade breaks its links)."""
    code = "import sys, pip; print(sys.version_info[:2])"
    try:
        ran = subprocess.run(
            [str(_python(project)), "-c", code], capture_output=True, text=True, check=False
        )
    except OSError:
        return False
    return ran.returncode == 0 and ran.stdout.strip() == str(sys.version_info[:2])


def _make_environment(project: Path) -> None:
    folder = project / ".venv"
    command = [sys.executable, "-m", "venv", "--clear", str(folder)]
    started = time.monotonic()
    _say("making .venv")
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        output, clock = "", _clock()
        while process.returncode is None:
            try:
                output, _ = process.communicate(timeout=next(clock))
            except subprocess.TimeoutExpired:
                _say(f"making .venv: {time.monotonic() - started:.0f} s")
            except BaseException:
                process.kill()  # Ctrl-C: as with pip
                raise
    if process.returncode != 0:
        raise InstallationFailed(
            f"make the virtual environment {folder}",
            found=output.strip()[-500:],
            next_step="mend what it says (Debian: install the package python3-venv)",
        )


def torch_choices(version: str, *, has_gpu: bool, system: str) -> list[list[str]]:
    """Ways to get torch, best first, as pip arguments.

    Args:
        version: as pinned, `2.13.0`.
        has_gpu: an NVIDIA GPU is there: the registry's build, with CUDA.
    """
    plain = [f"torch=={version}"]
    if has_gpu or system != "Linux":
        return [plain]
    # The plain build brings 4 GB of CUDA; the other is found where a person has pointed pip to.
    return [["--no-deps", f"torch=={version}+cpu"], plain]


def _install_torch(project: Path) -> None:
    pinned = pins(project / "deploy" / "constraints.txt")["torch"]
    site = next((project / ".venv" / "lib").glob("python3*/site-packages"))
    if any(site.glob(f"torch-{pinned}*.dist-info")):
        return
    choices = torch_choices(
        pinned, has_gpu=shutil.which("nvidia-smi") is not None, system=platform.system()
    )
    for choice in choices[:-1]:
        if _pip_ran(project, choice, tried="install torch without CUDA") == 0:
            return
    _pip(project, choices[-1], tried="install torch")


def pins(constraints: Path) -> dict[str, str]:
    """`name==version` lines as a dict."""
    lines = constraints.read_text(encoding="utf-8").splitlines()
    pinned = (line.split("==") for line in lines if "==" in line and not line.startswith("#"))
    return {name.strip().lower(): version.strip() for name, version in pinned}


def _pip(project: Path, arguments: Sequence[str], *, tried: str) -> None:
    if _pip_ran(project, arguments, tried=tried) == 0:
        return
    log = project / ".venv" / "install.log"
    problem, next_step = reading_of(log.read_text(encoding="utf-8", errors="replace"))
    raise InstallationFailed(tried, found=problem, next_step=f"{next_step}; all of it is in {log}")


def reading_of(log: str) -> tuple[str, str]:
    """What pip's output says went wrong, and what to do."""
    for pattern, problem, next_step in KNOWN_FAILURES:
        if re.search(pattern, log):
            return problem, next_step
    conflict = re.search(r"The conflict is caused by:\n((?: .*\n)+)", log)
    if conflict:
        lines = [line.strip() for line in conflict.group(1).splitlines()]
        return (
            f"pins that contradict each other ({'; '.join(lines)})",
            "mend deploy/constraints.txt",
        )
    errors = [line.strip() for line in log.splitlines() if line.startswith(("ERROR", "error"))]
    return (errors or ["pip failed without an error line"])[-1][:500], "read pip's output"


def compiles_when_used(environ: Mapping[str, str]) -> bool:
    """Whether bytecode is written by whoever imports a module first, and not by pip for all.

    37,000 modules with 520 MB of source are installed: compiling them takes 143 CPU s on one core,
    and most are never imported. Where Python may write none, pip has to.
    """
    return not environ.get("PYTHONDONTWRITEBYTECODE")


def _compile_the_start(project: Path) -> None:
    """Import once what the first start imports, so that its first answer waits for no compiler."""
    started = time.monotonic()
    _say("compile what a start imports")
    # LiteLLM would ask the network for prices
    environment = os.environ | {"LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    importing = [
        subprocess.Popen(
            # -P: whatever folder this is run in hides no module
            [str(_python(project)), "-P", "-c", f"import {modules}"],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for modules in STARTS_WITH
    ]
    try:
        clock = _clock()
        for process in importing:
            while process.returncode is None:
                try:
                    process.wait(next(clock))
                except subprocess.TimeoutExpired:
                    _say(f"compile what a start imports: {time.monotonic() - started:.0f} s")
    except BaseException:
        for process in importing:
            process.kill()  # Ctrl-C: as with pip
        raise
    # what does not import says so where it is used, with its reason
    if failed := sum(process.returncode != 0 for process in importing):
        _say(f"{failed} of {len(importing)} left to the start itself")


def _pip_ran(project: Path, arguments: Sequence[str], *, tried: str) -> int:
    """Run pip with its output in `.venv/install.log` and a clock; gives its exit code."""
    log = project / ".venv" / "install.log"
    command = [str(_python(project)), "-m", "pip", "install", "--no-input", "--progress-bar", "off"]
    command += ["--disable-pip-version-check", "--prefer-binary", *arguments]
    if compiles_when_used(os.environ):
        command.append("--no-compile")
    started = time.monotonic()
    _say(tried)
    with log.open("w", encoding="utf-8") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        clock = _clock()
        try:
            while True:
                try:
                    code = process.wait(timeout=next(clock))
                    break
                except subprocess.TimeoutExpired:
                    so_far = progress_of(log.read_text(encoding="utf-8", errors="replace"))
                    _say(f"{tried}: {time.monotonic() - started:.0f} s, {so_far}")
        except BaseException:
            process.kill()  # Ctrl-C reached pip too; it must not go on in the background
            process.wait()
            raise
    return code


def progress_of(log: str) -> str:
    """How far pip is, from what it has printed."""
    lines = log.splitlines()
    if any(line.startswith("Installing collected packages") for line in lines):
        return "unpacking"
    count = sum(line.startswith(("Collecting", "Processing", "Requirement")) for line in lines)
    return f"{count} packages found"


def _clock() -> Iterator[float]:
    """Seconds until each line of a wait."""
    live = sys.stdout.isatty()
    seconds = CLOCK_EVERY_S if live else LOG_CLOCK_S
    while True:
        yield seconds
        seconds *= 1 if live else 2


def _say(text: str) -> None:
    sys.stdout.write(f"install  {text}\n")
    sys.stdout.flush()


def main(extras: Sequence[str]) -> int:
    """Install with these extras; 1 and a message when that does not work."""
    try:
        if not install(PROJECT, extras):
            _say("nothing has changed")
    except InstallationFailed as failed:
        sys.stderr.write(f"Cannot go on. {failed}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("Stopped. Run the same command again to go on.\n")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
