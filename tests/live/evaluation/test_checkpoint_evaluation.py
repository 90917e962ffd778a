"""`checkpoint_evaluation` and `released_model` in Dagster, with a served tiny model.

Two authors, one failing; a candidate after its predecessor's pass; nothing measured twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from tests.live.evaluation.conftest import GOOD, FirstVerdict, Workplace
from tests.live.evaluation.judged_in_dagster import GateRun
from twin_assets.evaluation.gate import (
    ADVISORY_FOR_SMALL_BASES,
    CLAIMS,
    FIRST_CLAIMS,
    GATE_VERSION,
)
from twin_assets.evaluation.measures import held_out_perplexity, sentence_faithfulness
from twin_assets.evaluation.measures.held_out_perplexity import HeldOutPerplexity
from twin_assets.evaluation.report.evaluation_record import read_evaluation

pytestmark = pytest.mark.live


def test_only_the_trained_of_two_authors_checkpoints_is_released(
    released: Workplace, judged: FirstVerdict
) -> None:
    workplace, passed, good = released, judged.ran, judged.checkpoint
    # noise makes a random model as often better as worse; this one has learnt to say numbers
    rows = workplace.tables.read("instruction_dataset", "bob", where="split = 'train'").to_dicts()
    numbers = {"role": "assistant", "content": " ".join(str(n * 37) for n in range(12))}
    spoilt = [row | {"messages": [*row["messages"][:-1], numbers]} for row in rows]
    bad = workplace.candidate("bob", steps=40, samples=spoilt)

    refused = GateRun(judged.instance, "bob")

    assert passed.result.success
    assert passed.failed_checks() == []
    assert passed.released()
    assert workplace.registry.get("ada", 1).state == "stable"
    # what follows is not decided before the release, and says so; the report decides it
    following = set(CLAIMS) - set(FIRST_CLAIMS)
    assert passed.advisory("checkpoint_evaluation") == following
    # no author here wants `voice`: the claim about it refuses nothing
    blocking_prose = {sentence_faithfulness.CLAIM}
    assert passed.advisory("evaluation_report") == ADVISORY_FOR_SMALL_BASES | blocking_prose
    assert [c.check_name for c in passed.checks("evaluation_report") if not c.passed] == []
    first = passed.metadata("checkpoint_evaluation")
    assert (first["part"], first["beats_base_model"] < 0.9) == ("first", True)
    told = passed.metadata("evaluation_report")
    assert (told["part"], told["taken_back"]) == ("whole", "")
    assert told["beats_base_model"] < 0.9
    assert told["served_model_matches"] < 0.01
    assert told["stays_on_topic"] > 0.6

    assert not refused.result.success
    assert "beats_base_model" in refused.failed_checks()
    assert not {"template_hash_matches", "served_model_matches"} & set(refused.failed_checks())
    assert not refused.released(), "a failed blocking check did not stop the release"
    assert workplace.registry.get("bob", 1).state == "refused"
    verdict = workplace.registry.verdict(bad, GATE_VERSION)
    assert verdict is not None
    assert verdict.outcome == "failed"
    other = workplace.registry.verdict(good, GATE_VERSION)
    assert other is not None
    assert other.outcome == "passed"


def test_a_worse_successor_is_refused_without_repeated_measurements(
    released: Workplace, judged: FirstVerdict
) -> None:
    workplace, first, instance = released, judged.ran, judged.instance
    second = GateRun(instance, "ada")

    for asset in ("checkpoint_evaluation", "evaluation_report"):
        assert first.metadata(asset)["measured_now"]
        assert not second.metadata(asset)["measured_now"]
    assert second.data_version("checkpoint_evaluation") == first.data_version(
        "checkpoint_evaluation"
    )
    assert second.metadata("released_model")["moved"] == "nothing"

    workplace.candidate("ada", steps=2, seed=5)
    third = GateRun(instance, "ada")

    assert "not_worse_than_incumbent" in third.failed_checks()
    assert workplace.registry.get("ada", 2).state == "refused"
    stable = workplace.registry.stable_version("ada")
    assert stable is not None
    assert stable.version == 1
    told = third.metadata("checkpoint_evaluation")
    report = Path(told["report_file"])
    evaluation = read_evaluation(report.with_suffix(".json"))
    assert evaluation is not None
    assert "not_worse_than_incumbent" in evaluation.refused_early
    assert "before any question; the answers are only for this report" in report.read_text("utf-8")
    # of as many passages as told it from its base then, and from this one now
    before = first.metadata("evaluation_report")
    beside = held_out_of(told).incumbent
    assert beside is not None
    assert beside.perplexity == pytest.approx(before["perplexity"], rel=0.02)
    whole = held_out_of(before)
    assert whole.base is not None
    assert (whole.passages, whole.base.passages) == (40, 30)
    assert told["part"] == "whole", "beside a stable version everything is decided first"


def test_a_candidate_is_compared_with_the_best_released_version(
    released: Workplace, judged: FirstVerdict, instance: dg.DagsterInstance
) -> None:
    """A worse version is released by hand; a candidate must still match the first version."""
    workplace, first = released, judged.ran.metadata("evaluation_report")
    workplace.candidate("ada", steps=2, seed=5)
    move = workplace.registry.move
    move("ada", 2, "refused", actor="ann", reason="not looked at")
    move("ada", 2, "stable", actor="ann", reason="try it", force=True)
    workplace.candidate("ada", steps=2, seed=6)

    ran = GateRun(instance, "ada")

    assert "not_worse_than_incumbent" in ran.failed_checks()
    found = held_out_of(ran.metadata("checkpoint_evaluation"))
    assert found.best is not None
    assert found.incumbent is not None
    assert found.best.perplexity == pytest.approx(first["perplexity"], rel=0.02)
    assert found.best.ratio > 1.05
    assert found.incumbent.ratio < found.best.ratio


def held_out_of(told: Mapping[str, Any]) -> HeldOutPerplexity:
    """Return the stored perplexities of the evaluation behind some metadata."""
    evaluation = read_evaluation(Path(told["report_file"]).with_suffix(".json"))
    assert evaluation is not None
    found = evaluation.measured.get(held_out_perplexity.MEASURE)
    assert found is not None
    return found


# the next test comes to the same verdict
@pytest.mark.long
def test_too_few_passages_refuse_the_candidate(
    measured: Workplace, instance: dg.DagsterInstance
) -> None:
    workplace = measured
    workplace.dataset("ada", held_out=29)
    checkpoint = workplace.candidate("ada", steps=GOOD)

    ran = GateRun(instance, "ada")

    verdict = workplace.registry.verdict(checkpoint, GATE_VERSION)
    assert verdict is not None
    assert verdict.outcome == "not_decided"
    assert "29 held-out passages" in verdict.claims[0].detail
    undecided = ["beats_base_model", "stays_on_topic"]
    assert sorted(ran.failed_checks()) == undecided
    assert not ran.released()
    assert workplace.registry.get("ada", 1).state == "refused"


def test_an_interrupted_evaluation_invalidates_the_older_verdict(
    released: Workplace, judged: FirstVerdict, instance: dg.DagsterInstance
) -> None:
    """After a pass, the next evaluation has too few passages, and writing its report fails."""
    workplace, checkpoint = released, judged.checkpoint
    report = Path(judged.ran.metadata("checkpoint_evaluation")["report_file"])
    workplace.dataset("ada", held_out=29)
    report.unlink()
    report.mkdir()

    cut_off = GateRun(instance, "ada")
    report.rmdir()
    again = GateRun(instance, "ada")

    assert not cut_off.result.success
    assert again.metadata("checkpoint_evaluation")["measured_now"]
    verdict = workplace.registry.verdict(checkpoint, GATE_VERSION)
    assert verdict is not None
    assert verdict.outcome == "not_decided"
    assert "beats_base_model" in again.failed_checks()


def test_samples_with_another_template_are_refused(
    measured: Workplace, instance: dg.DagsterInstance
) -> None:
    measured.dataset("ada", template="0123456789abcdef")
    measured.candidate("ada", steps=GOOD)

    ran = GateRun(instance, "ada")

    assert ran.failed_checks() == ["template_hash_matches"]
    assert not ran.released()


def test_event_log_and_report_contain_no_text_of_posts(
    released: Workplace, judged: FirstVerdict
) -> None:
    ran = judged.ran
    answers = released.tables.read("instruction_dataset", "ada", columns=["answer"])["answer"]
    first = Path(ran.metadata("checkpoint_evaluation")["report_file"])
    report = Path(ran.metadata("evaluation_report")["report_file"])
    files = [path for one in (first, report) for path in (one, one.with_suffix(".json"))]
    written = "\n".join(
        [repr(event) for event in ran.result.all_events]
        + [path.read_text(encoding="utf-8") for path in files]
    )
    snippets = [answer[10:60] for answer in answers]
    assert len(snippets) == 80
    assert not [snippet for snippet in snippets if snippet in written]
    plots = list(report.parent.glob("*.svg"))
    assert plots
    assert all(f"({plot.name})" in written for plot in plots)
    # answers side by side are text: one file beside the report, which forgetting searches
    beside = Path(ran.metadata("evaluation_report")["answers"]).read_text(encoding="utf-8")
    assert [snippet for snippet in snippets if snippet in beside]
