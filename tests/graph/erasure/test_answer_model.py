"""Forgetting a post does not affect an answer model, which was not trained here."""

from __future__ import annotations

from pathlib import Path

from tests.erasure_targets import post_target
from tests.model_versions import register_version
from twin_resources.erasure.checkpoint_folders import Checkpoints, find_trained_checkpoints
from twin_resources.erasure.data_store import Installation
from twin_resources.registry.moves import VersionKind
from twin_resources.settings import Settings


def register(instance: Installation, checkpoint: str, kind: VersionKind) -> None:
    register_version(
        instance.registry, "ada", checkpoint, base="Qwen/Large", base_gguf="/l.gguf", kind=kind
    )


def test_a_version_without_its_folder_is_tainted_and_an_answer_model_is_not(
    tmp_path: Path,
) -> None:
    instance = Installation.for_settings(Settings(home=tmp_path))
    register(instance, "named", "answer_model")
    instance.registry.move("ada", 1, "stable", actor="t", reason="named", force=True)
    register(instance, "lost", "tuned")
    target = post_target("ada", "post-1")
    checkpoints = find_trained_checkpoints(instance, "ada", target)
    assert checkpoints == {"lost"}
    Checkpoints(instance).erase(post_target("ada", "post-1", checkpoints=frozenset(checkpoints)))
    assert [item.tainted for item in instance.registry.versions("ada")] == [False, True]
    stable = instance.registry.stable_version("ada")
    assert stable is not None
    assert stable.is_answer_model
    instance.state.close()
