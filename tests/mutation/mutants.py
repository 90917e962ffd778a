"""Create mutants of the critical modules: small bugs, each a change of one expression.

Scope: the list of critical modules, and the mutation operators. Out of scope: which tests run
(`covered_lines.py`), the command (`__main__.py`).

The operators are those of mutmut and cosmic-ray that change a decision; strings, log calls and
annotations stay unchanged. Neither tool is suitable: mutmut skips decorated functions, module
constants and class defaults, where limits are set, and forks after Polars has started threads;
cosmic-ray runs the same command for every mutant.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]


# by area: its modules below the root, its test files below `tests/`
AREAS = {
    "account": (
        "twin_resources/access/{account*,keys,*budget,spending_limits}.py",
        "unit/gateway/test_{account,paid_budget,key*}.py unit/commands/test_keys_command.py "
        "unit/judges/test_paid_judge.py unit/erasure/test_state_rows.py "
        "graph/state/test_account.py",
    ),
    "guards": ("twin_resources/gateway/guards/*.py", "unit/gateway/test_{guards*,safety}.py"),
    "bounds": (
        "twin_assets/corpus/importers/"
        "{archive,feed_download,visibility_rules,json_rows,members,xml_items,zip_and_tar}.py "
        "twin_resources/storage/sources/feed_requests.py",
        "unit/corpus/test_{archive*,exports,platform_exports,front_matter,preview}.py "
        "unit/corpus/importers/test_*.py unit/sources/test_outside_addresses.py",
    ),
    "sensors": (
        "twin_sensors/*.py",
        "graph/sensors/test_*.py graph/sources/test_{import_schedules,new_posts}.py "
        "graph/retraining/test_{sensors,launching}.py "
        "graph/test_asset_graph.py graph/release/test_in_dagster.py "
        "graph/erasure/test_job_and_command.py",
    ),
    "gate": (
        "twin_assets/evaluation/{gate,judgement,sequential_plan,statistics/*}.py",
        "unit/evaluation/{test_*,statistics/test_*}.py",
    ),
    "registry": (
        "twin_resources/registry/*.py",
        "unit/registry/test_*.py unit/gateway/test_{policy,live_config}.py "
        "unit/test_{answer_forms,release_description}.py unit/chat/test_trace_pages.py "
        "graph/state/test_{registry,empty_store_check}.py graph/commands/test_history*.py "
        "graph/notifications/test_*.py graph/serving/test_released_model.py "
        "graph/release/test_trial.py graph/commands/test_authors_command.py "
        "graph/state/test_{shared_stores,registry_killed}.py graph/erasure/test_shared_store.py",
    ),
    "launcher": (
        "twin_resources/models/training_launcher/{end_reason,local,rank_processes}.py",
        "unit/training/test_{training_launcher,followed_log}.py "
        "live/training/test_launched_processes.py",
    ),
    "erasure": (
        "twin_resources/erasure/*.py twin_resources/observability/langfuse/outbox.py",
        "unit/erasure/test_*.py graph/erasure/test_*.py unit/trace_store/test_outbox.py "
        "unit/test_private_files.py "
        "graph/training/test_training_posts.py",
    ),
    "detector": ("twin_resources/statistics/detector.py", "unit/statistics/test_detector.py"),
}
"""The critical modules. The gate's measurements and forked ranks are absent, because only live
tests with a model server or a training cover them.
"""
SWAPS: dict[type, type] = {
    **{ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt},
    **{ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.In: ast.NotIn, ast.NotIn: ast.In},
    **{ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.And: ast.Or, ast.Or: ast.And},
    **{ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.FloorDiv: ast.Mult},
}
SWAPPED_FUNCTIONS = {"min": "max", "max": "min", "any": "all", "all": "any"}
IGNORED_KEYWORDS = {
    *("frozen", "slots", "kw_only", "strict", "repr", "ensure_ascii", "sort_keys", "daemon"),
    *("nullable", "index", "maxsize", "indent"),
}
"""Keyword arguments whose value does not change the behavior of a correct program."""


@dataclass(frozen=True)
class Mutant:
    """A planted bug: the bytes from `start` to `end` of the file become `text`."""

    area: str
    path: str  # relative to the root
    line: int  # where the changed statement or expression starts
    last_line: int
    in_function: bool
    start: int
    end: int
    text: str

    def mutated_source(self) -> bytes:
        """Return the content of the file with the bug."""
        original = (ROOT / self.path).read_bytes()
        return original[: self.start] + self.text.encode() + original[self.end :]

    def lines(self) -> tuple[str, str]:
        """Return the changed lines before and after, with white space reduced to single spaces."""
        original = (ROOT / self.path).read_bytes()
        first = original.rfind(b"\n", 0, self.start) + 1
        last = original.find(b"\n", self.end)
        after = original[first : self.start] + self.text.encode() + original[self.end : last]
        return " ".join(original[first:last].decode().split()), " ".join(after.decode().split())


def list_modules(area: str) -> list[Path]:
    return _expand(ROOT, AREAS[area][0])


def list_test_files(area: str) -> list[Path]:
    return _expand(ROOT / "tests", AREAS[area][1])


def _expand(folder: Path, patterns: str) -> list[Path]:
    """Return the files that match patterns with at most one list in braces: `a/{b,c*}.py d/e.py`.

    Raises:
        FileNotFoundError: a pattern matches no file.
    """
    files: set[Path] = set()
    for pattern in patterns.split():
        head, _, remainder = pattern.partition("{")
        names, _, tail = remainder.partition("}")
        for name in names.split(","):
            paths = set(folder.glob(head + name + tail))
            if not paths:
                raise FileNotFoundError(
                    f"AREAS names {folder.name}/{head}{name}{tail}, which matches no file"
                )
            files |= paths
    return sorted(files)


def all_mutants() -> list[Mutant]:
    """Return every possible mutant, ordered by area, file and line."""
    return [
        mutant
        for area in AREAS
        for path in list_modules(area)
        for mutant in _mutants_of_file(area, path)
    ]


def _mutants_of_file(area: str, path: Path) -> Iterator[Mutant]:
    source = path.read_bytes()
    starts = [0]
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    name = str(path.relative_to(ROOT))
    for node, text, in_function in _changes(ast.parse(source), in_function=False):
        start = starts[node.lineno - 1] + node.col_offset
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        end = starts[node.end_lineno - 1] + node.end_col_offset
        yield Mutant(area, name, node.lineno, node.end_lineno, in_function, start, end, text)


def _changes(
    node: ast.AST, *, in_function: bool
) -> Iterator[tuple[ast.expr | ast.stmt, str, bool]]:
    """Yield the nodes below this node, their replacements, and whether each is in a function."""
    if isinstance(node, ast.JoinedStr):  # Python 3.11 does not record the positions of its parts
        return
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "sa.String":
        return  # a column's width: SQLite ignores it, and no value exceeds PostgreSQL's
    if isinstance(node, ast.expr | ast.stmt):
        yield from ((node, text, in_function) for text in _replacements(node))
    is_function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    for field, value in ast.iter_fields(node):
        if field in {"annotation", "returns", "type_params"}:
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.keyword) and child.arg in IGNORED_KEYWORDS:
                continue
            if isinstance(child, ast.AST):
                yield from _changes(
                    child, in_function=in_function or (is_function and field == "body")
                )


def _replacements(node: ast.expr | ast.stmt) -> Iterator[str]:
    """Yield the source texts that may replace a node."""
    match node:
        case ast.Compare(ops=[op, *_]) if type(op) in SWAPS:
            yield _unparse_with(node, ops=[SWAPS[type(op)](), *node.ops[1:]])
        case ast.BoolOp(op=op):
            yield _unparse_with(node, op=SWAPS[type(op)]())
        case ast.BinOp(op=op) if type(op) in SWAPS and not any(
            map(_is_text, (node.left, node.right))
        ):
            yield _unparse_with(node, op=SWAPS[type(op)]())
        case ast.UnaryOp(op=ast.Not()):
            yield f"({ast.unparse(node.operand)})"
        case ast.Constant(value=bool(value)):
            yield str(not value)
        case ast.Constant(value=int(value) | float(value)):
            yield repr(value + 1 if value in {0, 1, 2} else 2 * value)
        case ast.Call(func=ast.Name(id=name)) if name in SWAPPED_FUNCTIONS:
            yield _unparse_with(node, func=ast.Name(id=SWAPPED_FUNCTIONS[name]))
        case ast.IfExp(test=test):
            yield _unparse_with(node, test=ast.UnaryOp(op=ast.Not(), operand=test))
        case ast.Expr(value=ast.Call(func=func)) if not _is_log_call(func):
            yield "pass"
        case ast.Raise():
            yield "pass"
        case ast.Continue():
            yield "break"
        case ast.Break():
            yield "continue"
        case _:
            return


def _unparse_with(node: ast.expr, **fields: object) -> str:
    changed = copy.copy(node)
    for name, value in fields.items():
        setattr(changed, name, value)
    return f"({ast.unparse(changed)})"


def _is_text(node: ast.expr) -> bool:
    """Return whether a node is a literal text, list or tuple, whose arithmetic always fails."""
    is_string = isinstance(node, ast.Constant) and isinstance(node.value, str | bytes)
    return is_string or isinstance(node, ast.JoinedStr | ast.List | ast.Tuple | ast.Set)


def _is_log_call(function: ast.expr) -> bool:
    """Return whether this function writes to a log."""
    return isinstance(function, ast.Attribute) and function.attr in {
        *("debug", "info", "warning", "error", "exception")
    }
