"""Write the report of an evaluation for people: Markdown with a plot and answers side by side.

    <checkpoint folder>/evaluation/<gate version>.md
    <checkpoint folder>/evaluation/<gate version>-answers.md
    <checkpoint folder>/evaluation/voice_shown.json, voice_shown.svg

Only `-answers.md` contains text of posts and of answers, with ids for finding it when a post is
erased. It is never copied into Dagster's event log, which is permanent.
"""
# pyright: strict

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path

from twin_assets.evaluation import gate
from twin_assets.evaluation.report.evaluation_record import AnswerComparison, Evaluation
from twin_assets.evaluation.report.plots import TITLE, draw_voice_plot
from twin_resources.quality.judges import voice_figures
from twin_resources.registry.moves import GateClaim, Verdict

MAX_ANSWERS_SHOWN = 6  # questions with answers side by side
OUTCOME_WORDS = {True: "yes", False: "no", None: "not decided"}
ADVISORY_WORDS = {True: "yes", False: "no, but it does not block", None: "not decided"}


def write_report(
    path: Path, evaluation: Evaluation, verdict: Verdict, answer_rows: Sequence[AnswerComparison]
) -> None:
    """Write the report, its plot, and the answers side by side.

    Args:
        path: path of the Markdown file; the other files are written to the same folder.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    voice = evaluation.voice
    if voice is not None:
        # Other code reads these two files, so their names do not contain the gate's version.
        path.with_name(voice_figures.VOICE_PLOT_FILE).write_text(draw_voice_plot(voice), "utf-8")
        voice_figures.write_voice_figures(
            path.with_name(voice_figures.VOICE_FIGURES_FILE),
            voice,
            author=verdict.author,
            checkpoint=evaluation.checkpoint,
        )
    answers_file = answers_path(path)
    if answer_rows:
        answers_file.write_text(
            render_side_by_side(answer_rows[:MAX_ANSWERS_SHOWN]), encoding="utf-8"
        )
    else:
        answers_file.unlink(missing_ok=True)  # written by an earlier evaluation of this checkpoint
    answers_link = answers_file.name if answer_rows else ""
    plot = voice_figures.VOICE_PLOT_FILE if voice is not None else ""
    path.write_text(
        render_report(evaluation, verdict, plot=plot, answers=answers_link), encoding="utf-8"
    )


def render_report_for_event_log(evaluation: Evaluation, verdict: Verdict) -> str:
    """Return the report with an embedded plot, for a page that cannot open local files.

    The report is made only from the record, which contains no post text, because the event log is
    permanent.
    """
    if evaluation.voice is None:
        return render_report(evaluation, verdict)
    picture = base64.b64encode(draw_voice_plot(evaluation.voice).encode()).decode()
    return render_report(evaluation, verdict, plot=f"data:image/svg+xml;base64,{picture}")


def answers_path(report_path: Path) -> Path:
    """Return the path of a report's file of answers side by side."""
    return report_path.with_name(f"{report_path.stem}-answers.md")


def render_report(
    evaluation: Evaluation,
    verdict: Verdict,
    *,
    plot: str = "",
    answers: str = "",
) -> str:
    """Return the evaluation as Markdown.

    Args:
        plot: file of the voice plot, or its data URI; empty if there is none.
        answers: file with answers side by side; empty if there is none.
    """
    lines = [
        f"# Evaluation of {evaluation.checkpoint[:12]} of {verdict.author}",
        "",
        f"Verdict of {verdict.gate_version}: **{verdict.outcome.replace('_', ' ')}** "
        f"({verdict.created_at}). {_describe_release(verdict)}",
        "",
        *_render_claims("claim", verdict.claims),
    ]
    if not gate.is_full_gate(verdict.claims):
        lines += [
            "",
            "This first part of the gate decides a first release. The other claims follow later.",
        ]
    elif claims_on_request := gate.select_claims(evaluation.claims, gate.CLAIMS_ON_REQUEST):
        lines += [
            "",
            *_render_claims(
                "measured on request, prevents no release", claims_on_request, words=ADVISORY_WORDS
            ),
        ]
    if plot:
        lines += ["", f"![{TITLE}]({plot})"]
    if answers:
        lines += ["", f"[Answers side by side]({answers}), including the author's own."]
    return "\n".join([*lines, "", *_render_details(evaluation), ""])


def _describe_release(verdict: Verdict) -> str:
    if verdict.outcome != "passed":
        return "Not released."
    return f"Released for {verdict.prose_release.description}."


def render_side_by_side(answer_rows: Sequence[AnswerComparison]) -> str:
    """Return the answers of candidate, base and author side by side, as Markdown."""
    lines = ["# Answers to held-out questions", ""]
    for row in answer_rows:
        lines += [
            f"## {_single_line(row.question)}",
            "",
            f"Sample `{row.sample_id}`, document `{row.document_id}`, chunk `{row.chunk_id}`.",
            "",
        ]
        base = "(not asked again, because its scores are stored)" if row.base is None else row.base
        for writer, text in (("author", row.author), ("candidate", row.candidate), ("base", base)):
            lines += [f"**{writer}**", "", *(f"> {line}" for line in text.splitlines() or [""]), ""]
    return "\n".join(lines)


def _render_claims(
    title: str, claims: Sequence[GateClaim], *, words: Mapping[bool | None, str] = OUTCOME_WORDS
) -> list[str]:
    return [
        f"| {title} | met | found |",
        "|---|---|---|",
        *(f"| `{claim.name}` | {words[claim.passed]} | {claim.detail} |" for claim in claims),
    ]


def _render_details(evaluation: Evaluation) -> list[str]:
    seconds = ", ".join(f"{name} {value:.1f} s" for name, value in evaluation.seconds.items())
    refused_claims = ", ".join(f"`{name}`" for name in evaluation.refused_early)
    early_lines = [
        f"- Refused by {refused_claims} before any question; the answers are only for this report."
    ]
    return [
        *(early_lines if refused_claims else ()),
        f"- {evaluation.passages} passages that no compared model was trained on, computed in "
        f"{evaluation.precision}.",
        f"- Time: {seconds}.",
    ]


def _single_line(text: str) -> str:
    return " ".join(text.split())
