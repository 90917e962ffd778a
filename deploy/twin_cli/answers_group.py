"""Declare the commands that ask and look at answers, from `ask` to `explain`.

Scope: their names, arguments and help.
Out of scope: their work (`twin_cli/commands/`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from twin_cli.arguments import ASK, AuthorName, ModelName, command_decorator

commands = typer.Typer()
command = command_decorator(commands, ASK)


@command("questions.run_ask", 'twin ask "How do I carry a clock?"', json=True)
def ask(
    question: Annotated[str, typer.Argument(help="What to ask.")],
    author: AuthorName = "",
    model: ModelName = "",
    stream: Annotated[
        bool, typer.Option("--stream", help="Print the answer as it is written.")
    ] = False,
) -> None:
    """Ask the twin and print its answer, sources, cost and trace id."""


@command("batch.run_batch", "twin batch questions.jsonl --out answers.jsonl", json=True)
def batch(
    questions: Annotated[
        Path,
        typer.Argument(help='A .jsonl file with {"question": "…"} on each line.'),
    ],
    out: Annotated[Path, typer.Option("--out", help="The output file: .jsonl.")],
    author: AuthorName = "",
    model: ModelName = "",
    max_concurrent: Annotated[
        int,
        typer.Option("--width", min=1, max=64, help="The maximum number of concurrent questions."),
    ] = 2,
) -> None:
    """Answer a file of questions; the same command resumes an interrupted run."""


@command("agents.run_mcp", "claude mcp add llm-twin -- twin mcp")
def mcp() -> None:
    """Let an agent ask the twin: serve MCP on standard input and output."""


@command(
    "keys_command.run_widget",
    "twin widget mara-lindqvist --origin https://example.org --url https://twin.example.org",
    json=True,
)
def widget(
    author: Annotated[str, typer.Argument(help="The author whom readers ask: name or slug.")],
    origins: Annotated[
        list[str],
        typer.Option(
            "--origin", help="A site of the author, such as https://example.org; repeatable."
        ),
    ],
    url: Annotated[
        str,
        typer.Option(
            "--url", help="The gateway's address for readers; default: that of this machine."
        ),
    ] = "",
    per_minute: Annotated[
        int,
        typer.Option("--per-minute", min=1, help="Maximum number of requests in 60 seconds."),
    ] = 60,
    usd_per_day: Annotated[
        float,
        typer.Option("--usd-per-day", min=0, help="US dollars for paid answers per UTC day."),
    ] = 0.0,
) -> None:
    """Make a key for the author's site, and print the line of HTML with which its readers ask."""


@command("page_commands.run_open", "twin open traces", name="open")
def open_(
    page: Annotated[
        str,
        typer.Argument(help="The page: chat, traces or dagster."),
    ] = "chat",
) -> None:
    """Open a page in the browser, or print the link if there is no screen."""


@command(
    "answer_history.run_feedback",
    'twin feedback TRACE_ID --down --edit "On its back, without the pendulum."',
    json=True,
)
def feedback(
    trace_id: Annotated[
        str, typer.Argument(help="The answer's trace id, as `twin ask` prints it.")
    ],
    up: Annotated[bool, typer.Option("--up", help="Rate the answer as good.")] = False,
    down: Annotated[bool, typer.Option("--down", help="Rate the answer as bad.")] = False,
    score: Annotated[
        float | None, typer.Option("--score", help="A score from 0 to 1, instead of a vote.")
    ] = None,
    edit: Annotated[str, typer.Option("--edit", help="A better answer.")] = "",
) -> None:
    """Vote on an answer; a later vote replaces the earlier one."""


@command("answer_history.run_traces", 'twin traces --score "thumbs<0.5"', json=True)
def traces(
    author: AuthorName = "",
    version: Annotated[str, typer.Option("--version", help="v3, base or paid.")] = "",
    route: Annotated[str, typer.Option("--route", help="stable, canary, alias:base …")] = "",
    score: Annotated[
        str, typer.Option("--score", help='A score to filter by: thumbs, or "support<0.3".')
    ] = "",
    limit: Annotated[
        int, typer.Option("--limit", min=1, max=1000, help="The maximum number of traces.")
    ] = 20,
) -> None:
    """List the newest answers with their scores, for all authors unless --author is given."""


@command("answer_history.run_explain", "twin explain TRACE_ID", json=True)
def explain(
    trace_id: Annotated[
        str,
        typer.Argument(
            help="The answer's trace id, from the header x-twin-trace-id or `twin ask`."
        ),
    ],
    show_stages: Annotated[
        bool,
        typer.Option("--stages", help="Print the duration of each request stage."),
    ] = False,
) -> None:
    """Trace an answer back to its model, checkpoint, dataset, passages and posts."""
