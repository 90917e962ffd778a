"""README and docs: each line says how the newcomer's live tests run it, each command is one.

What is typed for real is in `tests/live/newcomer`; a line that nobody runs is found here at once.
"""

from __future__ import annotations

import json
import re
import shlex

import pytest
import typer
from twin_cli.running import app

from tests.live.newcomer.commands import Elsewhere
from tests.live.newcomer.conftest import ROOT
from tests.live.newcomer.documents import LINES, block_lines, blocks, inline_commands


def other_lines() -> list[str]:
    """Lines of blocks, and commands in the text that are not `twin`'s own."""
    inline = [line for line in inline_commands() if not line.startswith("twin ")]
    return list(dict.fromkeys([*block_lines(), *inline]))


def test_every_line_says_how_it_is_run() -> None:
    """A new line: write in `documents.py` how it is run, if only `Typed()`."""
    assert [line for line in other_lines() if line not in LINES] == []
    for row in LINES.values():
        if isinstance(row, Elsewhere):
            assert (ROOT / row.test).is_file()


def test_no_row_is_left_over() -> None:
    assert set(LINES) - set(other_lines()) == set()


@pytest.mark.parametrize("command", [c for c in inline_commands() if c.startswith("twin ")])
def test_a_command_in_the_text_is_one_that_there_is(command: str) -> None:
    """Its name and options; each command is run for real in `test_last_commands.py`."""
    _, *words = shlex.split(command.replace("…", "x"))
    known = typer.main.get_command(app)
    own = {name for parameter in known.params for name in parameter.opts} | {"--help"}
    if words[0].startswith("-"):
        assert {words[0]} <= own
        return
    if words[0] == "COMMAND":
        return
    assert words[0] in known.commands, words[0]  # type: ignore[attr-defined]
    meant = known.commands[words[0]]  # type: ignore[attr-defined]
    of_a_group = getattr(meant, "commands", {})  # as `twin keys add`
    parameters = (of_a_group[words[1]] if of_a_group and len(words) > 1 else meant).params
    options = {
        name for parameter in parameters for name in (*parameter.opts, *parameter.secondary_opts)
    }
    given = {word.partition("=")[0] for word in words[1:] if word.startswith("-")}
    assert given <= options | {"--help"} or words[0] == "check"


def test_json_in_the_documents_is_json() -> None:
    found = blocks("json")
    assert found
    for document, text in found:
        assert json.loads(text), document


def test_no_line_is_hidden_from_these_tests() -> None:
    """A block without a language that begins like a command would be run by nobody."""
    for _, text in blocks(""):
        assert not re.match(r"\$? ?(bash|pip|python3?|curl|source|docker) ", text)
