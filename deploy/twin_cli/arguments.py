"""Define the arguments that several commands share, and the decorator that declares a command.

Scope: code that several command groups use, and the panels of the help text.
Out of scope: the commands themselves.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from twin_resources.settings import Settings

Home = Annotated[
    Path | None, typer.Option("--home", help="Folder of all state; default: TWIN_HOME, else .twin.")
]
AuthorName = Annotated[
    str,
    typer.Option("--author", help="The author's name or slug."),
]
ModelName = Annotated[
    str,
    typer.Option("--model", help="twin/AUTHOR, or @base, @stable …"),
]
Include = Annotated[
    list[str] | None,
    typer.Option(
        "--include", help="Also import drafts, private, followers, paid or replies; saved."
    ),
]
Exclude = Annotated[
    list[str] | None,
    typer.Option("--exclude", help="Leave out a folder or file (drafts, docs/old, *.html); saved."),
]
Port = Annotated[int | None, typer.Option(min=1, max=65535, help="Default: the next free one.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object (deploy/docs/json.md).")]
Reason = Annotated[str, typer.Option("--reason", help="The reason, stored with the version.")]

# Panels of `twin --help`, in the order of first use.
START, ASK, POSTS, VERSIONS, OPERATE = "Start", "Ask", "Posts", "Versions", "Operate"


def format_example(command: str) -> str:
    """Return the last line of a command's help: an example call."""
    return f"Example: {command}"


CommandDecorator = Callable[[Callable[..., None]], Callable[..., None]]


def command_decorator(
    app: typer.Typer, panel: str | None = None
) -> Callable[..., CommandDecorator]:
    """Return a decorator for a group's commands; the functions only declare arguments and help.

    Args:
        panel: the panel of `twin --help` that lists the commands.
    """

    def command(
        target: str, example_call: str, *, name: str | None = None, json: bool = False
    ) -> CommandDecorator:
        """Declare a command that runs a function of `twin_cli.commands`, imported on use.

        Args:
            target: the function, as `module.function`. It receives the settings, the arguments by
                name and the `INJECTED_ARGUMENTS` that it accepts, and returns the exit code.
            example_call: an example call for the help.
            json: whether the command accepts `--json`.
        """

        def declare(function: Callable[..., None]) -> Callable[..., None]:
            def call(home: Path | None = None, **values: Any) -> int:
                run = load_command_function(target)
                accepted_parameters = inspect.signature(run).parameters
                injected_arguments = {
                    name: make()
                    for name, make in INJECTED_ARGUMENTS.items()
                    if name in accepted_parameters
                }
                settings = load_home_settings(home)
                return run(settings, **values, **injected_arguments)

            signature = inspect.signature(function, eval_str=True)
            shared_parameters = [("as_json", Json, False)] * json + [("home", Home, None)]
            keyword_only = inspect.Parameter.KEYWORD_ONLY
            parameters = [
                *signature.parameters.values(),
                *(
                    inspect.Parameter(name, keyword_only, default=default, annotation=annotation)
                    for name, annotation, default in shared_parameters
                ),
            ]
            wrapper: Any = call
            wrapper.__signature__ = signature.replace(parameters=parameters)
            wrapper.__annotations__ = {
                parameter.name: parameter.annotation for parameter in parameters
            }
            wrapper.__name__, wrapper.__doc__ = function.__name__, function.__doc__
            DECLARED_ARGUMENTS[target] = {parameter.name for parameter in parameters} - {"home"}
            app.command(name, rich_help_panel=panel, epilog=format_example(example_call))(wrapper)
            return function

        return declare

    return command


DECLARED_ARGUMENTS: dict[str, set[str]] = {}
"""Argument names of each command, by `module.function`."""


# The program of `twin serve` fetches the author files itself.


def load_command_function(target: str) -> Callable[..., int]:
    """Import and return a function of `twin_cli.commands`, given as `module.function`."""
    module, _, name = target.rpartition(".")
    return getattr(import_module(f"twin_cli.commands.{module}"), name)


def load_home_settings(home: Path | None) -> Settings:
    """Return the settings of a home, with the models and gateways of its last start."""
    from twin_resources.processes.stack import restore_last_settings
    from twin_resources.settings import load_settings

    return restore_last_settings(load_settings(home))


def _create_console() -> Any:
    from twin_cli.commands.console import make_console

    return make_console()


def _create_display() -> Any:
    from twin_cli.commands.progress_display import ProgressDisplay

    return ProgressDisplay()


def _find_echo() -> Any:
    from twin_cli.commands.console import echo

    return echo


INJECTED_ARGUMENTS: dict[str, Callable[[], Any]] = {
    "console": _create_console,
    "display": _create_display,
    "log": _find_echo,
}
