"""What became of the answers, drawn: scores by version, evidence, money spent.

Belongs here: which figures, and the sentences where there are none yet. Does not belong here:
drawing (`charts.py`), reading (`langfuse/trace_reading.py`, `home_numbers.py`).
"""
# pyright: strict

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from twin_resources.gateway.chat import charts
from twin_resources.gateway.chat.footnotes import day
from twin_resources.gateway.chat.home_numbers import BudgetSpending
from twin_resources.gateway.chat.plain_names import streams_named, version_name
from twin_resources.gateway.chat.readable import as_text
from twin_resources.observability.langfuse.trace_reading import DailyScore, ScoreHistory
from twin_resources.quality.retraining.evidence_history import StreamHistory

LEAST_E = 0.01  # the axis is logarithmic, and the evidence against a good version is near 1


def score_figures(history: ScoreHistory, *, days: int) -> str:
    """A chart a score, a line a version; `days`: how far back was read."""
    made = [f'<h2>Scores of the last {days} days, by version</h2><div class="twin-charts">']
    plain = streams_named(list(history.names))
    for name in history.names:
        lines: dict[str, list[DailyScore]] = defaultdict(list)
        for score in history.days:
            if score.name == name:
                lines[score.version].append(score)
        days_shown = sorted({one.day for points in lines.values() for one in points})
        means = [one.mean for points in lines.values() for one in points]
        made.append(
            charts.line_chart(
                f"{plain[name]}, daily mean",
                [
                    charts.ChartLine(
                        version_name(version),
                        [(days_shown.index(one.day), one.mean) for one in points],
                    )
                    for version, points in sorted(lines.items())
                ],
                ends=(day(days_shown[0]), day(days_shown[-1])),
                low=min(0.0, *means),
                high=max(1.0, *means),
            )
        )
    made.append("</div>")
    if not history.names:
        made.append('<p class="twin-empty">Nobody has scored an answer yet.</p>')
    if history.cut:
        made.append('<p class="twin-small">Only the newest answers and scores are read.</p>')
    return f"<section>{''.join(made)}</section>"


def evidence_figures(histories: Sequence[StreamHistory]) -> str:
    """The evidence of each stream, against the threshold at which an alarm is raised."""
    made = ["<h2>Evidence against the stable version</h2>"]
    if not histories:
        made.append(
            '<p class="twin-empty">Nothing is compared yet: a version that answers and readers who '
            "score it come first.</p>"
        )
    plain = streams_named(list(dict.fromkeys(history.watch.stream for history in histories)))
    for history in histories:
        watch = history.watch
        title = f"{plain[watch.stream]}, {version_name(watch.version)}, {watch.seen:,} values"
        if not watch.armed:
            made.append(f'<p class="twin-empty">{as_text(title)}: gathering two weeks first.</p>')
            continue
        points = [(step.sequence, max(step.e_value, LEAST_E)) for step in history.steps]
        made.append(
            charts.line_chart(
                title,
                [charts.ChartLine("evidence (likelihood ratio)", points)],
                ends=_sequences(points),
                low=LEAST_E,
                high=max(history.threshold * 10, *(y for _, y in points), 1.0),
                limit=("alarm at", history.threshold),
                logarithmic=True,
            )
        )
    return f"<section>{''.join(made)}</section>"


def spending_figures(accounts: Sequence[BudgetSpending]) -> str:
    """A bar a budget."""
    made = [charts.bar(one.name, one.spent, one.budget) for one in accounts]
    nothing = '<p class="twin-empty">No paid model and no teacher: nothing can be spent.</p>'
    return f"<section><h2>Spent</h2>{''.join(made) or nothing}</section>"


def _sequences(points: Sequence[tuple[float, float]]) -> tuple[str, str]:
    if not points:
        return "", ""
    return f"value {points[0][0]:.0f}", f"value {points[-1][0]:.0f}"
