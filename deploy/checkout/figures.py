"""Print the size of the project in lines and concepts, as information: `check.sh` runs it.

    python deploy/checkout/figures.py

Code lines hold a token that is neither a comment nor a docstring.
"""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
PRODUCT = ("twin_resources", "twin_assets", "twin_sensors", "deploy")
NOT_CODE = {
    tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT,
    tokenize.ENDMARKER,
}  # fmt: skip
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def count_code_lines(source: str) -> int:
    """Return the number of code lines of a Python file."""
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in NOT_CODE:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            lines.difference_update(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    return len(lines)


def read_sources(*folders: str) -> list[str]:
    """Return the text of every Python file below these folders."""
    paths = [path for folder in folders for path in sorted((PROJECT / folder).rglob("*.py"))]
    return [path.read_text(encoding="utf-8") for path in paths]


def count_commands() -> int:
    """Return the number of commands of `twin`, with subcommands instead of their group."""
    from twin_cli.running import app
    from typer.main import get_command

    commands = getattr(get_command(app), "commands", {})
    return sum(len(getattr(command, "commands", ())) or 1 for command in commands.values())


def main() -> None:
    from twin_assets.evaluation.measures import MEASURES

    settings = (PROJECT / "deploy" / "docs" / "settings.md").read_text(encoding="utf-8")
    variables = settings.partition("\n## Variables\n")[2].partition("\n## ")[0]
    product = read_sources(*PRODUCT)
    figures = {
        "product code lines": sum(map(count_code_lines, product)),
        "test code lines": sum(map(count_code_lines, read_sources("tests"))),
        "settings": len(re.findall(r"^\| `", variables, re.MULTILINE)),
        "SQL tables": sum(len(re.findall(r"= sa\.Table\(", source)) for source in product),
        "commands": count_commands(),
        "claims": sum(len(measure.claims) for measure in MEASURES),
        "processes of a stack": len(
            re.findall(r"make_program\(", "".join(read_sources("twin_resources/processes")))
        )
        - 1,  # its definition
    }
    sys.stdout.writelines(f"  {number:>7,}  {name}\n" for name, number in figures.items())


if __name__ == "__main__":
    main()
