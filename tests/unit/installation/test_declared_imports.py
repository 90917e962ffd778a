"""Test that every module that the project imports belongs to a distribution in pyproject.toml.

The test environment cannot reveal a missing declaration. For example, moto installed
`itsdangerous` here, while the chat page could not start on any other machine.
"""

from __future__ import annotations

import pytest

from tests.declared_dependencies import (
    direct_dependencies,
    find_distribution,
    find_source,
    required_distributions,
    requirements,
)
from tests.module_imports import Import, iter_imports, third_party_imports

# Modules from an extra. No module of the project imports them at import time, and the code that
# uses them names the extra.
OPTIONAL = {
    "pypandoc": "formats",
    "pypdf": "formats",
}
UNDECLARED = {}
# Declared but not imported by the project, with the reason.
USED_INDIRECTLY = {
    "dagster-aws": "deploy/dagster.prod.yaml names its classes",
    "itsdangerous": "starlette.middleware.sessions imports it and does not require it",
    "justext": "`stop_words.py` reads its lists without importing it",
    "lxml-html-clean": "justext imports it and does not require it",
    "setuptools": "supervisor reads its version with it",
    "tzdata": "zoneinfo reads it where the system has none",
}


def format_imports(imports: list[Import]) -> list[str]:
    return [f"{item.location} imports {item.module}" for item in imports]


def test_every_import_belongs_to_a_declared_distribution() -> None:
    declared_core = direct_dependencies()
    undeclared = [
        item for item in third_party_imports()
        if item.top not in OPTIONAL
        and item.top not in UNDECLARED
        and find_distribution(item.module) not in declared_core
    ]  # fmt: skip
    assert format_imports(undeclared) == []


def test_modules_of_an_extra_are_not_imported_at_import_time() -> None:
    optional = [item for item in third_party_imports() if item.top in {*OPTIONAL, *UNDECLARED}]
    assert {item.top for item in optional} == {*OPTIONAL, *UNDECLARED}
    unconditional = [item for item in optional if item.runs_at_import and not item.expected_to_fail]
    assert format_imports(unconditional) == []
    for extra in set(OPTIONAL.values()):
        assert direct_dependencies(extra), extra


@pytest.mark.long
def test_imports_of_imported_modules_are_installed_as_well() -> None:
    """A module that the project imports may need one that its distribution does not declare."""
    installed = required_distributions(requirements())
    missing: list[str] = []
    for module in sorted({item.module for item in third_party_imports()}):
        if find_distribution(module) not in installed:
            continue  # from an extra
        source = find_source(module)
        if source is None:
            continue  # compiled or a folder
        missing += [
            f"{module} imports {item.module}"
            for item in iter_imports(source, module)
            if item.runs_at_import
            and not item.expected_to_fail
            and item.top != module.partition(".")[0]
            and find_distribution(item.module) not in installed
        ]
    assert missing == []


def test_every_declared_distribution_is_imported_or_has_a_reason() -> None:
    used = {find_distribution(item.module) for item in third_party_imports()}
    assert direct_dependencies() - used == set(USED_INDIRECTLY)
