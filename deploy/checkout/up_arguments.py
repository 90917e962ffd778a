"""The arguments of `deploy/up.sh`, answered or refused before anything is looked at or installed.

Belongs here: `--help`, options that do not exist, a folder that is not there, posts of nobody, an
answer model that cannot answer.
Does not belong here: what the options mean (`twin_cli/stack_group.py`, whose source is read for
their names and help, so that there is no second list), ports and models (`preflight.py`), any
import outside the standard library, and syntax newer than Python 3.9.

    python3 -I deploy/checkout/up_arguments.py [ARGUMENTS OF `twin up`]
    Exit code 0: go on. 64: answered, there is nothing to start. 1, 2: refused, and why.
"""

from __future__ import annotations

import argparse
import ast
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

if not __package__:  # run as a file, isolated (-I): the project is not on the path yet
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from twin_resources.errors import TwinError
from twin_resources.slugs import slug_of
from twin_resources.storage.weights.answer_model import KEY_VARIABLE, NONE, check_name

ANSWERED = 64
ADDRESSES = ("s3:/", "http:/", "https:/")
USAGE = "bash deploy/up.sh [PATH] [OPTIONS]"
ABOUT_THE_PATH = (
    "Folder of posts, an export, s3://… or a feed; without it the bundled sample author."
)


def parser_of(command: str, folder: Path) -> argparse.ArgumentParser:
    """A parser of the options that a command of `twin_cli/stack_group.py` declares.

    Args:
        command: name of its function.
        folder: holds `stack_group.py` and `arguments.py`.
    """
    shared = {
        target.id: node.value
        for file in ("arguments.py", "stack_group.py")
        for node in _statements(folder / file)
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    [function] = [
        node
        for node in _statements(folder / "stack_group.py")
        if isinstance(node, ast.FunctionDef) and node.name == command
    ]
    parser = argparse.ArgumentParser(
        usage=USAGE, description=ast.get_docstring(function), add_help=False, allow_abbrev=False
    )
    parser.add_argument("path", nargs="?", default="", help=ABOUT_THE_PATH)
    for argument in function.args.args + function.args.kwonlyargs:
        annotation: Any = argument.annotation
        if isinstance(annotation, ast.Name):
            annotation = shared.get(annotation.id, annotation)
        _add_option(parser, argument.arg, annotation)
    parser.add_argument("--help", action="store_true", help="Say this and end.")
    return parser


def _statements(path: Path) -> list[ast.stmt]:
    return ast.parse(path.read_text(encoding="utf-8")).body


def _add_option(parser: argparse.ArgumentParser, name: str, annotation: Any) -> None:
    """Add `Annotated[type, typer.Option("--a/--no-a", help="…")]`; of a positional nothing."""
    kind, declared = annotation.slice.elts[:2]
    if ast.unparse(declared.func) != "typer.Option":
        return
    spelt = [value.value for value in declared.args] or ["--" + name.replace("_", "-")]
    texts = [word.value.value for word in declared.keywords if word.arg == "help"]
    option, _, opposite = spelt[0].partition("/")
    parts: dict[str, Any] = {"dest": name, "help": texts[0].replace("%", "%%")}
    if not ast.unparse(kind).startswith("bool"):
        parts |= {"metavar": "VALUE", "default": ""}
    elif opposite:
        parts |= {"action": argparse.BooleanOptionalAction}
    else:
        parts |= {"action": "store_true"}
    parser.add_argument(option, **parts)


def check_subject(path: str, *, author: str, home: Path, samples: Path) -> None:
    """Whether there are posts at the path, and somebody says whose they are.

    Args:
        path: as given; "": the author named, or served last, or the bundled one.
        samples: folder of the bundled authors.

    Raises:
        TwinError: worded as `twin up` would, an installation later (`commands/subject.py`).
    """
    known = {file.stem: _toml(file) for file in sorted((home / "authors").glob("*.toml"))}
    if not path:
        bundled = sorted(folder.parent.name for folder in samples.glob("*/author.toml"))
        if author and slug_of(author) not in {*known, *bundled}:
            raise TwinError(
                f"find the author {author!r}",
                found="no author of this home, and the samples are: " + ", ".join(bundled),
                next_step='name a folder: deploy/up.sh PATH --author "First Last"',
            )
        return
    source, named = path, ""
    if not path.startswith(ADDRESSES):
        folder = Path(path).expanduser().absolute()
        if not folder.exists():
            nearest = next(parent for parent in folder.parents if parent.exists())
            raise TwinError(
                f"read the posts in {path}",
                found=f"there is no such file or folder ({nearest} exists)",
                next_step="name the folder that holds the posts",
            )
        source, named = str(folder.resolve()), _toml(folder / "author.toml").get("name", "")
    owned = any(source in document.get("sources", ()) for document in known.values())
    if not (author or named or owned):
        raise TwinError(
            f"read the posts in {path}",
            found="nobody says whose they are",
            next_step='add --author "First Last"',
        )


def _toml(path: Path) -> dict[str, Any]:
    """A TOML file; empty when there is none or it is broken: `twin up` says how."""
    import tomllib  # here: a Python without it is refused by the preflight

    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError):
        return {}


def main(arguments: Sequence[str]) -> int:
    """Answer, refuse or let pass; see the exit codes above."""
    deploy = Path(__file__).resolve().parents[1]
    parser = parser_of("up", deploy / "twin_cli")
    given = parser.parse_args(arguments)
    if given.help:
        sys.stdout.write(parser.format_help())
        return ANSWERED
    if given.demo_loop or sys.version_info < (3, 11):  # too old a Python: the preflight says so
        return 0
    try:
        home = Path(given.home or os.environ.get("TWIN_HOME") or ".twin").expanduser()
        check_subject(given.path, author=given.author, home=home, samples=deploy / "samples")
        if given.answer_model not in {"", NONE}:
            check_name(given.answer_model, key=os.environ.get(KEY_VARIABLE, ""))
    except TwinError as error:
        sys.stderr.write(f"Cannot go on. {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
