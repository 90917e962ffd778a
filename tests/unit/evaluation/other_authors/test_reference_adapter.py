"""Test the samples of the adapter of other authors and the search for a candidate's adapter."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.model_versions import build_manifest
from twin_assets.checkpoints import manifest as manifests
from twin_assets.checkpoints.recipe import load_recipe
from twin_assets.evaluation.measures.author_control import draft_question
from twin_assets.evaluation.other_authors import reference_adapter
from twin_assets.evaluation.other_authors.bundled_samples import (
    hash_samples,
    make_posts,
    make_samples,
    select_other_writers,
)
from twin_assets.evaluation.other_authors.reference_adapter import find_reference
from twin_assets.training.publishing import training_code_hash
from twin_resources.authors import Author
from twin_resources.errors import TwinError
from twin_resources.prompt.templates import DEFAULT_TEMPLATE
from twin_resources.quality.judges.texts import WriterSample, bundled_writers
from twin_resources.settings import Settings

ANN = Author("ann", "Ann")
BASE = Path("/base")
WRITERS = [
    WriterSample("oona-petrie", (("a", "The kettle is old. It sings."), ("a", "The cup is new."))),
    WriterSample("tomas-okafor", (("a", "A valve stuck again."),)),
]


def test_the_author_is_excluded_under_any_slug() -> None:
    bundled_names = ["mara-lindqvist", "oona-petrie", "tomas-okafor"]
    assert [writer.name for writer in select_other_writers("ann", [])] == bundled_names
    assert [writer.name for writer in select_other_writers("oona-petrie", [])] == [
        bundled_names[0],
        bundled_names[2],
    ]
    own_texts = [text for _, text in bundled_writers(exclude=bundled_names[:2])[0].passages]
    assert [writer.name for writer in select_other_writers("ann", own_texts)] == bundled_names[:2]


def test_questions_are_drafted_as_for_the_control() -> None:
    rows = make_samples(WRITERS, context_tokens=0)

    assert [row["document_id"] for row in rows] == ["oona-petrie/a"] * 2 + ["tomas-okafor/a"]
    assert len({row["sample_id"] for row in rows}) == 3
    system_message, user_message, answer = rows[0]["messages"]
    assert (system_message["role"], "Oona Petrie" in system_message["content"]) == ("system", True)
    question = draft_question(WRITERS[0].passages[0][1])
    assert user_message["content"] == DEFAULT_TEMPLATE.bare_question.format(question=question)
    assert answer == {"role": "assistant", "content": "The kettle is old. It sings."}
    assert [(row["document_id"], row["text"]) for row in make_posts(WRITERS)] == [
        ("oona-petrie/a", "The kettle is old. It sings.\n\nThe cup is new."),
        ("tomas-okafor/a", "A valve stuck again."),
    ]


def test_four_of_five_prompts_show_surrounding_passages() -> None:
    texts = [f"Sentence {number} about the kettle and its lid." for number in range(100)]
    post = WriterSample("oona-petrie", tuple(("2020-01-02-the-old-kettle", text) for text in texts))

    rows = make_samples([post], context_tokens=24)  # 18 words: two passages

    user_prompts = [row["messages"][1]["content"] for row in rows]
    # the question may contain words of its own answer
    shown_texts = [
        [text for text in texts if text in prompt and text != own_text]
        for own_text, prompt in zip(texts, user_prompts, strict=True)
    ]
    assert 70 <= sum(bool(passages) for passages in shown_texts) <= 90
    assert {len(passages) for passages in shown_texts} == {0, 2}
    index = next(number for number in range(1, 99) if shown_texts[number])
    assert shown_texts[index] == [texts[index - 1], texts[index + 1]]
    assert "The old kettle" in user_prompts[index]
    assert rows[index]["messages"][2]["content"] == texts[index]


def test_the_samples_hash_depends_on_posts_and_authors() -> None:
    edited_writer = replace(WRITERS[1], passages=(("a", "A valve stuck twice."),))
    variants = (WRITERS, WRITERS[:1], [WRITERS[0], edited_writer])
    hashes = {hash_samples(sample, context_tokens=400) for sample in variants}
    assert len(hashes) == 3
    assert hash_samples(list(WRITERS), context_tokens=400) in hashes
    assert hash_samples(WRITERS, context_tokens=256) not in hashes


def write_weights(folder: Path) -> Path:
    folder.mkdir(parents=True)
    save_file({"lora_A": np.ones((2, 2))}, folder / "adapter_model.safetensors")
    config = {"r": 2, "lora_alpha": 4, "target_modules": ["q_proj"], "use_rslora": False}
    (folder / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


def write_trained_adapter(home: Settings, checkpoint: str = "c" * 64, **changes: Any) -> Path:
    """Write an adapter of other authors to which Ann's pointer refers."""
    recipe = load_recipe("smollm2-135m-cpu").drop_preference().model_dump()
    values: dict[str, Any] = {
        "base": {"revision": "r"}, "recipe": recipe, "code": training_code_hash(),
    } | changes  # fmt: skip
    manifest = build_manifest("", checkpoint, dataset={"context_tokens": 400}, **values)
    folder = home.reference_adapters_dir / checkpoint
    write_weights(folder / "adapter")
    manifests.write_manifest(folder, manifest)
    pointer = {"checkpoint": checkpoint, "folder": str(folder), "authors": ["oona-petrie"]}
    manifests.write_pointer(home.reference_adapters_dir, "ann", pointer)
    return folder


def test_an_adapter_is_found_for_the_current_base_recipe_and_code(home: Settings) -> None:
    assert find_reference(ANN, home, base=BASE, revision="r") is None
    folder = write_trained_adapter(home)

    reference = find_reference(ANN, home, base=BASE, revision="r")

    assert reference is not None
    assert reference.authors == ("oona-petrie",)
    assert (reference.model.weights_id, reference.model.base_folder) == ("c" * 64, BASE)
    assert reference.model.adapter_folder == folder / "adapter"
    assert find_reference(Author("bob", "Bob"), home, base=BASE, revision="r") is None
    assert find_reference(ANN, home, base=BASE, revision="another") is None
    shorter_context = replace(ANN, context_tokens=256)
    assert find_reference(shorter_context, home, base=BASE, revision="r") is None
    other_recipe = replace(ANN, recipe="smollm2-135m-demo")
    assert find_reference(other_recipe, home, base=BASE, revision="r") is None
    switched_off = home.model_copy(update={"reference_adapter": "off"})
    assert find_reference(ANN, switched_off, base=BASE, revision="r") is None


@pytest.mark.parametrize(
    ("tokens", "budget"),
    [
        (100_300, 100_000),  # the full budget and one step
        (86_000, 100_000),
        (75_000, 70_711),  # a corpus that ended earlier: the nearest budget in steps of √2
        (60_000, 70_711),
        (25_500, 25_000),
    ],
)
def test_the_adapter_sees_as_many_tokens_as_the_authors_training(
    home: Settings, tokens: int, budget: int
) -> None:
    assert reference_adapter.reference_recipe(ANN, home).token_budget == 100_000
    folder = write_trained_adapter(home)
    manifest = manifests.read_manifest(folder)
    checkpoints = home.checkpoints_dir / "ann"
    (checkpoints / "c1").mkdir(parents=True)
    manifests.write_manifest(checkpoints / "c1", replace(manifest, author="ann", tokens=tokens))
    pointer = {"checkpoint": "c1", "folder": str(checkpoints / "c1")}
    manifests.write_pointer(checkpoints, "fine_tuned", pointer)

    assert reference_adapter.reference_recipe(ANN, home).token_budget == budget
    reference = find_reference(ANN, home, base=BASE, revision="r")
    assert (reference is not None) is (budget == 100_000)


def test_an_adapter_of_older_code_is_ignored(home: Settings) -> None:
    write_trained_adapter(home, code="before")
    assert find_reference(ANN, home, base=BASE, revision="r") is None


def test_an_adapter_can_be_configured(home: Settings, tmp_path: Path) -> None:
    folder = write_weights(tmp_path / "mine")
    named_settings = home.model_copy(update={"reference_adapter": str(folder)})

    reference = find_reference(ANN, named_settings, base=BASE, revision="r")
    other_base = find_reference(ANN, named_settings, base=BASE, revision="s")

    assert reference is not None
    assert other_base is not None
    assert (reference.model.adapter_folder, reference.authors) == (folder, ())
    assert reference.model.weights_id != other_base.model.weights_id
    assert not reference_adapter.should_train_reference(ANN, named_settings)

    invalid = home.model_copy(update={"reference_adapter": str(tmp_path)})
    with pytest.raises(TwinError, match="no adapter_config"):
        find_reference(ANN, invalid, base=BASE, revision="r")


def test_unreferenced_adapters_are_removed(home: Settings) -> None:
    old_folder = write_trained_adapter(home, "a" * 64)
    current_folder = write_trained_adapter(home)  # Ann's pointer now refers to this folder
    other_folder = home.reference_adapters_dir / "not-a-checkpoint"
    other_folder.mkdir()

    reference_adapter._remove_unreferenced(home.reference_adapters_dir)

    assert not old_folder.exists()
    assert current_folder.is_dir()
    assert other_folder.is_dir()
