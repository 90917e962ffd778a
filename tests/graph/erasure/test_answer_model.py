"""Test that forgetting a post does not affect an answer model, which was not trained here."""

from __future__ import annotations

from pathlib import Path

from tests.erasure_targets import post_target
from tests.model_versions import register_version
from twin_resources.erasure.checkpoint_folders import Checkpoints, find_trained_checkpoints
from twin_resources.erasure.data_store import Installation
from twin_resources.registry.moves import VersionKind
from twin_resources.settings import Settings


def register(installation: Installation, checkpoint: str, kind: VersionKind) -> None:
    register_version(
        installation.registry, "ada", checkpoint, base="Qwen/Large", base_gguf="/l.gguf", kind=kind
    )


def test_a_version_without_its_folder_is_tainted_and_an_answer_model_is_not(tmp_path: Path) -> None:
    installation = Installation.for_settings(Settings(home=tmp_path))
    register(installation, "named", "answer_model")
    installation.registry.move("ada", 1, "stable", actor="t", reason="named", force=True)
    register(installation, "lost", "tuned")
    target = post_target("ada", "post-1")
    checkpoints = find_trained_checkpoints(installation, "ada", target)
    assert checkpoints == {"lost"}
    Checkpoints(installation).erase(
        post_target("ada", "post-1", checkpoints=frozenset(checkpoints))
    )
    assert [item.tainted for item in installation.registry.versions("ada")] == [False, True]
    stable = installation.registry.stable_version("ada")
    assert stable is not None
    assert stable.is_answer_model
    installation.state.close()
