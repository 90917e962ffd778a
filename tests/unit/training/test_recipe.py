"""Test recipes, launch configurations and the learning rate."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.recipes import read_code_blocks
from twin_assets.checkpoints import recipe as recipe_module
from twin_assets.checkpoints.job import Job
from twin_assets.checkpoints.recipe import (
    DEFAULT_RECIPE,
    learning_rate,
    load_launch,
    load_recipe,
    recipe_hash,
)
from twin_assets.training.fine_tuning import build_training_job, validate_recipe_stages
from twin_resources.errors import TwinError
from twin_resources.models.model_fit import (
    RECIPE_WITHOUT_BF16,
    TOKENS_WITHOUT_BF16,
    TRAINING_TOKENS,
)

RECIPES = Path(load_recipe.__code__.co_filename).parent / "recipes"


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_recipe_and_its_launch_configuration_are_valid(path: Path) -> None:
    recipe = load_recipe(path.stem)
    assert recipe.max_epochs <= 3
    assert load_launch(recipe.launch).name == recipe.launch


def test_the_recipe_for_comparison_has_the_published_values() -> None:
    recipe = load_recipe("llama-3.1-8b-lora")
    assert recipe.lora is not None
    assert (recipe.lora.rank, recipe.lora.alpha, len(recipe.lora.target_modules)) == (32, 32, 7)
    assert (recipe.learning_rate, recipe.max_epochs, recipe.max_length) == (3e-4, 3, 2048)
    assert (recipe.micro_batch_size, recipe.accumulation_steps(ranks=1)) == (2, 8)
    assert (recipe.required_preference.learning_rate, recipe.required_preference.beta) == (
        2e-6,
        0.5,
    )
    # the budget must not end three epochs of a corpus of millions of words
    assert recipe.token_budget >= 100_000_000


def test_the_documented_steps_add_a_launch_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The files of deploy/docs/contributing.md are added to a copy of both folders."""
    name = "smollm2-135m-gentle"
    with pytest.raises(TwinError, match=f"no file .*{name}"):
        load_recipe(name)
    for folder in ("launch", "recipes"):
        shutil.copytree(RECIPES.parent / folder, tmp_path / folder)
    launch, recipe = read_code_blocks("A launch configuration", "yaml")
    (tmp_path / "launch" / "cpu-zero2-gentle.yaml").write_text(launch, encoding="utf-8")
    (tmp_path / "recipes" / f"{name}.yaml").write_text(recipe, encoding="utf-8")
    monkeypatch.setattr(recipe_module, "_MODULE_FOLDER", tmp_path)

    added_recipe, original = load_recipe(name), load_recipe("smollm2-135m-cpu")
    added_job, original_job = (
        build_training_job(Job(tmp_path, "tiny", tmp_path, ranks=2, recipe=recipe), name="ann")
        for recipe in (added_recipe, original)
    )

    assert added_recipe == original.model_copy(update={"name": name, "launch": "cpu-zero2-gentle"})
    assert (added_job.threads_per_rank, added_job.mixed_precision) == (1, "fp32")
    assert (original_job.threads_per_rank, original_job.mixed_precision) == (None, "auto")
    assert added_job.deepspeed == original_job.deepspeed
    assert added_job.deepspeed["zero_optimization"]["stage"] == 2
    assert added_job.environment == original_job.environment


@pytest.mark.parametrize(
    ("name", "device", "stage"),
    [
        (DEFAULT_RECIPE, "cpu", 2),
        ("smollm2-135m-demo", "cpu", 2),
        ("llama-3.1-8b-gpu-node", "cuda", 3),  # the ranks of a node share the weights
    ],
)
def test_recipes_use_deepspeed(name: str, device: str, stage: int) -> None:
    launch = load_launch(load_recipe(name).launch)
    assert launch.device == device
    assert launch.deepspeed["zero_optimization"]["stage"] == stage


def test_an_extending_recipe_changes_only_its_own_values() -> None:
    default, extending = load_recipe(DEFAULT_RECIPE), load_recipe(RECIPE_WITHOUT_BF16)
    assert extending.token_budget == TOKENS_WITHOUT_BF16 < default.token_budget == TRAINING_TOKENS
    assert extending.name == RECIPE_WITHOUT_BF16
    restored = extending.model_copy(
        update={"name": default.name, "token_budget": default.token_budget}
    )
    assert restored == default


def test_the_error_for_an_unknown_recipe_lists_the_known_ones() -> None:
    with pytest.raises(TwinError, match=DEFAULT_RECIPE):
        load_recipe("no-such-recipe")


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("token_budget: 100000", "token_budget: many", "token_budget"),
        ("token_budget: 100000", "token_budget: 0", "token_budget"),
        ("token_budget: 100000", "tokenbudget: 100000", "tokenbudget"),
        ("  rank: 16", "  rank: [16", "correct the YAML"),
    ],
)
def test_invalid_values_are_named(tmp_path: Path, before: str, after: str, message: str) -> None:
    text = (RECIPES / f"{DEFAULT_RECIPE}.yaml").read_text(encoding="utf-8")
    assert before in text
    path = tmp_path / "mine.yaml"
    path.write_text(text.replace(before, after), encoding="utf-8")
    with pytest.raises(TwinError) as error:
        load_recipe(str(path))
    assert message in str(error.value)


def test_the_learning_rate_warms_up_and_decays_to_its_final_share() -> None:
    recipe = load_recipe(DEFAULT_RECIPE)
    rates = [learning_rate(recipe, step, steps=100) for step in range(100)]
    peak_step = rates.index(max(rates))
    assert max(rates) == recipe.learning_rate
    assert rates[: peak_step + 1] == sorted(rates[: peak_step + 1])
    assert rates[peak_step:] == sorted(rates[peak_step:], reverse=True)
    final_rate = recipe.learning_rate * recipe.final_learning_rate_share
    assert final_rate <= rates[-1] < 1.01 * final_rate


def test_samples_that_ranks_cannot_share_are_an_error() -> None:
    recipe = load_recipe(DEFAULT_RECIPE)
    assert recipe.accumulation_steps(2) * 2 * recipe.micro_batch_size == recipe.samples_per_step
    with pytest.raises(TwinError, match="samples_per_step"):
        recipe.accumulation_steps(7)


def test_the_preference_stage_changes_only_rate_and_budget() -> None:
    recipe = load_recipe(DEFAULT_RECIPE)
    assert recipe.preference is not None
    preference_recipe = recipe.to_preference_recipe()
    assert preference_recipe.learning_rate == recipe.preference.learning_rate
    assert preference_recipe.token_budget == recipe.preference.token_budget
    raw_values = {"raw_share": 0.5, "without_passages": 0.5}
    assert recipe.model_copy(update=raw_values).to_preference_recipe() == preference_recipe
    assert (preference_recipe.raw_share, preference_recipe.without_passages) == (0.0, 0.0)
    changed_fields = {"learning_rate", "token_budget", *raw_values}
    assert preference_recipe.model_dump(exclude=changed_fields) == recipe.model_dump(
        exclude=changed_fields
    )


def test_a_recipe_without_preferences_is_an_error() -> None:
    with pytest.raises(TwinError, match="no preference section"):
        _ = load_recipe(DEFAULT_RECIPE).drop_preference().required_preference


def test_the_recipe_hash_depends_on_every_value() -> None:
    recipe = load_recipe(DEFAULT_RECIPE)
    expected = recipe_hash(json.loads(json.dumps(recipe.model_dump())))
    assert recipe_hash(recipe.model_dump()) == expected
    assert recipe_hash(recipe.model_copy(update={"seed": 1}).model_dump()) != expected
    values = recipe.drop_preference().model_dump()
    assert recipe_hash(values) != expected
    assert recipe_hash({k: v for k, v in values.items() if k != "preference"}) == recipe_hash(
        values
    )


def test_preference_tuning_of_full_models_is_an_error() -> None:
    recipe = load_recipe(DEFAULT_RECIPE)
    validate_recipe_stages(recipe)
    full_recipe = recipe.model_copy(update={"lora": None})
    with pytest.raises(TwinError, match="lora is null"):
        validate_recipe_stages(full_recipe)
    validate_recipe_stages(full_recipe.drop_preference())


@pytest.mark.parametrize(
    ("samples", "ranks", "expected"),
    [
        (10_000, 2, 4),  # two epochs are far more than 100 steps of 4
        (200, 2, 4),
        (199, 2, 2),
        (100, 2, 2),
        (100, 1, 2),
        (60, 1, 1),
        (60, 2, 2),  # 60 steps of one sample a rank; no epoch is added
        (150, 3, 3),
        (0, 2, 2),
    ],
)
def test_a_small_corpus_has_fewer_samples_per_step(samples: int, ranks: int, expected: int) -> None:
    recipe = load_recipe(DEFAULT_RECIPE)
    assert recipe.fewest_steps == 100
    assert recipe.compute_samples_per_step(samples, ranks=ranks) == expected
    assert expected % (ranks * recipe.micro_batch_size) == 0 or expected == recipe.samples_per_step
    steps = samples * recipe.max_epochs // expected
    assert steps >= recipe.fewest_steps or expected == ranks, "fewer steps than the epochs allow"
    without_minimum = recipe.model_copy(update={"fewest_steps": 0})
    assert without_minimum.compute_samples_per_step(samples, ranks=ranks) == recipe.samples_per_step


@pytest.mark.parametrize("share", ["-0.1", "1.5", "much"])
def test_a_share_is_between_0_and_1(tmp_path: Path, share: str) -> None:
    path = tmp_path / "mine.yaml"
    for value in ("0", "0.3", "1"):
        path.write_text(f"extends: {DEFAULT_RECIPE}\nwithout_passages: {value}\n", encoding="utf-8")
        assert load_recipe(str(path)).without_passages == float(value)
    path.write_text(f"extends: {DEFAULT_RECIPE}\nwithout_passages: {share}\n", encoding="utf-8")
    with pytest.raises(TwinError, match="without_passages"):
        load_recipe(str(path))


def test_only_measured_recipes_use_raw_posts(tmp_path: Path) -> None:
    recipes = {path.stem: load_recipe(path.stem) for path in RECIPES.glob("*.yaml")}
    shares = {name: (recipe.raw_share, recipe.without_passages) for name, recipe in recipes.items()}
    measured = {"smollm2-135m-cpu", "smollm2-135m-cpu-fp32", "smollm2-135m-gpu"}
    assert shares == {name: (0.3, 0.6) if name in measured else (0.0, 0.0) for name in recipes}
    path = tmp_path / "mine.yaml"
    path.write_text(f"extends: {DEFAULT_RECIPE}\nraw_share: 1.0\n", encoding="utf-8")
    with pytest.raises(TwinError, match="raw_share"):
        load_recipe(str(path))
