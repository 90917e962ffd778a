"""Test each line of README and docs in an environment with only the wheel."""

from __future__ import annotations

import pytest

from tests.live.newcomer.conftest import Newcomer
from tests.live.newcomer.documents import LINES, PLACEHOLDERS, Line, read_blocks
from twin_resources.observability.langfuse.connection import find_trace_store
from twin_resources.settings import load_secrets

pytestmark = [pytest.mark.live, pytest.mark.timeout(900)]
PYTHON_BLOCKS = read_blocks("python")


@pytest.mark.parametrize("line", [line for line, row in LINES.items() if isinstance(row, Line)])
def test_a_documented_line_works(
    newcomer: Newcomer, line: str, request: pytest.FixtureRequest
) -> None:
    row = LINES[line]
    assert isinstance(row, Line)
    if row.needs_stack:
        request.getfixturevalue("started_stack")
    command = row.line or line
    if "$OPENAI" in command:
        command = f"source .twin/env\n{command}"
    completed = newcomer.type_line(command)
    assert completed.returncode == row.code, completed.stdout
    assert row.output in completed.stdout, completed.stdout


@pytest.mark.parametrize(
    "number", range(len(PYTHON_BLOCKS)), ids=[name for name, _ in PYTHON_BLOCKS]
)
def test_a_documented_python_block_runs(
    newcomer: Newcomer, number: int, request: pytest.FixtureRequest
) -> None:
    document, text = PYTHON_BLOCKS[number]
    environ: dict[str, str] = {}
    if "LANGFUSE_HOST" in text:  # the embedded store answers such calls as Langfuse does
        request.getfixturevalue("started_stack")
        store = find_trace_store(newcomer.settings, load_secrets(newcomer.settings))
        environ = {
            "LANGFUSE_HOST": store.host,
            "LANGFUSE_PUBLIC_KEY": store.public_key,
            "LANGFUSE_SECRET_KEY": store.secret_key,
        }
    for placeholder, value in PLACEHOLDERS.items():
        text = text.replace(placeholder, value)
    script = newcomer.work_dir / f"{number}.py"
    script.write_text(text)
    home = newcomer.work_dir / f"home of {number}"
    completed = newcomer.run("python", str(script), TWIN_HOME=str(home), **environ)
    assert completed.returncode == 0, (document, completed.stdout)
