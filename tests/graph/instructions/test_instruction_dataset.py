"""The instruction stage in a real Dagster run, on real tables, with the real embedder."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import dagster as dg
import polars as pl
import pytest

from twin_assets.corpus.schema import CleanedDocuments, columns_of
from twin_assets.instructions import building, instruction_dataset
from twin_assets.instructions.schema import InstructionDataset
from twin_assets.knowledge import chunks, embeddings
from twin_assets.partitions import authors
from twin_assets.tables_io_manager import TablesIOManager
from twin_resources import dagster_resources as shells
from twin_resources.embedder import Embedder
from twin_resources.errors import TwinError
from twin_resources.prompt import DEFAULT_TEMPLATE
from twin_resources.retrieval import Retriever
from twin_resources.settings import Author, Settings, write_author
from twin_resources.tables import Tables

ADA = Author(slug="ada", name="Ada Wright")
NOUNS = (
    "harbour",
    "engine",
    "willow",
    "copper",
    "lantern",
    "orchard",
    "violin",
    "granite",
    "meadow",
    "signal",
    "anchor",
    "bellows",
    "candle",
    "dynamo",
    "easel",
    "furnace",
    "girder",
    "hammer",
    "inkwell",
    "journal",
    "kettle",
    "loom",
    "mirror",
    "needle",
    "oar",
    "pulley",
    "quarry",
    "rudder",
    "sail",
    "turbine",
    "urn",
    "valve",
    "winch",
    "yarn",
    "zinc",
    "barrel",
    "compass",
    "drill",
    "forge",
    "gauge",
)
VERBS = ("mends", "carries", "watches", "turns", "holds", "lifts", "cleans", "draws", "paints")


def paragraph(chance: random.Random, about: str) -> str:
    sentences = [
        f"The {chance.choice(NOUNS)} {chance.choice(VERBS)} the {about} before the "
        f"{chance.choice(NOUNS)} {chance.choice(VERBS)} a {chance.choice(NOUNS)} "
        f"near {chance.choice(NOUNS)} number {chance.randrange(1000)}."
        for _ in range(5)
    ]
    return " ".join(sentences)


def post(number: int) -> str:
    """A post of eight paragraphs, unlike any other number's."""
    chance = random.Random(number)
    about = f"{NOUNS[number % len(NOUNS)]} {NOUNS[(number * 7 + 3) % len(NOUNS)]}"
    parts = [f"## About the {about}"]
    parts += [paragraph(chance, about) for _ in range(8)]
    parts.insert(4, "```python\nturn(wheel)\n```")
    return "\n\n".join(parts)


def documents(numbers: range, **changed: str) -> pl.DataFrame:
    rows = [
        {
            "document_id": f"doc-{number:03d}",
            "source_id": f"{number:03d}.md",
            "title": f"{NOUNS[number % len(NOUNS)].title()} and {number} others",
            "url": "",
            "published_at": datetime(2012, 1, 1, tzinfo=UTC) + timedelta(days=30 * number),
            "text": changed.get(f"doc_{number}", post(number)),
            "language": "en",
            "words": 600,
            "kept": True,
            "dropped_because": "",
            "duplicate_of": "",
            "content_hash": f"hash-{number}",
        }
        for number in numbers
    ]
    return pl.DataFrame(rows, schema=columns_of(CleanedDocuments))


def clean(tables: Tables, frame: pl.DataFrame) -> None:
    tables.rework(
        frame,
        "cleaned_documents",
        author="ada",
        key="document_id",
        function=lambda rows: rows,
        version="1",
        schema=columns_of(CleanedDocuments),
        row_key="document_id",
    )


class Graph:
    """Chunks, embeddings and dataset of one author in a real Dagster instance."""

    def __init__(self) -> None:
        modules = [chunks, embeddings, instruction_dataset]
        self.definitions = [
            *dg.load_assets_from_modules(modules),
            *dg.load_asset_checks_from_modules(modules),
        ]
        self.instance = dg.DagsterInstance.ephemeral()
        self.instance.add_dynamic_partitions("authors", ["ada"])

    def execute(self, selection: dg.AssetSelection) -> dg.ExecuteInProcessResult:
        return dg.materialize(
            self.definitions,
            partition_key="ada",
            instance=self.instance,
            selection=selection,
            raise_on_error=False,
            resources={
                "embedder": shells.EmbedderResource(),
                "retriever": shells.RetrieverResource(),
                "settings": shells.SettingsResource(),
                "tables": shells.TablesResource(),
                "tables_io": TablesIOManager(),
            },
        )

    def materialize(self) -> tuple[dict[str, Any], dict[str, bool]]:
        """All three assets; returns the dataset's metadata, and the checks by name."""
        names = ("document_chunks", "embeddings", "instruction_dataset")
        result = self.execute(dg.AssetSelection.assets(*names))
        assert result.success
        event = result.get_asset_materialization_events()[-1]
        assert event.asset_key == dg.AssetKey("instruction_dataset")
        metadata = {key: value.value for key, value in event.materialization.metadata.items()}
        metadata["data_version"] = (event.materialization.tags or {})["dagster/data_version"]
        return metadata, _checks(result)

    def checks_of(self, tables: Tables, rows: pl.DataFrame) -> dict[str, bool]:
        """The dataset's checks on these rows, written in place of the asset's own."""

        @dg.asset(name="instruction_dataset", partitions_def=authors)
        def written_by_hand() -> None:
            tables.rework(
                rows,
                "instruction_dataset",
                author="ada",
                key="sample_id",
                function=lambda frame: frame,
                version="by hand",
                schema=columns_of(InstructionDataset),
                row_key="sample_id",
            )

        result = dg.materialize(
            [written_by_hand, *dg.load_asset_checks_from_modules([instruction_dataset])],
            partition_key="ada",
            instance=self.instance,
            raise_on_error=False,
            resources={"tables": shells.TablesResource()},
        )
        return _checks(result)


def _checks(result: dg.ExecuteInProcessResult) -> dict[str, bool]:
    return {check.check_name: check.passed for check in result.get_asset_check_evaluations()}


@pytest.fixture
def graph(home_with_embedder: Settings) -> Graph:
    write_author(home_with_embedder, ADA)
    return Graph()


def test_posts_become_samples(graph: Graph, tables: Tables) -> None:
    clean(tables, documents(range(40)))
    metadata, checks = graph.materialize()
    assert all(checks.values())
    assert {
        "every_answer_is_verbatim",
        "no_leakage_across_splits",
        "every_sample_names_its_chunk",
        "no_context_gives_the_answer_away",
        "every_chunk_is_searchable",
    } <= checks.keys()
    assert metadata["splits"]["train"] >= 150
    assert metadata["splits"]["held_out"] >= 40

    rows = tables.read("instruction_dataset", "ada")
    InstructionDataset.validate(rows, cast=True)
    assert set(rows["template"]) == {DEFAULT_TEMPLATE.hash}
    assert rows["question"].n_unique() == rows.height
    without = rows.filter(pl.col("context_chunk_ids").list.len() == 0).height
    assert 0.1 < without / rows.height < 0.35
    sample = rows.filter(pl.col("context_chunk_ids").list.len() > 1).to_dicts()[0]
    system, user, answer = sample["messages"]
    assert "Ada Wright" in system["content"]
    assert user["content"].endswith(f"Question: {sample['question']}")
    assert answer == {"role": "assistant", "content": sample["answer"]}
    shown = tables.read(
        "document_chunks", "ada", where=f"chunk_id = '{sample['context_chunk_ids'][0]}'"
    )
    assert f"[1] {shown['title'][0]}" in user["content"]
    assert shown["text"][0].strip() in user["content"]


def test_a_second_run_computes_nothing(graph: Graph, tables: Tables) -> None:
    clean(tables, documents(range(12)))
    first, _ = graph.materialize()
    again, checks = graph.materialize()
    assert again["data_version"] == first["data_version"]
    assert (again["computed"], again["written"], again["deleted"]) == (0, 0, 0)
    assert again["bytes_written"] == 0
    assert again["lance_version"] == first["lance_version"]
    assert all(checks.values())


def test_new_posts_cost_their_own_samples(graph: Graph, tables: Tables) -> None:
    clean(tables, documents(range(14)))
    before, _ = graph.materialize()
    old = tables.read("instruction_dataset", "ada")
    clean(tables, documents(range(16)))
    after, checks = graph.materialize()
    new = tables.read("instruction_dataset", "ada")
    assert all(checks.values())
    assert after["data_version"] != before["data_version"]
    from_new_posts = new.filter(pl.col("document_id") >= "doc-014").height
    assert from_new_posts > 10
    assert after["computed"] == from_new_posts
    untouched = new.filter(pl.col("document_id") < "doc-014")
    assert untouched.equals(old)


def test_an_edited_post_keeps_its_split_and_its_other_samples(graph: Graph, tables: Tables) -> None:
    clean(tables, documents(range(12)))
    graph.materialize()
    old = tables.read("instruction_dataset", "ada")
    text = post(4)
    edited = text.replace(text.split("\n\n")[-1], paragraph(random.Random(99), "new wheel"))
    clean(tables, documents(range(12), doc_4=edited))
    metadata, checks = graph.materialize()
    new = tables.read("instruction_dataset", "ada")
    assert all(checks.values())
    of_post = pl.col("document_id") == "doc-004"
    gone = set(old["sample_id"]) - set(new["sample_id"])
    came = set(new["sample_id"]) - set(old["sample_id"])
    assert len(gone) == len(came) == 1
    assert set(new.filter(of_post)["split"]) == set(old.filter(of_post)["split"])
    assert 1 <= metadata["computed"] < new.height / 2


def test_a_deleted_post_is_in_no_prompt_any_more(graph: Graph, tables: Tables) -> None:
    clean(tables, documents(range(12)))
    graph.materialize()
    shown = tables.read("instruction_dataset", "ada")["context_chunk_ids"].explode().drop_nulls()
    victim = str(shown.value_counts(sort=True)["context_chunk_ids"][0])[: len("doc-000")]
    clean(tables, documents(range(12)).filter(pl.col("document_id") != victim))
    _, checks = graph.materialize()
    assert all(checks.values())
    rows = tables.read("instruction_dataset", "ada")
    still = rows["context_chunk_ids"].explode().drop_nulls()
    assert victim not in {chunk[: len(victim)] for chunk in still.to_list()}
    assert victim not in set(rows["document_id"])
    # Its split is remembered for the day it comes back.
    assert victim in set(tables.read("document_splits", "ada")["document_id"])
    again, _ = graph.materialize()
    assert again["computed"] == 0


def test_each_check_fails_on_a_dataset_that_breaks_it(graph: Graph, tables: Tables) -> None:
    clean(tables, documents(range(12)))
    graph.materialize()
    rows = tables.read("instruction_dataset", "ada")
    train = rows.filter(pl.col("split") == "train")
    held = rows.filter(pl.col("split") == "held_out")
    one, other = train["sample_id"][0], held["sample_id"][0]
    is_one = pl.col("sample_id") == one
    paraphrased = pl.when(is_one).then(pl.lit("Not the author's words.")).otherwise("answer")
    own = rows.filter(is_one)["chunk_id"][0]
    elsewhere = rows.filter(pl.col("document_id") != rows.filter(is_one)["document_id"][0])
    breaking = {
        "every_answer_is_verbatim": rows.with_columns(paraphrased.alias("answer")),
        "no_leakage_across_splits": rows.with_columns(
            pl.when(pl.col("sample_id") == other)
            .then(pl.lit("train"))
            .otherwise("split")
            .alias("split")
        ),
        "every_sample_names_its_chunk": rows.with_columns(
            pl.when(is_one)
            .then(pl.lit(elsewhere["chunk_id"][0]))
            .otherwise("chunk_id")
            .alias("chunk_id")
        ),
        "no_context_gives_the_answer_away": rows.with_columns(
            pl.when(is_one)
            .then(pl.lit([own]))
            .otherwise("context_chunk_ids")
            .alias("context_chunk_ids")
        ),
    }
    for claim, broken in breaking.items():
        assert not graph.checks_of(tables, broken)[claim], claim
    assert set(graph.checks_of(tables, rows)) == set(breaking)
    assert all(graph.checks_of(tables, rows).values())


@pytest.fixture
def ready(
    home_with_embedder: Settings, tables: Tables, embedder: Embedder, graph: Graph
) -> Retriever:
    clean(tables, documents(range(6)))
    graph.materialize()
    return Retriever(home_with_embedder.tables_base, embedder)


class TeacherServer(BaseHTTPRequestHandler):
    """An OpenAI-compatible teacher that asks about the third word of the passage."""

    asked: list[str] = []  # noqa: RUF012 - shared by the requests of one test

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        content = body["messages"][-1]["content"]
        type(self).asked.append(content)
        words = content.split("Passage:\n")[1].split()
        said = f'"What happens to the {words[4]} and the {words[7]}, {len(self.asked)} times?"'
        answer = {"role": "assistant", "content": said}
        payload = json.dumps(
            {
                "id": "1",
                "object": "chat.completion",
                "created": 0,
                "model": body["model"],
                "choices": [{"index": 0, "message": answer, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
            }
        ).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


@pytest.fixture
def teacher(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    TeacherServer.asked = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), TeacherServer)
    Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("OPENAI_API_KEY", "sk-none")
    monkeypatch.setenv("OPENAI_API_BASE", f"http://127.0.0.1:{server.server_port}/v1")
    yield "openai/teacher"
    server.shutdown()
    server.server_close()


def test_a_teacher_writes_the_question_and_never_the_answer(
    ready: Retriever, tables: Tables, teacher: str
) -> None:
    by_template = tables.read("instruction_dataset", "ada")
    building.update_dataset(tables, ADA, retriever=ready, teacher_model=teacher)
    taught = tables.read("instruction_dataset", "ada")
    assert taught["answer"].equals(by_template["answer"])
    assert set(taught["instruction_source"]) == {"teacher:openai/teacher"}
    assert all(question.startswith("What happens to the ") for question in taught["question"])
    assert len(TeacherServer.asked) == taught.height

    building.update_dataset(tables, ADA, retriever=ready, teacher_model=teacher)
    assert len(TeacherServer.asked) == taught.height  # what was paid for is not asked again


def test_a_teacher_that_cannot_be_reached_is_named(
    ready: Retriever, tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-none")
    monkeypatch.setenv("OPENAI_API_BASE", "http://127.0.0.1:9/v1")
    with pytest.raises(TwinError, match="TWIN_TEACHER_MODEL"):
        building.update_dataset(tables, ADA, retriever=ready, teacher_model="openai/teacher")


def test_embeddings_that_are_behind_are_named(
    home_with_embedder: Settings, tables: Tables, embedder: Embedder
) -> None:
    clean(tables, documents(range(3)))
    with pytest.raises(TwinError, match="document_chunks"):
        building.update_dataset(
            tables, ADA, retriever=Retriever(home_with_embedder.tables_base, embedder)
        )
