"""Run `twin feedback`, `twin traces` and `twin explain`: rate, list and explain answers.

Scope: sending feedback, the table of traces, and the tree from an answer to its posts.
Out of scope: the permitted content of feedback (`gateway/api/feedback.py`), reading traces
(`langfuse/trace_reading.py`) and following the ids (`twin_resources/registry/explanation.py`).
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, cast

from rich.console import Console
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from twin_cli.commands.subject import choose_author
from twin_resources.errors import TwinError
from twin_resources.observability.langfuse.client import LangfuseClient, TraceStoreError
from twin_resources.observability.langfuse.trace_reading import (
    Score,
    TraceFilter,
    TraceRow,
    parse_score_condition,
    read_trace_page,
)
from twin_resources.processes.endpoints import find_gateway
from twin_resources.processes.stack import find_running_settings
from twin_resources.registry.explanation import Explanation, explain_answer
from twin_resources.registry.route_names import FRONT_DESK, QUOTES
from twin_resources.settings import Settings
from twin_resources.wait_limits import MAX_IDLE_S


def run_feedback(
    settings: Settings,
    trace_id: str,
    *,
    up: bool,
    down: bool,
    score: float | None,
    edit: str,
    console: Console,
    as_json: bool = False,
) -> int:
    """Send one piece of feedback, print the stored scores and return the exit code.

    Args:
        trace_id: the answer's trace id, as `twin ask` prints it.
        up, down, score: the vote; at most one is set.
        edit: the corrected answer, or empty for no edit.

    Raises:
        TwinError: the feedback is empty or has more than one vote, no stack is running, or the
            gateway rejects the feedback.
    """
    body = build_feedback_body(trace_id, up=up, down=down, score=score, edit=edit)
    stored_scores = send_feedback(*find_gateway(settings), body)
    if as_json:
        console.print_json(data={"trace_id": body["trace_id"], "stored": stored_scores})
        return 0
    labels = {"thumbs": "vote", "output": "edit"}
    names = " and ".join(labels.get(score["name"], score["name"]) for score in stored_scores)
    console.print(f"stored: {names} on trace {trace_id}")
    return 0


def build_feedback_body(
    trace_id: str, *, up: bool, down: bool, score: float | None, edit: str
) -> dict[str, Any]:
    """Return the request body of one piece of feedback.

    Raises:
        TwinError: the feedback is empty or has more than one vote.
    """
    votes = [name for name, is_set in (("--up", up), ("--down", down)) if is_set]
    votes += ["--score"] if score is not None else []
    if len(votes) > 1 or not (votes or edit.strip()):
        raise TwinError(
            "send feedback",
            found=" and ".join(votes) if votes else "neither a vote nor an edit",
            next_step="pass --up, --down or --score, with or without --edit TEXT, or "
            "pass --edit TEXT alone",
        )
    body: dict[str, Any] = {"trace_id": trace_id.strip()}
    if up or down:
        body["thumb"] = "up" if up else "down"
    if score is not None:
        body["score"] = score
    if edit.strip():
        body["edit"] = edit
    return body


def send_feedback(gateway: str, key: str, body: dict[str, Any]) -> list[dict[str, str]]:
    """POST the feedback; return the stored scores as `{"id", "name"}`.

    Args:
        gateway: the base URL for OpenAI clients; it ends in `/v1`.
        body: the request body; see `gateway/api/feedback.py`.

    Raises:
        TwinError: the gateway does not respond or rejects the feedback.
    """
    import httpx

    url = gateway.removesuffix("/v1") + "/twin/feedback"
    try:
        response = httpx.post(
            url,
            json=body,
            headers={"Authorization": f"Bearer {key}"},
            timeout=MAX_IDLE_S,
            trust_env=False,
        )
    except httpx.HTTPError as error:
        raise TwinError(
            f"send feedback to {url}",
            found=f"no answer ({type(error).__name__})",
            next_step="see `twin status`, or start the stack with `twin up`",
        ) from error
    try:
        document: Any = response.json()
    except ValueError as error:
        raise TwinError(
            f"send feedback to {url}",
            found=f"HTTP {response.status_code} without JSON",
            next_step="check with `twin status` that the gateway listens there",
        ) from error
    if response.status_code != 200:
        message = str(cast("dict[str, Any]", document).get("error", {}).get("message", ""))
        raise TwinError(
            f"send feedback to {url}",
            found=f"HTTP {response.status_code}: {message}",
            next_step="follow the message, or see gateway.log",
        )
    return cast("list[dict[str, str]]", document["scores"])


PAGE_SIZE = 100
READERS_SCORES = ("thumbs", "output", "comparison")  # `--json` has the others
# The columns of `twin traces`, with the terminal's width from which each is shown. Together, the
# least widths are below 80.
_TRACE_COLUMNS: Mapping[str, Mapping[str, int]] = {
    "when (UTC)": {"from_width": 0, "min_width": 16},
    "twin": {"from_width": 100, "min_width": 12},
    "route": {"from_width": 120, "min_width": 8},
    "s": {"from_width": 100, "min_width": 4},
    "feedback": {"from_width": 0, "min_width": 9},
    "question": {"from_width": 0, "min_width": 16, "ratio": 1},
    "trace": {"from_width": 0, "min_width": 32},
}


def run_traces(
    settings: Settings,
    *,
    author: str,
    version: str,
    route: str,
    score: str,
    limit: int,
    as_json: bool,
    console: Console,
) -> int:
    """Print the newest matching traces; return the exit code.

    Args:
        author: the author's name or slug, or empty for all authors.
        score: a score's name, or a condition (for example, `support<0.3`).

    Raises:
        TwinError: the condition cannot be parsed, or the trace store does not respond.
    """
    slug = choose_author(settings, author).slug if author else ""
    trace_filter = TraceFilter(slug, version, route, parse_score_condition(score))
    with LangfuseClient.from_settings(find_running_settings(settings)) as client:
        rows = _read_rows(client, trace_filter, limit=limit)
    if as_json:
        console.print_json(data={"traces": [asdict(row) for row in rows]})
    elif rows:
        console.print(_build_trace_table(rows, width=console.width))
        console.print(
            "to see one in full: twin explain TRACE; all scores: twin traces --json", style="dim"
        )
    else:
        console.print("no trace matches")
    return 0


def _read_rows(client: LangfuseClient, trace_filter: TraceFilter, *, limit: int) -> list[TraceRow]:
    rows: list[TraceRow] = []
    cursor = ""
    while len(rows) < limit:
        page = read_trace_page(
            client, trace_filter, limit=min(PAGE_SIZE, limit - len(rows)), start_cursor=cursor
        )
        rows += page.rows
        cursor = page.next_cursor
        if not cursor:
            break
    return rows[:limit]


def _build_trace_table(rows: list[TraceRow], *, width: int) -> Table:
    """Return one line an answer at any width; `--json` has what a narrow terminal cuts off.

    The time, the trace's id and what readers said stay whole at 80 columns and more.
    """
    table = Table(box=None, pad_edge=False, header_style="bold", width=width)
    for title, options in _TRACE_COLUMNS.items():
        if width >= options["from_width"]:
            table.add_column(
                title,
                no_wrap=True,
                overflow="ellipsis",
                ratio=options.get("ratio"),
                min_width=options["min_width"],
            )
    for row in rows:
        cells = {
            "when (UTC)": row.at[:16].replace("T", " "),
            "twin": f"{row.author} {row.version}".strip(),
            "route": row.route,
            "s": "" if row.seconds is None else f"{row.seconds:.1f}",
            "feedback": " ".join(
                format_score(score) for score in row.scores if score.name in READERS_SCORES
            ),
            "question": _shorten(row.question, MAX_SHOWN_CHARACTERS) or row.error,
            "trace": row.trace_id,
        }
        table.add_row(*(cells[str(column.header)] for column in table.columns))
    return table


def format_score(score: Score) -> str:
    """Return a score in short form: `thumbs 0`, `support 0.25`, `edited`."""
    if score.name == "output":
        return "edited"
    value = f"{score.value:.3g}" if isinstance(score.value, int | float) else score.value
    return f"{score.name} {value}"


TRACE_ARRIVAL_TIMEOUT_S = 8.0  # a new trace is delayed, because the gateway exports in batches
MAX_SHOWN_CHARACTERS = 160  # of a question, answer or chunk


def run_explain(
    settings: Settings, trace_id: str, *, show_stages: bool, as_json: bool, console: Console
) -> int:
    """Print the explanation of one answer; return the exit code.

    Args:
        trace_id: the id from `x-twin-trace-id` or `twin ask` (32 hex digits).
        show_stages: whether to print the duration of each stage of the request.

    Raises:
        TwinError: the trace store does not respond or has no such trace.
    """
    settings = find_running_settings(settings)
    explanation = explain_answer(settings, _fetch_trace(settings, trace_id))
    if as_json:
        console.print_json(data=asdict(explanation), default=str)
    else:
        tree = build_explanation_tree(explanation)
        if show_stages:
            branch = tree.add("stages of the request")
            for line in explanation.trace.get("twin.stages", "not recorded").splitlines():
                branch.add(line)
        console.print(tree, soft_wrap=False)
    return 0


def build_explanation_tree(explanation: Explanation) -> Tree:
    """Return the explanation as a tree: answer, model, checkpoint, dataset, chunks, posts."""
    trace = explanation.trace
    tree = Tree(Text(f"trace {explanation.trace_id}", "bold"))
    tree.add(f"question: {_shorten(explanation.question)}")
    label = explanation.trace.get("twin.prose_label") or "answer"
    tree.add(f"{label}: {_shorten(explanation.answer)}")
    attribute_names = ("route", "propensity", "class", "cost_usd", "template", "degraded")
    attribute_texts = [
        f"{name} {trace[f'twin.{name}']}" for name in attribute_names if trace.get(f"twin.{name}")
    ]
    tree.add("decided by: " + ", ".join(attribute_texts))
    if trace.get("twin.routing"):
        reason_branch = tree.add(f"routing reason: {trace['twin.routing']}")
        if trace.get("twin.other") and trace.get("twin.other_usd"):
            alternative_usd = float(trace["twin.other_usd"])
            reason_branch.add(
                f"the alternative ({trace['twin.other']}) would have cost about "
                f"${alternative_usd:.6f}"
            )
    _add_model(tree, explanation)
    for number, passage in enumerate(explanation.passages, start=1):
        if not passage.document_id:
            tree.add(f"chunk {passage.chunk_id}: its post has since been edited or deleted")
            continue
        start, end = passage.offsets
        branch = tree.add(f"{number}. chunk {passage.chunk_id}: {_shorten(passage.text)}")
        document = branch.add(
            f"document {passage.document_id}, characters {start}–{end}: {passage.title}"
        )
        document.add(f"post {passage.path or passage.source_id} {passage.url}".rstrip())
    if not explanation.passages:
        tree.add("no post was retrieved")
    return tree


def _add_model(tree: Tree, explanation: Explanation) -> None:
    """Add the model, and its checkpoint and dataset if it was trained here."""
    trace = explanation.trace
    model = tree.add(f"model: twin/{trace['twin.author']} {trace.get('twin.version', '')}")
    if trace.get("twin.version") in {QUOTES, FRONT_DESK}:
        model.add("no model wrote this answer: it quotes the posts or is a built-in answer")
    elif not explanation.model:
        model.add(
            "not a checkpoint of this home, but the base model with retrieval or a paid model"
        )
    else:
        checkpoint = model.add(f"checkpoint {explanation.model['checkpoint']}")
        checkpoint.add(f"folder {explanation.model['folder']}")
        if manifest := explanation.manifest:
            base, dataset = manifest["base"], manifest["dataset"]
            for line in (
                f"base {base['name']} (revision {base['revision'][:16]})",
                f"trained on {manifest['tokens']:,} tokens, {manifest['epochs']:.2f} epochs, code "
                f"{manifest['code'][:12]}",
                f"dataset {dataset['asset']} version {dataset['data_version']} "
                f"(Lance version {dataset['lance_version']}, tag {dataset['tag']})",
            ):
                checkpoint.add(line)


def _fetch_trace(settings: Settings, trace_id: str) -> dict[str, Any]:
    deadline = time.monotonic() + TRACE_ARRIVAL_TIMEOUT_S
    with LangfuseClient.from_settings(settings) as client:
        while True:
            try:
                return client.trace(trace_id)
            except TraceStoreError as error:
                if error.status != 404 or time.monotonic() > deadline:
                    raise
                time.sleep(0.5)


def _shorten(text: str, max_characters: int = MAX_SHOWN_CHARACTERS) -> str:
    single_line = " ".join(text.split())
    is_short = len(single_line) <= max_characters
    return single_line if is_short else single_line[: max_characters - 1] + "…"
