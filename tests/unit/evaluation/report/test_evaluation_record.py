"""Test the stored evaluation and its report."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.evaluation.test_gate import PASSING_CLAIMS, change_claims
from tests.unit.judges.test_voice_figures import FIGURES
from twin_assets.evaluation.gate import (
    CLAIMS,
    GATE_VERSION,
    RULES,
    decide_outcome,
    select_claims,
)
from twin_assets.evaluation.report.evaluation_record import (
    SCHEMA_VERSION,
    AnswerComparison,
    Evaluation,
    evaluation_path,
    read_evaluation,
    write_evaluation,
)
from twin_assets.evaluation.report.markdown import (
    answers_path,
    render_report,
    render_report_for_event_log,
    render_side_by_side,
    write_report,
)
from twin_resources.errors import TwinError
from twin_resources.quality.judges.voice_figures import (
    VOICE_FIGURES_FILE,
    VOICE_PLOT_FILE,
    read_voice_figures,
)
from twin_resources.registry.moves import Verdict

EVALUATION = Evaluation(
    checkpoint="c" * 64,
    rests_on="r" * 64,
    claims=PASSING_CLAIMS,
    precision="bf16",
    seconds={"served model": 12.5},
    passages=60,
    perplexity=23.5,
    ratio_to_base=0.68,
)


def build_verdict(evaluation: Evaluation = EVALUATION) -> Verdict:
    claims = select_claims(evaluation.claims, CLAIMS)
    return Verdict(
        "ann", evaluation.checkpoint, GATE_VERSION, decide_outcome(claims), claims, "now"
    )


def test_an_evaluation_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = evaluation_path(tmp_path, GATE_VERSION)
    assert read_evaluation(path) is None

    write_evaluation(path, EVALUATION)

    assert read_evaluation(path) == EVALUATION


def test_a_newer_schema_is_an_error(tmp_path: Path) -> None:
    path = evaluation_path(tmp_path, GATE_VERSION)
    write_evaluation(path, EVALUATION)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema": SCHEMA_VERSION + 1}))

    with pytest.raises(TwinError, match="update"):
        read_evaluation(path)


def test_an_older_schema_is_ignored_and_a_damaged_file_is_an_error(tmp_path: Path) -> None:
    path = evaluation_path(tmp_path, GATE_VERSION)
    write_evaluation(path, EVALUATION)
    document = json.loads(path.read_text())
    path.write_text(json.dumps(document | {"schema": SCHEMA_VERSION - 1}))
    assert read_evaluation(path) is None

    document["claims"][0].pop("detail")
    path.write_text(json.dumps(document))
    with pytest.raises(TwinError, match="detail"):
        read_evaluation(path)


def test_the_report_names_every_claim_and_number() -> None:
    verdict = build_verdict()

    text = render_report(EVALUATION, verdict)

    assert "**passed**" in text
    for name in RULES:
        assert f"| `{name}` | yes | {name} is met |" in text
    for expected in ("- 60 passages", "12.5 s"):
        assert expected in text


def test_answers_of_an_earlier_evaluation_are_removed(tmp_path: Path) -> None:
    verdict = build_verdict()
    path = evaluation_path(tmp_path, GATE_VERSION).with_suffix(".md")
    answers = AnswerComparison(
        "s1", "d1", "c1", "Why brass?", "It wears well.", "Because.", "Certainly!"
    )
    write_report(path, EVALUATION, verdict, [answers])
    assert answers_path(path).is_file()

    write_report(path, EVALUATION, verdict, [])

    assert not answers_path(path).exists()
    assert "answers.md" not in path.read_text(encoding="utf-8")


def test_the_report_marks_unmet_advisory_claims() -> None:
    claims = change_claims(PASSING_CLAIMS, keeps_following_instructions=False)
    evaluation = replace(EVALUATION, claims=claims)
    verdict = build_verdict(evaluation)

    [row] = [
        line
        for line in render_report(evaluation, verdict).splitlines()
        if "keeps_following_instructions" in line
    ]

    assert "| no, but it does not block |" in row
    assert verdict.outcome == "passed"


def test_only_the_file_of_answers_contains_text_of_posts(tmp_path: Path) -> None:
    answers = [
        AnswerComparison(
            "s1", "d1", "c1", "Why brass?", "It wears well.", "Because it wears.", None
        )
    ]
    path = evaluation_path(tmp_path, GATE_VERSION).with_suffix(".md")

    write_report(path, EVALUATION, build_verdict(), answers)

    text = path.read_text(encoding="utf-8")
    assert "![" not in text, "the report has a plot without a measured voice"
    [answers_file] = path.parent.glob("*answers.md")
    assert answers_file.name in text
    assert "It wears well." in answers_file.read_text(encoding="utf-8")
    assert "`s1`" in render_side_by_side(answers)
    other_files = [file for file in path.parent.iterdir() if file != answers_file]
    assert not [file for file in other_files if "wears" in file.read_text(encoding="utf-8")]


def test_the_voice_plot_has_its_own_file(tmp_path: Path) -> None:
    evaluation = replace(EVALUATION, voice=FIGURES)
    path = evaluation_path(tmp_path, GATE_VERSION)
    write_evaluation(path, evaluation)
    assert read_evaluation(path) == evaluation

    write_report(path.with_suffix(".md"), evaluation, build_verdict(evaluation), [])

    assert read_voice_figures(path.with_name(VOICE_FIGURES_FILE)) == FIGURES
    assert path.with_name(VOICE_PLOT_FILE).read_text().count("per 100 words") == 1
    report_text = path.with_suffix(".md").read_text()
    assert f"]({VOICE_PLOT_FILE})" in report_text


def test_the_report_for_the_event_log_embeds_its_plot() -> None:
    evaluation = replace(EVALUATION, voice=FIGURES)
    report_text = render_report_for_event_log(evaluation, build_verdict(evaluation))
    pictures = re.findall(r"!\[[^]]+\]\(([^)]*)\)", report_text)
    [picture] = pictures
    kind, _, content = picture.partition(",")
    assert kind == "data:image/svg+xml;base64"
    assert base64.b64decode(content, validate=True).decode().lstrip().startswith("<?xml")
    assert ".svg" not in report_text
    assert "answers.md" not in report_text
    assert len(report_text) < 400_000  # the limit for the event log
