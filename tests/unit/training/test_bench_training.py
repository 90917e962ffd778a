"""The benchmark of training goes on without a peer that fails, and says why it is missing."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import psutil
import pytest

from tests.bench.training.forms import FULL, QUICK
from tests.bench.training.processes import NotMeasured, timed
from tests.bench.training.speed import OURS, rows

FIGURES: dict[str, list[dict[str, float]]] = {
    OURS: [{"tokens": 100, "seconds": 1, "cpu_s": 2}, {"tokens": 100, "seconds": 2, "cpu_s": 2}],
    "trl-defaults": [{"tokens": 100, "seconds": 2, "cpu_s": 4}] * 2,
    "trl-tuned": [{"tokens": 100, "seconds": 1, "cpu_s": 2}],  # its second turn failed
    "trainer": [{"tokens": 100, "seconds": 3, "cpu_s": 3}] * 2,
}
LOSSES = {"base": 3.0, OURS: 2.0, "trl-defaults": 2.1, "trl-tuned": 2.0, "trainer": 2.0}


def test_a_peer_that_failed_is_missing_with_its_reason_and_holds_no_goal() -> None:
    table = rows(FULL, FIGURES, LOSSES, {"trl-tuned": "exit code 1, ValueError: no"})
    by_name = {one.name: one for one in table}
    (times,) = (name for name in by_name if name.startswith("times TRL tuned"))
    assert times.endswith("not measured, exit code 1, ValueError: no")
    assert (by_name[times].goal, by_name[times].holds) == (1.0, False)
    assert [one.holds for one in table if one.name.startswith("that loss")] == [False]
    assert all("TRL tuned" not in one.peers for one in table)
    # the others are as they would be: the median of the ratios of each turn
    assert by_name["times TRL defaults"].value == 1.5
    assert by_name["times TRL defaults"].holds
    assert by_name["times Trainer, one process"].value == pytest.approx(2.25)
    # a peer without a goal takes none along
    table = rows(FULL, FIGURES | {"trl-tuned": FIGURES[OURS]}, LOSSES, {"trainer": "it hung"})
    assert [one.holds for one in table] == [True] * 7


def test_slower_than_a_peer_is_not_held_in_the_full_form_alone() -> None:
    slower = FIGURES | {"trl-tuned": [{"tokens": 100, "seconds": 0.5, "cpu_s": 2}] * 2}
    held = {form.tiny: [one.holds for one in rows(form, slower, LOSSES)] for form in (FULL, QUICK)}
    assert held == {False: [True, True, False, True, True, True, True], True: [True] * 7}


def test_a_process_that_fails_or_hangs_is_named_with_its_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "log"
    with pytest.raises(NotMeasured, match="peer: exit code 1, ValueError: no such thing"):
        timed([sys.executable, "-c", "raise ValueError('no such thing')"], log=log, name="peer")

    hangs = "import subprocess, sys; print('alive', flush=True); subprocess.run(['sleep', '600'])"
    with pytest.raises(NotMeasured, match="no end within 5 s"):
        timed([sys.executable, "-c", hangs], log=log, name="peer", longest_s=5.0, speak_every_s=0.5)
    assert re.search(r"peer: \d+ s, alive", capsys.readouterr().err)
    living = [one for one in psutil.Process().children() if one.status() != psutil.STATUS_ZOMBIE]
    assert not [child for child in living if child.name() == "sleep"]

    busy = "import time\nend = time.process_time() + .2\nwhile time.process_time() < end: pass"
    cost = timed([sys.executable, "-c", busy], log=log, name="ours")
    assert 0.2 <= cost.cpu_s < 5
    assert cost.wall_s >= 0.2
