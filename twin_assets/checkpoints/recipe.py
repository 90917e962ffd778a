"""Read recipes (hyper-parameters) and launch configurations (ZeRO stage, precision) from YAML.

Scope: the two schemas, their validation, and the learning rate that a recipe defines.
Out of scope: the training loop (`train.py`), starting processes (`training_launcher/`), the values
(YAML files in `recipes/` and `launch/`).
"""
# pyright: strict

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, cast

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
)

from twin_resources.errors import TwinError
from twin_resources.models.model_fit import SMALL_MODEL_RECIPE

_MODULE_FOLDER = Path(__file__).parent
DEFAULT_RECIPE = SMALL_MODEL_RECIPE
UNMODIFIED_SAMPLES: dict[str, Any] = {  # train on each sample as stored in the dataset
    "raw_share": 0.0,
    "without_passages": 0.0,
}


class _StrictModel(BaseModel):
    """Base class of immutable models that reject unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class LoraShape(_StrictModel):
    """The shape of low-rank adapters; their scale is alpha / rank.

    Attributes:
        target_modules: names of the adapted linear layers. `all-linear` means every linear layer
            except the output head. `peft` means the layers in PEFT's table for the architecture,
            or all linear layers if the table lacks it. Llama's seven names mean every linear layer,
            whatever a model family calls its layers (for example Phi's qkv_proj).
    """

    rank: PositiveInt
    alpha: PositiveInt
    dropout: NonNegativeFloat
    target_modules: tuple[str, ...] | Literal["all-linear", "peft"]


class PreferenceRecipe(_StrictModel):
    """Settings of preference tuning that differ from the preceding supervised tuning.

    Attributes:
        beta: the loss's β (`losses.PreferenceObjective`).
        learning_rate: peak learning rate.
        token_budget: tokens that the model processes in both answers of each pair; the reference's
            single forward pass over each pair is not counted.
        fewest_pairs: minimum number of pairs; with fewer, preference tuning is skipped.
    """

    beta: PositiveFloat
    learning_rate: PositiveFloat
    token_budget: PositiveInt
    fewest_pairs: PositiveInt


class Recipe(_StrictModel):
    """Hyper-parameters of supervised fine-tuning and of the preference tuning after it.

    Attributes:
        launch: name of a launch configuration, or a path to one.
        token_budget: tokens that the model processes, including prompts but not padding.
        max_epochs: upper bound on epochs, regardless of the budget.
        samples_per_step: samples per optimizer step, over all ranks.
        micro_batch_size: sequences that one rank processes at once.
        max_length: maximum sample length in tokens; longer samples are left out and counted.
        bucket: lengths are padded to a multiple of this.
        warmup_share: share of the steps in which the learning rate rises linearly.
        final_learning_rate_share: learning rate at the end of the cosine decay, as a share of
            `learning_rate`.
        checkpoint_every_steps: interval between checkpoints for resuming a killed run.
        lora: adapter shape, or None to train all of the model's weights.
        preference: preference tuning settings, or None to skip it.
        attention: `auto` uses flash attention if it is installed and there is a GPU, else SDPA.
        gradient_checkpointing: whether to recompute activations in the backward pass instead of
            storing them.
        packing: whether to concatenate the samples of a micro-batch into one row, each with its own
            positions and attention, instead of padding and stacking them.
        fewest_steps: minimum number of steps; a small corpus uses fewer samples per step to reach
            it (`compute_samples_per_step`). 0 disables this.
        raw_share: share of the token budget spent on the author's unmodified training posts, with
            the loss on every token (`tokenize_posts`); 0 uses none.
        without_passages: share of the samples, chosen at random, whose prompts are reduced to the
            question, so that more answers fit into the token budget (`samples.py`).
        loss_chunk: number of tokens whose logits are in memory at the same time
            (`chunked_cross_entropy.py`); 0 means the whole micro-batch.
    """

    name: str
    launch: str
    seed: int
    token_budget: PositiveInt
    max_epochs: PositiveInt
    samples_per_step: PositiveInt
    micro_batch_size: PositiveInt
    max_length: PositiveInt
    bucket: PositiveInt
    learning_rate: PositiveFloat
    warmup_share: NonNegativeFloat
    final_learning_rate_share: NonNegativeFloat
    weight_decay: NonNegativeFloat
    max_grad_norm: PositiveFloat
    checkpoint_every_steps: PositiveInt
    lora: LoraShape | None
    preference: PreferenceRecipe | None = None
    attention: Literal["auto", "flash_attention_2", "sdpa", "eager"] = "auto"
    gradient_checkpointing: bool = False
    packing: bool = False
    fewest_steps: NonNegativeInt = 0
    raw_share: Annotated[float, Field(ge=0, le=0.9)] = 0.0
    without_passages: Annotated[float, Field(ge=0, le=1)] = 0.0
    loss_chunk: NonNegativeInt = 0

    @property
    def required_preference(self) -> PreferenceRecipe:
        """The `preference` section.

        Raises:
            TwinError: the recipe has none.
        """
        if self.preference is None:
            raise TwinError(
                "tune on preferences",
                found=f"recipe {self.name} has no preference section",
                next_step="add one, as in recipes/smollm2-135m-cpu.yaml",
            )
        return self.preference

    @classmethod
    def from_manifest(cls, values: Mapping[str, Any]) -> Recipe:
        """Read a manifest's recipe.

        Raises:
            TwinError: it is not a recipe of this release.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise TwinError(
                f"read the recipe {values.get('name')} from a manifest",
                found="; ".join(f"{item['loc'][-1]}: {item['msg']}" for item in error.errors()),
                next_step="train again with a current recipe",
            ) from error

    def drop_preference(self) -> Recipe:
        """Return the recipe without the preference section."""
        return self.model_copy(update={"preference": None})

    def to_preference_recipe(self) -> Recipe:
        """Return the effective recipe of the preference stage."""
        preference = self.required_preference
        values = {
            "learning_rate": preference.learning_rate,
            "token_budget": preference.token_budget,
        }
        return self.model_copy(update=UNMODIFIED_SAMPLES | values)

    def compute_samples_per_step(self, sample_count: int, *, ranks: int) -> int:
        """Return the number of samples per step for a corpus of `sample_count` samples.

        The result is the recipe's number if it yields at least `fewest_steps` over all epochs.
        Otherwise, it is the largest multiple of one micro-batch per rank that does, or one
        micro-batch per rank if none does. No epochs are added: 100 samples and 2 epochs yield 100
        steps of 2 samples. The token budget may end training earlier.
        """
        if not self.fewest_steps:
            return self.samples_per_step
        global_micro_batch_size = ranks * self.micro_batch_size
        sample_limit = (
            sample_count
            * self.max_epochs
            // self.fewest_steps
            // global_micro_batch_size
            * global_micro_batch_size
        )
        return min(self.samples_per_step, max(global_micro_batch_size, sample_limit))

    def accumulation_steps(self, ranks: int) -> int:
        """Return the number of micro-batches that one rank accumulates per optimizer step.

        Raises:
            TwinError: the ranks and micro-batches do not divide the samples of a step evenly.
        """
        global_micro_batch_size = ranks * self.micro_batch_size
        if self.samples_per_step % global_micro_batch_size:
            raise TwinError(
                f"distribute {self.samples_per_step} samples per step over {ranks} ranks",
                found=f"not a multiple of {ranks} × micro_batch_size {self.micro_batch_size}",
                next_step=f"change samples_per_step in recipe {self.name} or TWIN_TRAIN_RANKS",
            )
        return self.samples_per_step // global_micro_batch_size


class Launch(_StrictModel):
    """Settings for starting the processes of a training run.

    Attributes:
        threads_per_rank: a number, or `auto` for cores / ranks.
        mixed_precision: `auto` uses bf16 if the hardware is faster with it, else fp32.
        environment: variables set for every rank.
        deepspeed: DeepSpeed's own configuration; empty to use accelerate alone.
    """

    name: str
    device: Literal["cpu", "cuda"]
    threads_per_rank: PositiveInt | Literal["auto"] = "auto"
    mixed_precision: Literal["auto", "bf16", "fp32"] = "auto"
    environment: dict[str, str] = {}
    deepspeed: dict[str, Any] = {}


def recipe_hash(recipe: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a recipe's hyper-parameters (`model_dump` or a manifest's copy).

    Hyper-parameters that older manifests lack are excluded while they have their default value.
    """
    values: dict[str, Any] = {"preference": None} | dict(recipe)
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def load_recipe(name_or_path: str) -> Recipe:
    """Read a recipe by name (`recipes/<name>.yaml`) or path.

    A recipe with `extends: <name or path>` overrides only the values that it contains. It replaces
    a section as a whole.

    Raises:
        TwinError: the recipe does not exist, or a value is missing, unknown or of the wrong type.
    """
    return _read(Recipe, name_or_path, folder="recipes")


def load_launch(name_or_path: str) -> Launch:
    """Read a launch configuration by name (`launch/<name>.yaml`) or path.

    Raises:
        TwinError: as for `load_recipe`.
    """
    return _read(Launch, name_or_path, folder="launch")


def learning_rate(recipe: Recipe, step: int, *, steps: int) -> float:
    """Return the learning rate of a step, 0 to steps - 1: linear warm-up, then cosine decay."""
    warmup_steps = max(1, round(recipe.warmup_share * steps))
    if step < warmup_steps:
        return recipe.learning_rate * (step + 1) / warmup_steps
    decay_progress = (step - warmup_steps) / max(1, steps - warmup_steps)
    final_share = recipe.final_learning_rate_share
    return recipe.learning_rate * (
        final_share + (1 - final_share) * 0.5 * (1 + math.cos(math.pi * decay_progress))
    )


_ModelType = TypeVar("_ModelType", Recipe, Launch)


def _read(model_type: type[_ModelType], name_or_path: str, *, folder: str) -> _ModelType:
    action = f"read the {model_type.__name__.lower()} {name_or_path!r}"
    path = Path(name_or_path).expanduser()
    if path.suffix not in {".yaml", ".yml"}:
        path = _MODULE_FOLDER / folder / f"{name_or_path}.yaml"
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        names = ", ".join(sorted(file.stem for file in (_MODULE_FOLDER / folder).glob("*.yaml")))
        raise TwinError(
            action,
            found=f"no file {path}",
            next_step=f"use a path that ends in .yaml, or one of {names}",
        ) from error
    except yaml.YAMLError as error:
        raise TwinError(action, found=str(error), next_step="correct the YAML") from error
    if not isinstance(document, dict):
        raise TwinError(action, found="not a mapping", next_step="write one `name: value` per line")
    values = cast(dict[str, Any], document)
    if base_name := values.pop("extends", ""):
        values = (
            _read(model_type, str(base_name), folder=folder).model_dump(exclude={"name"}) | values
        )
    try:
        return model_type.model_validate({"name": path.stem} | values)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()
        )
        raise TwinError(action, found=problems, next_step=f"correct {path}") from error
