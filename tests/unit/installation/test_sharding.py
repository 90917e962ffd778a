"""Shares of a test run: together all of it, none twice, and each with some of the long ones."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.live.conftest import LIVE
from tests.sharding import chosen_groups, group_in_turn

ROOT = Path(__file__).resolve().parents[3]


def test_every_file_is_in_one_share() -> None:
    files = [*(ROOT / "tests").rglob("test_*.py")]
    groups = [group_in_turn(path) for path in files]
    shares = [chosen_groups(groups, (number, 3)) for number in (1, 2, 3)]
    assert set.union(*shares) == set(groups)
    assert sum(map(len, shares)) == len(set(groups))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
    assert chosen_groups(groups, (1, 1)) == set(groups)


def test_what_shares_a_stack_stays_together_and_long_ones_are_dealt_first() -> None:
    whole = {group_in_turn(path) for path in (LIVE / "whole").glob("test_*.py")}
    newcomer = {group_in_turn(path) for path in (LIVE / "newcomer").glob("test_*.py")}
    assert len(whole) == len(newcomer) == 1
    groups = [group_in_turn(path) for path in LIVE.rglob("test_*.py")]
    assert whole <= chosen_groups(groups, (1, 2))
    assert newcomer <= chosen_groups(groups, (2, 2))


def test_a_run_of_each_share_runs_every_test_once(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    for name in ("a", "b", "c"):
        (tmp_path / f"test_{name}.py").write_text("def test_one(): pass\ndef test_two(): pass\n")

    def collected(shard: str) -> list[str]:
        words = ("-p", "tests.sharding", "--shard", shard, "--collect-only", "-q", ".")
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "deploy")]),
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        }
        ran = subprocess.run(
            [sys.executable, "-m", "pytest", *words],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        return [line for line in ran.stdout.splitlines() if "::" in line]

    first, second = collected("1/2"), collected("2/2")
    assert len(first) == 4
    assert sorted(first + second) == sorted(collected("1/1"))
    assert {line.split("::")[0] for line in first}.isdisjoint(
        line.split("::")[0] for line in second
    )
