"""Several questions of a post in one conversation: published, and repeated from the manifest."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.live.training.test_checkpoint_assets import RECIPE, write_dataset
from twin_assets.checkpoints.manifest import read_manifest
from twin_assets.training.fine_tuning import fine_tune
from twin_assets.training.from_manifest import main
from twin_resources.authors import Author
from twin_resources.models.training_launcher import LocalLauncher
from twin_resources.settings import Settings
from twin_resources.storage.tables.tables import Tables

pytestmark = [pytest.mark.live, pytest.mark.usefixtures("quick_starts")]

ASKED = RECIPE.replace("cpu-zero2", "cpu-single") + "questions_a_conversation: 3\n"


def samples(count: int) -> list[dict[str, Any]]:
    """Of 7 posts; each asked below a passage of its own, no answer like another."""
    return [
        {
            "sample_id": f"sample-{index:03}",
            "document_id": f"document-{index % 7}",
            "messages": [
                {"role": "system", "content": "You answer readers."},
                {
                    "role": "user",
                    "content": f"From my posts:\n\n[1] Post (undated)\nPassage {index} "
                    + "and so on " * 20
                    + f"\n\nQuestion: what about {index}?",
                },
                {
                    "role": "assistant",
                    "content": " ".join(f"word{index}of{place}" for place in range(8)),
                },
            ],
        }
        for index in range(count)
    ]


def test_conversations_are_in_the_manifest_and_the_manifest_gives_the_same_weights(
    author_by: Callable[[str], tuple[Author, Settings]],
    tables: Tables,
    capsys: pytest.CaptureFixture[str],
) -> None:
    author, settings = author_by(ASKED)
    write_dataset(settings, count=40, samples=samples(40))

    tuned = fine_tune(author, settings=settings, tables=tables, launcher=LocalLauncher(settings))

    manifest = read_manifest(tuned.folder)
    assert manifest.recipe["questions_a_conversation"] == 3
    assert manifest.dataset["samples"] == 36, "each question of a conversation is one"
    # 7 posts of 6, 5, 5, 6, 5, 4 and 5 samples that are trained on; of the 4 one stays alone
    assert manifest.dataset["conversations"] == {"questions": 35, "conversations": 13}
    assert 0.3 < manifest.epochs <= 2.0, "of one pass over all conversations"

    assert main(["--from-manifest", str(tuned.folder)]) == 0
    assert f"the same weights bit for bit: checkpoint {manifest.checkpoint}" in (
        capsys.readouterr().out
    )
