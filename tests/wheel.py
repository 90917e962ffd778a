"""The project's wheel, built from the files that git knows, as they lie in the working tree.

Belongs here: building it. Does not belong here: environments that it is installed into.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from tests.declared import ROOT

NEEDED = ("pyproject.toml", "README.md", "LICENSE", "deploy/samples", "deploy/local")
PACKAGES = ("twin_resources", "twin_assets", "twin_sensors", "dbt_like_sql")


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
