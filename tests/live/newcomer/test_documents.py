"""README and docs, line by line, in an environment that has only the wheel."""

from __future__ import annotations

import pytest

from tests.live.newcomer.conftest import Newcomer
from tests.live.newcomer.documents import LINES, OWN, Typed, blocks

pytestmark = [pytest.mark.live, pytest.mark.timeout(900)]
PYTHON = blocks("python")


@pytest.mark.parametrize("line", [line for line, row in LINES.items() if isinstance(row, Typed)])
def test_a_line_of_a_document(
    newcomer: Newcomer, line: str, request: pytest.FixtureRequest
) -> None:
    row = LINES[line]
    assert isinstance(row, Typed)
    if row.on_stack:
        request.getfixturevalue("started")
    typed = row.line or line
    if "$OPENAI" in typed:
        typed = f"source .twin/env\n{typed}"
    ran = newcomer.type(typed)
    assert ran.returncode == row.code, ran.stdout
    assert row.says in ran.stdout, ran.stdout


@pytest.mark.drawn(1)
@pytest.mark.parametrize("number", range(len(PYTHON)), ids=[name for name, _ in PYTHON])
def test_a_python_block(newcomer: Newcomer, number: int) -> None:
    document, text = PYTHON[number]
    for placeholder, own in OWN.items():
        text = text.replace(placeholder, own)
    script = newcomer.work / f"{number}.py"
    script.write_text(text)
    home = newcomer.work / f"home of {number}"
    ran = newcomer.run("python", str(script), TWIN_HOME=str(home))
    assert ran.returncode == 0, (document, ran.stdout)
