"""Every module that ours import is brought by what pyproject.toml declares.

The tests' own environment cannot tell: `itsdangerous` was there through moto, and the chat page of
everybody else could not start.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.declared import closure, declared, distribution_of, requirements, source_of
from tests.imported import Import, imports_in, imports_of_ours

# Modules that only an extra brings, or a person who wants them: nothing of ours needs them to be
# imported, and what uses them names the extra.
OPTIONAL = {
    "ray": "ray",
    "pypandoc": "formats",
    "pypdf": "formats",
}
BROUGHT_BY_HAND = {
    "conversion": "the kept converter's own, fetched as a wheel and read from its folder",
}
# Declared and imported by none of ours, with the reason.
FOR_OTHERS = {
    "dagster-aws": "deploy/dagster.prod.yaml names its classes",
    "itsdangerous": "starlette.middleware.sessions imports it and does not require it",
    "lxml-html-clean": "justext imports it and does not require it",
    "setuptools": "supervisor reads its version with it",
    "tzdata": "zoneinfo reads it where the system has none",
}


def described(found: list[Import]) -> list[str]:
    return [f"{one.where} imports {one.module}" for one in found]


def test_every_import_is_of_a_declared_distribution() -> None:
    core = declared()
    undeclared = [
        one for one in imports_of_ours()
        if one.top not in OPTIONAL
        and one.top not in BROUGHT_BY_HAND
        and distribution_of(one.module) not in core
    ]  # fmt: skip
    assert described(undeclared) == []


def test_what_an_extra_brings_is_imported_by_nothing_that_is_always_imported() -> None:
    optional = [one for one in imports_of_ours() if one.top in {*OPTIONAL, *BROUGHT_BY_HAND}]
    assert {one.top for one in optional} == {*OPTIONAL, *BROUGHT_BY_HAND}
    always = [one for one in optional if one.at_import and not one.expected_to_fail]
    assert described(always) == []
    for extra in set(OPTIONAL.values()):
        assert declared(extra), extra


def test_what_those_modules_import_themselves_is_brought_as_well() -> None:
    """One step further: a module that we import may need one that its distribution does not say."""
    brought = closure(requirements())
    lacking: list[str] = []
    for module in sorted({one.module for one in imports_of_ours()}):
        if distribution_of(module) not in brought:
            continue  # an extra's
        source = source_of(module)
        if source is None:
            continue  # compiled, or a folder
        lacking += [
            f"{module} imports {one.module}"
            for one in imports_in(source, module)
            if one.at_import
            and not one.expected_to_fail
            and one.top != module.partition(".")[0]
            and distribution_of(one.module) not in brought
        ]
    assert lacking == []


def test_what_is_declared_is_used_or_has_a_reason() -> None:
    used = {distribution_of(one.module) for one in imports_of_ours()}
    assert declared() - used == set(FOR_OTHERS)


@pytest.mark.parametrize(
    ("source", "expected_to_fail", "at_import"),
    [
        ("import ray", False, True),
        ("def f():\n    import ray", False, False),
        ("try:\n    import ray\nexcept ImportError:\n    pass", True, True),
        ("try:\n    pass\nexcept ImportError:\n    import ray", False, True),
        ("try:\n    import ray\nexcept KeyError:\n    pass", False, True),
        ("if TYPE_CHECKING:\n    from ray.job import Client", True, True),
        ("import_module('ray.util')", False, True),
    ],
)
def test_how_an_import_is_read(
    source: str, expected_to_fail: bool, at_import: bool, tmp_path: Path
) -> None:
    path = tmp_path / "module.py"
    path.write_text(source)
    [found] = imports_in(path, "module.py")
    assert (found.top, found.expected_to_fail, found.at_import) == (
        "ray", expected_to_fail, at_import,
    )  # fmt: skip
