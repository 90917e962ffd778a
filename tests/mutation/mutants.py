"""Small bugs that could be planted in the modules that decide, each as one changed expression.

Scope: which modules those are, and what is changed in them. Out of scope: which
tests run (`touched_lines.py`), and the command (`__main__.py`).
The operators are those of mutmut and cosmic-ray that change a decision: strings, logs and
annotations stay. Both were tried on paper: mutmut skips decorated functions, constants of a module
and defaults of a class, where limits stand, and forks after Polars has started threads; cosmic-ray
runs one command for every mutant.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]


# area → modules below the root, tests of their room below `tests/`
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
        "{archive,feed_download,visibility_rules,json_rows,members,packed,xml_items}.py "
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
        "unit/evaluation/{test_*,statistics/test_*,other_authors/test_*}.py",
    ),
    "registry": (
        "twin_resources/registry/*.py",
        "unit/registry/test_*.py unit/gateway/test_{policy,live_config}.py "
        "unit/test_{answer_forms,release_in_words}.py unit/chat/test_trace_pages.py "
        "graph/state/test_{registry,home_state}.py graph/commands/test_history*.py "
        "graph/notifications/test_*.py graph/serving/test_released_model.py "
        "graph/release/test_trial.py graph/commands/test_authors_command.py "
        "graph/state/test_{shared_stores,registry_killed}.py graph/erasure/test_shared_store.py",
    ),
    "launcher": (
        "twin_resources/models/training_launcher/{attempt,local,machine,reason}.py",
        "unit/training/test_{training_launcher,followed_log}.py "
        "live/training/test_launched_processes.py",
    ),
    "erasure": (
        "twin_resources/erasure/*.py twin_resources/observability/langfuse/outbox.py",
        "unit/erasure/test_*.py graph/erasure/test_*.py unit/trace_store/test_outbox.py "
        "unit/test_private_files.py "
        "graph/training/test_training_posts.py",
    ),
    "detector": (
        "twin_resources/statistics/detector.py",
        "unit/statistics/test_detector.py",
    ),
}
"""What decides. The gate's measuring, forked ranks and Ray need a model server, a training or a
cluster, and are tested live alone."""
SWAPS: dict[type, type] = {
    **{ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt},
    **{ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.In: ast.NotIn, ast.NotIn: ast.In},
    **{ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.And: ast.Or, ast.Or: ast.And},
    **{ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.FloorDiv: ast.Mult},
}
NAMES = {"min": "max", "max": "min", "any": "all", "all": "any"}
UNSEEN = {
    *("frozen", "slots", "kw_only", "strict", "repr", "ensure_ascii", "sort_keys", "daemon"),
    *("nullable", "index", "maxsize", "indent"),
}
"""Keywords whose value no test of behaviour sees in a program that is right."""


@dataclass(frozen=True)
class Mutant:
    """One planted bug: the bytes from `start` to `end` of the file become `text`."""

    area: str
    path: str  # relative to the root
    line: int  # where the changed statement or expression begins
    last_line: int
    in_function: bool
    start: int
    end: int
    text: str

    def source(self) -> bytes:
        """The whole file with the bug."""
        whole = (ROOT / self.path).read_bytes()
        return whole[: self.start] + self.text.encode() + whole[self.end :]

    def lines(self) -> tuple[str, str]:
        """What changes, before and after, with white space as single spaces."""
        whole = (ROOT / self.path).read_bytes()
        first = whole.rfind(b"\n", 0, self.start) + 1
        last = whole.find(b"\n", self.end)
        after = whole[first : self.start] + self.text.encode() + whole[self.end : last]
        return " ".join(whole[first:last].decode().split()), " ".join(after.decode().split())


def modules_of(area: str) -> list[Path]:
    return _files(ROOT, AREAS[area][0])


def tests_of(area: str) -> list[Path]:
    return _files(ROOT / "tests", AREAS[area][1])


def _files(folder: Path, patterns: str) -> list[Path]:
    """By patterns that may hold one list in braces: `a/{b,c*}.py d/e.py`.

    Raises:
        FileNotFoundError: a pattern names nothing (any more).
    """
    found: set[Path] = set()
    for pattern in patterns.split():
        head, _, rest = pattern.partition("{")
        names, _, tail = rest.partition("}")
        for name in names.split(","):
            paths = set(folder.glob(head + name + tail))
            if not paths:
                raise FileNotFoundError(f"{folder.name}/{head}{name}{tail}")
            found |= paths
    return sorted(found)


def all_mutants() -> list[Mutant]:
    """Every bug that the operators know, in the order of the areas, files and lines."""
    return [
        mutant for area in AREAS for path in modules_of(area) for mutant in _of_file(area, path)
    ]


def _of_file(area: str, path: Path) -> Iterator[Mutant]:
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
    """Nodes below this one, what each becomes, and whether it runs at a call."""
    if isinstance(node, ast.JoinedStr):  # Python 3.11 does not say where its parts stand
        return
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "sa.String":
        return  # a column's width: SQLite keeps none, and nothing is wider than PostgreSQL's
    if isinstance(node, ast.expr | ast.stmt):
        yield from ((node, text, in_function) for text in _changed(node))
    function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    for field, value in ast.iter_fields(node):
        if field in {"annotation", "returns", "type_params"}:
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.keyword) and child.arg in UNSEEN:
                continue
            if isinstance(child, ast.AST):
                yield from _changes(
                    child, in_function=in_function or (function and field == "body")
                )


def _changed(node: ast.expr | ast.stmt) -> Iterator[str]:
    """What may stand in the place of a node."""
    match node:
        case ast.Compare(ops=[op, *_]) if type(op) in SWAPS:
            yield _unparsed(node, ops=[SWAPS[type(op)](), *node.ops[1:]])
        case ast.BoolOp(op=op):
            yield _unparsed(node, op=SWAPS[type(op)]())
        case ast.BinOp(op=op) if type(op) in SWAPS and not any(
            map(_is_text, (node.left, node.right))
        ):
            yield _unparsed(node, op=SWAPS[type(op)]())
        case ast.UnaryOp(op=ast.Not()):
            yield f"({ast.unparse(node.operand)})"
        case ast.Constant(value=bool(value)):
            yield str(not value)
        case ast.Constant(value=int(value) | float(value)):
            yield repr(value + 1 if value in {0, 1, 2} else 2 * value)
        case ast.Call(func=ast.Name(id=name)) if name in NAMES:
            yield _unparsed(node, func=ast.Name(id=NAMES[name]))
        case ast.IfExp(test=test):
            yield _unparsed(node, test=ast.UnaryOp(op=ast.Not(), operand=test))
        case ast.Expr(value=ast.Call(func=func)) if not _says(func):
            yield "pass"
        case ast.Raise():
            yield "pass"
        case ast.Continue():
            yield "break"
        case ast.Break():
            yield "continue"
        case _:
            return


def _unparsed(node: ast.expr, **fields: object) -> str:
    changed = copy.copy(node)
    for name, value in fields.items():
        setattr(changed, name, value)
    return f"({ast.unparse(changed)})"


def _is_text(node: ast.expr) -> bool:
    """Whether it is text, a list or a tuple as written: arithmetic with it fails at once."""
    literal = isinstance(node, ast.Constant) and isinstance(node.value, str | bytes)
    return literal or isinstance(node, ast.JoinedStr | ast.List | ast.Tuple | ast.Set)


def _says(function: ast.expr) -> bool:
    """Whether it is a line of a log."""
    return isinstance(function, ast.Attribute) and function.attr in {
        *("debug", "info", "warning", "error", "exception"),
    }
