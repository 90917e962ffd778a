"""Preparing base model and embedder beside the starting stack.

Belongs here: running the two preparations as processes, side by side, and showing their lines.
Does not belong here: fetching and converting (`weights/weights.py`, `embedder/preparation.py`).
"""
# pyright: strict

from __future__ import annotations

from contextlib import ExitStack
from functools import partial

from twin_cli.commands.clock import StageClock
from twin_cli.commands.subprocesses import running_module
from twin_resources.errors import TwinError
from twin_resources.settings import Settings

PREPARATIONS = {
    "base model": ("twin_resources.storage.weights", "prepare"),
    "embedder": ("twin_resources.models.embedder", "prepare"),
}


def prepare_models(settings: Settings, *, instance: str, clock: StageClock) -> None:
    """Prepare both; returns when both are ready (seconds when they were prepared before).

    Args:
        instance: marker of the stack, so that `twin stop` ends a preparation as well.

    Raises:
        TwinError: one of them failed; says what its process said.
    """

    if _both_prepared(settings):
        clock.say("base model and embedder were prepared before")
        return
    with ExitStack() as ending:
        running = {
            name: ending.enter_context(
                running_module(
                    settings, *module, instance=instance, report=partial(_say, clock, name)
                )
            )
            for name, module in PREPARATIONS.items()
        }
        ended = {name: module.wait() for name, module in running.items()}
    for name, finished in ended.items():
        if finished.code != 0:
            raise TwinError(
                f"prepare the {name} ({_named(settings, name)})",
                found=finished.errors or f"exit code {finished.code}",
                next_step="mend this and run `twin up` again; what is prepared already is kept",
            )


def _both_prepared(settings: Settings) -> bool:
    """Whether there is nothing to do; looked up here, because two processes would cost 2 s."""
    from twin_resources.models.embedder.embedder import find_prepared
    from twin_resources.storage.weights.weights import load_base_model

    try:
        load_base_model(settings)
        find_prepared(settings)
    except TwinError:
        return False  # the preparing process says what is missing
    return True


def _say(clock: StageClock, name: str, line: str) -> None:
    clock.say(f"{name}: {line}")


def _named(settings: Settings, name: str) -> str:
    return settings.base_model if name == "base model" else settings.embedder
