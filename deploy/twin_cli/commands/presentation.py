"""The tables that a person reads at the end of a command.

Belongs here: values in, rich renderables out; pure. Does not belong here: where the values come
from, and printing.
"""
# pyright: strict

from __future__ import annotations

import re
import shlex
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.console import Group, RenderableType
from rich.markdown import Markdown
from rich.table import Table
from rich.text import Text

from twin_cli.commands.author_progress import EndpointAnswer
from twin_resources.dagster_runs import lineage_link
from twin_resources.processes.endpoints import Endpoints, endpoints_path, env_path

if TYPE_CHECKING:
    from pathlib import Path

    from twin_resources.registry.registry import ModelVersion, Move, Verdict

LONGEST_SHOWN = 420  # characters of an answer in a table; `twin ask` prints all of it
LONGEST_WORD = 40
NAMED_POST = "> —"  # how the line below a quotation begins (`answer_text.quoting`)


def answers_table(
    before: Sequence[EndpointAnswer], after: Sequence[EndpointAnswer] = (), *, author: str
) -> RenderableType:
    """Question by question: before | after | the posts that the answers rest on."""
    blocks: list[RenderableType] = []
    tuned = {answer.question: answer for answer in after}
    for first in before:
        table = Table(box=box.SIMPLE_HEAD, expand=True, title_justify="left", show_edge=False)
        table.title = Text(f"“{first.question}”", style="bold")
        second = tuned.get(first.question)
        columns = [(f"before ({first.version or 'base'})", first)] + (
            [(f"after ({second.version})", second)] if second else []
        )
        for title, _ in columns:
            table.add_column(Text(title), ratio=5, overflow="fold")
        table.add_column("rests on", ratio=3, overflow="fold")
        cells = [_shown(answer) for _, answer in columns]
        table.add_row(*cells, Text(sources_text([answer for _, answer in columns])))
        blocks += [table, Text("")]
    blocks.append(Text(f"Written by a language model from {author}'s posts, not by {author}."))
    return Group(*blocks)


def sources_text(answers: Sequence[EndpointAnswer]) -> str:
    """One line a post, in the order of first use; a post that both answers rest on appears once."""
    lines: dict[str, str] = {}
    for answer in answers:
        for source in answer.sources:
            key = str(source.get("document_id") or source.get("chunk_id"))
            title, url = source.get("title") or key, source.get("url") or ""
            lines.setdefault(key, f"· {title}" + (f" ({url})" if url else ""))
    return "\n".join(lines.values()) or "no post was found for it"


def verdict_table(verdict: Verdict) -> Table:
    """Each claim of the gate with its number and threshold."""
    table = Table(box=box.SIMPLE_HEAD, title_justify="left", show_edge=False)
    table.title = Text(
        f"gate {verdict.gate_version}: {verdict.outcome.replace('_', ' ')} "
        f"(checkpoint {verdict.checkpoint[:12]})",
        style="bold",
    )
    table.add_column("claim", no_wrap=True)
    table.add_column("holds", no_wrap=True)
    table.add_column("value", justify="right", no_wrap=True)
    table.add_column("threshold", justify="right", no_wrap=True)
    table.add_column("what it says", overflow="fold")
    words = {
        True: Text("yes", "green"),
        False: Text("no", "red"),
        None: Text("not decided", "yellow"),
    }
    for claim in verdict.claims:
        table.add_row(
            Text(claim.name),
            Text(f"not for {claim.blocks}", "yellow")
            if claim.blocks and not claim.passed
            else words[claim.passed],
            _number(claim.value),
            _number(claim.threshold),
            Text(claim.detail),
        )
    return table


def endpoints_table(
    endpoints: Endpoints, home: Path, *, stop: str, open_page: str
) -> RenderableType:
    """Where everything is, and the three ways to use it.

    Args:
        stop, open_page: the commands that end the stack and open its page, as this person can type
            them.
    """
    model = next(iter(endpoints.models), "twin/AUTHOR")
    rows = {
        # a link to it opens once and dies after ten minutes: the command makes another
        "page": f"{open_page} (talk; `open traces` looks)",
        "Dagster UI": endpoints.dagster,
        "endpoint": endpoints.gateway,
        "key": f"gateway_key in {endpoints_path(home)} (mode 600)",
        "models": ", ".join(endpoints.models),
        "trace store": endpoints.traces,
        "logs": endpoints.logs,
        "stop": stop,
    }
    table = Table(box=box.SIMPLE_HEAD, show_header=False, show_edge=False)
    table.add_column(no_wrap=True, style="bold")
    table.add_column(overflow="fold")
    for name, value in rows.items():
        # a click opens the asset graph; its address has 250 characters, so the shorter one is read
        link = f"link {lineage_link(value)}" if value == endpoints.dagster else ""
        table.add_row(name, Text(value, style=link))
    return Group(table, Text(usage_text(model=model, env=env_path(home))))


def usage_text(*, model: str, env: Path) -> str:
    """One curl and one Python snippet that work after `source .twin/env`."""
    question = '[{"role": "user", "content": "What do you think?"}]'
    return textwrap.dedent(
        f"""
        source {shlex.quote(str(env))}
        curl -s $OPENAI_BASE_URL/chat/completions -H "Authorization: Bearer $OPENAI_API_KEY" \\
          -H 'Content-Type: application/json' \\
          -d '{{"model": "{model}", "messages": {question}}}'

        from openai import OpenAI  # reads OPENAI_BASE_URL and OPENAI_API_KEY
        answer = OpenAI().chat.completions.create(model="{model}", messages={question})
        print(answer.choices[0].message.content)
        """
    )


def versions_table(
    versions: Sequence[ModelVersion], verdicts: Mapping[str, Verdict], moves: Sequence[Move]
) -> Table:
    """An author's versions, oldest first, with verdict and last move.

    Args:
        verdicts: checkpoint → newest verdict.
    """
    last = {move.version: move for move in moves}
    table = Table(box=box.SIMPLE_HEAD, show_edge=False)
    for title in (
        "version",
        "state",
        "verdict",
        "released for",
        "checkpoint",
        "dataset",
        "made",
        "last move",
    ):
        table.add_column(title, overflow="fold")
    for item in versions:
        marks = [mark for mark in ("tainted", "forced") if getattr(item, mark)]
        if item.is_answer_model:
            marks = [f"answer model {item.base}"]
        verdict = verdicts.get(item.checkpoint)
        move = last.get(item.version)
        table.add_row(
            f"v{item.version}",
            Text(" ".join([item.state.replace("_", " "), *marks])),
            verdict.outcome.replace("_", " ") if verdict else "none",
            ", ".join(verdict.released_for) if verdict and verdict.outcome == "passed" else "",
            item.checkpoint[:12],
            item.dataset_version[:12],
            str(item.created_at)[:16].replace("T", " "),
            Text(f"{move.actor}: {move.reason}" if move else ""),
        )
    return table


def _shown(answer: EndpointAnswer) -> RenderableType:
    """As the chat page shows it: an answer is Markdown, its quotations block quotes."""
    notes = [f"{answer.seconds:.1f} s"] + ([f"degraded: {answer.degraded}"] * bool(answer.degraded))
    return Group(Markdown(first_characters(answer.text)), Text(f"[{', '.join(notes)}]"))


def first_characters(text: str) -> str:
    """The beginning of an answer in the lines in which it stands, cut after a word.

    About `LONGEST_SHOWN` characters: a line that names a quotation's post is kept whole, and a
    heading with nothing below it is left out. Scripts that put no spaces are cut where they stand.
    """
    text = text.strip()
    if len(text) <= LONGEST_SHOWN:
        return text
    cut = re.sub(rf"\s\S{{0,{LONGEST_WORD}}}\Z", "", text[: LONGEST_SHOWN + 1])
    *lines, last = cut[:LONGEST_SHOWN].split("\n")
    if last.startswith(NAMED_POST):
        last = text.split("\n")[len(lines)]
    lines.append(last)
    while lines and (not lines[-1].strip(" >") or lines[-1].startswith("**")):
        lines.pop()
    return "\n".join(lines) + " …"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
