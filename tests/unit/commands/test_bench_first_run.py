"""What the bench of a first run reads off the screen."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from twin_cli.commands.clock import StageClock

from tests.bench.first_run import FirstRun

SCREEN = """
0.5 |  expected: installed at 3:20, first quotation at 4:27; training takes 5:00, the gate 1:45: the
0.5 |install  install llm-twin
10.5 |install  install llm-twin: 10 s, 40 packages found
180 |
180 |[1/6] preflight  0:00
190 |   0:10  passed, as shown above
220 |   0:40  from Ada Lovelace:
240 |   1:00  quoted in 0.1 s: What do you think?
244 |   1:04  quoted in 0.1 s: Why?
250 |   1:10  train  starting the ranks  0:06
300 |   2:00  fine tuned checkpoint  20 %  step 10/48  1:00, about 20:00 left
400 |   3:40  fine tuned checkpoint  50 %  step 24/48  2:40, about 2:00 left
500 |   5:20  fine tuned checkpoint done in 4:20, 3 checks hold
560 |   6:20  checkpoint evaluation  40 %  answers  step 40/100  1:00, about 0:20 left
600 |   7:00  checkpoint evaluation done in 1:40, 7 checks hold, 5 follow
602 |   7:02  released: v1 answers now
"""


def seen() -> FirstRun:
    run = FirstRun()
    for line in SCREEN.strip().splitlines():
        at, _, said = line.partition("|")
        run.take(said.replace("the\n", ""), at=float(at))
    return run


def test_when_what_was_there_and_how_long_nothing_was_said() -> None:
    run = seen()
    assert (run.installed_at, run.first_sentence_at) == (180.0, 220.0)
    assert (run.first_quotation_at, run.released_at) == (240.0, 602.0)
    assert run.longest_silence_s == pytest.approx(169.5)
    assert run.took == {"fine tuned checkpoint": 260.0, "checkpoint evaluation": 100.0}


def test_the_time_left_is_held_against_what_came() -> None:
    """20:00 left within the first quarter is forgiven, 0:20 left of 0:40 is not."""
    assert seen().worst_left() == pytest.approx(2.0)


def test_the_forecast_is_held_against_what_came() -> None:
    off = seen().forecast_off(installing=True)
    assert off == {
        "installed": pytest.approx(200 / 180),
        "first quotation": pytest.approx(267 / 240),
        "training": pytest.approx(300 / 260),
        "gate": pytest.approx(105 / 100),
    }
    assert "installed" not in seen().forecast_off(installing=False)


def test_the_lines_are_those_that_the_clock_prints() -> None:
    """What the bench reads is written here, by the clock itself."""
    file = io.StringIO()
    clock = StageClock(Console(file=file, width=200), verbose=True)
    clock.stage(1, "preflight")
    clock.say("quoted in 0.1 s: Why?")
    with clock.bar("train") as bar:
        bar.phase("fine tuned checkpoint")
        bar.update("step 24/48  loss 2.90", done=24, total=48, left_s=125)
        clock.say(bar.line())
    clock.say("fine tuned checkpoint done in 0:00, 3 checks hold")
    run = FirstRun()
    for line in file.getvalue().splitlines():
        run.take(line, at=5.0)
    assert (run.installed_at, run.first_quotation_at) == (5.0, 5.0)
    [(since, left)] = run.left["fine tuned checkpoint"]
    assert (since, left) == (0.0, pytest.approx(124.0, abs=1.0))
    assert run.took == {"fine tuned checkpoint": 0.0}
