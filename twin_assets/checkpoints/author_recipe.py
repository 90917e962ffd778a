"""Choose the recipe and the number of ranks for an author's training runs.

Scope: choices that an author's file leaves open. Out of scope: choosing by model size and device
(`model_fit.choose_recipe`), reading a recipe (`recipe.py`).
"""
# pyright: strict

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from twin_assets.checkpoints.recipe import Recipe, load_launch, load_recipe
from twin_resources.models.model_fit import (
    MAX_RANKS,
    REFERENCE_BILLIONS,
    billions_of_parameters,
    choose_cpu_ranks,
    choose_recipe,
)
from twin_resources.processes.gpus import list_usable_gpus
from twin_resources.processes.processor import is_bf16_faster, read_memory_gb
from twin_resources.storage.weights.weights import load_base_model

if TYPE_CHECKING:
    from twin_resources.authors import Author
    from twin_resources.settings import Settings


@dataclass(frozen=True)
class AuthorRecipe:
    """A recipe and the reason for choosing it; the log starts with both."""

    recipe: Recipe
    reason: str

    @property
    def log_line(self) -> str:
        return f"recipe {self.recipe.name}: {self.reason}"


def choose_author_recipe(author: Author, settings: Settings) -> AuthorRecipe:
    """Return the recipe in the author's file, or the one that fits the base model and device.

    The choice ignores whether the CPU supports bf16, because the trained model must not depend on
    the machine of one run. `twin up` considers it once, when it writes a new author's file.

    Raises:
        TwinError: the file names a recipe that does not exist, or it names none and the base
            model's size is unknown from its name and from a prepared copy.
    """
    if author.recipe:
        return AuthorRecipe(load_recipe(author.recipe), "set in the author's file")
    choice = choose_recipe(count_base_parameters(settings), bf16=True, gpus=list_usable_gpus())
    return AuthorRecipe(load_recipe(choice.recipe), choice.reason)


def count_base_parameters(settings: Settings) -> float | None:
    """Return the base model's billions of parameters, from its name or its prepared copy.

    Raises:
        TwinError: the name does not say it, and the model is not prepared.
    """
    billions = billions_of_parameters(settings.base_model)
    if billions is not None:
        return billions
    return billions_of_parameters(str(load_base_model(settings, settings.base_model).folder))


def count_training_ranks(recipe: Recipe, settings: Settings) -> int:
    """Return the number of training processes.

    This is `TWIN_TRAIN_RANKS` if it is set, or if a recipe for GPUs finds no local GPU. On CPUs, it
    is as many as fit into half of the memory, at most two. On GPUs, it is 1 without DeepSpeed, and
    with DeepSpeed the largest number of local GPUs that divides a step's micro-batches evenly.

    Raises:
        TwinError: see `count_base_parameters`.
    """
    launch = load_launch(recipe.launch)
    gpus = list_usable_gpus()
    if "train_ranks" in settings.model_fields_set:
        return settings.train_ranks
    if launch.device == "cpu":
        return choose_cpu_ranks(
            count_base_parameters(settings) or REFERENCE_BILLIONS,
            bf16=is_bf16_faster(),
            memory_gb=read_memory_gb(),
            most_ranks=settings.train_ranks,
        )
    if not gpus:
        return settings.train_ranks
    if not launch.deepspeed:
        return 1
    micro_batches_per_step = recipe.samples_per_step // recipe.micro_batch_size
    return max(
        ranks
        for ranks in range(1, min(len(gpus), MAX_RANKS) + 1)
        if micro_batches_per_step % ranks == 0
    )
