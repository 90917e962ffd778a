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

import ast
import difflib
import os
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

if not __package__:  # run as a file, isolated (-I): the project is not on the path yet
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from twin_resources.errors import TwinError
from twin_resources.slugs import slug_of
from twin_resources.storage.weights.answer_model import KEY_VARIABLE, NONE, check_name

ANSWERED = 64
WRONG_USAGE = 2
ADDRESSES = ("s3:/", "http:/", "https:/")
ONLY_WITH_ITSELF = "--demo-loop"
HELP = "--help"


@dataclass(frozen=True)
class Option:
    """One option: its spellings, whether a value follows, and what `twin up --help` says of it."""

    names: tuple[str, ...]
    takes_value: bool
    text: str


class WrongUsage(Exception):
    """An argument that `twin up` does not take."""


def options_of(command: str, folder: Path) -> tuple[str, list[Option]]:
    """What a command of `twin_cli/stack_group.py` does, in one line, and its options in order.

    Args:
        command: name of its function.
        folder: holds `stack_group.py` and `arguments.py`.
    """
    shared = {
        target.id: node.value
        for node in ast.parse((folder / "arguments.py").read_text(encoding="utf-8")).body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    [function] = [
        node
        for node in ast.parse((folder / "stack_group.py").read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef) and node.name == command
    ]
    options = []
    for argument in function.args.args + function.args.kwonlyargs:
        annotation = argument.annotation
        if isinstance(annotation, ast.Name):
            annotation = shared.get(annotation.id, annotation)
        option = _option(argument.arg, annotation)
        if option is not None:
            options.append(option)
    summary = (ast.get_docstring(function) or "").partition("\n")[0]
    return summary, [*options, Option((HELP,), False, "Say this and end.")]


def _option(name: str, annotation: Any) -> Option | None:
    """Read `Annotated[type, typer.Option("--a/--no-a", help="…")]`; None: a positional argument."""
    if not (isinstance(annotation, ast.Subscript) and isinstance(annotation.slice, ast.Tuple)):
        return None
    kind, declared = annotation.slice.elts[:2]
    if not (isinstance(declared, ast.Call) and ast.unparse(declared.func) == "typer.Option"):
        return None
    spelt = [value.value for value in declared.args if isinstance(value, ast.Constant)]
    names = [part for value in spelt for part in str(value).split("/")]
    texts = [word.value for word in declared.keywords if word.arg == "help"]
    text = texts[0].value if texts and isinstance(texts[0], ast.Constant) else ""
    return Option(
        tuple(names) or ("--" + name.replace("_", "-"),),
        not ast.unparse(kind).startswith("bool"),
        str(text),
    )


def read(arguments: Sequence[str], options: Sequence[Option]) -> dict[str, Any]:
    """Path and options of a command line.

    Returns:
        `path` ("" without one) and each option by its first name; a flag is True, an option that
        was not given is absent.

    Raises:
        WrongUsage: an option that there is not, one without its value, or a second path.
    """
    by_name = {name: option for option in options for name in option.names}
    values: dict[str, Any] = {"path": ""}
    waiting, plain = list(arguments), False
    while waiting:
        argument = waiting.pop(0)
        if argument == "--" and not plain:
            plain = True
        elif argument.startswith("-") and argument != "-" and not plain:
            name, equals, value = argument.partition("=")
            option = by_name.get(name)
            if option is None:
                raise WrongUsage(f"No such option: {name}{_nearest(name, list(by_name))}")
            if not option.takes_value:
                if equals:
                    raise WrongUsage(f"Option {name} takes no value.")
                values[option.names[0]] = name == option.names[0]
                continue
            if not equals and not waiting:
                raise WrongUsage(f"Option {name} needs a value.")
            values[option.names[0]] = value if equals else waiting.pop(0)
        elif values["path"]:
            raise WrongUsage(
                f"A second path: {argument}. Several folders of an author: import them one after "
                "another."
            )
        else:
            values["path"] = argument
    return values


def _nearest(name: str, names: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, names, n=1)
    return f". Did you mean {close[0]}?" if close else ""


def check_subject(path: str, *, author: str, home: Path, samples: Path) -> None:
    """Whether there are posts at the path, and somebody says whose they are.

    Args:
        path: as given; "": the author named, or served last, or the bundled one.
        samples: folder of the bundled authors.

    Raises:
        TwinError: worded as `twin up` would, an installation later (`commands/subject.py`).
    """
    known = _described(home / "authors")
    if not path:
        bundled = sorted(folder.parent.name for folder in samples.glob("*/author.toml"))
        if author and slug_of(author) not in {*known, *bundled}:
            raise TwinError(
                f"find the author {author!r}",
                found="no author of this home, and the samples are: " + ", ".join(bundled),
                next_step='name a folder: deploy/up.sh PATH --author "First Last"',
            )
        return
    if path.startswith(ADDRESSES):
        source = path
        named = ""
    else:
        folder = Path(path).expanduser().absolute()
        if not folder.exists():
            nearest = next(parent for parent in folder.parents if parent.exists())
            raise TwinError(
                f"read the posts in {path}",
                found=f"there is no such file or folder ({nearest} exists)",
                next_step="name the folder that holds the posts",
            )
        source = str(folder.resolve())
        named = str(_toml(folder / "author.toml").get("name", ""))
    owned = any(source in document.get("sources", ()) for document in known.values())
    if not (author or named or owned) and _can_read_toml():
        raise TwinError(
            f"read the posts in {path}",
            found="nobody says whose they are",
            next_step='add --author "First Last"',
        )


def _described(folder: Path) -> dict[str, dict[str, Any]]:
    """Slug → what the file of an author of this home says."""
    return {path.stem: _toml(path) for path in sorted(folder.glob("*.toml"))}


def _can_read_toml() -> bool:
    return sys.version_info >= (3, 11)  # an older Python is refused by the preflight


def _toml(path: Path) -> dict[str, Any]:
    """A TOML file; empty when there is none or it is broken: `twin up` says how."""
    if not _can_read_toml() or not path.is_file():
        return {}
    import tomllib

    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        return {}


def as_help(summary: str, options: Sequence[Option]) -> str:
    """What `deploy/up.sh --help` prints."""
    lines = [
        "Usage: bash deploy/up.sh [PATH] [OPTIONS]",
        "",
        summary,
        "Without .venv it is installed first; PATH is a folder of posts, an export, s3://… or a "
        "feed,",
        "and without one the bundled sample author.",
        "",
    ]
    for option in options:
        spelt = " / ".join(option.names) + (" VALUE" if option.takes_value else "")
        text = textwrap.wrap(option.text, 62) or [""]
        lines.append(f"  {spelt:<34} {text[0]}".rstrip())
        lines += [" " * 37 + line for line in text[1:]]
    return "\n".join(
        [*lines, "", 'Example: bash deploy/up.sh ~/blog/posts --author "Ada Lovelace"']
    )


def main(arguments: Sequence[str]) -> int:
    """Answer, refuse or let pass; see the exit codes above."""
    here = Path(__file__).resolve().parent
    summary, options = options_of("up", here.parent / "twin_cli")
    try:
        given = read(arguments, options)
        if given.get(HELP):
            sys.stdout.write(as_help(summary, options) + "\n")
            return ANSWERED
        if not given.get(ONLY_WITH_ITSELF):
            home = given.get("--home") or os.environ.get("TWIN_HOME") or ".twin"
            check_subject(
                given["path"],
                author=given.get("--author", ""),
                home=Path(home).expanduser(),
                samples=here.parent / "samples",
            )
            answer_model = given.get("--answer-model", NONE)
            if answer_model != NONE:
                check_name(answer_model, key=os.environ.get(KEY_VARIABLE, ""))
    except WrongUsage as wrong:
        sys.stderr.write(f"{wrong}\nSee: bash deploy/up.sh --help\n")
        return WRONG_USAGE
    except TwinError as error:
        sys.stderr.write(f"Cannot go on. {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
