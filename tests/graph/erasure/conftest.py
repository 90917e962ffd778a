"""Provide a home in which a post, a reader and an author have every kind of erasable data.

Scope: creating that home with the project's own parts: assets in a real Dagster instance,
trace store, ledger, outbox, a checkpoint, logs. Out of scope: searching for the planted words
(`planted_words.py`), tests.
"""

from __future__ import annotations

import gc
import json
import random
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
import torch
import yaml
from safetensors.torch import save_file
from starlette.testclient import TestClient

from tests.answer_spans import export_spans
from tests.graph.erasure.planted_words import POST_WORD, QUESTION_WORD
from tests.graph.erasure.spans import AUTHOR, encode_spans, make_span, make_vote
from tests.materialization import materialize_assets
from tests.model_versions import build_manifest, register_version
from tests.prepared_embedder import link_weights
from twin_assets.checkpoints.job import write_rows
from twin_assets.checkpoints.manifest import compute_checkpoint_hash, write_manifest
from twin_assets.corpus import cleaned_documents, raw_posts
from twin_assets.feedback import interactions
from twin_assets.instructions import instruction_dataset
from twin_assets.knowledge import embeddings
from twin_resources.access import keys
from twin_resources.authors import Author, write_author
from twin_resources.erasure.dagster_records import DagsterRecords
from twin_resources.erasure.data_store import Installation
from twin_resources.observability.langfuse.client import LangfuseClient
from twin_resources.observability.langfuse.outbox import Outbox, outbox_path
from twin_resources.observability.trace_store.local_store import Keys, build_app
from twin_resources.observability.trace_store.trace_tables import TraceTables
from twin_resources.quality.ledger.ledger import Ledger, LedgerRules
from twin_resources.registry.moves import GateClaim, Verdict
from twin_resources.settings import Settings, load_settings

GATE = "gate-1"
POST_ID = "_posts/2019-03-04-the-forgotten-walk.md"
MODULES = [raw_posts, cleaned_documents, embeddings, instruction_dataset, interactions]
ASSETS = ("raw_posts", "cleaned_documents", "embeddings", "instruction_dataset")
KEYS = Keys("pk-lf-test", "sk-lf-test")
SUBJECTS = ("clock", "boat", "lamp", "oven", "kite", "wheel")

_WORDS = """kitchen harbour garden linen cloth evening patience uncle sister teacher station winter
ladder basket window river candle stone bread copper engine feather island journey market needle
orchard pocket quarry ribbon saddle table valley wagon yellow bottle castle drawer hammer kettle
letter mirror paper rope silver thread village whistle anchor bridge corner walked carried painted
mended opened counted folded lifted turned found kept lost sold built"""
WORDS = _WORDS.split()


def build_post(subject: str) -> str:
    """Build a post of unique sentences, so that no two posts are near-duplicates."""
    rng = random.Random(subject)
    paragraphs = [
        " ".join(
            f"The {subject} {' '.join(rng.choices(WORDS, k=9))} and I kept the {subject} there."
            for _ in range(4)
        )
        for _ in range(4)
    ]
    return f"---\ntitle: About the {subject}\n---\n\n" + "\n\n".join(paragraphs) + "\n"


def build_forgotten_post() -> str:
    walk = build_post("walk").replace(
        "walk there.", f"walk there, by the {POST_WORD} of the old mill."
    )
    return walk.replace("About the walk", f"The forgotten walk to the {POST_WORD}")


@dataclass
class UsedHome:
    """The populated home, with methods and properties that open its parts."""

    settings: Settings
    reader_key: str
    checkpoint: str

    @property
    def installation(self) -> Installation:
        return Installation.for_settings(self.settings)

    @property
    def reader(self) -> str:
        return keys.reader_id_for_key(self.reader_key)

    def dagster(self) -> dg.DagsterInstance:
        return dg.DagsterInstance.from_config(str(self.settings.home / "dagster"))

    def records(self, installation: Installation) -> DagsterRecords:
        return DagsterRecords(installation, self.dagster())


def run_assets(instance: dg.DagsterInstance, *names: str) -> dg.ExecuteInProcessResult:
    return materialize_assets(
        dg.load_assets_from_modules(MODULES),
        AUTHOR,
        instance,
        selection=dg.AssetSelection.assets(*names),
    )


@pytest.fixture(scope="session")
def used_home_folders(
    embedder_weights: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path, dict[str, str]]:
    """Return the home, a copy to restore it from, and its reader key and checkpoint."""
    folder = tmp_path_factory.mktemp("populated")
    write_posts(folder / "sources")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TWIN_HOME", str(folder / "home"))
        patch.setenv("DAGSTER_HOME", str(folder / "home" / "dagster"))
        patch.setenv("TWIN_TRACES_PORT", "9")  # a closed port: the store is in this process
        settings = load_settings()
        link_weights(embedder_weights, settings)
        identifiers = populate_home(settings, folder / "sources")
    gc.collect()  # closes unreferenced connections
    shutil.copytree(folder / "home", folder / "saved", symlinks=True)
    return folder / "home", folder / "saved", identifiers


def write_posts(sources: Path) -> None:
    """Write six posts, and the post that a test forgets."""
    posts = sources / "_posts"
    posts.mkdir(parents=True)
    for number, subject in enumerate(SUBJECTS):
        (posts / f"2020-0{number + 1}-02-{subject}.md").write_text(build_post(subject), "utf-8")
    (sources / POST_ID).write_text(build_forgotten_post(), "utf-8")


def populate_home(
    settings: Settings, sources: Path, *, storage: Mapping[str, object] | None = None
) -> dict[str, str]:
    """Import posts, register a checkpoint and store answers; return the key and the checkpoint.

    Args:
        storage: Dagster's storage (default: the files of a single machine).
    """
    write_author(settings, Author(AUTHOR, "Ada Wright", sources=(str(sources),), language="en"))
    home = settings.home / "dagster"
    home.mkdir(parents=True)
    root = Path(__file__).resolve().parents[3]
    configuration = yaml.safe_load((root / "deploy" / "local" / "dagster.yaml").read_text("utf-8"))
    configuration |= {"storage": storage} if storage else {}
    (home / "dagster.yaml").write_text(yaml.safe_dump(configuration), "utf-8")
    with dg.DagsterInstance.from_config(str(home)) as dagster:
        dagster.add_dynamic_partitions("authors", [AUTHOR, "bea"])
        assert run_assets(dagster, *ASSETS).success
        fail_with_text(dagster)
        checkpoint = register_checkpoint(settings)
        key = keys.add_key(
            keys.open_key_store(settings), role="reader", authors=[AUTHOR], label="a reader"
        )
        answer_questions(settings, keys.reader_id_for_key(key))
        assert run_assets(dagster, "interactions").success
    settings.logs_dir.mkdir()
    log = settings.logs_dir / "gateway.log"
    log.write_text(
        f"the gateway is up\nasked: {build_question()}\nserving twin/{AUTHOR}\nstopped\n", "utf-8"
    )
    return {"key": key, "checkpoint": checkpoint}


def build_question() -> str:
    return f"My grandmother always wondered in the evenings where the {QUESTION_WORD} had its nest"


def fail_with_text(dagster: dg.DagsterInstance) -> None:
    """Execute a run that fails and quotes the post in its error and output."""

    @dg.op
    def quote_post() -> None:
        print(build_forgotten_post())  # noqa: T201 - into the run's compute log
        raise ValueError(build_forgotten_post())

    @dg.job(partitions_def=dg.DynamicPartitionsDefinition(name="authors"))
    def failing() -> None:
        quote_post()

    run = failing.execute_in_process(instance=dagster, partition_key=AUTHOR, raise_on_error=False)
    assert not run.success


def register_checkpoint(settings: Settings) -> str:
    """Register a stable checkpoint with manifest and weights, trained on the current dataset."""
    installation = Installation.for_settings(settings)
    dataset_version = installation.tables.data_version("instruction_dataset", AUTHOR)
    lance_version = installation.tables.tag("instruction_dataset", AUTHOR, "training-1")
    draft = settings.checkpoints_dir / AUTHOR / "made"
    (draft / "adapter").mkdir(parents=True)
    save_file({"lora_a": torch.ones(4, 4)}, draft / "adapter" / "adapter_model.safetensors")
    adapter_config = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj"], "use_rslora": False}
    (draft / "adapter" / "adapter_config.json").write_text(json.dumps(adapter_config))
    (draft / "adapter.gguf").write_bytes(b"GGUF" + bytes(64))
    checkpoint = compute_checkpoint_hash(draft / "adapter", base_revision="r", template="t")
    write_manifest(
        draft,
        build_manifest(
            AUTHOR,
            checkpoint,
            base={"name": "b", "revision": "r", "folder": "/b", "gguf": "/b.gguf"},
            dataset={
                "asset": "instruction_dataset",
                "data_version": dataset_version,
                "lance_version": lance_version,
                "tag": "training-1",
                "samples": 6,
            },
            created_at="2026-11-20T08:00:00+00:00",
        ),
    )
    folder = draft.rename(draft.parent / checkpoint)
    samples = settings.work_dir / "training" / f"{AUTHOR}-0123456789abcdef"
    samples.mkdir(parents=True)
    rows = installation.tables.read("instruction_dataset", AUTHOR)
    sample_rows = rows.select("sample_id", "document_id", "messages").iter_rows(named=True)
    write_rows(samples / "samples.json", sample_rows)
    registry = installation.registry
    item = register_version(
        registry,
        AUTHOR,
        checkpoint,
        folder=str(folder),
        adapter_gguf=str(folder / "adapter.gguf"),
        dataset_version=str(dataset_version),
    )
    claim = GateClaim("beats_base_model", True, 1.2, 1.0, "20 against 24")
    registry.record_verdict(Verdict(AUTHOR, checkpoint, GATE, "passed", (claim,), "2026-11-20"))
    registry.move(AUTHOR, item.version, "stable", actor="t", reason="t", gate_version=GATE)
    installation.state.close()
    return checkpoint


def answer_questions(settings: Settings, reader: str) -> None:
    """Store six answers: 1 and 6 show the post; 2, 3, 6 are the reader's; 5 and 6 are queued."""
    installation = Installation.for_settings(settings)
    rows = installation.tables.read("embeddings", AUTHOR).to_dicts()
    forgotten_row = next(row for row in rows if POST_WORD in row["text"])
    other_row = next(row for row in rows if POST_WORD not in row["text"])
    at = datetime.now(UTC) - timedelta(hours=1)
    questions = [
        (1, "someone", "What is behind the old station of the town?", forgotten_row),
        (2, reader, build_question(), other_row),
        (
            3,
            reader,
            f"And what does the {QUESTION_WORD} eat in the long winter, do you know?",
            other_row,
        ),
        (4, "someone", "What lay on the linen cloth on that long evening?", other_row),
        (5, "someone", "And what did the sister say when she came home?", other_row),
        (6, reader, f"{build_question()}, once more?", forgotten_row),
    ]
    spans = {
        number: make_span(
            number, reader=asker, question=text, passage=row["text"], chunk=row["chunk_id"], at=at
        )
        for number, asker, text, row in questions
    }
    tables = TraceTables(settings.home / "traces.sqlite")
    with TestClient(build_app(tables, keys=KEYS)) as http:
        http.auth = (KEYS.public, KEYS.secret)
        for number in (1, 2, 3, 4):
            export_spans(http, spans[number])
        for number, voter, value in (
            (2, reader, 1.0),
            (4, reader, 0.0),
            (4, "someone", 1.0),
            (1, "someone", 1.0),
        ):
            response = http.post("/api/public/scores", json=make_vote(number, voter, value).body())
            assert response.status_code == 200, response.text
        edit = make_vote(
            4, reader, f"It was the {QUESTION_WORD}, whatever the author of it may say."
        )
        assert http.post("/api/public/scores", json=edit.body()).status_code == 200
        client = LangfuseClient("http://testserver", public_key="", secret_key="", http=http)
        ledger = Ledger(installation.state, client, LedgerRules(closing="at_once"))
        ledger.sync(datetime.now(UTC) + timedelta(minutes=5))
    outbox = Outbox(outbox_path(settings))
    outbox.put_trace(encode_spans(spans[5], spans[6]))
    outbox.put_trace(encode_spans(spans[6]))
    outbox.put_scores([make_vote(6, reader, 1.0), make_vote(5, "someone", 1.0)])
    outbox.close()
    installation.state.close()


@pytest.fixture
def used_home(
    home: Settings,
    used_home_folders: tuple[Path, Path, dict[str, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> UsedHome:
    """Restore the home at its original path, which its stores contain."""
    folder, saved, identifiers = used_home_folders
    shutil.rmtree(folder)
    shutil.copytree(saved, folder, symlinks=True)
    monkeypatch.setenv("TWIN_HOME", str(folder))
    monkeypatch.setenv("DAGSTER_HOME", str(folder / "dagster"))
    monkeypatch.setenv("TWIN_TRACES_PORT", "9")
    return UsedHome(load_settings(), identifiers["key"], identifiers["checkpoint"])
