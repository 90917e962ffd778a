"""Run stage 1 of `twin up`: check the machine, and show the findings and the training recipe.

Scope: showing the preflight check, or only its failures if `deploy/up.sh` has already shown it; and
the recipe for a new author.
Out of scope: the checks (`preflight.py`).
"""
# pyright: strict

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from twin_cli import preflight
from twin_cli.commands.progress_display import ProgressDisplay
from twin_resources.errors import TwinError
from twin_resources.models.model_fit import (
    RECIPE_WITHOUT_BF16,
    RecipeChoice,
    billions_of_parameters,
    choose_recipe,
)
from twin_resources.processes.gpus import list_usable_gpus
from twin_resources.processes.processor import is_bf16_faster
from twin_resources.processes.programs import find_working_folder
from twin_resources.settings import Settings

if TYPE_CHECKING:
    from twin_resources.authors import Author

PREFLIGHT_SHOWN_VARIABLE = "TWIN_PREFLIGHT_SHOWN"  # set by deploy/up.sh, which runs preflight first


def show_machine(
    settings: Settings, *, display: ProgressDisplay, answer_model: str = "", recipe: str = ""
) -> None:
    """Check the machine and print the findings.

    Args:
        answer_model, recipe: the requested model and recipe, or empty for none.

    Raises:
        TwinError: a later stage would fail; the error states the cause and the next step.
    """
    options = preflight.parse_arguments(
        [
            *("--base-model", settings.base_model),
            *("--embedder", settings.embedder),
            *("--home", str(settings.home)),
            *("--answer-model", answer_model),
            *("--recipe", recipe),
        ]
    )
    report = preflight.build_report(options, find_working_folder(), is_installed=True)
    if os.environ.get(PREFLIGHT_SHOWN_VARIABLE) and report["go_on"]:
        display.log_detail("passed, as shown above")
        return
    display.show(preflight.format_report(report, verbose=display.verbose))
    for finding in report["findings"]:
        if finding["verdict"] == "stop":
            raise TwinError(
                f"check the {finding['name']} of this machine",
                found=finding["found"],
                next_step=finding["next_step"],
            )


def resolve_recipe_name(name: str) -> str:
    """Return a recipe's name, or the full path of its file.

    Raises:
        TwinError: the recipe does not exist, or one of its values is invalid.
    """
    from twin_assets.checkpoints.recipe import load_recipe

    load_recipe(name)
    is_file = name.endswith((".yaml", ".yml"))
    return str(Path(name).expanduser().resolve()) if is_file else name


def choose_machine_recipe(base_model: str) -> RecipeChoice | None:
    """Return the recipe for a new author's file if the processor has no fast bf16, else None.

    The recipe is stored in the file, so that a later run on another processor trains the same way.
    All other choices follow from the base model and the GPUs.
    """
    recipe_choice = choose_recipe(
        billions_of_parameters(base_model), bf16=is_bf16_faster(), gpus=list_usable_gpus()
    )
    return recipe_choice if recipe_choice.recipe == RECIPE_WITHOUT_BF16 else None


def report_recipe(
    author: Author, settings: Settings, *, display: ProgressDisplay, reason: str = ""
) -> None:
    """Print the recipe, its reason and its token limit in one line before training.

    Args:
        reason: why the recipe was added to the author's file, or empty if it was not.

    Raises:
        TwinError: the author's file names a recipe that does not exist.
    """
    from twin_assets.checkpoints.author_recipe import choose_author_recipe

    if not author.recipe and billions_of_parameters(settings.base_model) is None:
        display.log("recipe: chosen by base model and device once the base model is prepared")
        return
    recipe_choice = choose_author_recipe(author, settings)
    if reason:
        recipe_choice = replace(recipe_choice, reason=f"{reason}; saved in the author's file")
    display.log_detail(
        f"{recipe_choice.log_line}; at most {recipe_choice.recipe.token_budget:,} tokens"
    )
