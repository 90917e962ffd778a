"""Test that the generated pages match the current program."""

from __future__ import annotations

from pathlib import Path

import pytest
from twin_cli.running import app
from typer.main import get_command

from tests.unit.documents.references import render_pages

PAGES = render_pages()


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_a_generated_page_is_up_to_date(path: Path) -> None:
    text = path.read_text(encoding="utf-8")

    assert text == PAGES[path], "run `python -m tests.unit.documents.references`"


def test_every_command_and_option_has_a_row() -> None:
    [page] = [text for path, text in PAGES.items() if path.name == "command.md"]

    for name, command in get_command(app).commands.items():  # type: ignore[attr-defined]
        section = page.partition(f"\n### `twin {name}`\n")[2].partition("\n### ")[0]
        assert section, name
        for parameter in command.params:
            for option in {*parameter.opts, *parameter.secondary_opts} - {"--help"}:
                assert f"`{option}`" in section, (name, option)
