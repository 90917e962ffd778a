"""Prepare the inputs of the training benchmark: an author's instruction dataset, and a model.

Scope: creating both in `build/`, the same in every run. Out of scope: training, measuring.
The product's assets `raw_posts` to `instruction_dataset` create the dataset in a separate process.
It is created again when their code has changed.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from tests.bench.questions.questions import posts_folder
from tests.bench.training.sizes import BenchmarkSize
from tests.code_hash import code_hash
from tests.live.tiny_model import make_tiny_model
from tests.prepared_base import base_folder
from tests.prepared_embedder import link_weights, prepare_weights
from twin_assets.checkpoints.recipe import DEFAULT_RECIPE, UNMODIFIED_SAMPLES, Recipe, load_recipe
from twin_assets.checkpoints.samples import TokenizedSample, tokenize_samples
from twin_resources.authors import Author, list_author_slugs, write_author
from twin_resources.settings import Settings, load_settings
from twin_resources.storage.state.home_state import open_home_state
from twin_resources.storage.tables.tables import Tables

ROOT = Path(__file__).resolve().parents[3]

CACHE_DIR = ROOT / "build" / "bench-training"
SHARED_AUTHORS = {"skeeto": "Chris Wellons", "jbranchaud-til": "Josh Branchaud"}
BUNDLED_AUTHORS = {"mara-lindqvist": "Mara Lindqvist"}
EXCLUDED_FILES = {"README.md", "CONTRIBUTING.md"}
DATASET_CODE = ("twin_assets/corpus", "twin_assets/knowledge", "twin_assets/instructions")
# TRL by default truncates samples longer than 1,024 tokens, and then the runners would see
# different tokens. The limit is lower still, because a rank with TRL's defaults (eight samples at
# once, all logits) already takes 5 GB at 512.
MAX_TOKENS = 768


@dataclass(frozen=True)
class TrainingInputs:
    """The inputs of every runner.

    Attributes:
        home: settings of the home with the dataset's tables and the author.
        base: transformers folder of the model.
        train: training rows of the dataset, of at most `MAX_TOKENS` tokens each.
        held_out: tokenized held-out samples, of at most `MAX_TOKENS` tokens each.
        token_count: number of tokens in one pass over `train`.
    """

    home: Settings
    base: Path
    train: list[dict[str, Any]]
    held_out: list[TokenizedSample]
    token_count: int


def build_recipe(**changes: Any) -> Recipe:
    """Return the default recipe on unmodified samples, without intermediate checkpoints."""
    values: dict[str, Any] = {
        "token_budget": 10**9,
        "max_epochs": 1,
        "max_length": MAX_TOKENS,
        "checkpoint_every_steps": 10**6,
    }
    return load_recipe(DEFAULT_RECIPE).model_copy(update=UNMODIFIED_SAMPLES | values | changes)


def prepare_inputs(size: BenchmarkSize) -> TrainingInputs:
    """Return the dataset and the model; create them if they do not exist.

    Raises:
        FileNotFoundError: the shared posts are missing (`TWIN_SHARED_DATA`).
    """
    from transformers import AutoTokenizer

    home, base = _prepare_home(size), _prepare_model(tiny=size.use_tiny_model)
    tables = Tables(home.tables_base, state=open_home_state(home))
    columns = ["sample_id", "document_id", "split", "messages"]
    rows = tables.read("instruction_dataset", size.author, columns=columns)
    tokenizer = AutoTokenizer.from_pretrained(base)
    selected: dict[str, list[dict[str, Any]]] = {}
    tokenized: dict[str, list[TokenizedSample]] = {}
    for split, count in (("train", size.sample_count), ("held_out", size.held_out_count)):
        split_rows = _sort_by_hash(rows.filter(pl.col("split") == split).to_dicts())
        samples, _ = tokenize_samples(split_rows, tokenizer, max_length=MAX_TOKENS)
        if len(samples) < count:
            raise SystemExit(f"the split {split} has {len(samples)} samples; {count} are needed")
        tokenized[split] = samples[:count]
        selected_ids = {sample.sample_id for sample in tokenized[split]}
        selected[split] = [row for row in split_rows if row["sample_id"] in selected_ids]
    token_count = sum(sample.length for sample in tokenized["train"])
    return TrainingInputs(home, base, selected["train"], tokenized["held_out"], token_count)


def _sort_by_hash(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(rows, key=lambda row: hashlib.sha256(row["sample_id"].encode()).digest())


def _prepare_model(*, tiny: bool) -> Path:
    """Return the transformers folder of the model."""
    base = base_folder()
    return make_tiny_model(CACHE_DIR / "model" / "tiny", base) if tiny else base


def _prepare_home(size: BenchmarkSize) -> Settings:
    """Return the settings of a home whose tables contain the dataset."""
    source = posts_folder(size.author)
    paths = _list_posts(source)
    if not paths:
        raise FileNotFoundError(f"no posts in {source}: set TWIN_SHARED_DATA")
    name = f"home-{size.author}-{size.post_count or 'all'}"
    home = CACHE_DIR / f"{name}-{code_hash(DATASET_CODE)}"
    if not (home / "complete").is_file():
        for old_home in CACHE_DIR.glob(f"{name}-*"):
            shutil.rmtree(old_home)
        home.mkdir(parents=True)
        settings = load_settings(home)
        link_weights(prepare_weights(), settings)
        posts = home / "posts"
        for path in paths[: size.post_count]:
            copy = posts / path.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, copy)
        name = (SHARED_AUTHORS | BUNDLED_AUTHORS)[size.author]
        write_author(settings, Author(size.author, name, sources=(str(posts),)))
        environment = os.environ | {"TWIN_HOME": str(home), "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", "tests.bench.training.inputs"]
        subprocess.run(command, check=True, env=environment, cwd=ROOT, stdout=sys.stderr)
        (home / "complete").touch()
    return load_settings(home)


def _list_posts(folder: Path) -> list[Path]:
    """Return the files of an author's posts: those in Jekyll's `_posts`, or else all Markdown."""
    jekyll_folder = folder / "_posts"
    if jekyll_folder.is_dir():
        return sorted(jekyll_folder.iterdir())
    return sorted(path for path in folder.rglob("*.md") if path.name not in EXCLUDED_FILES)


def only_author(home: Settings) -> str:
    """Return the only author of a home."""
    (slug,) = list_author_slugs(home)
    return slug


def _materialize() -> None:
    """Create the dataset from the posts in the home `TWIN_HOME`; runs in a separate process."""
    import dagster as dg

    from twin_assets.corpus.cleaned_documents import cleaned_documents
    from twin_assets.corpus.raw_posts import raw_posts
    from twin_assets.definitions import default_resources
    from twin_assets.instructions.instruction_dataset import instruction_dataset
    from twin_assets.knowledge.chunks import document_chunks
    from twin_assets.knowledge.embeddings import embeddings

    assets = [raw_posts, cleaned_documents, document_chunks, embeddings, instruction_dataset]
    slug = only_author(load_settings())
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("authors", [slug])
        result = dg.materialize(
            assets, partition_key=slug, instance=instance, resources=default_resources()
        )
    assert result.success


if __name__ == "__main__":
    _materialize()
