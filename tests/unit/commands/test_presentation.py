"""What a person reads, as text."""

from __future__ import annotations

import io
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console, RenderableType
from twin_cli.commands import clock as clock_module
from twin_cli.commands import presentation
from twin_cli.commands.author_progress import EndpointAnswer
from twin_cli.commands.clock import StageClock, duration
from twin_cli.commands.console import typed
from twin_cli.commands.presentation import answers_table, endpoints_table, usage_text, verdict_table
from twin_cli.commands.preview_report import too_small

from twin_assets.corpus.preview import Preview
from twin_resources.processes.endpoints import Endpoints
from twin_resources.registry.moves import GateClaim, Verdict

SOURCE = {"chunk_id": "c1", "document_id": "d1", "title": "On [bold]clocks[/]", "url": "http://x/1"}


def text_of(renderable: RenderableType, *, width: int = 160) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(renderable)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_before_and_after_stand_beside_the_posts_they_rest_on() -> None:
    before = EndpointAnswer("How?", "Slowly.", (SOURCE,), version="base", seconds=2.0)
    after = EndpointAnswer("How?", "[red]Like this[/].", (SOURCE,), version="v1", seconds=3.0)
    shown = text_of(answers_table([before], [after], author="Ada"))
    for part in ("“How?”", "before (base)", "after (v1)", "Slowly.", "[red]Like this[/]."):
        assert part in shown
    assert shown.count("On [bold]clocks[/]") == 1
    assert "not by Ada" in shown


QUOTING = """> To polish is to remove.
> To level is to remove.
>
> — [On leaving things alone](http://x/1), 2019-10-20

**In this voice**

I leave it as it is."""


def test_a_quotation_of_an_answer_stands_by_itself_with_its_post_below() -> None:
    answer = EndpointAnswer("How?", QUOTING, (SOURCE,), version="v1")
    lines = [line.strip() for line in text_of(answers_table([answer], author="Ada")).splitlines()]
    quoted = [line for line in lines if line.startswith("▌")]
    assert (
        re.sub(r"[▌\s]+", " ", " ".join(quoted))
        .strip()
        .startswith(
            "To polish is to remove. To level is to remove. — On leaving things alone, 2019-10-20"
        )
    )
    assert not any(">" in line or "**" in line for line in lines)
    assert any("In this voice" in line for line in lines if line not in quoted)
    assert any("I leave it as it is." in line for line in lines if line not in quoted)


@pytest.mark.parametrize("longest", range(20, len(QUOTING) + 20, 3))
def test_an_answer_is_cut_after_a_word_wherever_that_is(
    longest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presentation, "LONGEST_SHOWN", longest)
    shown = presentation.first_characters(QUOTING)
    if longest >= len(QUOTING):
        assert shown == QUOTING
        return
    assert shown.endswith(" …")
    kept = shown.removesuffix(" …")
    assert QUOTING.startswith(kept)
    assert re.match(r"\s|\Z", QUOTING[len(kept) :]), "in the middle of a word"
    source = next(line for line in QUOTING.split("\n") if line.startswith(presentation.NAMED_POST))
    assert len(kept) <= longest or kept.endswith(source)
    last = kept.split("\n")[-1]
    assert not last or last.strip(" >")
    assert last.count("[") == last.count("](")
    assert last.count("**") % 2 == 0


def test_an_answer_without_spaces_is_shown_too() -> None:
    """Japanese has none: cut after a word, nothing would be left of it."""
    text = "時計を運ぶときは、まず振り子を外す。" * 40
    assert presentation.first_characters(text) == text[: presentation.LONGEST_SHOWN] + " …"


def test_an_answer_without_sources_says_so() -> None:
    shown = text_of(
        answers_table([EndpointAnswer("How?", "Hm.", degraded="no table")], author="Ada")
    )
    assert "no post was found" in shown
    assert "degraded: no table" in shown


def test_a_verdict_shows_each_claim_with_number_and_threshold() -> None:
    claims = (
        GateClaim("beats_base_model", False, 33.12, 32.4, "perplexity"),
        GateClaim("template_hash_matches", True, None, None, ""),
        GateClaim("enough_passages", None, 12, 30, ""),
    )
    verdict = Verdict("ada", "abcdef0123456789", "3", "not_decided", claims, "2026-01-01")
    shown = text_of(verdict_table(verdict))
    for part in ("33.12", "32.4", "beats_base_model", "not decided", "gate 3", "abcdef012345"):
        assert part in shown


def test_the_last_table_shows_no_key() -> None:
    endpoints = Endpoints(
        home="/h",
        dagster="http://127.0.0.1:3000",
        gateway="http://127.0.0.1:4000/v1",
        gateway_key="sk-secret",
        models=("twin/ada",),
        traces="http://127.0.0.1:4318",
        traces_public_key="pk",
        traces_secret_key="sk-traces",
        logs="/h/logs",
        pids={},
    )
    commands = {"stop": ".venv/bin/twin stop", "open_page": ".venv/bin/twin open"}
    shown = text_of(endpoints_table(endpoints, Path("/h"), **commands))
    assert ".venv/bin/twin open" in shown
    for part in (
        "http://127.0.0.1:3000",
        "/h/endpoints.json",
        ".venv/bin/twin stop",
        "curl",
        "OpenAI()",
    ):
        assert part in shown
    assert "sk-secret" not in shown
    assert "sk-traces" not in shown


def test_a_command_is_shown_as_it_can_be_typed_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = Path(sys.executable).with_name("twin")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("TWIN_HOME", str(tmp_path / "h"))
    monkeypatch.chdir(program.parent.parent)
    assert typed("stop", home=tmp_path / "h") == f"{program.parent.name}/twin stop"
    monkeypatch.chdir(tmp_path)
    assert typed("stop", home=tmp_path / "h") == f"{program} stop"
    assert typed("stop", home=tmp_path / "o h").endswith(f"stop --home '{tmp_path}/o h'")


def test_the_python_snippet_compiles() -> None:
    _, _, snippet = usage_text(model="twin/ada", env=Path("/h/env")).partition("\n\n")
    code = compile(snippet, "snippet", "exec")
    assert {"OpenAI", "answer", "print"} <= set(code.co_names)
    assert "twin/ada" in code.co_consts


def test_the_clock_speaks_plainly_into_a_pipe_and_keeps_times() -> None:
    file = io.StringIO()
    clock = StageClock(Console(file=file, width=100))
    clock.stage(1, "preflight")
    clock.say("two\nlines [not markup]")
    with clock.bar("train") as bar:
        bar.update("step 1", done=1, total=2)  # within 12 s of the start: nothing yet
    clock.stage(2, "preview")
    clock.finish()
    shown = file.getvalue()
    assert "[1/6] preflight" in shown
    assert "[not markup]" in shown
    assert "step 1" not in shown
    assert set(clock.times) == {"preflight", "preview"}
    assert (duration(7), duration(754), duration(3723)) == ("0:07", "12:34", "1:02:03")


def until(is_true: Callable[[], bool]) -> None:
    ends = time.monotonic() + 60
    while not is_true():
        assert time.monotonic() < ends
        time.sleep(0.01)


def test_nothing_is_silent_for_longer_than_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two stages of which one waits for a program and one for a training: lines come by themselves,
    each with the time it has taken and what is left of it."""
    monkeypatch.setattr(clock_module, "QUIET_S", 0.2)
    monkeypatch.setattr(clock_module, "BEAT_S", 0.05)
    file = io.StringIO()
    clock = StageClock(Console(file=file, width=100))
    with clock.never_silent():
        clock.stage(1, "prepare and start")
        until(lambda: file.getvalue().count("prepare and start: goes on") >= 2)
        with clock.bar("train") as bar:
            bar.phase("fine tuned checkpoint")
            bar.update("step 1/2  loss 2.00", done=1, total=2, left_s=62)
            until(lambda: "fine tuned checkpoint" in file.getvalue())
        clock.finish()
        before_quiet = file.getvalue()
        time.sleep(0.5)
    told = [line for line in before_quiet.splitlines() if "fine tuned checkpoint" in line]
    assert re.search(r"50 %  step 1/2  loss 2\.00  0:0\d, about 1:0\d left", told[0])
    assert file.getvalue() == before_quiet, "after the last stage nobody waits"


def test_a_bar_that_nothing_reports_to_speaks_when_it_is_updated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(clock_module, "QUIET_S", 0.0)
    file = io.StringIO()
    clock = StageClock(Console(file=file, width=100))
    with clock.bar("train") as bar:
        bar.update("starting the ranks")
    assert "train  starting the ranks  0:00" in file.getvalue()


def test_a_corpus_too_small_to_train_on_is_named() -> None:
    def preview(kept: int, words: int) -> Preview:
        return Preview(
            author="Ada",
            layouts=["notes"],
            found=kept,
            kept=kept,
            dropped={},
            skipped={},
            dates=[],
            dated=0,
            words=words,
            languages={},
            bylines={},
            titles=[],
            questions=[],
            warnings=[],
            failed=[],
            changes=None,
        )

    assert too_small(preview(6, 31_081)) == "", "six essays: words are what samples are made of"
    needs = "training needs 15,000 words in 2 posts or more"
    assert too_small(preview(40, 14_999)) == f"40 usable posts, 14,999 words; {needs}"
    assert too_small(preview(1, 50_000)) == f"1 usable post, 50,000 words; {needs}"


def test_a_terminal_gets_a_live_bar_that_leaves_no_trace() -> None:
    file = io.StringIO()
    clock = StageClock(Console(file=file, force_terminal=True, width=100, height=20))
    with clock.bar("train") as bar:
        bar.update("waiting for its turn")
        bar.update("step 1/2  loss 3.10", done=1, total=2)
        clock.say("a line above the bar")
    shown = file.getvalue()
    assert "step 1/2  loss 3.10" in shown
    assert "a line above the bar" in shown
