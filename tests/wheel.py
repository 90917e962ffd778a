"""The project's wheel, built from the files that git lists, and a virtual environment for it.

Scope: building and installing the wheel. Out of scope: running its programs.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Collection
from importlib import metadata
from pathlib import Path

from packaging.utils import canonicalize_name

from tests.declared_dependencies import ROOT, required_distributions, requirements

NEEDED_FILES = ("pyproject.toml", "README.md", "LICENSE", "deploy/samples", "deploy/local")
PACKAGES = (
    *("twin_resources", "twin_assets", "twin_sensors"),
    *("deploy/twin_cli", "dbt_like_sql"),
)


def build_wheel(folder: Path) -> Path:
    """Build the wheel in `folder` with the installed setuptools; return its path.

    The build uses a copy of the sources. Otherwise setuptools would also pack deleted files that an
    earlier build left in `build/`.
    """
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard",
         "--", *NEEDED_FILES, *PACKAGES],
        capture_output=True, text=True, check=True,
    ).stdout.split("\0")  # fmt: skip
    source = folder / "source"
    for name in filter(None, listed):
        path = ROOT / name
        if path.exists():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, source / name, follow_symlinks=False)
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation",
         "--no-index", "--wheel-dir", str(folder), str(source)],
        check=True, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    [wheel] = folder.glob("*.whl")
    return wheel


def make_bare_environment(folder: Path, wheel: Path) -> Path:
    """Create a virtual environment with only the wheel and its dependencies; return its `bin`.

    The distributions are linked from the environment of the tests, by following the requirements in
    pyproject.toml; packages that only the tests need are absent. A folder that belongs to these
    distributions alone is linked as a whole, in 2 s; linking 90,000 files took 40 s, and removing
    them took as long. The long form installs with pip instead.

    Args:
        folder: should be on the file system of this environment; otherwise files are copied.
    """
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    site = next((folder / "lib").glob("python3*/site-packages"))
    wanted = {*required_distributions(requirements()), "pip"}
    unwanted: set[Path] = set()  # folders with files of another distribution
    for distribution in metadata.distributions():
        if canonicalize_name(distribution.metadata["Name"]) not in wanted:
            unwanted |= {_top_level_entry(distribution, file) for file in distribution.files or ()}
    for name in sorted(wanted):
        _link(metadata.distribution(name), site, folder / "bin", unwanted)
    python = str(folder / "bin" / "python")
    subprocess.run(
        [python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", str(wheel)],
        check=True, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    return folder / "bin"


def _top_level_entry(distribution: metadata.Distribution, file: metadata.PackagePath) -> Path:
    """Return the top-level entry of `site-packages` that contains a distribution's file."""
    return Path(str(distribution.locate_file(file.parts[0])))


def _link(
    distribution: metadata.Distribution, site: Path, scripts: Path, unwanted: Collection[Path]
) -> None:
    for file in distribution.files or ():
        top = _top_level_entry(distribution, file)
        if top not in unwanted and top.name not in {"..", "__pycache__"} and top.is_dir():
            if not (site / top.name).exists():
                (site / top.name).symlink_to(top, target_is_directory=True)
            continue
        path = Path(str(distribution.locate_file(file)))
        if not path.is_file():
            continue  # bytecode that was never written
        if file.parts[0] != "..":
            _link_file(path, site / file)
            # pip lists only bytecode that pip wrote
            for bytecode in (path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"):
                if path.suffix == ".py":
                    _link_file(bytecode, (site / file).parent / "__pycache__" / bytecode.name)
        elif path.parent.name == "bin":
            text = path.read_bytes()
            if text.startswith(b"#!"):  # an entry point's first line is its interpreter
                target = scripts / path.name
                target.write_bytes(b"#!%s\n" % str(scripts / "python").encode()
                                   + text.partition(b"\n")[2])  # fmt: skip
                target.chmod(0o755)


def _link_file(source: Path, target: Path) -> None:
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def install_with_pip(folder: Path, wheel: Path) -> Path:
    """Create the environment with pip and the pinned versions, in 3 minutes; return its `bin`."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--prefer-binary"]
    pinned = next(
        line.partition("==")[2].strip()
        for line in (ROOT / "deploy" / "constraints.txt").read_text("utf-8").splitlines()
        if line.startswith("torch==")
    )
    # as deploy/up.sh does: the build without the CUDA libraries, where there is one
    cpu_build = subprocess.run([*pip, "--no-deps", f"torch=={pinned}+cpu"], check=False)
    if cpu_build.returncode:
        subprocess.run([*pip, f"torch=={pinned}"], check=True)
    constraints = str(ROOT / "deploy" / "constraints.txt")
    subprocess.run([*pip, "--constraint", constraints, str(wheel)], check=True, timeout=1500)
    return folder / "bin"
