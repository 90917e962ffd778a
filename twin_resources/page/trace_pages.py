"""Render traces as HTML: a list, and a single trace with its steps, passages, scores and cost.

Scope: the HTML; all text of a trace is escaped (`escaping.py`).
Out of scope: reading traces (`langfuse/trace_reading.py`), budgets (`spending.py`).
"""
# pyright: strict

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from twin_resources.observability.langfuse.trace_reading import (
    ObservationNode,
    Score,
    TraceRow,
    TraceTree,
)
from twin_resources.page.escaping import escape_html, http_url_or_empty
from twin_resources.page.footnotes import format_cost
from twin_resources.page.plain_names import translate_route, translate_score, translate_version
from twin_resources.registry.explanation import ExplainedPassage, Explanation

MAX_LIST_CHARACTERS = 150  # maximum length of a question or an answer in the list
# The first two are shown elsewhere. The others describe the search for quotations, not quality.
_HIDDEN_SCORES = ("latency_s", "cost_usd", "quotations", "quote_score", "quote_threshold")
_MARKDOWN = re.compile(r"^> ?|\*\*", re.MULTILINE)  # the list shows quotations as plain text
_QUOTE_MARK = re.compile(r"^> ?", re.MULTILINE)  # the bar shows it
_OUTCOMES = {
    "thumbs": ("thumbs down", "thumbs up"),
    "comparison": ("lost a comparison", "won a comparison"),
}
_FACT_LABELS = (
    ("version", "Version"),
    ("checkpoint", "Checkpoint"),
    ("route", "Route"),
    ("propensity", "Probability of the route"),
    ("class", "Kind of question"),
    ("template", "Prompt template"),
    ("server", "Computed by"),
    ("degraded", "Degraded"),
    ("front_desk", "Answered by the program"),
    ("safety", "Safety findings"),
)


def render_trace_list(rows: Sequence[TraceRow]) -> str:
    """Return an HTML list of traces, newest first; clicking a question opens its trace."""
    if not rows:
        return '<p class="twin-empty">No traces match.</p>'
    items_html = "".join(_render_list_item(row) for row in rows)
    return f'<ol class="twin-traces" aria-label="Traces, newest first">{items_html}</ol>'


def render_langfuse_link(url: str) -> str:
    """Return the line that takes the place of the list where a real Langfuse has it."""
    if not http_url_or_empty(url):
        return '<p class="twin-empty">The address of Langfuse is no web address.</p>'
    return (
        f'<p class="twin-empty">The traces are in Langfuse: <a href="{escape_html(url)}" '
        f'target="_blank" rel="noopener noreferrer">{escape_html(url)}</a></p>'
    )


def _render_list_item(row: TraceRow) -> str:
    link_attributes = (
        f'href="/?trace={escape_html(row.trace_id)}" data-trace="{escape_html(row.trace_id)}"'
    )
    question = escape_html(_shorten(row.question) or "(no text)")
    answer = escape_html(_shorten(_MARKDOWN.sub("", row.answer)))
    if row.prose_label:
        answer = f"<b>{escape_html(row.prose_label)}:</b> {answer}"
    version, route = translate_version(row.version), translate_route(row.route)
    error_html = f'<p class="twin-bad-word">{escape_html(row.error)}</p>' if row.error else ""
    facts = (
        f'<time datetime="{escape_html(row.at)}">{escape_html(format_time(row.at))}</time>',
        escape_html(version),
        escape_html(route) if row.route not in ("", "stable") and route != version else "",
        "" if row.seconds is None else f"{row.seconds:.1f} s",
        "" if row.cost_usd is None else format_cost(row.cost_usd),
    )
    facts_html = "".join(f"<span>{fact}</span>" for fact in facts if fact)
    chips = (
        f'<span class="twin-chips">{render_score_chips(row.scores)}</span>' if row.scores else ""
    )
    return (
        f"<li><div><a {link_attributes}>{question}</a>"
        f'<p class="twin-small">{answer}</p>{error_html}</div>'
        f'<p class="twin-facts">{facts_html}{chips}</p></li>'
    )


def format_time(timestamp: str) -> str:
    """Format `2026-01-02T10:20:30.000Z` as `2 Jan 2026, 10:20` (UTC); keep other text unchanged."""
    try:
        time = datetime.fromisoformat(timestamp)
    except ValueError:
        return timestamp
    return f"{time.day} {time:%b %Y, %H:%M}"


def render_score_chips(scores: Sequence[Score]) -> str:
    """Return one HTML label per score of an answer."""
    return " ".join(
        f'<span class="twin-chip {_score_css_class(score)}" '
        f'title="{escape_html(score.comment or score.by)}">'
        f"{escape_html(_describe_score(score))}</span>"
        for score in scores
        if score.name not in _HIDDEN_SCORES
    )


def render_trace(
    tree: TraceTree,
    explanation: Explanation | None = None,
    *,
    langfuse_url: str = "",
    explanation_error: str = "",
) -> str:
    """Return a whole trace as HTML.

    Args:
        explanation: the answer's model and posts; None if they were not found.
        langfuse_url: URL of the trace in a real Langfuse, which has its scores and steps; empty
            for the embedded store.
        explanation_error: reason for a missing explanation; may be empty.
    """
    row = tree.row
    langfuse_link = (
        f'<a href="{escape_html(langfuse_url)}" target="_blank" rel="noopener noreferrer">'
        "Open it in Langfuse</a>"
        if http_url_or_empty(langfuse_url)
        else ""
    )
    subtitle = (
        f"<code>{escape_html(row.trace_id)}</code> · {escape_html(format_time(row.at))} "
        f"{langfuse_link}"
    )
    parts = [
        '<p><a href="/?view=traces" data-list="yes">← All traces</a></p>',
        f"<h2>{escape_html(row.question or 'A trace without a question')}</h2>",
        f'<p class="twin-small">{subtitle}</p>',
        _render_trace_answer(row),
        "" if langfuse_link else _render_scores(row.scores),
        _render_section("Decided by", _render_definitions(_collect_decision_facts(tree))),
        _render_passages(explanation.passages) if explanation is not None else "",
        f'<p class="twin-small">{escape_html(explanation_error)}</p>' if explanation_error else "",
        ""
        if langfuse_link
        else _render_section("Steps", f'<ul class="twin-tree">{_render_steps(tree.steps)}</ul>'),
    ]
    return f'<article class="twin-trace">{"".join(parts)}</article>'


def _render_trace_answer(row: TraceRow) -> str:
    """Return the answer: prose in a frame below its label, quotations beside a bar."""
    if not row.answer:
        return ""
    if row.prose_label:
        prose = f'<div class="twin-answer">{escape_html(row.answer)}</div>'
        above = _render_without_writer(row.above_prose) if row.above_prose else ""
        return above + render_prose_frame(row.prose_label, prose)
    return _render_without_writer(row.answer)


def _render_without_writer(text: str) -> str:
    """Return a text that no model wrote, beside a bar if it begins with a quotation."""
    if not text.startswith("> "):
        return f'<div class="twin-answer">{escape_html(text)}</div>'
    quotations = escape_html(_QUOTE_MARK.sub("", text))
    return f'<blockquote class="twin-answer">{quotations}</blockquote>'


def render_prose_frame(label: str, prose_html: str) -> str:
    """Return a program's prose in its frame, below the label that names its writer."""
    return (
        f'<aside class="twin-prose"><p class="twin-prose-label">{escape_html(label)}</p>'
        f"{prose_html}</aside>"
    )


def _collect_decision_facts(tree: TraceTree) -> dict[str, str]:
    row, facts = tree.row, tree.facts
    displayed_facts = {
        name: escape_html(facts.get(f"twin.{key}", "")) for key, name in _FACT_LABELS
    }
    displayed_facts["Version"] = _render_plain_name(
        facts.get("twin.version", ""), translate_version
    )
    displayed_facts["Route"] = _render_plain_name(facts.get("twin.route", ""), translate_route)
    displayed_facts["Duration"] = "" if row.seconds is None else f"{row.seconds:.2f} s"
    displayed_facts["Tokens"] = "" if row.tokens is None else f"{row.tokens:,}"
    displayed_facts["Cost"] = format_cost(row.cost_usd)
    return displayed_facts


def _render_plain_name(name: str, translate: Callable[[str], str]) -> str:
    """Return a plain name, followed by the internal name if it differs."""
    plain_name = translate(name) if name else ""
    return escape_html(plain_name) + (
        f" <small>({escape_html(name)})</small>" if plain_name != name else ""
    )


def _render_passages(passages: Sequence[ExplainedPassage]) -> str:
    if not passages:
        return _render_section("Passages", "<p>No post was retrieved.</p>")
    items: list[str] = []
    for passage in passages:
        if not passage.document_id:
            missing_reason = "its post has since been edited or deleted"
            items.append(f"<li><code>{escape_html(passage.chunk_id)}</code>: {missing_reason}</li>")
            continue
        url = http_url_or_empty(passage.url)
        title = escape_html(passage.title or passage.document_id)
        link = f'<a href="{escape_html(url)}" rel="noopener noreferrer">Read the post</a> · '
        link_html = link if url else ""
        location = escape_html(passage.path or passage.source_id)
        first, last = passage.offsets
        items.append(
            f"<li><details><summary>{title}</summary><p>{escape_html(passage.text)}</p>"
            f'<p class="twin-small">{link_html}{location}, characters {first}–{last} · document '
            f"<code>{escape_html(passage.document_id)}</code></p></details></li>"
        )
    return _render_section("Passages, best first", f"<ol>{''.join(items)}</ol>")


def _render_scores(scores: Sequence[Score]) -> str:
    if not scores:
        return ""
    rows = "".join(
        f'<dt title="{escape_html(score.name)}">{escape_html(_score_title(score))}</dt>'
        f"<dd>{escape_html(_format_score_value(score))} {escape_html(score.comment)} "
        f"<small>{escape_html(score.by)}</small></dd>"
        for score in scores
    )
    return _render_section("Scores", f"<dl>{rows}</dl>")


def _render_steps(steps: Sequence[ObservationNode]) -> str:
    return "".join(_render_step(step) for step in steps)


def _render_step(step: ObservationNode) -> str:
    duration = "" if step.seconds is None else f" {step.seconds:.2f} s"
    messages_html = "".join(
        f"<details><summary>{escape_html(role or 'message')}</summary>"
        f"<pre>{escape_html(text)}</pre></details>"
        for role, text in step.messages
    )
    children_html = f"<ul>{_render_steps(step.children)}</ul>" if step.children else ""
    output_html = (
        f"<details><summary>output</summary><pre>{escape_html(step.output)}</pre></details>"
        if step.output
        else ""
    )
    facts = {name.capitalize(): escape_html(text) for name, text in step.facts.items()}
    return (
        f"<li><strong>{escape_html(step.name)}</strong> "
        f"<small>{escape_html(step.kind.lower())}{duration}</small>"
        f"{_render_definitions(facts)}{messages_html}{output_html}{children_html}</li>"
    )


def _render_definitions(facts: Mapping[str, str]) -> str:
    """Return a definition list of the nonempty facts, whose values are HTML."""
    items_html = "".join(
        f"<dt>{escape_html(name)}</dt><dd>{html}</dd>" for name, html in facts.items() if html
    )
    return f"<dl>{items_html}</dl>" if items_html else ""


def _render_section(title: str, body_html: str) -> str:
    return f"<details open><summary>{escape_html(title)}</summary>{body_html}</details>"


def _describe_score(score: Score) -> str:
    if score.name == "output":
        return "reworded"
    if score.name in _OUTCOMES and score.value in (0, 1):
        return _OUTCOMES[score.name][int(score.value)]
    return f"{_score_title(score)} {_format_score_value(score)}"


def _score_title(score: Score) -> str:
    return "wording" if score.name == "output" else translate_score(score.name)


def _format_score_value(score: Score) -> str:
    is_number = isinstance(score.value, int | float)
    return f"{float(score.value):.3g}" if is_number else str(score.value)


def _score_css_class(score: Score) -> str:
    if not isinstance(score.value, int | float):
        return "twin-chip-edit"
    return "twin-chip-low" if float(score.value) < 0.5 else "twin-chip-high"


def _shorten(text: str) -> str:
    single_line = " ".join(text.split())
    return (
        single_line
        if len(single_line) <= MAX_LIST_CHARACTERS
        else single_line[: MAX_LIST_CHARACTERS - 1] + "…"
    )
