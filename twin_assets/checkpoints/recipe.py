"""Recipes (hyper-parameters) and launch configurations (ZeRO stage, precision), read from YAML.

Scope: the two schemas, their validation, and the learning rate that follows from a recipe.
Out of scope: the loop (`train.py`), starting processes (`training_launcher/`), values
(the YAML files in `recipes/` and `launch/`).
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
from twin_resources.models.model_fit import RECIPE_OF_SMALL

_HERE = Path(__file__).parent
DEFAULT_RECIPE = RECIPE_OF_SMALL
LATER = (  # added after first manifests
    *("attention", "gradient_checkpointing", "packing", "fewest_steps"),
    *("raw_share", "loss_chunk", "without_passages"),
)
REMOVED: dict[str, tuple[Any, ...]] = {  # what manifests of before may say, and mean the same
    "liger": ("auto", False),
    "prompt_weight": (0.0,),
    "raw_order": ("first", "mixed"),
    "questions_a_conversation": (1,),
    "row_tokens": (None,),
}
SAMPLES_ALONE: dict[str, Any] = {  # each sample by itself as the dataset has it, and nothing else
    "raw_share": 0.0,
    "without_passages": 0.0,
}


class _Strict(BaseModel):
    """Values that are checked when read and never change; an unknown name is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class LoraShape(_Strict):
    """Low-rank adapters: rank, scale alpha / rank, dropout, and the linear layers that get one.

    Attributes:
        target_modules: names of layers; `all-linear`: every linear layer but the output head;
            `peft`: those of PEFT's own table for the architecture, every one where it has none.
            Llama's seven names mean every linear layer, whatever a family calls its own (Phi's
            qkv_proj).
    """

    rank: PositiveInt
    alpha: PositiveInt
    dropout: NonNegativeFloat
    target_modules: tuple[str, ...] | Literal["all-linear", "peft"]


class PreferenceRecipe(_Strict):
    """What preference tuning does otherwise than the supervised one before it.

    Attributes:
        beta: of the loss (`losses.Preference`).
        learning_rate: the highest.
        token_budget: tokens that pass the model in both answers of a pair; the reference, one
            forward pass of each pair, is not counted.
        fewest_pairs: with fewer there is no preference tuning.
        answers: how many answers of the stable version are asked for, to be set against the
            author's own; 0: none.
        answer_tokens: longest such answer.
    """

    beta: PositiveFloat
    learning_rate: PositiveFloat
    token_budget: PositiveInt
    fewest_pairs: PositiveInt
    answers: NonNegativeInt
    answer_tokens: PositiveInt


class Recipe(_Strict):
    """Hyper-parameters of one supervised fine-tuning, and of the preference tuning after it.

    Attributes:
        launch: name of a launch configuration, or a path to one.
        token_budget: tokens that pass the model, prompts included, padding not.
        max_epochs: upper bound, whatever the budget.
        samples_per_step: samples between two optimizer steps, over all ranks.
        micro_batch_size: sequences that one rank takes at once.
        max_length: longest sample in tokens; longer ones are left out and counted.
        bucket: lengths are padded to a multiple of it.
        warmup_share: share of the steps with a linearly rising learning rate.
        final_learning_rate_share: what the cosine ends at, as a share of `learning_rate`.
        checkpoint_every_steps: distance of the checkpoints that a killed training resumes from.
        lora: None: every weight of the model is trained.
        preference: None: no preference tuning.
        attention: `auto`: flash attention where it is installed, beside a GPU; else SDPA.
        gradient_checkpointing: activations are computed again in the backward pass, not kept.
        packing: the samples of a micro-batch stand behind each other in one row, each with
            positions and attention of its own, instead of below each other with padding.
        fewest_steps: a small corpus takes fewer samples a step to have as many
            (`samples_of_a_step`); 0: it does not.
        raw_share: of the token budget that the author's training posts take beside the samples, as
            they are, with the loss on every token (`tokenize_posts`); 0: none.
        without_passages: share of the samples, by lot, that show the question alone, whatever their
            prompt shows in the dataset: more answers for as many tokens (`samples.py`).
        loss_chunk: tokens whose logits are there at once (`chunked_cross_entropy.py`); 0: those of
            the whole micro-batch.
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
    def preferences(self) -> PreferenceRecipe:
        """The section `preference`.

        Raises:
            TwinError: the recipe has none.
        """
        if self.preference is None:
            raise TwinError(
                "tune on preferences",
                found=f"no section preference in recipe {self.name}",
                next_step="add one (recipes/smollm2-135m-cpu.yaml shows how)",
            )
        return self.preference

    @classmethod
    def of_manifest(cls, values: Mapping[str, Any]) -> Recipe:
        """The recipe of a manifest, which may name hyper-parameters that there are no more.

        Raises:
            TwinError: one of these had an effect.
        """
        values = _without_removed(values)
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise TwinError(
                f"read the recipe {values.get('name')} of a manifest",
                found="; ".join(f"{part['loc'][-1]}: {part['msg']}" for part in error.errors()),
                next_step="train again by a recipe of today",
            ) from error

    def supervised(self) -> Recipe:
        """The recipe as the supervised stage knows it."""
        return self.model_copy(update={"preference": None})

    def on_preferences(self) -> Recipe:
        """The effective recipe of the preference stage."""
        changed = self.preferences
        values = {"learning_rate": changed.learning_rate, "token_budget": changed.token_budget}
        return self.model_copy(update=SAMPLES_ALONE | values)

    def samples_of_a_step(self, samples: int, *, ranks: int) -> int:
        """The samples of a step for a corpus of so many.

        As many as the recipe says where all epochs then have `fewest_steps`; else the largest
        number that the ranks can share and that leaves so many, and at least one micro-batch a
        rank. No epoch is added: 100 steps of 2 samples take 100 samples in 2 epochs. What the token
        budget ends earlier is as the recipe says.
        """
        if not self.fewest_steps:
            return self.samples_per_step
        at_once = ranks * self.micro_batch_size
        shared = samples * self.max_epochs // self.fewest_steps // at_once * at_once
        return min(self.samples_per_step, max(at_once, shared))

    def accumulation(self, ranks: int) -> int:
        """Micro-batches that one rank adds up before an optimizer step.

        Raises:
            TwinError: the samples of a step cannot be dealt evenly.
        """
        at_once = ranks * self.micro_batch_size
        if self.samples_per_step % at_once:
            raise TwinError(
                f"deal {self.samples_per_step} samples a step to {ranks} ranks",
                found=f"it is no multiple of {ranks} × micro_batch_size {self.micro_batch_size}",
                next_step=f"change samples_per_step in recipe {self.name} or TWIN_TRAIN_RANKS",
            )
        return self.samples_per_step // at_once


class Launch(_Strict):
    """How the processes of a training are started.

    Attributes:
        threads_per_rank: `auto`: cores / ranks.
        mixed_precision: `auto`: bf16 where the hardware is faster in it, else fp32.
        environment: set for every rank.
        deepspeed: DeepSpeed's own configuration; empty: accelerate alone.
    """

    name: str
    device: Literal["cpu", "cuda"]
    threads_per_rank: PositiveInt | Literal["auto"] = "auto"
    mixed_precision: Literal["auto", "bf16", "fp32"] = "auto"
    environment: dict[str, str] = {}
    deepspeed: dict[str, Any] = {}

    @property
    def shares_weights(self) -> bool:
        """Whether each rank keeps a share of the base model's weights (ZeRO-3)."""
        return self.deepspeed.get("zero_optimization", {}).get("stage") == 3


def hash_of(recipe: Mapping[str, Any]) -> str:
    """SHA-256 over every hyper-parameter of a recipe (`model_dump`), or of a manifest's copy.

    A hyper-parameter that older manifests lack does not enter it while it has its default value.
    """
    values: dict[str, Any] = {"preference": None} | _without_removed(recipe)
    for name in LATER:
        if values.get(name) == Recipe.model_fields[name].default:
            values.pop(name, None)
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _without_removed(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """A manifest's recipe without what had no effect and there is no more."""
    values = {k: v for k, v in recipe.items() if k not in REMOVED or v not in REMOVED[k]}
    preference = values.get("preference")
    if preference and preference.get("rpo_alpha") == 0.0:
        values["preference"] = {k: v for k, v in preference.items() if k != "rpo_alpha"}
    return values


def load_recipe(name_or_path: str) -> Recipe:
    """Read a recipe by name (`recipes/<name>.yaml`) or path.

    One that says `extends: <name or path>` changes only what it names, a section as a whole.

    Raises:
        TwinError: no such recipe, or a value that is missing, unknown or of the wrong kind.
    """
    return _read(Recipe, name_or_path, folder="recipes")


def load_launch(name_or_path: str) -> Launch:
    """Read a launch configuration by name (`launch/<name>.yaml`) or path.

    Raises:
        TwinError: as `load_recipe`.
    """
    return _read(Launch, name_or_path, folder="launch")


def learning_rate(recipe: Recipe, step: int, *, steps: int) -> float:
    """Learning rate of step 0 … steps−1: linear warm-up, then a cosine to the final share."""
    warmup = max(1, round(recipe.warmup_share * steps))
    if step < warmup:
        return recipe.learning_rate * (step + 1) / warmup
    along = (step - warmup) / max(1, steps - warmup)
    share = recipe.final_learning_rate_share
    return recipe.learning_rate * (share + (1 - share) * 0.5 * (1 + math.cos(math.pi * along)))


_Kind = TypeVar("_Kind", Recipe, Launch)


def _read(kind: type[_Kind], name_or_path: str, *, folder: str) -> _Kind:
    tried = f"read the {kind.__name__.lower()} {name_or_path!r}"
    path = Path(name_or_path).expanduser()
    if path.suffix not in {".yaml", ".yml"}:
        path = _HERE / folder / f"{name_or_path}.yaml"
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        known = ", ".join(sorted(file.stem for file in (_HERE / folder).glob("*.yaml")))
        raise TwinError(
            tried,
            found=f"no file {path}",
            next_step=f"name one of: {known}; or a path that ends in .yaml",
        ) from error
    except yaml.YAMLError as error:
        raise TwinError(tried, found=str(error), next_step="mend the YAML") from error
    if not isinstance(document, dict):
        raise TwinError(tried, found="no mapping", next_step="write one `name: value` a line")
    values = cast(dict[str, Any], document)
    if extended := values.pop("extends", ""):
        values = _read(kind, str(extended), folder=folder).model_dump(exclude={"name"}) | values
    try:
        return kind.model_validate({"name": path.stem} | values)
    except ValidationError as error:
        wrong = "; ".join(
            f"{'.'.join(map(str, part['loc']))}: {part['msg']}" for part in error.errors()
        )
        raise TwinError(tried, found=wrong, next_step=f"correct {path}") from error
