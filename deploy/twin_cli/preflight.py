"""Describe this machine, and report whether the platform can run on it.

The check runs before any download.

Scope: inspection of the system, Python, the compiler, memory, disk and GPU.
Out of scope: the needs of a model (`model_fit.py`), the choice of ports (`processes/ports.py`),
installation (`deploy/install.sh`), imports from outside the standard library, and syntax newer than
Python 3.9. A user with an older Python must see a message instead of a SyntaxError.

    python3 -I deploy/twin_cli/preflight.py [--json] [--verbose] [--base-model ID|PATH]
        [--embedder ID] [--recipe NAME] [--answer-model ID|PATH|ADDRESS] [--home DIR]
    Other arguments are ignored.
    Exit code 0: continue. Exit code 1: stop; the reason is printed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sys
import sysconfig
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

if not __package__:  # run as an isolated file (-I): the project is not yet on the path
    _DEPLOY = Path(__file__).resolve().parents[1]
    sys.path[:0] = [str(_DEPLOY), str(_DEPLOY.parent)]

from twin_resources.errors import TwinError
from twin_resources.models.model_fit import (
    RECIPES,
    REFERENCE_BILLIONS,
    billions_of_parameters,
    describe_license,
    estimate_training,
    format_size,
    required_serving_memory_gb,
    required_training_memory_gb,
    weights_gb,
)
from twin_resources.processes.gpus import list_usable_gpus
from twin_resources.processes.processor import is_bf16_faster, read_memory_gb
from twin_resources.storage.weights.answer_model import NO_MODEL

SUPPORTED_PYTHONS = ((3, 11), (3, 12))
AUTOMATIC_RECIPE = "auto"  # `twin up --recipe auto` has the same effect as omitting the option
EMBEDDED_MODEL, EMBEDDED_EMBEDDER = "smollm2-135m-instruct", "all-minilm-l6-v2"
MULTILINGUAL_EMBEDDER = "multilingual-e5-small"  # included in the packages

# (GB downloaded, GB on disk), measured with the versions in deploy/constraints.txt
PACKAGES_GB = {"cpu": (0.9, 3.0), "cuda": (4.0, 9.0)}
CHECK_EXTRAS_GB = (0.3, 1.0)
EMBEDDED_WEIGHTS_GB = (0.18, 1.3)
OTHER_EMBEDDER_GB = 0.5  # a guess; sentence-transformers embedders take 0.1 to 1 GB
HOME_GB = 0.7  # tables, checkpoints, logs
GB = 1e9

# Plain dictionaries, because they are printed as JSON.
Finding = dict[str, str]  # verdict (ok, note, stop), name, found, next_step
Machine = dict[str, Any]  # cores, memory_gb, bf16, gpus
Report = dict[str, Any]


def check_python() -> list[Finding]:
    """Check the Python version, and the modules for virtual environments and compilation."""
    message = f"Python {platform.python_version()}"
    if sys.version_info[:2] not in SUPPORTED_PYTHONS:
        supported_versions = " or ".join(f"{major}.{minor}" for major, minor in SUPPORTED_PYTHONS)
        return [_stop("python", message, f"install Python {supported_versions} and run this again")]
    findings = [_ok("python", message)]
    package = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    try:
        import ensurepip  # noqa: F401 - Debian ships it in a separate package
        import venv  # noqa: F401
    except ImportError:
        next_step = f"sudo apt-get install {package}-venv"
        findings.append(_stop("virtual environments", "module ensurepip is missing", next_step))
    header = Path(sysconfig.get_paths()["include"]) / "Python.h"
    if not header.exists():
        next_step = f"sudo apt-get install {package}-dev"
        findings.append(_stop("Python headers", f"{header} is missing", next_step))
    return findings


def check_system() -> list[Finding]:
    """Check that the system is Linux or macOS."""
    name = platform.system()
    message = f"{platform.platform(terse=True)}, {platform.machine()}"
    if name in ("Linux", "Darwin"):
        return [_ok("system", message)]
    return [_stop("system", message, "use Linux or macOS; on Windows, WSL 2")]


def check_compiler() -> list[Finding]:
    """Check for a C++ compiler, which DeepSpeed needs for its collectives at the first training."""
    compiler = shutil.which("g++") or shutil.which("c++") or shutil.which("clang++")
    if compiler:
        return [_ok("compiler", compiler)]
    next_step = (
        "sudo apt-get install g++" if platform.system() == "Linux" else "xcode-select --install"
    )
    return [_stop("compiler", "no g++: training cannot build DeepSpeed's collectives", next_step)]


def count_usable_cores() -> int:
    """Return the number of CPUs that affinity and the container's quota allow this process."""
    try:
        count = float(len(os.sched_getaffinity(0)))
    except AttributeError:
        count = float(os.cpu_count() or 1)
    quota = _read_first_line("/sys/fs/cgroup/cpu.max").split()
    if len(quota) == 2 and quota[0] != "max":
        count = min(count, float(quota[0]) / float(quota[1]))
    return max(1, int(count))


def check_base_model(model: str, machine: Machine, *, recipe: str = "") -> list[Finding]:
    """Check whether the base model can be trained and served here, and name the recipe.

    Args:
        recipe: the recipe's name, or empty to derive it from the model and the machine.
    """
    if model.casefold().endswith(".gguf") and not Path(model).expanduser().is_file():
        return [_stop("base model", f"there is no file {model}", "name an existing file")]
    billions = billions_of_parameters(model)
    if billions is None:
        message = f"{model}: no *.safetensors, no list of tensors, and no size in its name"
        return [_note("base model", message, "its memory use is unknown")]
    estimate = estimate_training(billions, machine, recipe=recipe)
    if RECIPES.get(recipe, (0, False))[1] and not machine["gpus"]:
        message = f"recipe {recipe} trains on a GPU, and torch finds none here"
        return [_stop("recipe", message, "choose another recipe, or omit --recipe")]
    license = "" if model == EMBEDDED_MODEL else describe_license(model)
    if estimate["fits"]:
        description = (
            f"{model}, {format_size(billions)}, fits: {estimate['needs']}; it trains on the "
            f"{estimate['on']} with recipe {estimate['recipe']} ({estimate['because']})"
        )
        return [_ok("base model", f"{description}; {license}" if license else description)]
    message = f"{model} needs {estimate['needs']}, and this machine has {machine['memory_gb']} GB"
    if machine["memory_gb"] and machine["memory_gb"] < 4 + 2 * billions:
        return [_stop("base model", message, "choose a smaller one with --base-model")]
    return [_note("base model", message, "choose a smaller --base-model, or expect swapping")]


def check_answer_model(name: str, base_model: str, machine: Machine) -> list[Finding]:
    """Check whether the answer model's server fits here, alone and during training."""
    if not name or name.startswith(("http://", "https://")) or name == NO_MODEL:
        return []
    weights = weights_gb(name)
    if weights is None:
        message = f"{name}: neither a file, a folder with *.safetensors nor a size in its name"
        return [_note("answer model", message, "its memory use is unknown")]
    available_gb = machine["memory_gb"]
    memory_alone_gb = required_serving_memory_gb(weights)
    trained_billions = billions_of_parameters(base_model) or REFERENCE_BILLIONS
    memory_with_training_gb = required_serving_memory_gb(
        weights,
        training_gb=required_training_memory_gb(
            trained_billions, bf16=machine["bf16"], memory_gb=available_gb
        ),
    )
    if available_gb and available_gb < memory_alone_gb:
        message = (
            f"{name} needs {memory_alone_gb:.0f} GB of memory, and {available_gb} GB are available"
        )
        next_step = "name a smaller one, or the address of a server with that model (https://…/v1)"
        return [_stop("answer model", message, next_step)]
    if available_gb and available_gb < memory_with_training_gb:
        message = (
            f"{name} and a simultaneous training run need {memory_with_training_gb:.0f} GB of "
            f"memory, and {available_gb} GB are available"
        )
        return [_note("answer model", message, "expect swapping during training")]
    return [_ok("answer model", f"{name}, {weights:.2g} GB of weights, fits")]


def check_posts(arguments: Sequence[str]) -> list[Finding]:
    """Check that the first argument, if it is a path, exists; later ones may be option values."""
    first_argument = arguments[0] if arguments else ""
    is_option_or_address = first_argument.startswith(("-", "s3:/", "http:/", "https:/"))
    if not first_argument or is_option_or_address or Path(first_argument).expanduser().exists():
        return []
    next_step = "name the folder that contains the posts"
    return [_stop("posts", f"there is no such file or folder: {first_argument}", next_step)]


def estimate_required_gb(
    options: argparse.Namespace, machine: Machine, *, is_installed: bool, is_prepared: bool
) -> tuple[float, float, float]:
    """Return the GB to download, the GB on the project's disk, and the GB on the home's disk."""
    download_gb, project_gb = (0.0, 0.0)
    if not is_installed:
        download_gb, project_gb = PACKAGES_GB["cuda" if machine["gpus"] else "cpu"]
        if options.check:
            download_gb += CHECK_EXTRAS_GB[0]
            project_gb += CHECK_EXTRAS_GB[1]
    home_gb = HOME_GB
    if not is_prepared:
        download_gb += EMBEDDED_WEIGHTS_GB[0]
        home_gb += EMBEDDED_WEIGHTS_GB[1]
    if options.embedder != EMBEDDED_EMBEDDER and not Path(options.embedder).expanduser().is_dir():
        home_gb += OTHER_EMBEDDER_GB
        download_gb += 0 if options.embedder == MULTILINGUAL_EMBEDDER else OTHER_EMBEDDER_GB
    billions = billions_of_parameters(options.base_model)
    if options.base_model != EMBEDDED_MODEL and billions:
        is_local = Path(options.base_model).expanduser().exists()
        download_gb += 0 if is_local else 2 * billions
        home_gb += 4 * billions
    answer_parameters = billions_of_parameters(options.answer_model)
    is_remote = options.answer_model.startswith(("http://", "https://"))
    model_path = Path(options.answer_model).expanduser()
    # A GGUF file is served in place.
    if answer_parameters and not is_remote and not model_path.is_file():
        download_gb += 0 if model_path.is_dir() else 2 * answer_parameters
        home_gb += (2 if model_path.is_dir() else 4) * answer_parameters
    return round(download_gb, 1), project_gb, home_gb


def check_disk(project: Path, home: Path, *, project_gb: float, home_gb: float) -> list[Finding]:
    """Check that there is enough free space for the packages and for the home."""
    needed_by_device: dict[int, tuple[Path, float]] = {}
    for target, gigabytes in ((project, project_gb), (home.resolve(), home_gb)):
        if not gigabytes:
            continue  # in an image, the packages are installed in a read-only folder
        folder = next(parent for parent in (target, *target.parents) if parent.exists())
        device = folder.stat().st_dev
        previous_need = needed_by_device.get(device, (folder, 0.0))
        needed_by_device[device] = (previous_need[0], previous_need[1] + gigabytes)
    findings = []
    for folder, gigabytes in needed_by_device.values():
        free_gb = shutil.disk_usage(str(folder)).free / GB
        message = f"{free_gb:.1f} GB free at {folder}, {gigabytes:.1f} GB needed"
        if free_gb >= gigabytes:
            findings.append(_ok("disk", message))
        else:
            next_step = f"free {gigabytes - free_gb:.1f} GB, or name another folder with TWIN_HOME"
            findings.append(_stop("disk", message, next_step))
        if not os.access(str(folder), os.W_OK):
            next_step = "make the folder writable, or name another with TWIN_HOME"
            findings.append(_stop("disk", f"{folder} is not writable", next_step))
    return findings


def _ok(name: str, found: str) -> Finding:
    return {"verdict": "ok", "name": name, "found": found, "next_step": ""}


def _note(name: str, found: str, next_step: str) -> Finding:
    return _ok(name, found) | {"verdict": "note", "next_step": next_step}


def _stop(name: str, found: str, next_step: str) -> Finding:
    return _ok(name, found) | {"verdict": "stop", "next_step": next_step}


def _read_first_line(path: str) -> str:
    try:
        text = Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""  # other operating systems and some containers have no such file
    return (text.splitlines() or [""])[0].strip()


def build_report(
    options: argparse.Namespace, project: Path, *, is_installed: bool | None = None
) -> Report:
    """Return all findings as the dict that `--json` prints.

    Args:
        is_installed: whether the packages are installed, or None to check for the marker file of
            `deploy/install.sh`.
    """
    started_at = time.monotonic()
    home = Path(options.home).expanduser()
    findings = check_system() + check_python() + check_compiler()
    try:
        gpus = list_usable_gpus()
    except TwinError as error:
        gpus = []
        findings.append(_stop("GPU", error.found, error.next_step))
    machine = {
        "cores": count_usable_cores(),
        "memory_gb": read_memory_gb(),
        "bf16": is_bf16_faster(),
        "gpus": gpus,
    }
    if is_installed is None:
        is_installed = (project / ".venv" / ".installed").exists()
    is_prepared = (home / "weights").is_dir() and any((home / "weights").iterdir())
    download_gb, project_gb, home_gb = estimate_required_gb(
        options, machine, is_installed=is_installed, is_prepared=is_prepared
    )
    findings += check_base_model(options.base_model, machine, recipe=options.recipe)
    findings += check_answer_model(options.answer_model, options.base_model, machine)
    findings += check_posts(options.other_arguments)
    findings += check_disk(project, home, project_gb=project_gb, home_gb=home_gb)
    return {
        "go_on": all(finding["verdict"] != "stop" for finding in findings),
        "machine": machine,
        "findings": findings,
        "download_gb": download_gb,
        "disk_gb": round(project_gb + home_gb, 1),
        "seconds": round(time.monotonic() - started_at, 2),
    }


def format_report(report: Report, *, verbose: bool = True) -> str:
    """Return the report as text: findings, requirements, and reasons to stop.

    It names no duration: forecasts from a machine's cores were wrong by half. The training and the
    gate say how long they take once they have measured their own first steps.

    Args:
        verbose: whether to include findings without problems.
    """
    verdict_labels = {"ok": "ok  ", "note": "note", "stop": "STOP"}
    lines = []
    for finding in report["findings"]:
        if finding["verdict"] == "ok" and not verbose:
            continue
        line = f"  {verdict_labels[finding['verdict']]}  {finding['name']}: {finding['found']}"
        lines.append(line + (f" -> {finding['next_step']}" if finding["next_step"] else ""))
    machine = report["machine"]
    gpu_text = ", ".join(f"{name} ({size} GB)" for name, size in machine["gpus"]) or "no GPU"
    lines += [
        f"  this machine: {machine['cores']} cores, {'bf16' if machine['bf16'] else 'fp32'}, "
        f"{machine['memory_gb']} GB of memory, {gpu_text}",
        f"  download: about {report['download_gb']:.1f} GB; "
        f"disk use afterwards: about {report['disk_gb']:.1f} GB",
    ]
    lines += [
        f"Cannot continue. {finding['name']}: {finding['found']}. Next: {finding['next_step']}."
        for finding in report["findings"]
        if finding["verdict"] == "stop"
    ]
    return "\n".join(lines)


def parse_arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Parse the arguments of `twin up` or `check.sh` that affect this check."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--verbose", action="store_true", help="also print passed checks")
    parser.add_argument("--check", action="store_true", help="for deploy/check.sh: its extras")
    model = os.environ.get("TWIN_BASE_MODEL") or EMBEDDED_MODEL
    parser.add_argument("--base-model", default=model)
    parser.add_argument("--embedder", default=os.environ.get("TWIN_EMBEDDER") or EMBEDDED_EMBEDDER)
    parser.add_argument("--answer-model", default="")
    parser.add_argument("--recipe", default="")
    parser.add_argument("--home", default=os.environ.get("TWIN_HOME") or ".twin")
    options, options.other_arguments = parser.parse_known_args(argv)
    options.posts = _find_posts_path(options.other_arguments)
    options.recipe = "" if options.recipe == AUTOMATIC_RECIPE else options.recipe
    return options


def _find_posts_path(arguments: Sequence[str]) -> Path | None:
    """Return the posts folder or file among the other arguments of `twin up`, or None."""
    for index, argument in enumerate(arguments):
        previous_argument = arguments[index - 1] if index else ""
        path = Path(argument).expanduser()
        # The argument may be the value of a preceding option.
        follows_option = previous_argument.startswith("--") and "=" not in previous_argument
        if not argument.startswith("-") and not follows_option and path.exists():
            return path
    return None


def main(argv: Sequence[str] | None = None) -> int:
    """Print the report; return 0 if the installation can continue, else 1."""
    options = parse_arguments(sys.argv[1:] if argv is None else argv)
    report = build_report(options, Path(__file__).resolve().parents[2])
    print(
        json.dumps(report, indent=1)
        if options.json
        else format_report(report, verbose=options.verbose)
    )
    return 0 if report["go_on"] else 1


if __name__ == "__main__":
    sys.exit(main())
