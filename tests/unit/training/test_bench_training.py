"""The benchmark of training goes on without a peer that fails, and says why it is missing."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import psutil
import pytest

from tests.bench.training.card import table
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


ON_CARD = {
    OURS: {"tokens": 40_000.0, "seconds": 1.0, "gpu_peak_mb": 20_000.0},
    "trl-defaults": {"tokens": 40_000.0, "seconds": 2.0, "gpu_peak_mb": 30_000.0},
    "trl-tuned": {"tokens": 40_000.0, "seconds": 1.25, "gpu_peak_mb": 25_000.0},
}


def test_a_cards_rows_have_speed_utilization_and_memory_beside_both_peers() -> None:
    made = table("1b", "cuda", ON_CARD, {}, weights=10**9, peak=400e12)
    assert [(one.value, one.goal, one.holds) for one in made] == [
        (40_000, None, True),
        (2.0, 1.3, True),
        (1.25, 1.0, True),
        (0.4, 0.35, True),  # 40,000 tokens/s × 1e9 weights × 4 FLOP of 400 TFLOP/s
        (20_000, None, True),
    ]
    assert made[3].peers == {"TRL as it comes": 0.2, "TRL packed": 0.32}
    slower = ON_CARD | {OURS: ON_CARD[OURS] | {"seconds": 2.0}}
    made = table("1b", "cuda", slower, {}, weights=10**9, peak=400e12)
    assert [one.holds for one in made] == [True, False, False, False, True]


def test_without_a_card_or_a_peer_its_rows_are_left_out_or_say_why() -> None:
    on_cpu = {kind: {"tokens": 100.0, "seconds": 1.0} for kind in (OURS, "trl-defaults")}
    made = table("tiny", "cpu", on_cpu, {"trl-tuned": "it hung"}, weights=1, peak=None)
    assert [one.name.split(",")[0] for one in made] == [
        "SFT tokens/s",
        "times TRL as it comes",
        "times TRL packed: not measured",
    ]
    assert [one.goal for one in made] == [None, None, None]
