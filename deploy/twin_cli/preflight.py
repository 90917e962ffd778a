"""Report what this machine is, whether the platform runs on it and what to expect.

It runs before any download.

Scope: inspection of the system, Python, the compiler, memory, disk, ports and GPU.
Out of scope: what a model needs (`model_fit.py`), the duration of a first run (`forecast.py`),
installation (`deploy/install.sh`), imports from outside the standard library, and syntax newer than
Python 3.9: a user whose Python is too old must get a message, not a SyntaxError.

    python3 -I deploy/twin_cli/preflight.py [--json] [--verbose] [--base-model ID|PATH]
        [--embedder ID] [--recipe NAME] [--answer-model ID|PATH|ADDRESS] [--home DIR]
        [--gateway-port N] [--dagster-port N] [--traces-port N]
    Other arguments are ignored.
    Exit code 0: go on. Exit code 1: stop; the reason is printed.
"""

from __future__ import annotations

import argparse
import errno
import json
import os
import platform
import re
import shutil
import socket
import subprocess
import sys
import sysconfig
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

if not __package__:  # run as an isolated file (-I): the project is not on the path yet
    _DEPLOY = Path(__file__).resolve().parents[1]
    sys.path[:0] = [str(_DEPLOY), str(_DEPLOY.parent)]

from twin_cli import forecast
from twin_resources.models.model_fit import (
    RECIPES,
    REFERENCE_BILLION,
    answering_need_gb,
    expect,
    licence_of,
    parameters_of,
    size_name,
    weights_gb,
)
from twin_resources.processes.graphics_cards import usable_gpus
from twin_resources.processes.processor import bf16_is_faster
from twin_resources.storage.weights.answer_model import NONE

PYTHONS = ((3, 11), (3, 12))
PORTS = {"gateway": 4000, "dagster": 3000, "traces": 4318, "chat": 7860}
SERVICES = {
    "gateway": "endpoint",
    "dagster": "Dagster UI",
    "traces": "trace store",
    "chat": "chat page",
}
CHOSEN = "auto"  # `twin up --recipe auto` behaves as if no recipe had been named
EMBEDDED_MODEL, EMBEDDED_EMBEDDER = "smollm2-135m-instruct", "all-minilm-l6-v2"
MULTILINGUAL_EMBEDDER = "multilingual-e5-small"  # included in the packages

# (GB downloaded, GB on disk), measured with the versions in deploy/constraints.txt
PACKAGES_GB = {"cpu": (0.9, 3.0), "cuda": (4.0, 9.0)}
CHECK_EXTRAS_GB = (0.3, 1.0)
EMBEDDED_WEIGHTS_GB = (0.18, 1.3)
OTHER_EMBEDDER_GB = 0.5  # a guess; sentence-transformers embedders take 0.1 to 1 GB
HOME_GB = 0.7  # tables, checkpoints, logs
GB = 1e9

# plain dictionaries because they are printed as JSON
Finding = dict[str, str]  # verdict (ok, note, stop), name, found, next_step
Machine = dict[str, Any]  # cores, memory_gb, bf16, gpus
Report = dict[str, Any]


def look_at_python() -> list[Finding]:
    """Check the running Python and what a virtual environment and the compiler need from it."""
    message = f"Python {platform.python_version()}"
    if sys.version_info[:2] not in PYTHONS:
        wanted = " or ".join(f"{major}.{minor}" for major, minor in PYTHONS)
        return [_stop("python", message, f"install Python {wanted} and run this again")]
    findings = [_ok("python", message)]
    package = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    try:
        import ensurepip  # noqa: F401 - Debian ships it in a separate package
        import venv  # noqa: F401
    except ImportError:
        step = f"sudo apt-get install {package}-venv"
        findings.append(_stop("virtual environments", "module ensurepip is missing", step))
    header = Path(sysconfig.get_paths()["include"]) / "Python.h"
    if not header.exists():
        step = f"sudo apt-get install {package}-dev"
        findings.append(_stop("Python headers", f"{header} is missing", step))
    return findings


def look_at_system() -> list[Finding]:
    """Check that the system is Linux or macOS."""
    name = platform.system()
    message = f"{platform.platform(terse=True)}, {platform.machine()}"
    if name in ("Linux", "Darwin"):
        return [_ok("system", message)]
    return [_stop("system", message, "use Linux or macOS; on Windows, WSL 2")]


def look_at_compiler() -> list[Finding]:
    """Check for a C++ compiler: DeepSpeed compiles its collectives at the first training."""
    compiler = shutil.which("g++") or shutil.which("c++") or shutil.which("clang++")
    if compiler:
        return [_ok("compiler", compiler)]
    step = "sudo apt-get install g++" if platform.system() == "Linux" else "xcode-select --install"
    return [_stop("compiler", "no g++: training can't build DeepSpeed's collectives", step)]


def cores() -> int:
    """Return the number of CPUs that affinity and the container's quota allow this process."""
    try:
        count = float(len(os.sched_getaffinity(0)))
    except AttributeError:
        count = float(os.cpu_count() or 1)
    quota = _first_line("/sys/fs/cgroup/cpu.max").split()
    if len(quota) == 2 and quota[0] != "max":
        count = min(count, float(quota[0]) / float(quota[1]))
    return max(1, int(count))


def memory_gb() -> float:
    """Return the memory within the container's limit, or 0 if the system does not report it."""
    total = 0.0
    if platform.system() == "Darwin":
        total = float(_output(["sysctl", "-n", "hw.memsize"]) or 0)
    else:
        match = re.search(r"MemTotal:\s+(\d+) kB", _text("/proc/meminfo"))
        total = float(match.group(1)) * 1024 if match else 0.0
    limit = _first_line("/sys/fs/cgroup/memory.max")
    if limit.isdigit() and total:
        total = min(total, float(limit))
    return round(total / GB, 1)


def look_at_model(model: str, machine: Machine, *, recipe: str = "") -> list[Finding]:
    """Check whether the chosen base model can be trained and served here, and by which recipe.

    Args:
        recipe: the named recipe, or empty to derive it from the model and the machine.
    """
    billions = parameters_of(model)
    if billions is None:
        message = f"{model}: neither a folder with *.safetensors nor a size in its name"
        return [_note("base model", message, "its memory use and training time are unknown")]
    expected = expect(billions, machine, recipe=recipe)
    if RECIPES.get(recipe, (0, False))[1] and not machine["gpus"]:
        message = f"recipe {recipe} trains on a GPU, and torch can use none here"
        return [_stop("recipe", message, "name another one, or none: it is chosen then")]
    licence = "" if model == EMBEDDED_MODEL else licence_of(model)
    if expected["fits"]:
        told = f"{model}, {size_name(billions)}, fits: {expected['needs']}, a training takes about "
        told += f"{expected['training_minutes']:.0f} minutes ({expected['on']}) by recipe "
        told += f"{expected['recipe']} ({expected['because']})"
        return [_ok("base model", f"{told}; {licence}" if licence else told)]
    message = f"{model} needs {expected['needs']}, here are {machine['memory_gb']} GB"
    if machine["memory_gb"] and machine["memory_gb"] < 4 + 2 * billions:
        return [_stop("base model", message, "choose a smaller one with --base-model")]
    return [_note("base model", message, "expect swapping or a smaller --base-model")]


def look_at_answer_model(name: str, trained: str, machine: Machine) -> list[Finding]:
    """Check whether the answer model's server fits here, alone and beside a training."""
    if not name or name.startswith(("http://", "https://")) or name == NONE:
        return []
    weights = weights_gb(name)
    if weights is None:
        message = f"{name}: neither a file, a folder with *.safetensors nor a size in its name"
        return [_note("answer model", message, "its memory use is unknown")]
    here = machine["memory_gb"]
    alone, beside = (
        answering_need_gb(weights),
        answering_need_gb(weights, trained_billions=parameters_of(trained) or REFERENCE_BILLION),
    )
    if here and here < alone:
        message = f"{name} needs {alone:.0f} GB of memory, here are {here} GB"
        step = "name a smaller one, or the address of a server that holds it (https://…/v1)"
        return [_stop("answer model", message, step)]
    if here and here < beside:
        message = f"{name} and a training beside it need {beside:.0f} GB, here are {here} GB"
        return [_note("answer model", message, "expect swapping while it trains")]
    return [_ok("answer model", f"{name}, {weights:.2g} GB of weights, fits")]


def look_at_posts(others: Sequence[str]) -> list[Finding]:
    """Check that the first argument, if it is a path, exists; after an option it may be a value."""
    first = others[0] if others else ""
    addressed = first.startswith(("-", "s3:/", "http:/", "https:/"))
    if not first or addressed or Path(first).expanduser().exists():
        return []
    step = "name the folder that holds the posts"
    return [_stop("posts", f"there is no such file or folder: {first}", step)]


def look_at_reranker(name: str) -> list[Finding]:
    """Check whether the named reranker can exist: a model folder or a hub id."""
    if not name:
        return []
    folder = Path(name).expanduser()
    step = "name a folder of a cross-encoder or a hub id (owner/name) in TWIN_RERANKER, or unset it"
    if folder.is_dir() and not (folder / "config.json").is_file():
        return [_stop("reranker", f"{name} holds no config.json of a model", step)]
    if not folder.is_dir() and not re.fullmatch(r"[A-Za-z0-9][\w.-]*/[\w.-]+", name):
        return [_stop("reranker", f"no such folder: {name}", step)]
    return [_ok("reranker", name)]


def needs_gb(
    options: argparse.Namespace, machine: Machine, *, installed: bool, prepared: bool
) -> tuple[float, float, float]:
    """Return (GB to download, GB on the project's disk, GB on the home's disk)."""
    fetched, on_disk = (0.0, 0.0)
    if not installed:
        fetched, on_disk = PACKAGES_GB["cuda" if machine["gpus"] else "cpu"]
        if options.check:
            fetched, on_disk = fetched + CHECK_EXTRAS_GB[0], on_disk + CHECK_EXTRAS_GB[1]
    home = HOME_GB
    if not prepared:
        fetched, home = fetched + EMBEDDED_WEIGHTS_GB[0], home + EMBEDDED_WEIGHTS_GB[1]
    if options.embedder != EMBEDDED_EMBEDDER and not Path(options.embedder).expanduser().is_dir():
        home += OTHER_EMBEDDER_GB
        fetched += 0 if options.embedder == MULTILINGUAL_EMBEDDER else OTHER_EMBEDDER_GB
    billions = parameters_of(options.base_model)
    if options.base_model != EMBEDDED_MODEL and billions:
        local = Path(options.base_model).expanduser().is_dir()
        fetched, home = fetched + (0 if local else 2 * billions), home + 4 * billions
    answering = parameters_of(options.answer_model)
    served_elsewhere = options.answer_model.startswith(("http://", "https://"))
    place = Path(options.answer_model).expanduser()
    if answering and not served_elsewhere and not place.is_file():  # a GGUF file is served in place
        fetched += 0 if place.is_dir() else 2 * answering
        home += (2 if place.is_dir() else 4) * answering
    return round(fetched, 1), on_disk, home


def look_at_disk(project: Path, home: Path, *, kept_gb: float, home_gb: float) -> list[Finding]:
    """Check the free space for the packages and for the home."""
    wanted: dict[int, tuple[Path, float]] = {}
    for place, gigabytes in ((project, kept_gb), (home.resolve(), home_gb)):
        folder = next(parent for parent in (place, *place.parents) if parent.exists())
        device = folder.stat().st_dev
        before = wanted.get(device, (folder, 0.0))
        wanted[device] = (before[0], before[1] + gigabytes)
    findings = []
    for folder, gigabytes in wanted.values():
        free = shutil.disk_usage(str(folder)).free / GB
        message = f"{free:.1f} GB free at {folder}, {gigabytes:.1f} GB needed"
        if free >= gigabytes:
            findings.append(_ok("disk", message))
        else:
            step = f"free {gigabytes - free:.1f} GB, or name another place with TWIN_HOME"
            findings.append(_stop("disk", message, step))
        if not os.access(str(folder), os.W_OK):
            step = "make the folder writable, or name another with TWIN_HOME"
            findings.append(_stop("disk", f"{folder} is not writable", step))
    return findings


def look_at_ports(options: argparse.Namespace, home: Path) -> list[Finding]:
    """Check the ports: a requested port must be free; a taken default gives way to a free one."""
    running = own_stack(home)
    findings = []
    for service, default in PORTS.items():
        variable = f"TWIN_{service.upper()}_PORT"
        requested = getattr(options, f"{service}_port") or os.environ.get(variable)
        try:
            port = int(requested or default)
            taken = _is_taken(port)
        except (ValueError, OverflowError):
            step = "name a port from 1 to 65535"
            findings.append(
                _stop("port", f"{requested!r} is no port for the {SERVICES[service]}", step)
            )
            continue
        name, purpose = f"port {port}", f"for the {SERVICES[service]}"
        if not taken:
            findings.append(_ok(name, f"{purpose}, free"))
        elif running:
            findings.append(_ok(name, f"{purpose}, in use while this home's stack runs"))
        elif requested:
            step = f"end what uses it, or choose another with --{service}-port"
            findings.append(_stop(name, f"{purpose}, in use", step))
        else:
            step = "the stack will listen on the next free port"
            findings.append(_note(name, f"{purpose}, in use by another program", step))
    return findings


def own_stack(home: Path) -> bool:
    """Return whether a stack of this home runs: a pid in its endpoints file is alive."""
    try:
        pids = json.loads((home / "endpoints.json").read_text(encoding="utf-8"))["pids"]
        return any(_alive(int(entry["pid"])) for entry in pids.values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False  # no stack, or one that has not written the file


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _is_taken(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
            probe.listen(1)
        except OSError as error:
            return error.errno in (errno.EADDRINUSE, errno.EACCES)
    return False


def _finding(verdict: str, name: str, found: str, step: str = "") -> Finding:
    return {"verdict": verdict, "name": name, "found": found, "next_step": step}


def _ok(name: str, found: str) -> Finding:
    return _finding("ok", name, found)


def _note(name: str, found: str, step: str) -> Finding:
    return _finding("note", name, found, step)


def _stop(name: str, found: str, step: str) -> Finding:
    return _finding("stop", name, found, step)


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""  # another system, or a container that hides the file


def _first_line(path: str) -> str:
    return (_text(path).splitlines() or [""])[0].strip()


def _output(command: list[str]) -> str:
    """Return a command's standard output, or "" if it is missing, fails or takes over a minute."""
    try:
        ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return ran.stdout if ran.returncode == 0 else ""


def examine(options: argparse.Namespace, project: Path, *, installed: bool | None = None) -> Report:
    """Return all findings as one dict (what `--json` prints).

    Args:
        installed: whether the packages are installed, or None to read the stamp of
            `deploy/install.sh`.
    """
    started = time.monotonic()
    home = Path(options.home).expanduser()
    machine = {
        "cores": cores(),
        "memory_gb": memory_gb(),
        "bf16": bf16_is_faster(),
        "gpus": usable_gpus(),
    }
    if installed is None:
        installed = (project / ".venv" / ".installed").exists()
    prepared = (home / "weights").is_dir() and any((home / "weights").iterdir())
    download, on_disk, in_home = needs_gb(options, machine, installed=installed, prepared=prepared)
    findings = look_at_system() + look_at_python() + look_at_compiler()
    findings += look_at_model(options.base_model, machine, recipe=options.recipe)
    findings += look_at_answer_model(options.answer_model, options.base_model, machine)
    findings += look_at_reranker(options.reranker) + look_at_posts(options.others)
    findings += look_at_disk(project, home, kept_gb=on_disk, home_gb=in_home)
    if not options.check:
        findings += look_at_ports(options, home)
    return {
        "go_on": all(finding["verdict"] != "stop" for finding in findings),
        "machine": machine,
        "findings": findings,
        "download_gb": download,
        "disk_gb": round(on_disk + in_home, 1),
        "forecast": forecast.forecast(
            machine,
            billions=parameters_of(options.base_model) or REFERENCE_BILLION,
            recipe=options.recipe,
            words=forecast.words_in(options.posts),
            installed=installed,
            busy=forecast.load(),
            speed=forecast.core_speed(),
            elsewhere=bool(os.environ.get("TWIN_MODEL_SERVER_URL")),
        ),
        "seconds": round(time.monotonic() - started, 2),
    }


def as_text(report: Report, *, verbose: bool = True) -> str:
    """Return the report as text: the findings, what to expect, and what prevents a run.

    Args:
        verbose: whether to include findings that are as they should be.
    """
    words = {"ok": "ok  ", "note": "note", "stop": "STOP"}
    lines = []
    for finding in report["findings"]:
        if finding["verdict"] == "ok" and not verbose:
            continue
        line = f"  {words[finding['verdict']]}  {finding['name']}: {finding['found']}"
        lines.append(line + (f" -> {finding['next_step']}" if finding["next_step"] else ""))
    machine = report["machine"]
    graphics = ", ".join(f"{name} ({size} GB)" for name, size in machine["gpus"]) or "no GPU"
    lines += [
        f"  this machine: {machine['cores']} cores, {'bf16' if machine['bf16'] else 'fp32'}, "
        f"{machine['memory_gb']} GB of memory, {graphics}",
        f"  to download: about {report['download_gb']:.1f} GB; "
        f"on disk in the end: about {report['disk_gb']:.1f} GB",
        *forecast.as_lines(report["forecast"]),
    ]
    lines += [
        f"Cannot go on. {finding['name']}: {finding['found']}. Next: {finding['next_step']}."
        for finding in report["findings"]
        if finding["verdict"] == "stop"
    ]
    return "\n".join(lines)


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Parse the arguments of `twin up` or `twin check` that matter here."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--verbose", action="store_true", help="also what is as it should be")
    parser.add_argument("--check", action="store_true", help="for deploy/check.sh: no ports")
    model = os.environ.get("TWIN_BASE_MODEL") or EMBEDDED_MODEL
    parser.add_argument("--base-model", default=model)
    parser.add_argument("--embedder", default=os.environ.get("TWIN_EMBEDDER") or EMBEDDED_EMBEDDER)
    parser.add_argument("--answer-model", default="")
    parser.add_argument("--recipe", default="")
    parser.add_argument("--reranker", default=os.environ.get("TWIN_RERANKER") or "")
    parser.add_argument("--home", default=os.environ.get("TWIN_HOME") or ".twin")
    for service in PORTS:
        parser.add_argument(f"--{service}-port")
    options, options.others = parser.parse_known_args(argv)
    options.posts = _posts_among(options.others)
    options.recipe = "" if options.recipe == CHOSEN else options.recipe
    return options


def _posts_among(others: Sequence[str]) -> Path | None:
    """Return the posts folder or file among the other arguments of `twin up`, or None."""
    for number, argument in enumerate(others):
        before = others[number - 1] if number else ""
        path = Path(argument).expanduser()
        named = before.startswith("--") and "=" not in before  # the next argument may be its value
        if not argument.startswith("-") and not named and path.exists():
            return path
    return None


def main(argv: Sequence[str] | None = None) -> int:
    """Print the report and return the exit code, which says whether to go on."""
    options = parse(sys.argv[1:] if argv is None else argv)
    report = examine(options, Path(__file__).resolve().parents[2])
    print(
        json.dumps(report, indent=1) if options.json else as_text(report, verbose=options.verbose)
    )
    return 0 if report["go_on"] else 1


if __name__ == "__main__":
    sys.exit(main())
