"""What the project declares, and which distributions that brings: by the metadata installed here.

Scope: reading pyproject's dependencies and walking requirements with their markers and
extras. Out of scope: imports of our modules (`imported.py`), an environment made of it.
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
    """The core dependencies in pyproject.toml, or those of one extra."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = project["optional-dependencies"][extra] if extra else project["dependencies"]
    return [Requirement(re.sub(r"\s+#.*", "", line)) for line in lines]


def declared(extra: str = "") -> set[str]:
    """Canonical names of what pyproject.toml asks for by name, on this machine."""
    return {
        canonicalize_name(requirement.name)
        for requirement in requirements(extra)
        if _holds(requirement, ())
    }


def closure(wanted: Iterable[Requirement]) -> set[str]:
    """Canonical names of the distributions that pip would install for these requirements.

    Raises:
        AssertionError: one of them is not installed here.
    """
    found: dict[str, set[str]] = {}
    waiting = [(one, ("",)) for one in wanted]
    missing: list[str] = []
    while waiting:
        requirement, extras_of_parent = waiting.pop()
        if not _holds(requirement, extras_of_parent):
            continue
        name = canonicalize_name(requirement.name)
        extras = {"", *map(canonicalize_name, requirement.extras)}
        new = extras - found.get(name, set())
        if not new:
            continue
        found.setdefault(name, set()).update(new)
        try:
            lines = metadata.distribution(name).requires or []
        except metadata.PackageNotFoundError:
            missing.append(name)
            continue
        waiting += [(Requirement(line), tuple(new)) for line in lines]
    assert missing == [], f"declared and not installed here: {missing}"
    return set(found)


@cache
def distribution_of(module: str) -> str:
    """Canonical name of the installed distribution that a module's file belongs to; "": none here.

    By file, because several distributions share `google` and `opentelemetry`.
    """
    for path in (f"{module.replace('.', '/')}/__init__.py", f"{module.replace('.', '/')}.py"):
        if path in _owners():
            return _owners()[path][0]
    return _owners().get(module.replace(".", "/"), ("", None))[0]


@cache
def source_of(module: str) -> Path | None:
    """The source file of an installed module, found without importing anything."""
    for path in (f"{module.replace('.', '/')}/__init__.py", f"{module.replace('.', '/')}.py"):
        if path in _owners():
            _, site = _owners()[path]
            return Path(str(site), path)
    return None


@cache
def _owners() -> dict[str, tuple[str, Path | None]]:
    """File, folder and compiled module (without its suffix) → distribution, and where it lies."""
    found: dict[str, tuple[str, Path | None]] = {}
    for distribution in metadata.distributions():
        name, site = (
            canonicalize_name(distribution.metadata["Name"]),
            Path(str(distribution.locate_file(""))),
        )
        for file in distribution.files or ():
            path = str(file)
            if path.endswith(".py"):
                found[path] = (name, site)
            elif path.endswith((".so", ".pyd")):
                found[path.partition(".")[0]] = (name, site)
            folder = path.rpartition("/")[0]
            while folder and folder not in found:
                found[folder] = (name, site)
                folder = folder.rpartition("/")[0]
    return found


def _holds(requirement: Requirement, extras: Iterable[str]) -> bool:
    if requirement.marker is None:
        return True
    here = {name: str(value) for name, value in default_environment().items()}
    return any(requirement.marker.evaluate(here | {"extra": extra}) for extra in {"", *extras})
