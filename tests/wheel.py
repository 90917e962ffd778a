"""The project's wheel, built from the files that git knows, and an environment with nothing else.

Scope: building and installing it. Out of scope: running what it holds.
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

from tests.declared import ROOT, closure, requirements

NEEDED = ("pyproject.toml", "README.md", "LICENSE", "deploy/samples", "deploy/local")
PACKAGES = (
    *("twin_resources", "twin_assets", "twin_sensors"),
    *("deploy/twin_cli", "dbt_like_sql"),
)


def build_wheel(folder: Path) -> Path:
    """Build it in `folder` with the setuptools that is installed; gives the wheel's path.

    From a copy: what an earlier build left in `build/` would be packed again, although it is gone.
    """
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard",
         "--", *NEEDED, *PACKAGES],
        capture_output=True, text=True, check=True,
    ).stdout.split("\0")  # fmt: skip
    source = folder / "source"
    for name in filter(None, listed):
        found = ROOT / name
        if found.exists():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(found, source / name, follow_symlinks=False)
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation",
         "--no-index", "--wheel-dir", str(folder), str(source)],
        check=True, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    [wheel] = folder.glob("*.whl")
    return wheel


def make_bare_environment(folder: Path, wheel: Path) -> Path:
    """A virtual environment with the wheel and what pip would bring for it, and nothing else.

    The distributions are linked from the environment of the tests, found by walking the
    requirements of pyproject.toml: what is there only for the tests is truly absent. A folder that
    belongs to them alone is linked whole, in 2 s where 90,000 files took 40 and as many to remove.
    The long form lets pip install them instead.

    Args:
        folder: on the file system of this environment, or what is shared is copied.

    Returns:
        Its `bin` folder.
    """
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    site = next((folder / "lib").glob("python3*/site-packages"))
    wanted = {*closure(requirements()), "pip"}
    others: set[Path] = set()  # folders in which something else has files as well
    for distribution in metadata.distributions():
        if canonicalize_name(distribution.metadata["Name"]) not in wanted:
            others |= {_top(distribution, file) for file in distribution.files or ()}
    for name in sorted(wanted):
        _link(metadata.distribution(name), site, folder / "bin", others)
    python = str(folder / "bin" / "python")
    subprocess.run(
        [python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", str(wheel)],
        check=True, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    return folder / "bin"


def _top(distribution: metadata.Distribution, file: metadata.PackagePath) -> Path:
    """The entry of `site-packages` that a file of a distribution lies in."""
    return Path(str(distribution.locate_file(file.parts[0])))


def _link(
    distribution: metadata.Distribution, site: Path, scripts: Path, others: Collection[Path]
) -> None:
    for file in distribution.files or ():
        top = _top(distribution, file)
        if top not in others and top.name not in {"..", "__pycache__"} and top.is_dir():
            if not (site / top.name).exists():
                (site / top.name).symlink_to(top, target_is_directory=True)
            continue
        found = Path(str(distribution.locate_file(file)))
        if not found.is_file():
            continue  # bytecode that was never written
        if file.parts[0] != "..":
            _put(found, site / file)
            # pip lists the bytecode that it has written itself, and that is none
            for made in (found.parent / "__pycache__").glob(f"{found.stem}.*.pyc"):
                if found.suffix == ".py":
                    _put(made, (site / file).parent / "__pycache__" / made.name)
        elif found.parent.name == "bin":
            text = found.read_bytes()
            if text.startswith(b"#!"):  # an entry point names its own interpreter
                target = scripts / found.name
                target.write_bytes(b"#!%s\n" % str(scripts / "python").encode()
                                   + text.partition(b"\n")[2])  # fmt: skip
                target.chmod(0o755)


def _put(found: Path, target: Path) -> None:
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(found, target)
    except OSError:
        shutil.copy2(found, target)


def install_with_pip(folder: Path, wheel: Path) -> Path:
    """The same by pip, with the pinned versions: three minutes; gives its `bin` folder."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--prefer-binary"]
    pinned = next(
        line.partition("==")[2].strip()
        for line in (ROOT / "deploy" / "constraints.txt").read_text("utf-8").splitlines()
        if line.startswith("torch==")
    )
    # as deploy/up.sh does: without the CUDA libraries where there is such a build
    small = subprocess.run([*pip, "--no-deps", f"torch=={pinned}+cpu"], check=False)
    if small.returncode:
        subprocess.run([*pip, f"torch=={pinned}"], check=True)
    constraints = str(ROOT / "deploy" / "constraints.txt")
    subprocess.run([*pip, "--constraint", constraints, str(wheel)], check=True, timeout=1500)
    return folder / "bin"
