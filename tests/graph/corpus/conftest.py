"""Provide fixtures for the corpus assets: posts, an author, and a run of the three assets."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from tests.prepared_embedder import link_weights
from twin_assets.contract_checks import (
    cleaned_documents_keep_their_contract,
    embeddings_keep_their_contract,
    raw_posts_keep_their_contract,
)
from twin_assets.corpus.cleaned_documents import (
    claims_of_cleaned_documents,
    cleaned_documents,
    every_import_is_kept_or_explained,
)
from twin_assets.corpus.raw_posts import raw_posts
from twin_assets.knowledge.embeddings import (
    embeddings,
    every_passage_is_searchable,
    passages_are_verbatim,
)
from twin_assets.tables_io_manager import TablesIOManager
from twin_resources.authors import Author, write_author
from twin_resources.dagster_resources import (
    EmbedderResource,
    SettingsResource,
    TablesResource,
)
from twin_resources.settings import Settings

SLUG = "jose-nunez"
ASSETS = [raw_posts, cleaned_documents, embeddings]
CHECKS = [
    raw_posts_keep_their_contract,
    every_import_is_kept_or_explained,
    cleaned_documents_keep_their_contract,
    claims_of_cleaned_documents,
    every_passage_is_searchable,
    passages_are_verbatim,
    embeddings_keep_their_contract,
]
RESOURCES = {
    "embedder": EmbedderResource(),
    "settings": SettingsResource(),
    "tables": TablesResource(),
    "tables_io": TablesIOManager(),
}

OPENINGS = ("Early", "Late", "Once", "Again", "Twice", "Yesterday", "Suddenly", "Slowly", "Then")
ENDINGS = (
    *("left", "fell", "stood", "rang", "turned", "burned", "sang", "slept", "waited", "broke"),
    *("outside", "upstairs", "alone", "softly", "nearby", "backwards", "gladly", "quickly"),
    "twice",
)

Materialize = Callable[..., dg.ExecuteInProcessResult]


def narrate(subject: str, *, sentences: int = 6) -> str:
    """Return a paragraph that differs between subjects, so that no two are near-duplicates."""
    generator = random.Random(subject)
    return " ".join(
        f"{generator.choice(OPENINGS)} the {subject} {' '.join(generator.sample(ENDINGS, 4))}, "
        f"and it didn't come back unchanged on day {day}."
        for day in range(sentences)
    )


@pytest.fixture
def posts(tmp_path: Path) -> Path:
    """Write three Jekyll posts to a folder whose name has spaces and letters beyond ASCII."""
    folder = tmp_path / "my posts by José 李" / "_posts"
    folder.mkdir(parents=True)
    for year, subject in ((2019, "clock"), (2020, "boat"), (2021, "lamp")):
        body = f"{narrate(subject)}\n\n{narrate('old ' + subject)}"
        text = f"---\ntitle: On the {subject}\n---\n\n{body}\n"
        (folder / f"{year}-05-01-{subject}.md").write_text(text, encoding="utf-8")
    return folder.parent


@pytest.fixture
def author(home: Settings, posts: Path) -> Author:
    author = Author(SLUG, "José Núñez", sources=(str(posts),))
    write_author(home, author)
    return author


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture
def materialize(
    instance: dg.DagsterInstance, author: Author, home: Settings, embedder_weights: Path
) -> Materialize:
    """Return a function that runs the three assets and their checks for the author."""
    link_weights(embedder_weights, home)

    def run(
        *, raise_on_error: bool = True, tags: dict[str, str] | None = None
    ) -> dg.ExecuteInProcessResult:
        instance.add_dynamic_partitions("authors", [author.slug])
        return dg.materialize(
            [*ASSETS, *CHECKS],
            partition_key=author.slug,
            instance=instance,
            resources=RESOURCES,
            raise_on_error=raise_on_error,
            tags=tags,
        )

    return run


@pytest.fixture
def import_sources(home: Settings, instance: dg.DagsterInstance) -> Materialize:
    """Return a function that sets the sources of an author and imports them as `raw_posts`."""

    def run(*sources: Path | str, include: tuple[str, ...] = ()) -> dg.ExecuteInProcessResult:
        addresses = tuple(map(str, sources))
        write_author(home, Author(SLUG, "Ada Lovelace", sources=addresses, include=include))
        instance.add_dynamic_partitions("authors", [SLUG])
        return dg.materialize(
            [raw_posts], partition_key=SLUG, instance=instance, resources=RESOURCES
        )

    return run


def find_check(result: dg.ExecuteInProcessResult, name: str) -> dg.AssetCheckEvaluation:
    """Return the only evaluation of a check in a run."""
    [check] = [check for check in result.get_asset_check_evaluations() if check.check_name == name]
    return check


def get_metadata(result: dg.ExecuteInProcessResult, asset: str) -> dict[str, Any]:
    """Return the metadata of the asset's only materialization."""
    [event] = result.asset_materializations_for_node(asset)
    return {name: value.value for name, value in event.metadata.items()}
