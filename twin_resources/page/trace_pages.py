"""Render traces as HTML: the list, and one trace as a tree with prompt, passages, scores and cost.

Scope: their appearance; every text of a trace is shown as text (`readable.py`).
Out of scope: reading them (`langfuse/trace_reading.py`), money (`spending.py`).
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
from twin_resources.page.footnotes import cost
from twin_resources.page.plain_names import route_name, score_name, version_name
from twin_resources.page.readable import as_text, web_address
from twin_resources.registry.explanation import ExplainedPassage, Explanation

SHORT = 150  # maximum characters of a question or an answer in the list
# Two of these have their own columns; the others say how a quotation was found, not how good it is.
_MEASURED = ("latency_s", "cost_usd", "quotations", "quote_score", "quote_threshold")
_MARKDOWN = re.compile(r"^> ?|\*\*", re.MULTILINE)  # markup of quotations; the list is plain text
_OUTCOMES = {
    "thumbs": ("thumbs down", "thumbs up"),
    "comparison": ("lost a comparison", "won a comparison"),
}
_FACTS = (
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


def trace_list(rows: Sequence[TraceRow]) -> str:
    """Return a list, newest first; a click on a question opens its trace."""
    if not rows:
        return '<p class="twin-empty">No trace of that kind.</p>'
    listed = "".join(_listed(row) for row in rows)
    return f'<ol class="twin-traces" aria-label="Traces, newest first">{listed}</ol>'


def _listed(row: TraceRow) -> str:
    link = f'href="/?trace={as_text(row.trace_id)}" data-trace="{as_text(row.trace_id)}"'
    question = as_text(_short(row.question) or "(no text)")
    answer = as_text(_short(_MARKDOWN.sub("", row.answer)))
    version, route = version_name(row.version), route_name(row.route)
    wrong = f'<p class="twin-bad-word">{as_text(row.error)}</p>' if row.error else ""
    facts = (
        f'<time datetime="{as_text(row.at)}">{as_text(moment(row.at))}</time>',
        as_text(version),
        as_text(route) if row.route not in ("", "stable") and route != version else "",
        "" if row.seconds is None else f"{row.seconds:.1f} s",
        "" if row.cost_usd is None else cost(row.cost_usd),
    )
    said = "".join(f"<span>{fact}</span>" for fact in facts if fact)
    chips = f'<span class="twin-chips">{score_chips(row.scores)}</span>' if row.scores else ""
    return (
        f'<li><div><a {link}>{question}</a><p class="twin-small">{answer}</p>{wrong}</div>'
        f'<p class="twin-facts">{said}{chips}</p></li>'
    )


def moment(at: str) -> str:
    """Format `2026-01-02T10:20:30.000Z` as `2 Jan 2026, 10:20` (UTC); keep any other text."""
    try:
        known = datetime.fromisoformat(at)
    except ValueError:
        return at
    return f"{known.day} {known:%b %Y, %H:%M}"


def score_chips(scores: Sequence[Score]) -> str:
    """Return the scores of an answer, one label each."""
    return " ".join(
        f'<span class="twin-chip {_colour(score)}" title="{as_text(score.comment or score.by)}">'
        f"{as_text(_score(score))}</span>"
        for score in scores
        if score.name not in _MEASURED
    )


def trace_tree(
    tree: TraceTree, explained: Explanation | None = None, *, address: str = "", why: str = ""
) -> str:
    """Return one trace in full.

    Args:
        explained: the trace's model, checkpoint and posts, or None if not found (`why`).
        address: the trace's address in a real Langfuse; empty without one.
    """
    row = tree.row
    where = (
        f'<a href="{as_text(address)}" target="_blank" rel="noopener noreferrer">Open it in '
        "Langfuse</a>"
        if web_address(address)
        else ""
    )
    named = f"<code>{as_text(row.trace_id)}</code> · {as_text(moment(row.at))} {where}"
    parts = [
        '<p><a href="/?view=traces" data-list="yes">← All traces</a></p>',
        f"<h2>{as_text(row.question or 'A trace without a question')}</h2>",
        f'<p class="twin-small">{named}</p>',
        f'<blockquote class="twin-answer">{as_text(row.answer)}</blockquote>' if row.answer else "",
        _scores(row.scores),
        _section("Decided by", _definitions(_decided(tree)), open_=True),
        *([] if explained is None else [_model(explained), _posts(explained.passages)]),
        f'<p class="twin-small">{as_text(why)}</p>' if why else "",
        _section("Steps", f'<ul class="twin-tree">{_steps(tree.steps)}</ul>', open_=True),
    ]
    return f'<article class="twin-trace">{"".join(parts)}</article>'


def _decided(tree: TraceTree) -> dict[str, str]:
    row, facts = tree.row, tree.facts
    facts_shown = {name: as_text(facts.get(f"twin.{key}", "")) for key, name in _FACTS}
    facts_shown["Version"] = _with_plain(facts.get("twin.version", ""), version_name)
    facts_shown["Route"] = _with_plain(facts.get("twin.route", ""), route_name)
    facts_shown["Took"] = "" if row.seconds is None else f"{row.seconds:.2f} s"
    facts_shown["Tokens"] = "" if row.tokens is None else f"{row.tokens:,}"
    facts_shown["Cost"] = cost(row.cost_usd)
    return facts_shown


def _with_plain(name: str, plain: Callable[[str], str]) -> str:
    """Return a plain name, and the system's own name if it differs."""
    words = plain(name) if name else ""
    return as_text(words) + (f" <small>({as_text(name)})</small>" if words != name else "")


def _model(explanation: Explanation) -> str:
    if not explanation.model:
        text = "No checkpoint of this home: the base model with retrieval, or a paid model."
        return _section("Model", f"<p>{text}</p>")
    manifest = explanation.manifest
    rows = {"Checkpoint": as_text(explanation.model["checkpoint"])}
    if manifest:
        rows |= {
            "Base": as_text(manifest["base"]["name"]),
            "Trained on": f"{manifest['tokens']:,} tokens, {manifest['epochs']:.2f} epochs",
            "Dataset": as_text(
                f"{manifest['dataset']['asset']} {manifest['dataset']['data_version']}"
            ),
        }
    return _section("Model", _definitions(rows))


def _posts(passages: Sequence[ExplainedPassage]) -> str:
    if not passages:
        return _section("Passages", "<p>No post was retrieved for it.</p>", open_=True)
    listed: list[str] = []
    for passage in passages:
        if not passage.document_id:
            gone = "its post was edited or deleted since"
            listed.append(f"<li><code>{as_text(passage.chunk_id)}</code>: {gone}</li>")
            continue
        url = web_address(passage.url)
        title = as_text(passage.title or passage.document_id)
        link = f'<a href="{as_text(url)}" rel="noopener noreferrer">Read the post</a> · '
        read = link if url else ""
        place = as_text(passage.path or passage.source_id)
        first, last = passage.offsets
        listed.append(
            f"<li><details><summary>{title}</summary><p>{as_text(passage.text)}</p>"
            f'<p class="twin-small">{read}{place}, characters {first}–{last} · document '
            f"<code>{as_text(passage.document_id)}</code></p></details></li>"
        )
    return _section("Passages, best first", f"<ol>{''.join(listed)}</ol>", open_=True)


def _scores(scores: Sequence[Score]) -> str:
    if not scores:
        return ""
    rows = "".join(
        f'<dt title="{as_text(score.name)}">{as_text(_title(score))}</dt>'
        f"<dd>{as_text(_value(score))} {as_text(score.comment)} "
        f"<small>{as_text(score.by)}</small></dd>"
        for score in scores
    )
    return _section("Scores", f"<dl>{rows}</dl>", open_=True)


def _steps(steps: Sequence[ObservationNode]) -> str:
    return "".join(_step(step) for step in steps)


def _step(step: ObservationNode) -> str:
    took = "" if step.seconds is None else f" {step.seconds:.2f} s"
    messages = "".join(
        f"<details><summary>{as_text(role or 'message')}</summary>"
        f"<pre>{as_text(text)}</pre></details>"
        for role, text in step.messages
    )
    below = f"<ul>{_steps(step.children)}</ul>" if step.children else ""
    details = (
        f"<details><summary>output</summary><pre>{as_text(step.output)}</pre></details>"
        if step.output
        else ""
    )
    facts = {name.capitalize(): as_text(text) for name, text in step.facts.items()}
    return (
        f"<li><strong>{as_text(step.name)}</strong> "
        f"<small>{as_text(step.kind.lower())}{took}</small>"
        f"{_definitions(facts)}{messages}{details}{below}</li>"
    )


def _definitions(facts: Mapping[str, str]) -> str:
    """Return a definition list of the known facts; the values are HTML."""
    listed = "".join(
        f"<dt>{as_text(name)}</dt><dd>{text}</dd>" for name, text in facts.items() if text
    )
    return f"<dl>{listed}</dl>" if listed else ""


def _section(title: str, body: str, *, open_: bool = False) -> str:
    return f"<details{' open' * open_}><summary>{as_text(title)}</summary>{body}</details>"


def _score(score: Score) -> str:
    if score.name == "output":
        return "reworded"
    if score.name in _OUTCOMES and score.value in (0, 1):
        return _OUTCOMES[score.name][int(score.value)]
    return f"{_title(score)} {_value(score)}"


def _title(score: Score) -> str:
    return "wording" if score.name == "output" else score_name(score.name)


def _value(score: Score) -> str:
    number = isinstance(score.value, int | float)
    return f"{float(score.value):.3g}" if number else str(score.value)


def _colour(score: Score) -> str:
    if not isinstance(score.value, int | float):
        return "twin-chip-edit"
    return "twin-chip-low" if float(score.value) < 0.5 else "twin-chip-high"


def _short(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= SHORT else flat[: SHORT - 1] + "…"
