"""Read the imports of the project's modules from their source.

Scope: import statements, their positions, and whether the code handles their failure.
Out of scope: declared dependencies (`declared_dependencies.py`).
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROJECT_PACKAGES = ("twin_resources", "twin_assets", "twin_sensors", "twin_cli")
PACKAGE_FOLDERS = ("twin_resources", "twin_assets", "twin_sensors", "deploy/twin_cli")
_CAUGHT_ERRORS = {"ImportError", "ModuleNotFoundError", "Exception", "BaseException"}


@dataclass(frozen=True)
class Import:
    """An import of a third-party module.

    Attributes:
        module: as written, for example `starlette.middleware.sessions`.
        names: the imported names; empty for `import module`.
        location: file and line, for example `twin_resources/page/page.py:20`.
        expected_to_fail: whether it is for type checkers only, or in a `try` that catches its
            failure.
        runs_at_import: whether it runs when the importing module is imported, not inside a
            function.
    """

    module: str
    names: tuple[str, ...]
    location: str
    expected_to_fail: bool
    runs_at_import: bool

    @property
    def top(self) -> str:
        return self.module.partition(".")[0]


@cache
def third_party_imports() -> tuple[Import, ...]:
    """Return every third-party import in the packages of the wheel."""
    files = [path for folder in PACKAGE_FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
    return tuple(
        record for path in files for record in iter_imports(path, str(path.relative_to(ROOT)))
        if record.top not in PROJECT_PACKAGES
    )  # fmt: skip


def iter_imports(path: Path, display_path: str) -> Iterator[Import]:
    """Yield the imports of one source file, without relative and standard-library imports."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    yield from (
        record for record in _walk(tree, display_path, may_fail=False, runs_at_import=True)
        if record.top not in sys.stdlib_module_names
    )  # fmt: skip


def _walk(
    node: ast.AST, display_path: str, *, may_fail: bool, runs_at_import: bool
) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        child_may_fail = may_fail
        if isinstance(node, ast.Try) and child in node.body:
            child_may_fail = may_fail or any(map(_catches, node.handlers))
        if isinstance(node, ast.If) and child in node.body and _is_type_checking(node.test):
            child_may_fail = True
        child_runs_at_import = runs_at_import and not isinstance(
            child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
        )
        location = f"{display_path}:{getattr(child, 'lineno', 0)}"
        if isinstance(child, ast.Import):
            for alias in child.names:
                yield Import(alias.name, (), location, child_may_fail, child_runs_at_import)
        elif isinstance(child, ast.ImportFrom) and child.module and not child.level:
            names = tuple(alias.name for alias in child.names)
            yield Import(child.module, names, location, child_may_fail, child_runs_at_import)
        elif isinstance(child, ast.Call) and (module := _module_of_call(child)):
            yield Import(module, (), location, child_may_fail, child_runs_at_import)
        yield from _walk(
            child, display_path, may_fail=child_may_fail, runs_at_import=child_runs_at_import
        )


def _module_of_call(call: ast.Call) -> str:
    """Return the module of `import_module("module")`, or "" for another call."""
    if (
        _last_name(call.func) != "import_module"
        or not call.args
        or not isinstance(call.args[0], ast.Constant)
    ):
        return ""
    return str(call.args[0].value)


def _catches(handler: ast.ExceptHandler) -> bool:
    if handler.type is None:
        return True
    types = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(_last_name(type_) in _CAUGHT_ERRORS for type_ in types)


def _is_type_checking(test: ast.expr) -> bool:
    return _last_name(test) == "TYPE_CHECKING"


def _last_name(node: ast.expr) -> str:
    """Return `name` for `name` and `anything.name`, otherwise ""."""
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""
