"""Test the text that commands print for a person."""

from __future__ import annotations

import io
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console
from twin_cli.commands import progress_display as display_module
from twin_cli.commands.console import format_command
from twin_cli.commands.presentation import (
    MAX_SHOWN_CHARACTERS,
    format_endpoints,
    format_passage,
    format_quotation,
    format_verdict,
)
from twin_cli.commands.preview_report import too_small_reason
from twin_cli.commands.progress_display import ProgressDisplay
from twin_cli.commands.questions import EndpointAnswer

from tests.unit.commands.test_endpoints import make_endpoints
from twin_resources.processes.wording import format_duration
from twin_resources.registry.moves import GateClaim, Verdict

QUOTE = {"text": "To polish is to *remove*.", "title": "On [bold]clocks[/]", "published_at": ""}


def test_a_first_answer_shows_a_quotation_and_its_post() -> None:
    dated_answer = EndpointAnswer("How?", "", quotes=(QUOTE | {"published_at": "2019-10-20"},))
    assert format_quotation(dated_answer).splitlines() == [
        "How?",
        "  “To polish is to *remove*.”",
        "   — On [bold]clocks[/], 2019-10-20",
    ]
    untitled_answer = EndpointAnswer("How?", "", quotes=({"text": "Slowly.", "document_id": "d1"},))
    assert format_quotation(untitled_answer).endswith("— d1")


WORDS = "Take the pendulum off, carry it upright, and drive as though someone were asleep."


@pytest.mark.parametrize("max_characters", range(20, len(WORDS) + 20, 3))
def test_a_passage_of_any_length_is_cut_after_a_word(max_characters: int) -> None:
    passage = " ".join(format_passage(WORDS, max_characters=max_characters).split())
    assert passage[0] + passage[-1] == "“”"
    if max_characters >= len(WORDS):
        assert passage[1:-1] == WORDS
        return
    text = passage[1:-1].removesuffix(" …")
    assert WORDS.startswith(text)
    assert re.match(r"\s|\Z", WORDS[len(text) :]), "cut in the middle of a word"
    assert len(text) <= max_characters


def test_a_passage_without_spaces_is_shown() -> None:
    """Japanese text has no spaces, so a cut after a word would leave nothing."""
    text = "時計を運ぶときは、まず振り子を外す。" * 40
    passage = "".join(format_passage(text).split())
    assert passage == f"“{text[:MAX_SHOWN_CHARACTERS]}…”"


def test_a_verdict_is_one_line_without_figures() -> None:
    claims = (
        GateClaim("beats_base_model", True, 0.717, 1.0, "perplexity .717 (95 % .70 to .74)"),
        GateClaim("says_what_the_posts_say", False, 0.92, 0.2, "", blocks="voice"),
        GateClaim("keeps_the_basics", None, None, 1.05, "not decided"),
    )
    verdict = Verdict("ada", "abcdef0123456789", "3", "not_decided", claims, "2026-01-01")
    assert format_verdict(verdict) == (
        "the gate: 1 of 3 claims passed; not met: says what the posts say, keeps the basics"
    )


def test_the_last_lines_show_no_key() -> None:
    endpoints = make_endpoints(Path("/h"))
    commands = {"stop_command": ".venv/bin/twin stop", "open_command": ".venv/bin/twin open"}
    lines = format_endpoints(endpoints, Path("/h"), **commands)
    assert len(lines.splitlines()) == 4
    for text in (".venv/bin/twin open", ".venv/bin/twin stop", endpoints.gateway):
        assert text in lines
    assert endpoints.gateway_key not in lines
    assert endpoints.traces_secret_key not in lines


def test_a_command_is_shown_as_the_user_must_type_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = Path(sys.executable).with_name("twin")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("TWIN_HOME", str(tmp_path / "h"))
    monkeypatch.chdir(program.parent.parent)
    assert format_command("stop", home=tmp_path / "h") == f"{program.parent.name}/twin stop"
    monkeypatch.chdir(tmp_path)
    assert format_command("stop", home=tmp_path / "h") == f"{program} stop"
    assert format_command("stop", home=tmp_path / "o h").endswith(f"stop --home '{tmp_path}/o h'")


def test_the_display_prints_plain_lines_to_a_pipe() -> None:
    output = io.StringIO()
    display = ProgressDisplay(Console(file=output, width=100))
    display.begin_stage(1, "preflight")
    display.log("two\nlines [not markup]")
    with display.bar("train") as bar:
        bar.update("step 1", done=1, total=2)  # not printed within the first 12 s
    display.begin_stage(2, "preview")
    display.finish()
    terminal_text = output.getvalue()
    assert "[1/6] preflight" in terminal_text
    assert "[not markup]" in terminal_text
    assert "step 1" not in terminal_text
    assert (format_duration(7), format_duration(754), format_duration(3723)) == (
        "0:07",
        "12:34",
        "1:02:03",
    )


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_waits_are_reported_at_intervals_until_the_last_stage_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A stage without a bar is reported too; a bar adds the elapsed time and the time left."""
    monkeypatch.setattr(display_module, "LOG_WAIT_REPORT_INTERVAL_S", 0.2)
    monkeypatch.setattr(display_module, "REFRESH_INTERVAL_S", 0.05)
    output = io.StringIO()
    display = ProgressDisplay(Console(file=output, width=100))
    with display.report_waits():
        display.begin_stage(1, "prepare and start")
        wait_until(lambda: output.getvalue().count("prepare and start: still running") >= 2)
        with display.bar("train") as bar:
            bar.begin_phase("fine tuned checkpoint")
            bar.update("step 1/2  loss 2.00", done=1, total=2, remaining_s=(62, 190))
            wait_until(lambda: "fine tuned checkpoint" in output.getvalue())
        display.finish()
        final_text = output.getvalue()
        time.sleep(0.5)
    lines = [line for line in final_text.splitlines() if "fine tuned checkpoint" in line]
    assert re.search(r"50 %  step 1/2  loss 2\.00  0:0\d, 1 to 4 minutes left", lines[0])
    assert output.getvalue() == final_text, "a line was printed after the last stage"


def test_the_interval_of_wait_reports_in_a_log_doubles(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An hour of training prints six lines, or 300 with `--verbose`; a preview one each 3 s."""
    now = [0.0]
    monkeypatch.setattr(display_module.time, "monotonic", lambda: now[0])
    for verbose, interval_s, line_count in ((False, None, 6), (True, None, 300), (False, 3, 1200)):
        output = io.StringIO()
        display = ProgressDisplay(Console(file=output, width=100), verbose=verbose)
        with display.bar("train", log_interval_s=interval_s) as bar:
            for _ in range(3600):
                now[0] += 1.0
                bar.update("step")
        assert len(output.getvalue().splitlines()) == line_count


def test_a_corpus_too_small_for_training_is_reported() -> None:
    assert too_small_reason(6, 31_081) == "", "six long essays are enough"
    requirement = "training needs at least 15,000 words in 2 posts"
    assert too_small_reason(40, 14_999) == f"40 usable posts, 14,999 words; {requirement}"
    assert too_small_reason(1, 50_000) == f"1 usable post, 50,000 words; {requirement}"


def test_a_terminal_gets_a_live_bar() -> None:
    output = io.StringIO()
    display = ProgressDisplay(Console(file=output, force_terminal=True, width=100, height=20))
    with display.bar("train") as bar:
        bar.update("waiting for its turn")
        bar.update("step 1/2  loss 3.10", done=1, total=2)
        display.log("a line above the bar")
    terminal_text = output.getvalue()
    assert "step 1/2  loss 3.10" in terminal_text
    assert "a line above the bar" in terminal_text
