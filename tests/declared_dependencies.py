"""The project's declared dependencies, and the distributions that they require.

Scope: reading the dependencies in pyproject.toml, and following the requirements in the metadata of
installed distributions, with markers and extras. Out of scope: imports in our modules
(`module_imports.py`), building an environment (`wheel.py`).
Source: https://packaging.python.org/en/latest/specifications/dependency-specifiers/
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from functools import cache
from importlib import metadata
from pathlib import Path

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent


def requirements(extra: str = "") -> list[Requirement]:
    """Return the core dependencies in pyproject.toml, or the dependencies of an extra."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = project["optional-dependencies"][extra] if extra else project["dependencies"]
    return [Requirement(re.sub(r"\s+#.*", "", line)) for line in lines]


def direct_dependencies(extra: str = "") -> set[str]:
    """Return the canonical names of the direct dependencies that apply to this machine."""
    return {
        canonicalize_name(requirement.name)
        for requirement in requirements(extra)
        if _applies(requirement, ())
    }


def required_distributions(wanted: Iterable[Requirement]) -> set[str]:
    """Return the canonical names of the distributions that pip would install for `wanted`.

    Raises:
        AssertionError: a distribution is not installed.
    """
    extras_by_name: dict[str, set[str]] = {}
    queue = [(requirement, ("",)) for requirement in wanted]
    missing: list[str] = []
    while queue:
        requirement, parent_extras = queue.pop()
        if not _applies(requirement, parent_extras):
            continue
        name = canonicalize_name(requirement.name)
        extras = {"", *map(canonicalize_name, requirement.extras)}
        new_extras = extras - extras_by_name.get(name, set())
        if not new_extras:
            continue
        extras_by_name.setdefault(name, set()).update(new_extras)
        try:
            lines = metadata.distribution(name).requires or []
        except metadata.PackageNotFoundError:
            missing.append(name)
            continue
        queue += [(Requirement(line), tuple(new_extras)) for line in lines]
    assert missing == [], f"declared but not installed: {missing}"
    return set(extras_by_name)


@cache
def find_distribution(module: str) -> str:
    """Return the canonical name of the installed distribution that contains a module; "" if none.

    The lookup is by file, because several distributions share `google` and `opentelemetry`.
    """
    for path in (f"{module.replace('.', '/')}/__init__.py", f"{module.replace('.', '/')}.py"):
        if path in _owners():
            return _owners()[path][0]
    return _owners().get(module.replace(".", "/"), ("", None))[0]


@cache
def find_source(module: str) -> Path | None:
    """Return the source file of an installed module without importing it."""
    for path in (f"{module.replace('.', '/')}/__init__.py", f"{module.replace('.', '/')}.py"):
        if path in _owners():
            _, site = _owners()[path]
            return Path(str(site), path)
    return None


@cache
def _owners() -> dict[str, tuple[str, Path | None]]:
    """Map each source file, folder and compiled module (without suffix) to (distribution, site)."""
    owners: dict[str, tuple[str, Path | None]] = {}
    for distribution in metadata.distributions():
        name = canonicalize_name(distribution.metadata["Name"])
        site = Path(str(distribution.locate_file("")))
        for file in distribution.files or ():
            path = str(file)
            if path.endswith(".py"):
                owners[path] = (name, site)
            elif path.endswith((".so", ".pyd")):
                owners[path.partition(".")[0]] = (name, site)
            folder = path.rpartition("/")[0]
            while folder and folder not in owners:
                owners[folder] = (name, site)
                folder = folder.rpartition("/")[0]
    return owners


def _applies(requirement: Requirement, extras: Iterable[str]) -> bool:
    if requirement.marker is None:
        return True
    environment = {name: str(value) for name, value in default_environment().items()}
    return any(
        requirement.marker.evaluate(environment | {"extra": extra}) for extra in {"", *extras}
    )
