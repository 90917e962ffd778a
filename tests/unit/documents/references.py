"""Generate `command.md` and `python-reference.md` from the help and the docstrings.

Scope: the two generated pages. Out of scope: the settings
(`checkout/settings_document.py`), the JSON examples (`json.md`, tested with the commands).

    python -m tests.unit.documents.references     # rewrites both
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from twin_cli.running import app

from tests.conftest import ROOT

DOCS = ROOT / "deploy" / "docs"
OMITTED_PARAMETERS = {"help", "install_completion", "show_completion"}
COMMAND_HEAD = """# The command

*Reference.* Generated from the program's help by `python -m tests.unit.documents.references`. A
test compares the two. `twin COMMAND --help` prints the same text. For `--json`, see [JSON of the
commands](json.md).

Exit codes: 0 success, 1 failure, 2 invalid option, 130 interrupted. `twin up` and
`twin status --wait` return 3 for a refused version and 4 for a failed training run. `twin up` and
`twin import` return 3 if no post is usable, and `twin batch` returns 3 if a row has no answer.
"""
PYTHON_HEAD = """# Python names

*Reference.* Generated from the docstrings by `python -m tests.unit.documents.references`. A test
compares the two. For their use, see [Python](python.md).
"""


def render_pages() -> dict[Path, str]:
    """Return the text of each generated page."""
    return {
        DOCS / "command.md": render_command_page(),
        DOCS / "python-reference.md": render_python_page(),
    }


def render_command_page() -> str:
    """Return every command with arguments, options and example, in the order of `twin --help`."""
    return "\n".join([COMMAND_HEAD, *_render_commands()])


def _render_commands() -> Iterator[str]:
    group: Any = typer.main.get_command(app)
    panel = ""
    for name, command in sorted(group.commands.items(), key=_find_panel_index):
        if command.rich_help_panel != panel:
            panel = command.rich_help_panel
            yield f"## {panel}\n"
        yield from _render_command(f"twin {name}", command)


def _find_panel_index(item: tuple[str, Any]) -> int:
    panels = ["Start", "Ask", "Posts", "Versions", "Operate"]
    return panels.index(item[1].rich_help_panel)


def _render_command(name: str, command: Any) -> Iterator[str]:
    yield f"### `{name}`\n"
    yield f"{_escape_line(command.help)}\n"
    rows = [_render_row(item) for item in command.params if item.name not in OMITTED_PARAMETERS]
    if rows:
        yield "| | | default |\n|---|---|---|\n" + "\n".join(rows) + "\n"
    if command.epilog:
        yield f"```text\n{command.epilog.removeprefix('Example: ')}\n```\n"
    for subcommand_name, subcommand in getattr(command, "commands", {}).items():
        yield from _render_command(f"{name} {subcommand_name}", subcommand)


def _render_row(parameter: Any) -> str:
    spellings = parameter.opts if parameter.param_type_name == "option" else [parameter.name]
    names = ", ".join(f"`{option}`" for option in (*spellings, *parameter.secondary_opts))
    default = parameter.default
    default_cell = "required" if parameter.required else ""
    if not parameter.required and isinstance(default, str | int | float) and default != "":
        default_cell = "" if default is False else f"`{str(default).lower()}`"
    return f"| {names} | {_escape_line(parameter.help)} | {default_cell} |"


def _escape_line(text: str | None) -> str:
    return " ".join((text or "").split()).replace("|", "\\|").replace("<", "&lt;")


def render_python_page() -> str:
    """Return every public name of the two packages with the first line of its docstring."""
    parts = [PYTHON_HEAD]
    for package in ("twin_assets", "twin_resources"):
        rows = [
            f"| `{name}` | {_escape_line(description)} |"
            for name, description in sorted(_list_names(package))
        ]
        table = "| name | what it is |\n|---|---|\n" + "\n".join(rows)
        parts.append(f"## {package}\n\n{table}\n")
    return "\n".join(parts)


def _list_names(package: str) -> Iterator[tuple[str, str]]:
    """Yield the name and the summary of every import that a type checker reads."""
    init = ast.parse((ROOT / package / "__init__.py").read_text(encoding="utf-8"))
    for block in init.body:
        for node in block.body if isinstance(block, ast.If) else ():
            if isinstance(node, ast.ImportFrom) and node.module:
                path = ROOT / Path(*node.module.split("."))
                file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
                tree = ast.parse(file.read_text(encoding="utf-8"))
                yield from ((alias.name, _find_summary(tree, alias.name)) for alias in node.names)


def _find_summary(module: ast.Module, name: str) -> str:
    definitions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    for node in module.body:
        if isinstance(node, definitions) and node.name == name:
            return (ast.get_docstring(node) or "").partition("\n\n")[0]
    return (ast.get_docstring(module) or "").partition("\n")[0]


if __name__ == "__main__":
    for path, text in render_pages().items():
        path.write_text(text, encoding="utf-8")
