"""Test the choice of an author's recipe and number of ranks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from twin_assets.checkpoints import author_recipe
from twin_assets.checkpoints.author_recipe import choose_author_recipe, count_training_ranks
from twin_assets.checkpoints.recipe import load_launch, load_recipe
from twin_resources.authors import Author
from twin_resources.errors import TwinError
from twin_resources.models.model_fit import RECIPES, choose_recipe
from twin_resources.processes import gpus as gpu_module
from twin_resources.settings import Settings, load_settings

ADA = Author(slug="ada", name="Ada")
SMALL_GPU, LARGE_GPU = ("a card", 12.0), ("a card", 80.0)


@pytest.fixture
def usable_gpus(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, float]]:
    """Return the GPUs that training may use, a list that is empty at first."""
    gpus: list[tuple[str, float]] = []
    monkeypatch.setattr(author_recipe, "list_usable_gpus", lambda: gpus)
    return gpus


@pytest.mark.parametrize(
    ("billions", "gpus", "recipe", "ranks"),
    [
        (0.135, [], "smollm2-135m-cpu", 0),
        (None, [], "smollm2-135m-cpu", 0),
        (0.135, [SMALL_GPU], "smollm2-135m-gpu", 1),
        (0.36, [LARGE_GPU] * 8, "smollm2-135m-gpu", 1),
        (0.5, [], "1b-cpu", 0),
        (1.7, [SMALL_GPU], "1b-gpu", 1),
        (1.7, [SMALL_GPU] * 3, "1b-gpus", 2),
        (3.9, [LARGE_GPU], "1b-gpu", 1),
        (4.0, [LARGE_GPU], "8b-gpu", 1),
        (8.0, [SMALL_GPU], "1b-cpu", 0),
        (8.0, [SMALL_GPU] * 4, "8b-gpus-zero3", 4),
        (8.0, [SMALL_GPU, LARGE_GPU], "8b-gpu", 1),
        (8.0, [LARGE_GPU] * 8, "8b-gpus", 8),
        (70.0, [LARGE_GPU] * 8, "8b-gpus-zero3", 8),
        (900.0, [LARGE_GPU] * 8, "1b-cpu", 0),
    ],
)
def test_model_size_and_gpus_determine_the_recipe(
    billions: float | None, gpus: Sequence[tuple[str, float]], recipe: str, ranks: int
) -> None:
    choice = choose_recipe(billions, bf16=True, gpus=gpus)
    assert (choice.recipe, choice.ranks) == (recipe, ranks)
    assert ("unknown size" in choice.reason) == (billions is None)


def test_the_rules_figures_match_the_recipe_files() -> None:
    for name, (tokens, on_gpu) in RECIPES.items():
        recipe = load_recipe(name)
        assert recipe.token_budget == tokens, name
        assert (load_launch(recipe.launch).device == "cuda") == on_gpu, name


@pytest.mark.parametrize("name", [name for name in RECIPES if name.endswith(("gpus", "zero3"))])
def test_two_four_or_eight_ranks_can_share_a_step(name: str) -> None:
    recipe = load_recipe(name)
    assert load_launch(recipe.launch).deepspeed
    for ranks in (2, 4, 8):
        assert recipe.accumulation_steps(ranks) >= 1


def test_the_recipe_in_the_authors_file_has_priority(
    home: Settings, usable_gpus: list[tuple[str, float]], tmp_path: Path
) -> None:
    usable_gpus.append(LARGE_GPU)
    author_choice = choose_author_recipe(replace(ADA, recipe="smollm2-135m-demo"), home)
    assert author_choice.log_line == "recipe smollm2-135m-demo: set in the author's file"
    choice = choose_author_recipe(ADA, home.model_copy(update={"base_model": "owner/model-8B"}))
    assert choice.log_line == "recipe 8b-gpu: base model of 8B, a GPU large enough"
    assert (
        choose_author_recipe(ADA, home.model_copy(update={"base_model": "x-1.7B"})).recipe.name
        == "1b-gpu"
    )
    with pytest.raises(TwinError, match="prepare"):
        choose_author_recipe(ADA, home.model_copy(update={"base_model": "owner/sizeless"}))


def test_the_default_rank_count_is_the_number_of_gpus_that_can_share_a_step(
    home: Settings, usable_gpus: list[tuple[str, float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    on_cpu, one_gpu, several_gpus = map(load_recipe, ("smollm2-135m-cpu", "8b-gpu", "8b-gpus"))
    monkeypatch.setattr(author_recipe, "read_memory_gb", lambda: 16.0)
    usable_gpus += [LARGE_GPU] * 7
    assert [count_training_ranks(recipe, home) for recipe in (on_cpu, one_gpu, several_gpus)] == [
        2,
        1,
        4,
    ]
    usable_gpus.append(LARGE_GPU)
    assert count_training_ranks(several_gpus, home) == 8
    assert count_training_ranks(several_gpus.model_copy(update={"samples_per_step": 12}), home) == 6
    half_billion = home.model_copy(update={"base_model": "owner/model-0.63B"})
    assert count_training_ranks(on_cpu, half_billion) == 1, "two do not fit into half of the memory"
    monkeypatch.setenv("TWIN_TRAIN_RANKS", "3")
    settings = load_settings(home.home)
    assert {
        count_training_ranks(recipe, settings) for recipe in (on_cpu, one_gpu, several_gpus)
    } == {3}


LISTING = (
    "GPU-aa1, NVIDIA H200, 143771\nGPU-bb2, NVIDIA A100, with a comma, 40960\nno card at all\n"
)


@pytest.mark.parametrize(
    ("visible", "names"),
    [
        (None, ["NVIDIA H200", "NVIDIA A100, with a comma"]),
        ("1,0", ["NVIDIA A100, with a comma", "NVIDIA H200"]),
        ("GPU-bb2", ["NVIDIA A100, with a comma"]),
        ("0,7,1", ["NVIDIA H200"]),
        ("", []),
        ("-1", []),
    ],
)
def test_hidden_gpus_do_not_count(
    monkeypatch: pytest.MonkeyPatch, visible: str | None, names: list[str]
) -> None:
    monkeypatch.setattr(gpu_module, "_query_nvidia_smi", lambda: LISTING)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert [name for name, _ in gpu_module.list_gpus()] == names
    monkeypatch.setattr(gpu_module.metadata, "version", lambda _name: "2.9.0+cu129")
    assert len(gpu_module.list_usable_gpus()) == len(names)
    monkeypatch.setattr(gpu_module.metadata, "version", lambda _name: "2.9.0+cpu")
    if names:
        with pytest.raises(TwinError, match=r"which torch 2\.9\.0\+cpu cannot use"):
            gpu_module.list_usable_gpus()
    else:
        assert gpu_module.list_usable_gpus() == []
