"""The number of lines that a whole run prints into a log, with recorded durations."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from twin_cli.commands import clock as clock_module
from twin_cli.commands.clock import StageClock
from twin_cli.commands.outcome import StackOutcome, TrainingOutcome
from twin_cli.commands.presentation import format_passage, quotation_lines
from twin_cli.commands.questions import EndpointAnswer
from twin_cli.commands.training import report_result

from twin_resources.registry.moves import GateClaim, Verdict

MAX_LINES = 60
LINES_BEFORE = 14  # installation (8), preflight (4), preview and link
# Seconds of each phase of the sample author's run on two busy cores, including the checks.
PHASES = {
    "import": {"raw posts": 3, "sentence embeddings": 28, "embeddings": 10, "calibration": 8},
    "train": {
        "instruction dataset": 25,
        "fine tuned checkpoint": 320,
        "checkpoint evaluation": 160,
        "released model": 3,
        "routing policy": 2,
    },
}
TEXT = "Take the pendulum off and carry it upright, as though someone were asleep. " * 8
CLAIMS = tuple(
    GateClaim(name, name != "says_what_the_posts_say", 0.717, 1.0, "perplexity .717 (95 % …)")
    for name in (
        *("template_hash_matches", "beats_base_model", "stays_on_topic", "served_model_matches"),
        *("rests_on_its_passages", "says_what_the_posts_say", "keeps_the_basics", "learns_author"),
    )
)


def log_of_a_run(monkeypatch: pytest.MonkeyPatch, *, verbose: bool) -> str:
    """Return what the clock and the formatters print for these phases."""
    now = [0.0]
    monkeypatch.setattr(clock_module.time, "monotonic", lambda: now[0])
    file = io.StringIO()
    clock = StageClock(Console(file=file, width=110), verbose=verbose)
    answer = EndpointAnswer("How?", f"> {TEXT}\n\n**In this voice**\n\n{TEXT}", version="v1",
                            quotes=({"text": TEXT, "title": "On clocks"},))  # fmt: skip
    for number, title in enumerate(("preflight", "preview", "prepare", "first", "train", "ready")):
        clock.begin_stage(number + 1, title)
        for phases in (PHASES["import"],) if title == "first" else ():
            _pass(clock, now, phases)
        if title == "prepare":
            clock.log(
                "\n".join(f"How?\n{format_passage(TEXT, max_characters=140)}" for _ in range(3))
            )
            for name in ("traces", "dagster-code", "dagster-webserver", "gateway", "models"):
                clock.log_detail(f"{name} ready")
        if title == "first":
            clock.log("asked 15 questions; the best answers:")
            for _ in range(3):
                clock.log(quotation_lines(answer))
        if title == "train":
            _pass(clock, now, PHASES["train"])
            verdict = Verdict("ada", "c", "3", "passed", CLAIMS, "2026-01-01")
            report_result(TrainingOutcome(StackOutcome.TUNED, verdict), clock=clock)
    return file.getvalue()


def _pass(clock: StageClock, now: list[float], phases: dict[str, int]) -> None:
    with clock.bar("run") as bar:
        for phase, seconds in phases.items():
            bar.begin_phase(phase)
            for second in range(seconds):
                now[0] += 1.0
                bar.update(f"step {second}/{seconds}", done=second, total=seconds)
            clock.log_detail(f"{phase} done")


def test_a_log_of_a_whole_run_has_at_most_sixty_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    short = log_of_a_run(monkeypatch, verbose=False)
    assert len(short.splitlines()) + LINES_BEFORE <= MAX_LINES
    assert "perplexity" not in short
    assert "7 of 8 claims hold; not: says what the posts say" in short


def test_the_long_form_says_every_wait_and_every_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    long = log_of_a_run(monkeypatch, verbose=True)
    assert len(long.splitlines()) > MAX_LINES
    assert "perplexity .717" in long
