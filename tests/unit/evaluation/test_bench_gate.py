"""The rows of the benchmark of the gate: which figure meets its goal, and which does not."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.bench.gate import gated
from tests.bench.gate.forms import FULL, QUICK
from tests.bench.rows import Row
from tests.code_hash import code_hash
from twin_assets.evaluation.measures.held_out_perplexity import HeldOutPerplexity, PerplexityRatio
from twin_assets.evaluation.measures.measure import Measurements
from twin_resources.registry.moves import GateClaim

BASE = PerplexityRatio("base model", 25.0, 0.6, 0.55, 0.65)


def measured(base: PerplexityRatio | None, *, passages: int = 50) -> Measurements:
    found = HeldOutPerplexity(passages, 15.0, base, incumbent=None, incumbent_name="")
    return Measurements({"held_out_perplexity": found})


MET, UNDECIDED = GateClaim("a", True, 1.0, 1.0, ""), GateClaim("b", None, None, None, "")


def holds(rows: Sequence[Row]) -> dict[str, bool]:
    """Of the rows with a goal."""
    return {row.name: row.holds for row in rows if row.goal is not None}


def test_a_refused_candidate_and_a_small_gain_miss_their_goals() -> None:
    name = "held-out perplexity, tuned / base, 50 passages in their prompts"
    assert holds(gated.rows(FULL, measured(BASE), [MET, MET])) == {
        "blocking claims met": True,
        name: True,
    }
    small = measured(PerplexityRatio("base model", 25.0, 0.71, 0.6, 0.8))
    refused = gated.rows(FULL, small, [MET, UNDECIDED])
    assert holds(refused) == {"blocking claims met": False, name: False}
    assert refused[1].peers["low"] == 0.6
    # the tiny model has goals of its own
    assert holds(gated.rows(QUICK, small, [MET, UNDECIDED])) == {name: True}


def test_the_passages_that_were_read_are_told_beside_those_that_there_were() -> None:
    stopped = PerplexityRatio("base model", 25.0, 0.6, 0.55, 0.65, level=0.99, passages=30)

    rows = gated.rows(FULL, measured(stopped), [MET])

    assert rows[1].name == "held-out perplexity, tuned / base, 30 passages in their prompts"
    assert (rows[2].value, rows[2].peers, rows[2].holds) == (30, {"of": 50}, True)


def test_too_few_passages_are_a_goal_that_is_missed() -> None:
    rows = gated.rows(FULL, measured(None, passages=12), [MET])
    [found] = [row for row in rows if row.name.startswith("held-out perplexity")]
    assert (found.goal, found.holds) == (0.7, False)
    assert "12 held-out passages" in found.name


def test_what_is_kept_is_named_by_every_file(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    code = tmp_path / "inner" / "code.py"
    code.write_text("one", encoding="utf-8")
    first = code_hash([str(tmp_path)])
    (tmp_path / "code.pyc").write_text("compiled", encoding="utf-8")
    assert code_hash([str(tmp_path)]) == first
    code.write_text("two", encoding="utf-8")
    assert code_hash([str(tmp_path)]) != first
    code.write_text("one", encoding="utf-8")
    assert code_hash([str(tmp_path)]) == first
    code.rename(tmp_path / "inner" / "other.py")
    assert code_hash([str(tmp_path)]) != first
    with pytest.raises(FileNotFoundError):
        code_hash([str(tmp_path / "moved")])


def test_the_log_of_what_failed_outlives_its_home(tmp_path: Path) -> None:
    failed, done = tmp_path / "full-1", tmp_path / "full-2"
    for home in (failed, done):
        home.mkdir()
        (home / "log").write_text(f"{home.name} ended")
    (done / "cost.json").write_text("{}")

    for home in (failed, done):
        gated.make_room(home)

    assert [path.name for path in tmp_path.iterdir()] == ["full-1.failed.log"]
    assert (tmp_path / "full-1.failed.log").read_text() == "full-1 ended"
