"""Test that nothing a reader or a model wrote can control the owner's terminal."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from rich.progress import Progress, TextColumn
from rich.text import Text
from rich.tree import Tree
from twin_cli.commands.answer_history import build_explanation_tree, format_score
from twin_cli.commands.console import SafeConsole, echo, make_console
from twin_cli.commands.logs import run_logs
from twin_cli.commands.presentation import format_passage, make_table
from twin_cli.commands.terminal_questions import ask_yes_or_no

from tests.unit.commands.test_traces_command import run_command as run_command  # noqa: PLC0414
from tests.unit.trace_store.conftest import Store
from tests.unit.trace_store.conftest import store as store  # noqa: PLC0414
from tests.unit.trace_store.test_trace_reading import make_span
from twin_resources.observability.langfuse.trace_reading import Score
from twin_resources.registry.explanation import Explanation
from twin_resources.settings import Settings

HOSTILE = {
    "clears the screen": "\x1b[2J\x1b[H",
    "sets the title": "\x1b]0;PWN\x07",
    "writes to the clipboard": "\x1b]52;c;UFdO\x1b\\",
    "a link": "\x1b]8;;https://evil.example\x07",
    "eight-bit CSI and OSC": "\x9b2J\x9d0;PWN\x9c",
    "device control": "\x1bP$q\x1b\\\x90x\x9c",
    "backspaces": "harmless\b\b\b\b\b\b\b\b",
    "overwrites the line": "\rPWN",
    "rings": "\x07\x07",
    "NUL and delete": "\x00\x7f",
    "right-to-left override": "\u202etxt.exe\u202c",
    "isolates and marks": "\u2066\u2067\u2068\u2069\u200e\u200f\u061c",
    "line separators": "\u2028\u2029\x85\x0b\x0c",
    "tags": "\U000e0001\U000e0041",
    "half of a pair": "\ud800",
}
CONTROL = re.compile(
    "[\0-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u206f"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)
_SPINE = {"question": "", "answer": "", "model": {}, "manifest": {}, "passages": ()}


def _table(text: str) -> Any:
    table = make_table("question", "trace")
    table.add_row(text, "0" * 32)
    return table


def _explanation(text: str) -> Tree:
    trace = {"twin.author": text, "twin.version": text, "twin.route": text, "twin.routing": text}
    fields = _SPINE | {"question": text, "answer": text, "trace_id": text, "trace": trace}
    return build_explanation_tree(Explanation(**fields))  # type: ignore[arg-type]


RENDERABLES: dict[str, Callable[[str], Any]] = {
    "a string": str,
    "a text with a style": lambda text: Text(text, "bold"),
    "a cell": _table,
    "an explanation": _explanation,
    "a quotation": format_passage,
    "a score": lambda text: format_score(Score(text, text)),
    "a column's title": lambda text: make_table(text, text),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_is_printed_without_its_controls(name: str) -> None:
    hostile = f"before {HOSTILE[name]} after"
    for kind, build in RENDERABLES.items():
        output = io.StringIO()
        console = SafeConsole(file=output, width=200, markup=False, highlight=False)
        console.print(build(hostile))
        console.print(build(hostile), style="dim", soft_wrap=True)
        assert not CONTROL.search(output.getvalue()), kind
    questions: list[str] = []
    ask_yes_or_no(hostile, "", read_line=lambda question: questions.append(question) or "no")
    assert not CONTROL.search("".join(questions))


@pytest.mark.parametrize("name", HOSTILE)
def test_json_escapes_what_a_terminal_obeys_and_keeps_the_value(name: str) -> None:
    output = io.StringIO()
    data = {HOSTILE[name]: [f"a {HOSTILE[name]} b"], "plain": "Größe \N{GRINNING FACE}"}
    SafeConsole(file=output, width=20).print_json(data=data)
    assert not CONTROL.search(output.getvalue())
    assert "Größe \N{GRINNING FACE}" in output.getvalue()
    assert json.loads(output.getvalue()) == data


def test_in_a_terminal_only_richs_own_sequences_are_written() -> None:
    output = io.StringIO()
    console = SafeConsole(file=output, width=100, force_terminal=True, color_system="standard")
    console.print("red", style="red")
    with Progress(TextColumn("{task.description}"), console=console) as progress:
        progress.add_task("".join(HOSTILE.values()), total=None)
        progress.refresh()
    sequences = set(re.findall(r"\x1b[^A-Za-z]*[A-Za-z]", output.getvalue()))
    assert "\x1b[31m" in sequences
    assert sequences <= {"\x1b[31m", "\x1b[0m", "\x1b[2K", "\x1b[1A", "\x1b[?25l", "\x1b[?25h"}


def test_a_table_of_hostile_cells_stays_in_its_columns() -> None:
    output = io.StringIO()
    table = make_table("question", "trace")
    for text in ("short", *HOSTILE.values()):
        table.add_row(f"x{text}y", "here")
    SafeConsole(file=output, width=60).print(table)
    columns = {line.index("here") for line in output.getvalue().splitlines() if "here" in line}
    assert len(columns) == 1


def test_echo_errors_and_logs_are_printed_without_controls(
    home: Settings, capfd: pytest.CaptureFixture[str]
) -> None:
    hostile = "".join(HOSTILE.values())
    echo(hostile)
    echo(hostile, err=True)
    make_console().print(hostile)
    home.logs_dir.mkdir()
    log = home.logs_dir / "gateway.log"
    log.write_bytes(hostile.encode("utf-8", "surrogatepass") + b"\xff\n")
    run_logs(home, "gateway", line_count=5, follow=False, log=echo)
    output, errors = capfd.readouterr()
    assert not CONTROL.search(output + errors)
    command = [sys.executable, "-m", "twin_cli", "ask", "--author", "\x1b[2J\u202ex", "Why?"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode != 0
    assert not CONTROL.search(result.stdout + result.stderr)


def test_traces_prints_a_hostile_question_harmlessly(store: Store, run_command: Any) -> None:
    hostile = "".join(HOSTILE.values()).replace("\ud800", "")
    messages = [{"role": "user", "content": f"Question: Why {hostile}?"}]
    store.post_spans(make_span(1, **{"langfuse.observation.input": json.dumps(messages)}))
    table, document = run_command(), run_command(as_json=True)
    assert not CONTROL.search(table + document)
    assert "PWN" in table
    assert "Why" in json.loads(document)["traces"][0]["question"]
