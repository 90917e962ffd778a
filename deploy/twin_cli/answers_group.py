"""The commands of answers: `ask`, `batch`, `chat`, `open`, `feedback`, `traces`, `explain`.

Belongs here: their names, arguments and help. Does not belong here: what they do
(`twin_cli/commands/`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from twin_cli import completion
from twin_cli.arguments import (
    ASK,
    AuthorName,
    Home,
    Json,
    ModelName,
    console,
    example,
    say,
    settings_of,
)

commands = typer.Typer()


@commands.command(rich_help_panel=ASK, epilog=example('twin ask "How do I carry a clock?"'))
def ask(
    question: Annotated[str, typer.Argument(help="What to ask.")],
    author: AuthorName = "",
    model: ModelName = "",
    stream: Annotated[bool, typer.Option("--stream", help="Print while it is written.")] = False,
    as_json: Json = False,
    home: Home = None,
) -> int:
    """Ask the twin; prints answer, sources, cost and trace id."""
    from twin_cli.commands.ask_command import run_ask

    return run_ask(
        settings_of(home),
        question,
        author=author,
        model=model,
        stream=stream,
        as_json=as_json,
        console=console(),
    )


@commands.command(
    rich_help_panel=ASK, epilog=example("twin batch questions.jsonl --out answers.jsonl")
)
def batch(
    questions: Annotated[
        Path, typer.Argument(help='A .jsonl file of {"question": "…"} a line, or .parquet.')
    ],
    out: Annotated[Path, typer.Option("--out", help="The answers: .jsonl or .parquet.")],
    author: AuthorName = "",
    model: ModelName = "",
    width: Annotated[int, typer.Option("--width", min=1, max=64, help="So many at once.")] = 2,
    as_json: Json = False,
    home: Home = None,
) -> int:
    """Answer a file of questions; what is interrupted goes on by the same command."""
    from twin_cli.commands.batch import run_batch

    return run_batch(
        settings_of(home),
        questions,
        out,
        author=author,
        model=model,
        width=width,
        as_json=as_json,
        console=console(),
    )


@commands.command(rich_help_panel=ASK, epilog=example("twin chat"))
def chat(
    open_browser: Annotated[
        bool, typer.Option("--open", help="Open it in this machine's browser.")
    ] = False,
    home: Home = None,
) -> int:
    """A page to talk to the twin: prints a link that opens it once."""
    from twin_cli.commands.chatting import run_chat

    return run_chat(settings_of(home), open_browser=open_browser, log=say)


@commands.command(name="open", rich_help_panel=ASK, epilog=example("twin open traces"))
def open_(
    page: Annotated[
        str,
        typer.Argument(help="chat, traces or dagster.", autocompletion=completion.pages),
    ] = "chat",
    home: Home = None,
) -> int:
    """Open a page in the browser, or print the link where there is no screen."""
    from twin_cli.commands.opening import run_open

    return run_open(settings_of(home), page, log=say)


@commands.command(
    rich_help_panel=ASK,
    epilog=example('twin feedback TRACE_ID --down --edit "On its back, without the pendulum."'),
)
def feedback(
    trace_id: Annotated[str, typer.Argument(help="Of the answer, as `twin ask` prints it.")],
    up: Annotated[bool, typer.Option("--up", help="A good answer.")] = False,
    down: Annotated[bool, typer.Option("--down", help="A bad one.")] = False,
    score: Annotated[
        float | None, typer.Option("--score", help="From 0 to 1, in place of a thumb.")
    ] = None,
    edit: Annotated[str, typer.Option("--edit", help="How it should have been.")] = "",
    as_json: Json = False,
    home: Home = None,
) -> int:
    """Say what you think of an answer; a later vote replaces the earlier one."""
    from twin_cli.commands.feedback_command import run_feedback

    return run_feedback(
        settings_of(home),
        trace_id,
        up=up,
        down=down,
        score=score,
        edit=edit,
        as_json=as_json,
        console=console(),
    )


@commands.command(rich_help_panel=ASK, epilog=example('twin traces --score "thumbs<0.5"'))
def traces(
    author: AuthorName = "",
    version: Annotated[
        str, typer.Option("--version", help="v3, base or paid.", autocompletion=completion.versions)
    ] = "",
    route: Annotated[str, typer.Option("--route", help="stable, canary, alias:base …")] = "",
    score: Annotated[
        str, typer.Option("--score", help='A score that they have: thumbs, or "support<0.3".')
    ] = "",
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, help="At most so many.")] = 20,
    as_json: Json = False,
    home: Home = None,
) -> int:
    """The newest answers, with what was said of them; every author's without --author."""
    from twin_cli.commands.subject import choose_author
    from twin_cli.commands.traces_command import run_traces

    settings = settings_of(home)
    return run_traces(
        settings,
        author=choose_author(settings, author).slug if author else "",
        version=version,
        route=route,
        score=score,
        limit=limit,
        as_json=as_json,
        console=console(),
    )


@commands.command(rich_help_panel=ASK, epilog=example("twin explain TRACE_ID"))
def explain(
    trace_id: Annotated[str, typer.Argument(help="Of an answer: x-twin-trace-id, or `twin ask`.")],
    stages: Annotated[
        bool,
        typer.Option("--stages", help="Print what each stage of the request took and changed."),
    ] = False,
    as_json: Json = False,
    home: Home = None,
) -> int:
    """Answer → model → checkpoint → dataset → chunks → posts."""
    from twin_cli.commands.explain import run_explain

    return run_explain(
        settings_of(home), trace_id, stages=stages, as_json=as_json, console=console()
    )
