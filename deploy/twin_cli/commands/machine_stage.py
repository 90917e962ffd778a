"""Stage 1 of `twin up`: what this machine is, whether it will do, and what it trains by.

Belongs here: showing the preflight, or only what stops, where `deploy/up.sh` has shown it; the
recipe that a new author is given.
Does not belong here: looking (`preflight.py`).
"""
# pyright: strict

from __future__ import annotations

import os

from twin_cli import preflight
from twin_cli.commands.clock import StageClock
from twin_resources.errors import TwinError
from twin_resources.models.model_fit import (
    RECIPE_WITHOUT_BF16,
    TOKENS_WITHOUT_BF16,
    TRAINING_TOKENS,
)
from twin_resources.processes.processor import multiplies_bf16
from twin_resources.processes.programs import working_folder
from twin_resources.settings import Settings

SHOWN_VARIABLE = "TWIN_PREFLIGHT_SHOWN"  # set by deploy/up.sh, which ran it before installing


def show_machine(settings: Settings, *, clock: StageClock, answer_model: str = "") -> None:
    """Look at the machine; print what was found.

    Args:
        answer_model: as it was named; empty: none was.

    Raises:
        TwinError: something would fail later; says what and what to do.
    """
    options = preflight.parse(
        [
            *("--base-model", settings.base_model),
            *("--embedder", settings.embedder),
            *("--reranker", settings.reranker),
            *("--home", str(settings.home)),
            *("--answer-model", answer_model),
        ]
    )
    report = preflight.examine(options, working_folder(), installed=True)
    if os.environ.get(SHOWN_VARIABLE) and report["go_on"]:
        clock.say("passed, as shown above")
        return
    clock.show(preflight.as_text(report))
    for finding in report["findings"]:
        if finding["verdict"] == "stop" and not finding["name"].startswith("port"):
            raise TwinError(
                f"check the {finding['name']} of this machine",
                found=finding["found"],
                next_step=finding["next_step"],
            )


def recipe_of_machine(clock: StageClock) -> str:
    """The recipe for a new author's file: empty is the default one.

    It is written there, not chosen at each training, so that the machine that a run happens to be
    on does not change what is trained.
    """
    if multiplies_bf16() or preflight.gpus():
        return ""
    clock.say(
        f"no bf16 in this processor: trained by recipe {RECIPE_WITHOUT_BF16}, "
        f"{TOKENS_WITHOUT_BF16:,} tokens; without `recipe` in the author's file {TRAINING_TOKENS:,}"
    )
    return RECIPE_WITHOUT_BF16
