"""Report an author's current training inputs, a version's inputs, and the growth since then.

Scope: the resource `training_inputs`, which implements `TrainingInputs`
(`twin_resources/quality/retraining/training_inputs.py`).
Out of scope: decisions based on them (`statistics/retraining.py`), training (`fine_tuning.py`).

The same dataset and recipe produce the same weights bit for bit. An imported post that is not yet
in a dataset counts as new, because the next training run builds the dataset first.
"""

import hashlib
import json
from collections.abc import Sequence
from contextlib import closing
from datetime import datetime
from pathlib import Path

import dagster as dg
import polars as pl
import sqlalchemy as sa

from twin_assets.checkpoints.author_recipe import choose_author_recipe
from twin_assets.checkpoints.manifest import MANIFEST_FILE, read_manifest
from twin_assets.checkpoints.recipe import Recipe
from twin_assets.instructions.drafts import DOCUMENT_COLUMNS, DRAFTS_VERSION
from twin_assets.instructions.teacher_questions import count_pending_questions
from twin_assets.training import fine_tuning, preference_tuning
from twin_assets.training.publishing import training_code_hash
from twin_resources.authors import read_author
from twin_resources.models.retrieval.question_rules import read_rules
from twin_resources.prompt.templates import DEFAULT_TEMPLATE
from twin_resources.quality.ledger.ledger_tables import open_tables, scores
from twin_resources.quality.retraining.training_inputs import CorpusGrowth
from twin_resources.registry.moves import ModelVersion
from twin_resources.settings import Settings, load_settings
from twin_resources.statistics.retraining import TrainingFingerprint
from twin_resources.storage.state.home_state import open_home_state
from twin_resources.storage.state.state import State
from twin_resources.storage.tables.tables import Tables
from twin_resources.storage.weights.weights import load_base_model

SOURCE_TABLE, DRAFTS_TABLE = "cleaned_documents", "instruction_drafts"


class TrainingInputsResource(dg.ConfigurableResource):
    """Reads training inputs from the tables, recipes and manifests of a home.

    Attributes:
        home: the home folder; if empty, `TWIN_HOME`, or else `.twin`.
    """

    home: str = ""

    def read_current(self, author: str) -> TrainingFingerprint:
        """Implement `TrainingInputs.read_current`."""
        settings = load_settings(self.home or None)
        recipe = choose_author_recipe(read_author(settings, author), settings).recipe
        base = load_base_model(settings)
        with closing(open_home_state(settings)) as state:
            tables = Tables(settings.tables_base, state=state)
            parts = [tables.data_version(fine_tuning.DATASET, author) or "none"]
            pending_documents = _find_pending_documents(tables, author)
            if pending_documents.height:
                parts.append(_hash_json(pending_documents.sort("key").rows()))
            teacher = settings.teacher_model
            if question_count := count_pending_questions(tables, author, teacher):
                parts.append(f"{question_count} questions by {teacher or 'templates'}")
            parts += _collect_preference_parts(tables, author, recipe, settings)
        recipe_hash = _hash_model_inputs(
            base.revision, recipe, training_code_hash(), DEFAULT_TEMPLATE.hash
        )
        return TrainingFingerprint("+".join(parts), recipe_hash)

    def read_for_version(self, version: ModelVersion) -> TrainingFingerprint | None:
        """Implement `TrainingInputs.read_for_version`."""
        if not (Path(version.folder) / MANIFEST_FILE).is_file():
            return None
        manifest = read_manifest(Path(version.folder))
        parts = [manifest.dataset["data_version"]]
        if manifest.preferences:
            parts.append(manifest.preferences["data_version"])
        recipe = Recipe.from_manifest(manifest.recipe)
        recipe_hash = _hash_model_inputs(
            manifest.base["revision"], recipe, manifest.code, manifest.template
        )
        return TrainingFingerprint("+".join(parts), recipe_hash)

    def measure_growth(self, version: ModelVersion) -> CorpusGrowth:
        """Implement `TrainingInputs.measure_growth`."""
        settings = load_settings(self.home or None)
        manifest = read_manifest(Path(version.folder))
        with closing(open_home_state(settings)) as state:
            tables = Tables(settings.tables_base, state=state)
            pending_documents = _find_pending_documents(tables, version.author)
            new_document_ids = set(pending_documents.filter("kept", "unseen")["key"].to_list())
            if tables.exists(fine_tuning.DATASET, version.author):
                new_document_ids |= _read_document_ids(tables, version.author) - _read_document_ids(
                    tables, version.author, tag=manifest.dataset["tag"]
                )
            trained_at = datetime.fromisoformat(manifest.created_at)
            return CorpusGrowth(
                len(new_document_ids), _count_edits_since(state, version.author, trained_at)
            )


def _hash_model_inputs(base: str, recipe: Recipe, code: str, template: str) -> str:
    return _hash_json([base, recipe.model_dump(), code, template])


def _hash_json(value: object) -> str:
    text = json.dumps(value, sort_keys=True, default=lambda digest: digest.hex())
    return hashlib.sha256(text.encode()).hexdigest()


def _find_pending_documents(tables: Tables, author: str) -> pl.DataFrame:
    """Return the documents whose current text is not in the dataset.

    The columns are `key`, `hash`, `kept` and `unseen`, which marks documents that the dataset has
    never contained. Dropped documents are omitted if the dataset has never contained them.
    """
    from twin_resources.storage.tables import store
    from twin_resources.storage.tables.changes import find_changes, hash_inputs
    from twin_resources.storage.tables.hashing import hash_rows
    from twin_resources.storage.tables.sync import read_empty_inputs

    sync_columns = ["_input_key", "_input_hash", "_version"]
    columns = {"key": pl.String, "hash": pl.Binary, "kept": pl.Boolean, "unseen": pl.Boolean}
    drafts = store.open_table(tables.uri(DRAFTS_TABLE, author))
    if drafts is None or not tables.exists(SOURCE_TABLE, author):
        return pl.DataFrame(schema=columns)
    documents = tables.read(SOURCE_TABLE, author, columns=DOCUMENT_COLUMNS)
    draft_inputs = store.read_columns(drafts, sync_columns)
    empty_inputs = read_empty_inputs(tables.state, tables.uri(DRAFTS_TABLE, author))
    changes = find_changes(
        hash_inputs(documents.select(key="document_id", hash=hash_rows(documents))),
        stored_rows=draft_inputs,
        empty_inputs=empty_inputs,
        version=DRAFTS_VERSION,
    )
    drafted_keys = draft_inputs["_input_key"].unique()
    known_keys = pl.concat([draft_inputs, empty_inputs])["_input_key"].unique()
    changed_rows = (
        changes.inputs.select("key", hash="input_hash")
        .join(documents.select(key="document_id", kept="kept"), on="key")
        .with_columns(unseen=~pl.col("key").is_in(known_keys.implode()))
        .filter(pl.col("kept") | pl.col("key").is_in(drafted_keys.implode()))
    )
    vanished_rows = [
        {"key": key, "hash": b"", "kept": False, "unseen": False} for key in changes.removed_keys
    ]
    return pl.concat([changed_rows, pl.DataFrame(vanished_rows, schema=columns)])


def _read_document_ids(tables: Tables, author: str, *, tag: str | None = None) -> set[str]:
    rows = tables.read(
        fine_tuning.DATASET,
        author,
        columns=["document_id"],
        version=tag,
    )
    return set(rows["document_id"].to_list())


def _collect_preference_parts(
    tables: Tables, author: str, recipe: Recipe, settings: Settings
) -> Sequence[str]:
    """Return the preference dataset's parts of the fingerprint, or none with too few pairs."""
    asset = preference_tuning.DATASET
    if recipe.preference is None or not tables.exists(asset, author):
        return ()
    pair_count = tables.read(asset, author, columns=["pair_id"]).height
    edit_count = 0
    pointer = settings.checkpoints_dir / author / "candidate.json"
    if pointer.is_file():
        manifest = read_manifest(Path(json.loads(pointer.read_text("utf-8"))["folder"]))
        edit_count = _count_edits_since(
            tables.state, author, datetime.fromisoformat(manifest.created_at)
        )
    if pair_count + edit_count < max(recipe.preference.fewest_pairs, recipe.samples_per_step):
        return ()
    version = tables.data_version(asset, author) or "none"
    return (version, f"{edit_count} edits") if edit_count else (version,)


def _count_edits_since(state: State, author: str, since: datetime) -> int:
    """Count edits with the author's keys, and passages named for questions.

    Only these become chosen answers.
    """
    open_tables(state)
    query = (
        sa.select(sa.func.count())
        .select_from(scores)
        .where(
            scores.c.author == author,
            scores.c.kind == "edit",
            scores.c.role == "author",
            scores.c.status == "kept",
            scores.c.given_ms > int(since.timestamp() * 1000),
        )
    )
    rules = read_rules(state, author)
    named_count = sum(bool(rule.document_id) and rule.at > since.isoformat() for rule in rules)
    with state.read_transaction() as connection:
        return int(connection.execute(query).scalar_one()) + named_count
