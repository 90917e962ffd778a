"""Print the results of an added measure: the gate's claims, record, report and asset metadata.

`test_measure_recipe.py` runs this module in a process whose `twin_assets` has the measure.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import polars as pl

from tests.unit.evaluation.served.test_base_scores import EmptyTables
from tests.unit.evaluation.test_evaluation_spec import SAMPLES, SPEC
from twin_assets.evaluation import gate, measurement
from twin_assets.evaluation.checkpoint_evaluation import build_result
from twin_assets.evaluation.evaluation_spec import JudgingContext
from twin_assets.evaluation.judgement import JudgedEvaluation
from twin_assets.evaluation.measurement_cache import MeasurementCache
from twin_assets.evaluation.report.evaluation_record import (
    Evaluation,
    read_evaluation,
    write_evaluation,
)
from twin_assets.evaluation.report.markdown import write_report
from twin_assets.evaluation.sequential_plan import FULL_GATE, request_base_scores
from twin_assets.evaluation.served.served_answers import PromptAnswers
from twin_assets.evaluation.served.served_judges import Judges
from twin_resources.models.serving.served_model import ServedAnswer
from twin_resources.registry.moves import GateClaim, Verdict

CACHE = MeasurementCache(EmptyTables(), "ada")  # pyright: ignore[reportArgumentType]


def decide(answer: str) -> tuple[GateClaim, ...]:
    """Decide the claims about a candidate that gives the same answer to every prompt."""
    spec = replace(SPEC, dataset=SAMPLES.with_columns(template=pl.lit("aa")))
    judges = Judges(None, None, None, "no topic judge", "no voice judge")
    judging_context = JudgingContext(
        judges, writer_samples=(), chunk_texts={"c1": "Brass wears."}, base_answers=()
    )
    context = measurement.prepare_context(spec, judging_context, SAMPLES, CACHE, engine="none")
    prompts = context.prompts
    context.answers = PromptAnswers(
        {
            index: ServedAnswer(answer, (1, 2, 3), (), seconds=0.5)
            for index in range(prompts.with_posts.start)
        },
        dict.fromkeys(range(len(prompts.prompts)), "Certainly!"),
    )
    request_base_scores(context, FULL_GATE)
    return gate.decide_claims(context, FULL_GATE.measures)


def evaluate(answer: str, folder: Path) -> dict[str, object]:
    """Store an evaluation, read it again, and return its claims, report, metadata and checks."""
    evaluation = Evaluation("c" * 64, "r" * 64, decide(answer), precision="fp32", seconds={})
    path = folder / "evaluation.json"
    write_evaluation(path, evaluation)
    stored = read_evaluation(path)
    assert stored is not None
    assert stored == evaluation
    claims = gate.select_claims(stored.claims, gate.CLAIMS)
    verdict = Verdict("ada", "c" * 64, "g", gate.decide_outcome(claims), claims, "now")
    write_report(path.with_suffix(".md"), stored, verdict, [])
    judged = JudgedEvaluation(stored, verdict, path.with_suffix(".md"), is_newly_measured=True)
    result = build_result(judged, answer="quote_and_voice")
    return {
        "claims": {claim.name: claim.passed for claim in claims},
        "report": path.with_suffix(".md").read_text(encoding="utf-8"),
        "metadata": {
            name: value
            for name, value in (result.metadata or {}).items()
            if isinstance(value, int | float | str)
        },
        "checks": {check.check_name: check.passed for check in result.check_results or ()},
    }


if __name__ == "__main__":
    answers = ("It wears well.", "it wears")
    sys.stdout.write(json.dumps([evaluate(answer, Path(sys.argv[1])) for answer in answers]))
