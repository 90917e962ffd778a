"""Test that `twin up` asks once whether a frequent byline is an alias, and applies the answer."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from twin_cli.commands.preview_report import run_preview
from twin_cli.commands.progress_display import ProgressDisplay
from twin_cli.commands.subject import SelectedAuthor, save_subject
from twin_cli.commands.terminal_questions import add_aliases

from twin_assets.corpus.preview_tables import open_preview_tables
from twin_resources.authors import Author, read_author
from twin_resources.settings import Settings

SENTENCES = (
    "The clock in the hall had stopped, and nobody could say when it had done so.",
    "My boat leaks at the stern, which is a pity, because I had just painted it.",
    "They sell lamps at the harbour now; we used to sell ropes and lanterns there.",
    "A ladder leans on the wall of the mill, and has done since the winter of snow.",
)


@pytest.fixture
def posts(tmp_path: Path) -> Path:
    """Write three posts by Maud Ek and one by Ann Lee."""
    folder = tmp_path / "letters" / "_posts"
    folder.mkdir(parents=True)
    for number, text in enumerate(SENTENCES):
        name = "Ann Lee" if number == 3 else "Maud Ek"
        post = f"---\ntitle: Letter {number}\nauthor: {name}\n---\n\n{text} {text[::-1]}\n"
        (folder / f"2020-01-0{number + 1}-letter.md").write_text(post)
    return folder.parent


def answer_questions(
    settings: Settings, posts: Path, typed_lines: list[str], *, is_interactive: bool = True
) -> Any:
    """Answer the questions with these lines; return author, preview, questions and output."""
    lines = iter(typed_lines)
    questions: list[str] = []
    output = io.StringIO()

    def read_line(question: str) -> str:
        questions.append(question)
        line = next(lines, None)
        if line is None:
            raise EOFError
        return line

    subject = SelectedAuthor(
        Author("ann-lee", "Ann Lee", sources=(str(posts),)), posts, is_new=True
    )
    display = ProgressDisplay(Console(file=output, width=1000))
    with open_preview_tables(settings) as tables:
        preview = run_preview(settings, subject, display, tables)
        subject, preview = add_aliases(
            settings,
            subject,
            preview,
            tables,
            display=display,
            is_interactive=is_interactive,
            read_line=read_line,
        )
    save_subject(settings, subject)
    return read_author(settings, "ann-lee"), preview, questions, output.getvalue()


def test_a_confirmed_alias_is_saved_and_its_posts_are_counted(home: Settings, posts: Path) -> None:
    author, preview, questions, output = answer_questions(home, posts, ["maybe", " Yes"])
    assert author.aliases == ("Maud Ek",)
    assert questions[0].startswith("Maud Ek signed 3 posts. Is that another name for Ann Lee?")
    assert "is not an answer; type yes or no" in questions[1]
    assert (preview.kept, preview.unclaimed) == (4, {})
    assert "aliases = ['Maud Ek']" in output
    assert "4 usable" in output


@pytest.mark.parametrize("typed_lines", [["no"], [""], [], ["what", "who", "why"]])
def test_any_answer_except_yes_excludes_the_posts(
    home: Settings, posts: Path, typed_lines: list[str]
) -> None:
    author, preview, _, _ = answer_questions(home, posts, typed_lines)
    assert author.aliases == ()
    assert (preview.kept, preview.dropped) == (1, {"foreign_byline": 3})


def test_a_rejected_name_is_asked_about_only_once(home: Settings, posts: Path) -> None:
    for typed_lines in ([], ["what", "who", "why"], ["no"]):  # the first two are not answers
        assert answer_questions(home, posts, typed_lines)[2] != []
    _, preview, questions, _ = answer_questions(home, posts, ["yes"])
    assert (questions, preview.dropped) == ([], {"foreign_byline": 3})


def test_without_a_terminal_the_output_names_the_setting(home: Settings, posts: Path) -> None:
    author, preview, questions, _ = answer_questions(home, posts, ["yes"], is_interactive=False)
    assert (author.aliases, questions) == ((), [])
    assert any(
        'aliases = ["Maud Ek"] to authors/ann-lee.toml' in warning for warning in preview.warnings
    )


@pytest.mark.parametrize(
    ("typed_lines", "aliases", "kept"), [(["yes"], ("unsigned",), 3), (["no"], (), 1)]
)
def test_unsigned_posts_among_those_of_others_are_asked_about_once(
    home: Settings, posts: Path, typed_lines: list[str], aliases: tuple[str, ...], kept: int
) -> None:
    for number in (0, 1):
        path = posts / "_posts" / f"2020-01-0{number + 1}-letter.md"
        path.write_text(path.read_text().replace("author: Maud Ek\n", ""))
    author, preview, questions, _ = answer_questions(home, posts, typed_lines)
    assert questions[0].startswith(
        "Nobody signed 2 posts, and others write in the same place. Did Ann Lee write them?"
    )
    assert (author.aliases, preview.kept) == (aliases, kept)
    if not aliases:
        assert answer_questions(home, posts, [])[2] == []
