"""Test `checkpoint_evaluation` and `released_model` in Dagster with a served tiny model.

Cases: two authors of whom one fails, a candidate after a release, and reused measurements.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from tests.live.evaluation.conftest import GOOD_STEPS, FirstVerdict, GateHome
from tests.live.evaluation.gate_run import GateRun
from twin_assets.evaluation.gate import CLAIMS, FIRST_CLAIMS, GATE_VERSION
from twin_assets.evaluation.measures import sentence_faithfulness
from twin_assets.evaluation.report.evaluation_record import read_evaluation
from twin_resources.registry.moves import GateClaim

pytestmark = pytest.mark.live


def test_only_the_checkpoint_that_learned_its_author_is_released(
    released_home: GateHome, first_verdict: FirstVerdict
) -> None:
    gate_home, passed_run, good_checkpoint = (
        released_home,
        first_verdict.gate_run,
        first_verdict.checkpoint,
    )
    # noise improves a random model as often as it harms it; training on numbers only harms it
    rows = gate_home.tables.read("instruction_dataset", "bob", where="split = 'train'").to_dicts()
    numbers = {"role": "assistant", "content": " ".join(str(n * 37) for n in range(12))}
    number_samples = [row | {"messages": [*row["messages"][:-1], numbers]} for row in rows]
    bad_checkpoint = gate_home.train_candidate("bob", steps=40, samples=number_samples)

    refused_run = GateRun(first_verdict.instance, "bob")

    assert passed_run.result.success
    assert passed_run.failed_checks() == []
    assert passed_run.is_released()
    assert gate_home.registry.get("ada", 1).state == "stable"
    # these claims are not decided before the release; the report decides them
    report_claims = set(CLAIMS) - set(FIRST_CLAIMS)
    assert passed_run.find_advisory_checks("checkpoint_evaluation") == report_claims
    # no author here has the answer form `voice`, so the claim about it refuses nothing
    blocking_prose = {sentence_faithfulness.CLAIM}
    assert passed_run.find_advisory_checks("evaluation_report") == blocking_prose
    report_checks = passed_run.read_checks("evaluation_report")
    unmet = {check.check_name for check in report_checks if not check.passed}
    assert unmet <= blocking_prose
    first_checks = passed_run.read_checks("checkpoint_evaluation")
    undecided = {check.check_name for check in first_checks if not check.passed}
    assert undecided == report_claims, "what is not decided yet is shown as passed"
    first_metadata = passed_run.metadata("checkpoint_evaluation")
    assert (first_metadata["part"], first_metadata["beats_base_model"] < 0.9) == ("first", True)
    full_metadata = passed_run.metadata("evaluation_report")
    assert (full_metadata["part"], full_metadata["taken_back"]) == ("whole", "")
    assert full_metadata["beats_base_model"] < 0.9
    assert full_metadata["served_model_matches"] < 0.01
    # the report measures the remaining claims alone
    assert full_metadata["stays_on_topic"] == first_metadata["stays_on_topic"]

    assert not refused_run.result.success
    assert "beats_base_model" in refused_run.failed_checks()
    assert not {"template_hash_matches", "served_model_matches"} & set(refused_run.failed_checks())
    assert not refused_run.is_released(), "a failed blocking check did not stop the release"
    assert gate_home.registry.get("bob", 1).state == "refused"
    verdict = gate_home.registry.verdict(bad_checkpoint, GATE_VERSION)
    assert verdict is not None
    assert verdict.outcome == "failed"
    good_verdict = gate_home.registry.verdict(good_checkpoint, GATE_VERSION)
    assert good_verdict is not None
    assert good_verdict.outcome == "passed"


def test_a_worse_successor_is_refused_without_repeated_measurements(
    released_home: GateHome, first_verdict: FirstVerdict
) -> None:
    gate_home, first, instance = released_home, first_verdict.gate_run, first_verdict.instance
    second = GateRun(instance, "ada")

    for asset in ("checkpoint_evaluation", "evaluation_report"):
        assert first.metadata(asset)["measured_now"]
        assert not second.metadata(asset)["measured_now"]
    assert second.data_version("checkpoint_evaluation") == first.data_version(
        "checkpoint_evaluation"
    )
    assert second.metadata("released_model")["moved"] == "nothing"

    gate_home.train_candidate("ada", steps=2, seed=5)
    third = GateRun(instance, "ada")

    assert "not_worse_than_incumbent" in third.failed_checks()
    assert gate_home.registry.get("ada", 2).state == "refused"
    stable = gate_home.registry.stable_version("ada")
    assert stable is not None
    assert stable.version == 1
    metadata = third.metadata("checkpoint_evaluation")
    report = Path(metadata["report_file"])
    evaluation = read_evaluation(report.with_suffix(".json"))
    assert evaluation is not None
    assert "not_worse_than_incumbent" in evaluation.refused_early
    assert "before any question; the answers are only for this report" in report.read_text("utf-8")
    # the perplexity uses the passages that decided against the base, and now against this candidate
    released_metadata = first.metadata("evaluation_report")
    incumbent = read_perplexities(metadata, "not_worse_than_incumbent")["v1"]
    assert incumbent == pytest.approx(released_metadata["perplexity"], rel=0.1)
    released_detail = read_claim(released_metadata, "beats_base_model").detail
    assert released_detail.endswith("on 15 of 40 passages")
    assert metadata["part"] == "whole", (
        "with a stable version, all claims are decided before the release"
    )


def test_a_candidate_is_compared_with_the_best_released_version(
    released_home: GateHome, first_verdict: FirstVerdict, instance: dg.DagsterInstance
) -> None:
    """A worse version is released by hand; a candidate must still match the first version."""
    gate_home, first_metadata = released_home, first_verdict.gate_run.metadata("evaluation_report")
    gate_home.train_candidate("ada", steps=2, seed=5)
    move = gate_home.registry.move
    move("ada", 2, "refused", actor="ann", reason="not looked at")
    move("ada", 2, "stable", actor="ann", reason="try it", force=True)
    gate_home.train_candidate("ada", steps=2, seed=6)

    gate_run = GateRun(instance, "ada")

    assert "not_worse_than_incumbent" in gate_run.failed_checks()
    metadata = gate_run.metadata("checkpoint_evaluation")
    perplexities = read_perplexities(metadata, "not_worse_than_incumbent")
    assert perplexities["v1"] == pytest.approx(first_metadata["perplexity"], rel=0.1)
    assert metadata["perplexity"] > 1.05 * perplexities["v1"]
    assert perplexities["v1"] < perplexities["v2"]


def read_claim(metadata: Mapping[str, Any], name: str) -> GateClaim:
    """Return a claim of the stored evaluation behind some metadata."""
    evaluation = read_evaluation(Path(metadata["report_file"]).with_suffix(".json"))
    assert evaluation is not None
    return next(claim for claim in evaluation.claims if claim.name == name)


def read_perplexities(metadata: Mapping[str, Any], name: str) -> dict[str, float]:
    """Return the perplexities of the versions that a claim names."""
    detail = read_claim(metadata, name).detail
    return {version: float(value) for version, value in re.findall(r"(v\d+) ([\d.]+):", detail)}


# long: the next test reaches the same verdict
@pytest.mark.long
def test_too_few_passages_refuse_the_candidate(
    measured_home: GateHome, instance: dg.DagsterInstance
) -> None:
    gate_home = measured_home
    gate_home.write_dataset("ada", held_out=29)
    checkpoint = gate_home.train_candidate("ada", steps=GOOD_STEPS)

    gate_run = GateRun(instance, "ada")

    verdict = gate_home.registry.verdict(checkpoint, GATE_VERSION)
    assert verdict is not None
    assert verdict.outcome == "not_decided"
    assert "29 held-out passages" in verdict.claims[0].detail
    undecided_claims = ["beats_base_model", "stays_on_topic"]
    assert sorted(gate_run.failed_checks()) == undecided_claims
    assert not gate_run.is_released()
    assert gate_home.registry.get("ada", 1).state == "refused"


def test_an_interrupted_evaluation_invalidates_the_older_verdict(
    released_home: GateHome, first_verdict: FirstVerdict, instance: dg.DagsterInstance
) -> None:
    """After a pass, the next evaluation has too few passages, and writing its report fails."""
    gate_home, checkpoint = released_home, first_verdict.checkpoint
    report = Path(first_verdict.gate_run.metadata("checkpoint_evaluation")["report_file"])
    gate_home.write_dataset("ada", held_out=29)
    report.unlink()
    report.mkdir()

    interrupted_run = GateRun(instance, "ada")
    report.rmdir()
    second_run = GateRun(instance, "ada")

    assert not interrupted_run.result.success
    assert second_run.metadata("checkpoint_evaluation")["measured_now"]
    verdict = gate_home.registry.verdict(checkpoint, GATE_VERSION)
    assert verdict is not None
    assert verdict.outcome == "not_decided"
    assert "beats_base_model" in second_run.failed_checks()


def test_samples_with_another_template_are_refused(
    measured_home: GateHome, instance: dg.DagsterInstance
) -> None:
    measured_home.write_dataset("ada", template="0123456789abcdef")
    measured_home.train_candidate("ada", steps=GOOD_STEPS)

    gate_run = GateRun(instance, "ada")

    assert gate_run.failed_checks() == ["template_hash_matches"]
    assert not gate_run.is_released()


def test_event_log_and_report_contain_no_text_of_posts(
    released_home: GateHome, first_verdict: FirstVerdict
) -> None:
    gate_run = first_verdict.gate_run
    answers = released_home.tables.read("instruction_dataset", "ada", columns=["answer"])["answer"]
    first_report = Path(gate_run.metadata("checkpoint_evaluation")["report_file"])
    report = Path(gate_run.metadata("evaluation_report")["report_file"])
    files = [file for path in (first_report, report) for file in (path, path.with_suffix(".json"))]
    logged_text = "\n".join(
        [repr(event) for event in gate_run.result.all_events]
        + [path.read_text(encoding="utf-8") for path in files]
    )
    snippets = [answer[10:60] for answer in answers]
    assert len(snippets) == 80
    assert not [snippet for snippet in snippets if snippet in logged_text]
    plots = list(report.parent.glob("*.svg"))
    assert plots
    assert all(f"({plot.name})" in logged_text for plot in plots)
    # the compared answers contain text, so they have a file of their own, which `forget` searches
    answers_text = Path(gate_run.metadata("evaluation_report")["answers"]).read_text(
        encoding="utf-8"
    )
    assert [snippet for snippet in snippets if snippet in answers_text]
