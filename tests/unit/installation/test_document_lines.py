"""Test that the live tests know how to run each line of the documents, and that commands exist.

The newcomer tests in `tests/live/newcomer` run the lines; this test finds unlisted lines quickly.
"""

from __future__ import annotations

import json
import re
import shlex

import pytest
import typer
from twin_cli.running import app

from tests.live.newcomer.commands import OtherTest
from tests.live.newcomer.conftest import ROOT
from tests.live.newcomer.documents import (
    LINES,
    NOT_TYPED,
    list_block_lines,
    list_inline_commands,
    read_blocks,
)


def list_lines_to_run() -> list[str]:
    """Return the lines of blocks, and the commands in the text other than `twin`."""
    inline = [line for line in list_inline_commands() if not line.startswith("twin ")]
    lines = dict.fromkeys([*list_block_lines(), *inline])
    return [line for line in lines if not line.startswith(NOT_TYPED)]


def test_every_line_is_listed_with_its_test() -> None:
    """For a new line, state in `documents.py` how it is run, at least with `Line()`."""
    assert [line for line in list_lines_to_run() if line not in LINES] == []
    for row in LINES.values():
        if isinstance(row, OtherTest):
            assert (ROOT / row.test).is_file()


def test_every_listed_line_is_in_the_documents() -> None:
    assert set(LINES) - set(list_lines_to_run()) == set()


@pytest.mark.parametrize(
    "command", [line for line in list_inline_commands() if line.startswith("twin ")]
)
def test_commands_and_options_in_the_text_exist(command: str) -> None:
    """Only names and options are checked; `test_last_commands.py` runs each command."""
    _, *words = shlex.split(command.replace("…", "x"))
    group = typer.main.get_command(app)
    group_options = {name for parameter in group.params for name in parameter.opts} | {"--help"}
    if words[0].startswith("-"):
        assert {words[0]} <= group_options
        return
    if words[0] == "COMMAND":
        return
    assert words[0] in group.commands, words[0]  # type: ignore[attr-defined]
    entry = group.commands[words[0]]  # type: ignore[attr-defined]
    subcommands = getattr(entry, "commands", {})  # such as `twin keys add`
    parameters = (subcommands[words[1]] if subcommands and len(words) > 1 else entry).params
    options = {
        name for parameter in parameters for name in (*parameter.opts, *parameter.secondary_opts)
    }
    used_options = {word.partition("=")[0] for word in words[1:] if word.startswith("-")}
    assert used_options <= options | {"--help"} or words[0] == "check"


def test_json_in_the_documents_is_valid() -> None:
    json_blocks = read_blocks("json")
    assert json_blocks
    for document, text in json_blocks:
        assert json.loads(text), document


def test_every_block_of_commands_has_a_language() -> None:
    """No test would run commands in a block without a language."""
    for _, text in read_blocks(""):
        assert not re.match(r"\$? ?(bash|pip|python3?|curl|source|docker) ", text)
