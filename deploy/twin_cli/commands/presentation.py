"""Format the text and tables that commands print for people.

Scope: pure functions that return strings or rich tables.
Out of scope: the source of the values, and printing.
"""
# pyright: strict

from __future__ import annotations

import re
import textwrap
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from rich.table import Table

from twin_resources.processes.endpoints import Endpoints, env_path
from twin_resources.processes.wording import format_count

if TYPE_CHECKING:
    from pathlib import Path

    from twin_cli.commands.questions import EndpointAnswer
    from twin_resources.registry.registry import ModelVersion, Move, Verdict

MAX_SHOWN_CHARACTERS = 270  # of a passage on the screen; `twin ask` prints the whole passage
MAX_WORD_CHARACTERS = 40
LINE_WIDTH = 96


def format_quotation(answer: EndpointAnswer) -> str:
    """Return the question, the first quotation and the title of its post, without generated text.

    Args:
        answer: an answer with `quotes`.
    """
    first_quote = answer.quotes[0]
    text = str(first_quote["text"])
    post = str(first_quote.get("title") or first_quote.get("document_id"))
    date = f", {first_quote['published_at']}" if first_quote.get("published_at") else ""
    return f"{answer.question}\n{format_passage(text)}\n   — {post}{date}"


def format_passage(text: str, *, max_characters: int = MAX_SHOWN_CHARACTERS) -> str:
    """Return a quoted text, wrapped to `LINE_WIDTH`; a long text is cut after a word.

    Text in a script without spaces is cut at the limit.
    """
    single_line = " ".join(text.split())
    if len(single_line) > max_characters:
        shortened_line = re.sub(
            rf"\s\S{{0,{MAX_WORD_CHARACTERS}}}\Z", "", single_line[: max_characters + 1]
        )
        single_line = f"{shortened_line[:max_characters]} …"
    return textwrap.fill(
        f"“{single_line}”", LINE_WIDTH, initial_indent="  ", subsequent_indent="   "
    )


def format_sources(answer: EndpointAnswer) -> str:
    """Return one line for each post that supports the prose, in the order of first use.

    The result is empty for an answer that only quotes or only shows the closest passages, because
    it already names its posts.
    """
    if answer.kind in {"quote", "not_found"}:
        return ""
    lines: dict[str, str] = {}
    for source in answer.sources:
        key = str(source.get("document_id") or source.get("chunk_id"))
        title, url = source.get("title") or key, source.get("url") or ""
        lines.setdefault(key, f"· {title}" + (f" ({url})" if url else ""))
    return "\n".join(lines.values()) or "no post was found for this answer"


def format_verdict(verdict: Verdict) -> str:
    """Return a line with the number of passed claims and the names of the others."""
    failed_claims = [claim for claim in verdict.claims if not claim.passed]
    passed_count = len(verdict.claims) - len(failed_claims)
    line = f"the gate: {passed_count} of {format_count(len(verdict.claims), 'claim')} passed"
    names = [claim.name.replace("_", " ") for claim in failed_claims]
    return line + (f"; not met: {', '.join(names)}" if names else "")


def format_endpoints(
    endpoints: Endpoints, home: Path, *, stop_command: str, open_command: str
) -> str:
    """Return the addresses and commands that the user needs next."""
    model = next(iter(endpoints.models), "twin/AUTHOR")
    return "\n".join(
        (
            f"page: {open_command}",
            f"endpoint: {endpoints.gateway}, model {model}; `source {env_path(home)}` sets its key",
            f"training and data: {open_command} dagster",
            f"stop: {stop_command}",
        )
    )


def make_table(*titles: str, unwrapped_titles: Collection[str] = ()) -> Table:
    """Return an empty table that wraps long cells, except in the columns `unwrapped_titles`."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in titles:
        table.add_column(title, overflow="fold", no_wrap=title in unwrapped_titles)
    return table


def build_versions_table(
    versions: Sequence[ModelVersion], verdicts: Mapping[str, Verdict], moves: Sequence[Move]
) -> Table:
    """Return an author's versions, oldest first, with verdict and last move.

    Args:
        verdicts: newest verdict by checkpoint.
    """
    last_moves = {move.version: move for move in moves}
    table = make_table(
        *("version", "state", "verdict", "released for", "checkpoint", "dataset", "created"),
        "last move",
    )
    for version in versions:
        labels = [name for name in ("tainted", "forced") if getattr(version, name)]
        if version.is_answer_model:
            labels = [f"answer model {version.base}"]
        verdict = verdicts.get(version.checkpoint)
        move = last_moves.get(version.version)
        table.add_row(
            f"v{version.version}",
            " ".join([version.state.replace("_", " "), *labels]),
            verdict.outcome.replace("_", " ") if verdict else "none",
            verdict.prose_release.description if verdict and verdict.outcome == "passed" else "",
            version.checkpoint[:12],
            version.dataset_version[:12],
            str(version.created_at)[:16].replace("T", " "),
            f"{move.actor}: {move.reason}" if move else "",
        )
    return table
