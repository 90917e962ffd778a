"""Test install.sh with a real pip and environment, and its report of a failure of pip."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = ROOT / "deploy" / "install.sh"
PROJECT = """[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
[project]
name = "llm-twin"
version = "1"
"""
# A minimal build backend, which builds an editable wheel of one file.
BACKEND = """import zipfile
def build_editable(folder, config_settings=None, metadata_directory=None):
    name = "llm_twin-1-py3-none-any.whl"
    with zipfile.ZipFile(f"{folder}/{name}", "w") as wheel:
        wheel.writestr("small_twin.py", "a = 1\\n")
        dist_info = "llm_twin-1.dist-info"
        wheel.writestr(f"{dist_info}/METADATA", "Metadata-Version: 2.1\\nName: llm-twin\\n"
                       "Version: 1\\n")
        wheel.writestr(f"{dist_info}/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\n"
                       "Tag: py3-none-any\\n")
        wheel.writestr(f"{dist_info}/RECORD", "")
    return name
"""


def write_wheel(folder: Path, name: str, version: str) -> None:
    folder.mkdir(exist_ok=True)
    dist_info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{name}.py", "a = 1\n")
        wheel.writestr(
            f"{dist_info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        )
        wheel.writestr(
            f"{dist_info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{dist_info}/RECORD", "")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Create a checkout whose path contains a space, and a folder of wheels beside it."""
    folder = tmp_path_factory.mktemp("installation") / "my twin"
    (folder / "deploy").mkdir(parents=True)
    for name in ("install.sh", "prepare.sh"):
        shutil.copy(ROOT / "deploy" / name, folder / "deploy")
    (folder / "pyproject.toml").write_text(PROJECT)
    (folder / "backend.py").write_text(BACKEND)
    (folder / "deploy" / "constraints.txt").write_text("torch==2.13.0\n")
    write_wheel(folder.parent / "wheels", "torch", "2.13.0+cpu")
    return folder


def install(project: Path, *extras: str) -> subprocess.CompletedProcess[str]:
    """Run the script as `up.sh` does; the folder of wheels is the only registry."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("PIP", "PYT"))
    }
    return subprocess.run(
        ["bash", str(project / "deploy" / "install.sh"), *extras],
        env=environment
        | {
            "PYTHON": sys.executable,
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": (project.parent / "wheels").as_uri(),
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.long
def test_an_empty_checkout_is_installed_once(project: Path) -> None:
    first_run = install(project)

    assert (first_run.returncode, first_run.stderr) == (0, "")
    assert first_run.stdout.splitlines() == [
        "install  create .venv",
        *(["install  install torch without CUDA"] if not shutil.which("nvidia-smi") else []),
        "install  install llm-twin",
        "install  compile the modules that a start imports",
    ]
    [site] = (project / ".venv").glob("lib/python3*/site-packages")
    assert (site / "small_twin.py").is_file()
    if not shutil.which("nvidia-smi"):
        assert (site / "torch-2.13.0+cpu.dist-info").is_dir()
    assert list(site.glob("__pycache__/small_twin*")) == []  # pip has compiled nothing
    second_run = install(project)
    assert (second_run.returncode, second_run.stdout, second_run.stderr) == (0, "", "")


@pytest.mark.long
def test_an_extra_or_a_change_updates_the_environment(project: Path) -> None:
    if not (project / ".venv" / ".installed").exists():
        install(project)
    run_with_extras = install(project, "dev,aws")
    assert "install  create .venv" not in run_with_extras.stdout
    assert run_with_extras.stdout.startswith("install  install llm-twin")
    for extras in ((), ("dev,aws",)):
        assert install(project, *extras).stdout == ""
    with (project / "deploy" / "constraints.txt").open("a") as file:
        file.write("rich==13.9.4\n")
    assert install(project).stdout.startswith("install  install llm-twin")
    assert install(project, "dev,aws").stdout != ""


@pytest.mark.long
def test_a_failure_of_pip_is_reported_with_its_log_and_can_be_repeated(project: Path) -> None:
    text = PROJECT.replace("requires = []", 'requires = ["no-such-package-anywhere==1"]')
    (project / "pyproject.toml").write_text(text)
    failed_run = install(project)
    (project / "pyproject.toml").write_text(PROJECT)

    assert failed_run.returncode == 1
    assert "No matching distribution found for no-such-package-anywhere==1" in failed_run.stderr
    assert "Cannot continue. Tried to install llm-twin." in failed_run.stderr
    assert "the full output is in .venv/install.log" in failed_run.stderr
    assert not (project / ".venv" / ".installed").exists()
    assert install(project).returncode == 0


def test_modules_compiled_for_the_start_exist() -> None:
    groups = re.findall(r'"([a-z_., ]+, [a-z_., ]+)"', SCRIPT.read_text())
    names = [name for group in groups for name in group.split(", ")]
    assert len(names) > 10
    assert [name for name in names if not find_source(name).exists()] == []


def find_source(module: str) -> Path:
    """Return the source path of a module without importing it or its package."""
    package, *names = module.split(".")
    spec = find_spec(package)
    assert spec is not None, f"{package} is not installed"
    path = Path((spec.submodule_search_locations or [""])[0], *names)
    return path if path.is_dir() else path.with_suffix(".py")


def test_constraints_are_only_pins() -> None:
    lines = (ROOT / "deploy" / "constraints.txt").read_text().splitlines()
    assert [line for line in lines if not re.fullmatch(r"[\w.-]+==[\w.]+", line)] == []
    pinned = {line.split("==")[0] for line in lines}
    assert {"torch", "dagster", "lancedb", "litellm", "pytest"} <= pinned


def test_the_scripts_parse() -> None:
    for path in (*(ROOT / "deploy").glob("*.sh"), ROOT / ".ci" / "run"):
        assert subprocess.run(["bash", "-n", str(path)], check=False).returncode == 0
    assert "deploy/check.sh" in (ROOT / ".ci" / "run").read_text()
