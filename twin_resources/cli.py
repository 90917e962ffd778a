"""`twin`: the command line.

Belongs here: names, arguments and help of the commands, and the one place where an error becomes a
message and an exit code. Does not belong here: what a command does (`command/`, imported when it is
called, so that `twin --help` answers at once).
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from twin_resources.command import failures
from twin_resources.errors import TwinError

if TYPE_CHECKING:
    from rich.console import Console

    from twin_resources.settings import Settings

app = typer.Typer(
    name="twin",
    help="A language model that answers in one author's voice, from that author's own posts.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Home = Annotated[
    Path | None, typer.Option("--home", help="Folder of all state; default TWIN_HOME, else .twin.")
]
AuthorName = Annotated[str, typer.Option("--author", help="The author's name, or its slug.")]
Port = Annotated[int | None, typer.Option(min=1, max=65535, help="Default: the next free one.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; kept with the move for ever.")]


@app.command()
def up(  # noqa: PLR0913, PLR0917 - one parameter an option
    path: Annotated[
        Path | None, typer.Argument(help="Folder of posts; without it the bundled sample author.")
    ] = None,
    author: Annotated[
        str, typer.Option("--author", help='Whose posts they are: "First Last".')
    ] = "",
    base_model: Annotated[str, typer.Option("--base-model", help="Hugging Face id or path.")] = "",
    embedder: Annotated[str, typer.Option("--embedder", help="sentence-transformers id.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Stop after the preview.")] = False,
    detach: Annotated[bool, typer.Option("--detach", help="Return at the first answers.")] = False,
    train: Annotated[bool, typer.Option("--train/--no-train", help="Train once.")] = True,
    retrain: Annotated[bool, typer.Option("--retrain", help="Train although it is done.")] = False,
    auto_retrain: Annotated[
        bool | None,
        typer.Option(
            "--auto-retrain/--no-auto-retrain",
            help="Retrain by itself when readers' scores fall or material has grown; kept.",
        ),
    ] = None,
    demo_loop: Annotated[
        bool,
        typer.Option(
            "--demo-loop", help="As `twin demo-loop`; other options but --home are left out."
        ),
    ] = False,
    gateway_port: Port = None,
    dagster_port: Port = None,
    traces_port: Port = None,
    chat_port: Port = None,
    home: Home = None,
) -> int:
    """From a folder of posts to a tuned twin behind one endpoint."""
    from twin_resources.command.up import UpOptions, run_up

    if demo_loop:
        from twin_resources.command.demo.loop import run_demo

        return run_demo(home)
    ports = {
        "gateway": gateway_port,
        "dagster": dagster_port,
        "traces": traces_port,
        "chat": chat_port,
    }
    return run_up(
        UpOptions(
            path=path,
            author=author,
            base_model=base_model,
            embedder=embedder,
            dry_run=dry_run,
            detach=detach,
            train=train,
            retrain=retrain,
            auto_retrain=auto_retrain,
            ports={name: port for name, port in ports.items() if port is not None},
            home=home,
        )
    )


@app.command(name="demo-loop")
def demonstrate(
    home: Home = None,
    unhurried: Annotated[
        bool,
        typer.Option("--unhurried", help="Train and judge as outside the demo; the gate releases."),
    ] = False,
) -> int:
    """The loop closed once, in a home of its own: readers' scores fall, one retraining mends it."""
    from twin_resources.command.demo.loop import run_demo

    return run_demo(home, unhurried=unhurried)


@app.command()
def stop(home: Home = None) -> int:
    """End every process of the stack (and, without --home, of the demo's), and nothing else."""
    from twin_resources.command.stopping import run_stop

    return run_stop(_settings(home), say=_say, with_demo=home is None)


@app.command()
def status(
    wait: Annotated[
        bool, typer.Option("--wait", help="Until the verdict: 0 tuned, 3 refused, 4 failed.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    timeout: Annotated[
        float | None, typer.Option("--timeout", help="Seconds to wait for a training to begin.")
    ] = None,
    author: AuthorName = "",
    home: Home = None,
) -> int:
    """What runs and what is served."""
    from twin_resources.command.status import run_status, run_wait

    if wait:
        return run_wait(_settings(home), author=author, timeout_s=timeout)
    return run_status(_settings(home), as_json=as_json, console=_console())


@app.command(name="import")
def import_(
    path: Annotated[
        Path | None,
        typer.Argument(
            help="Folder of posts, an export, s3://… or a feed; without it the author's known ones."
        ),
    ] = None,
    author: AuthorName = "",
    include: Annotated[
        list[str] | None,
        typer.Option("--include", help="Also drafts, private, followers, paid or replies; kept."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would come.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="The preview as one JSON object.")
    ] = False,
    home: Home = None,
) -> int:
    """Import new, edited and deleted posts; retrains nothing."""
    from twin_resources.command.import_command import run_import

    return run_import(
        _settings(home),
        path,
        author=author,
        dry_run=dry_run,
        as_json=as_json,
        include=include or (),
    )


@app.command()
def ask(
    question: Annotated[str, typer.Argument(help="What to ask.")],
    author: AuthorName = "",
    model: Annotated[str, typer.Option("--model", help="twin/AUTHOR, or @base, @stable …")] = "",
    stream: Annotated[bool, typer.Option("--stream", help="Print while it is written.")] = False,
    home: Home = None,
) -> int:
    """Ask the twin; prints answer, sources, cost and trace id."""
    from twin_resources.command.asking import run_ask

    return run_ask(
        _settings(home), question, author=author, model=model, stream=stream, console=_console()
    )


@app.command()
def chat(
    open_browser: Annotated[
        bool, typer.Option("--open", help="Open it in this machine's browser.")
    ] = False,
    home: Home = None,
) -> int:
    """A page to talk to the twin: prints a link that opens it once."""
    from twin_resources.command.chatting import run_chat

    return run_chat(_settings(home), open_browser=open_browser, say=_say)


@app.command()
def feedback(
    trace_id: Annotated[str, typer.Argument(help="Of the answer, as `twin ask` prints it.")],
    up: Annotated[bool, typer.Option("--up", help="A good answer.")] = False,
    down: Annotated[bool, typer.Option("--down", help="A bad one.")] = False,
    score: Annotated[
        float | None, typer.Option("--score", help="From 0 to 1, in place of a thumb.")
    ] = None,
    edit: Annotated[str, typer.Option("--edit", help="How it should have been.")] = "",
    home: Home = None,
) -> int:
    """Say what you think of an answer; a later vote replaces the earlier one."""
    from twin_resources.command.feedback_command import run_feedback

    return run_feedback(
        _settings(home), trace_id, up=up, down=down, score=score, edit=edit, console=_console()
    )


@app.command()
def versions(author: AuthorName = "", home: Home = None) -> int:
    """The author's model versions, with verdicts and moves."""
    from twin_resources.command.releases import run_versions

    return run_versions(_settings(home), author=author, console=_console())


@app.command()
def rollback(
    version: Annotated[str, typer.Argument(help="v2; default: the one stable before.")] = "",
    reason: Reason = ...,  # pyright: ignore[reportArgumentType]
    author: AuthorName = "",
    home: Home = None,
) -> int:
    """Bring a retired version back."""
    from twin_resources.command.releases import run_rollback

    return run_rollback(_settings(home), version, author=author, reason=reason, console=_console())


@app.command()
def release(
    version: Annotated[str, typer.Argument(help="A refused or parked version: v2.")],
    reason: Reason = ...,  # pyright: ignore[reportArgumentType]
    author: AuthorName = "",
    home: Home = None,
) -> int:
    """Release a version by hand that the gate refused; it is marked as forced."""
    from twin_resources.command.releases import run_release

    return run_release(_settings(home), version, author=author, reason=reason, console=_console())


@app.command()
def export(
    version: Annotated[str, typer.Argument(help="v2; default: the stable one.")] = "",
    wanted: Annotated[
        str, typer.Option("--format", help="adapter, merged, gguf-adapter or gguf.")
    ] = "adapter",
    into: Annotated[Path | None, typer.Option("--to", help="A new folder; default: here.")] = None,
    dtype: Annotated[
        str, typer.Option("--dtype", help="Of merged: float16, bfloat16 or float32.")
    ] = "float16",
    verify: Annotated[
        bool, typer.Option("--verify/--no-verify", help="Compare it with the checkpoint.")
    ] = True,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    author: AuthorName = "",
    home: Home = None,
) -> int:
    """A version's weights for vLLM, transformers or llama.cpp, proved equal to what was trained."""
    from twin_resources.command.export_command import run_export

    return run_export(
        _settings(home),
        version,
        author=author,
        wanted=wanted,
        into=into,
        dtype=dtype,
        verify=verify,
        as_json=as_json,
        console=_console(),
    )


@app.command()
def explain(
    trace_id: Annotated[str, typer.Argument(help="Of an answer: x-twin-trace-id, or `twin ask`.")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    home: Home = None,
) -> int:
    """Answer → model → checkpoint → dataset → chunks → posts."""
    from twin_resources.command.explain import run_explain

    return run_explain(_settings(home), trace_id, as_json=as_json, console=_console())


@app.command()
def forget(
    post: Annotated[
        str, typer.Option("--post", help="Source id or address of a post; with --author.")
    ] = "",
    author: Annotated[
        str, typer.Option("--author", help="Whose post; alone: the author with everything.")
    ] = "",
    reader: Annotated[
        str, typer.Option("--reader", help="A reader's key, or the 16 digits in their traces.")
    ] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say where it is.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    home: Home = None,
) -> int:
    """Remove a post, an author or a reader from everything; leaves a certificate of hashes."""
    from twin_resources.command.forget_command import run_forget

    return run_forget(
        _settings(home),
        post=post,
        author=author,
        reader=reader,
        dry_run=dry_run,
        as_json=as_json,
        console=_console(),
    )


@app.command(
    context_settings={
        "allow_extra_args": True,
        "ignore_unknown_options": True,
        "help_option_names": [],
    }
)
def check(context: typer.Context) -> int:
    """Lint, types and tests; arguments go through (`--fast`, `--long`, pytest's)."""
    from twin_resources.check import main as run_check

    return run_check(list(context.args))


def run(arguments: list[str]) -> int:
    """Run one command; returns its exit code. Every error becomes a message here."""
    try:
        code = app(args=arguments, prog_name="twin", standalone_mode=False)
    except TwinError as error:
        _complain(error.tried, found=error.found, next_step=error.next_step)
        return 1
    except KeyboardInterrupt:
        _say("interrupted")
        return 130
    except BrokenPipeError:
        # `twin … | head`: the reader has gone; nothing more can be said on that pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        _complain(
            "finish the command",
            found=failures.words_of(error),
            next_step=failures.next_step_of(error),
        )
        _say(f"details: {failures.save_traceback()}", to_error=True)
        return 1
    except typer.Abort:
        return 130
    except Exception as error:  # noqa: BLE001 - the last place where it can become a message
        shown = getattr(error, "show", None)
        if callable(shown):  # a usage error of the argument parser explains itself
            shown()
            return int(getattr(error, "exit_code", 2))
        _complain(
            "finish the command",
            found=f"{type(error).__name__}: {error}",
            next_step=f"report this with {failures.save_traceback()}",
        )
        return 1
    return code if isinstance(code, int) else 0


def main() -> None:
    """Entry point of the `twin` script."""
    sys.exit(run(sys.argv[1:]))


def _settings(home: Path | None) -> Settings:
    from twin_resources.settings import load_settings
    from twin_resources.stack.stack import chosen_settings

    return chosen_settings(load_settings(home))


def _console() -> Console:
    from twin_resources.command.console import make_console

    return make_console()


def _say(text: str, *, to_error: bool = False) -> None:
    typer.echo(text, err=to_error)


def _complain(tried: str, *, found: str, next_step: str) -> None:
    typer.secho(f"Could not {tried}.", err=True, fg="red", bold=True)
    typer.echo(f"  found: {found}", err=True)
    typer.echo(f"  next:  {next_step}", err=True)


if __name__ == "__main__":
    main()
