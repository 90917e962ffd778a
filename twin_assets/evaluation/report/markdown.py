"""What people read of an evaluation: Markdown with plots and answers side by side.

Belongs here: the three kinds of files, their wording. Does not belong here: the figures (each
measure's `lines`), plots as such (`plots.py`), the stored numbers (`evaluation_record.py`).

    <checkpoint folder>/evaluation/<gate version>.md, <gate version>-<plot>.svg
    <checkpoint folder>/evaluation/<gate version>-answers.md
    <checkpoint folder>/evaluation/voice_shown.json, voice_shown.svg

Only `-answers.md` holds text of posts and of answers, with the ids by which it is found when a post
is forgotten. It is linked and never copied into Dagster's event log, which is kept for ever.
"""
# pyright: strict

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path

from twin_assets.evaluation import gate
from twin_assets.evaluation.gate import Measured, OnTopic
from twin_assets.evaluation.harm import memorisation, safety
from twin_assets.evaluation.judged import blind_judge, faithfulness, grounding
from twin_assets.evaluation.likelihood import basics, control
from twin_assets.evaluation.report.evaluation_record import Evaluation, SideBySide
from twin_assets.evaluation.report.plots import SHOWN_PLOT, plots
from twin_assets.evaluation.served import speed
from twin_assets.evaluation.style import delta, style_habits, voice_figures, voice_scores
from twin_resources.quality.judges.voice_shown import FILE, PICTURE, write_voice_shown
from twin_resources.registry.moves import GateClaim, Verdict
from twin_resources.statistics.bootstrap import Interval

SHOWN = 6  # answers beside the base model's and the author's
WORDS = {True: "yes", False: "no", None: "not decided"}
STATED = {True: "yes", False: "no, which refuses nothing", None: "not decided"}


def write_report(
    path: Path, evaluation: Evaluation, verdict: Verdict, shown: Sequence[SideBySide]
) -> None:
    """Write the report, its plots, and the answers side by side.

    Args:
        path: of the Markdown file; the others lie beside it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    drawn: dict[str, str] = {}
    for name, (title, picture) in plots(evaluation.measured).items():
        # page and command look for this one, whatever the gate's version
        file = path.with_name(PICTURE if name == SHOWN_PLOT else f"{path.stem}-{name}.svg")
        file.write_text(picture, encoding="utf-8")
        drawn[title] = file.name
    if evaluation.measured.shown is not None:
        write_voice_shown(
            path.with_name(FILE),
            evaluation.measured.shown,
            author=verdict.author,
            checkpoint=evaluation.checkpoint,
        )
    answers = answers_path(path)
    if shown:
        answers.write_text(side_by_side(shown[:SHOWN]), encoding="utf-8")
    else:
        answers.unlink(missing_ok=True)  # of a former evaluation of this checkpoint
    linked = answers.name if shown else ""
    path.write_text(report(evaluation, verdict, drawn=drawn, answers=linked), encoding="utf-8")


def report_for_event_log(evaluation: Evaluation, verdict: Verdict) -> str:
    """The report with its plots in it, for a page that can open no file of the home.

    Made of the record alone, which holds no text of a post: the event log is kept for ever.
    """
    drawn = {
        title: f"data:image/svg+xml;base64,{base64.b64encode(picture.encode()).decode()}"
        for title, picture in plots(evaluation.measured).values()
    }
    return report(evaluation, verdict, drawn=drawn)


def answers_path(report_path: Path) -> Path:
    """The file beside a report that holds answers side by side."""
    return report_path.with_name(f"{report_path.stem}-answers.md")


def report(
    evaluation: Evaluation,
    verdict: Verdict,
    *,
    drawn: dict[str, str] | None = None,
    answers: str = "",
) -> str:
    """The evaluation as Markdown.

    Args:
        drawn: title → file of a plot beside it, or its data URI.
        answers: file with answers side by side.
    """
    measured = evaluation.measured
    lines = [
        f"# Evaluation of {evaluation.checkpoint[:12]} of {verdict.author}",
        "",
        f"Verdict of {verdict.gate_version}: **{verdict.outcome.replace('_', ' ')}** "
        f"({verdict.created_at}). {_forms(verdict)}",
        "",
        *_claims("claim", verdict.claims),
    ]
    if not gate.is_whole(verdict.claims):
        lines += [
            "",
            "The gate's first part, by which a first model is released. The rest follows.",
        ]
    elif told := gate.stated(measured):
        lines += ["", *_claims("stated only, for a small base model", told, words=STATED)]
    for title, file in (drawn or {}).items():
        lines += ["", f"![{title}]({file})"]
    lines += _perplexity(measured)
    for part in _measures(measured):
        lines += ["", *part]
    if answers:
        lines += ["", f"[Answers side by side]({answers}), the author's own among them."]
    return "\n".join([*lines, "", *_details(evaluation), ""])


def _forms(verdict: Verdict) -> str:
    if verdict.outcome != "passed":
        return "Released for nothing."
    return f"Released for answers of the form {', '.join(verdict.released_for)}."


def side_by_side(shown: Sequence[SideBySide]) -> str:
    """Answers of candidate and base beside the author's own."""
    lines = ["# Answers to held-out questions", ""]
    for one in shown:
        lines += [
            f"## {_line(one.question)}",
            "",
            f"Sample `{one.sample_id}`, document `{one.document_id}`, chunk `{one.chunk_id}`.",
            "",
        ]
        base = "(not asked again: its scores were known)" if one.base is None else one.base
        for who, text in (("author", one.author), ("candidate", one.candidate), ("base", base)):
            lines += [f"**{who}**", "", *(f"> {line}" for line in text.splitlines() or [""]), ""]
    return "\n".join(lines)


def _claims(
    title: str, claims: Sequence[GateClaim], *, words: Mapping[bool | None, str] = WORDS
) -> list[str]:
    return [
        f"| {title} | met | found |",
        "|---|---|---|",
        *(f"| `{one.name}` | {words[one.passed]} | {one.detail} |" for one in claims),
    ]


def _perplexity(measured: Measured) -> list[str]:
    lines = [
        "",
        "| held-out perplexity | value (95 %) | candidate's / this (95 %) |",
        "|---|---|---|",
    ]
    if measured.perplexity is not None:
        own = _around(measured.perplexity, measured.perplexity_interval)
        lines.append(f"| candidate | {own} | |")
    return lines + [
        f"| {found.name} | {_around(found.perplexity, found.interval)} "
        f"| {found.ratio:.4f} ({found.low:.4f} to {found.high:.4f}) |"
        for found in (measured.base, measured.incumbent)
        if found is not None
    ]


def _around(value: float, found: Interval | None) -> str:
    """`23.500 (21.204 to 26.017)`."""
    return f"{value:.3f}" + ("" if found is None else f" ({found.low:.3f} to {found.high:.3f})")


def _topic(found: OnTopic) -> list[str]:
    difference = Interval(found.candidate - found.base, found.low, found.high)
    return [
        f"- Topic score {_around(found.candidate, found.of_candidate)}, of the base model "
        f"{_around(found.base, found.of_base)}; candidate − base {difference.told(3)}, "
        f"{found.questions} held-out questions."
    ]


def _measures(measured: Measured) -> list[list[str]]:
    """A part for each measure that was taken."""
    found: list[list[str]] = []
    if measured.control is not None:
        found.append(control.lines(measured.control))
    if measured.voice is not None:
        found.append(voice_scores.lines(measured.voice))
    if measured.delta is not None:
        found.append(delta.lines(measured.delta))
    if measured.habits is not None:
        found.append(style_habits.lines(measured.habits))
    if measured.shown is not None:
        found.append(voice_figures.lines(measured.shown))
    if measured.basics is not None:
        found.append(basics.lines(measured.basics))
    if measured.safety is not None:
        found.append(safety.lines(measured.safety))
    if measured.blind is not None:
        found.append(blind_judge.lines(measured.blind))
    elif "blind judge" in measured.why_not:
        found.append([f"Blind judge: no ratings, {measured.why_not['blind judge']}."])
    single: list[str] = []
    if measured.recitation is not None:
        single += memorisation.lines(measured.recitation)
    if measured.on_topic is not None:
        single += _topic(measured.on_topic)
    single += grounding.lines(measured.grounding, measured.refusals)
    if measured.faithfulness is not None:
        single += faithfulness.lines(measured.faithfulness)
    if measured.speed is not None:
        single += speed.lines(measured.speed)
    return [*found, single] if single else found


def _details(evaluation: Evaluation) -> list[str]:
    parity = ", ".join(f"{name} {value:g}" for name, value in evaluation.parity.items())
    seconds = ", ".join(f"{name} {value:.1f} s" for name, value in evaluation.seconds.items())
    return [
        f"- {evaluation.measured.passages} passages that no compared model was trained on, "
        f"{evaluation.answer_tokens} answer tokens, computed in {evaluation.precision}; left out: "
        f"{evaluation.left_out or 'none'}.",
        f"- Served model, copied word for word ({evaluation.copy_windows} runs of 8 words): "
        f"{100 * evaluation.copied_from_training:.1f} % from training answers, "
        f"{100 * evaluation.copied_from_prompt:.1f} % from its own prompt.",
        f"- Served model against transformers + PEFT in fp32: {parity or 'not asked'}.",
        f"- Time: {seconds}.",
    ]


def _line(text: str) -> str:
    return " ".join(text.split())
