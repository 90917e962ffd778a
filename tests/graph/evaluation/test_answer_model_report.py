"""Test that a named answer model is measured, and that the verdict decides about its prose.

A server at an address stands for the model. It answers with the passages of its prompt, or with
sentences that no post contains.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import dagster as dg
import polars as pl
import pytest

from tests.graph.instructions.generated_posts import build_documents, store_documents
from tests.http_server import Request, Response, http_server
from tests.materialization import create_instance, materialize_assets
from tests.model_versions import register_version
from tests.stored_passages import build_passages, store_passages
from twin_assets.evaluation import answer_model_report
from twin_assets.evaluation.gate import GATE_VERSION
from twin_assets.knowledge import embeddings
from twin_resources.authors import Author, write_author
from twin_resources.authors.answer_forms import NOT_MEASURED_REASON, PROSE_QUESTION_COUNT
from twin_resources.models.embedder.embedder import Embedder
from twin_resources.prompt.templates import ANSWER_MODEL_TEMPLATE
from twin_resources.quality.judges.texts import bundled_writers
from twin_resources.registry.policy import read_policy
from twin_resources.registry.registry import Registry
from twin_resources.settings import Settings
from twin_resources.storage.state.home_state import open_home_state
from twin_resources.storage.tables.tables import Tables

MODEL = "large"


def repeat_passage(prompt: str) -> str:
    """Answer with the first passage of the prompt, as a model that follows it would."""
    passage = re.split(r"\n\n(?=\[2\]|Question:)", prompt.partition("[1] ")[2])[0]
    return passage.partition("\n")[2]


def invent(_prompt: str) -> str:
    return (
        "The submarine sailed around Antarctica in 1962 with forty penguins on board. "
        "Doctor Hubert Schlemmer painted the periscope purple while playing the tuba."
    )


@pytest.fixture
def author(home_with_embedder: Settings, tables: Tables, embedder: Embedder) -> Author:
    """Store Mara's posts as they are after an import."""
    author = Author("ada", "Ada", consent="2026-01-01: by mail")
    write_author(home_with_embedder, author)
    (writer,) = (item for item in bundled_writers(exclude=()) if item.name == "mara-lindqvist")
    texts: dict[str, list[str]] = {}
    for document, passage in writer.passages:
        texts.setdefault(document, []).append(passage)
    rows = [
        {
            "chunk_id": f"{document} {position}",
            "document_id": document,
            "title": document.replace("-", " ").capitalize(),
            "text": passage,
            "position": position,
        }
        for document, passages in texts.items()
        for position, passage in enumerate(passages)
    ]
    store_passages(tables, "ada", build_passages(rows, embedder))
    documents = build_documents(range(len(texts))).with_columns(
        document_id=pl.Series(list(texts)),
        title=pl.Series([name.replace("-", " ").capitalize() for name in texts]),
        text=pl.Series(["\n\n".join(passages) for passages in texts.values()]),
    )
    store_documents(tables, documents)
    return author


@pytest.mark.parametrize(
    ("answer", "passed", "reason"),
    [(repeat_passage, True, ""), (invent, False, "% of sentences unsupported, limit 10 %")],
)
def test_a_named_model_is_measured_and_the_verdict_decides_about_its_prose(
    home_with_embedder: Settings,
    author: Author,
    answer: Callable[[str], str],
    passed: bool,
    reason: str,
) -> None:
    prompts: list[str] = []

    def respond(request: Request) -> Response:
        if request.path == "/v1/models":
            return Response({"data": [{"id": MODEL, "max_model_len": 4096}]})
        assert request.document["max_tokens"] == author.max_tokens
        prompts.append(request.document["messages"][-1]["content"])
        return Response({"choices": [{"message": {"content": answer(prompts[-1])}}]})

    instance = create_instance("ada")
    registry = Registry(
        open_home_state(home_with_embedder), policy_path=home_with_embedder.policy_path
    )

    def measure() -> dg.ExecuteInProcessResult:
        return materialize_assets(
            [*dg.load_assets_from_modules([answer_model_report, embeddings])],
            "ada",
            instance,
            selection=dg.AssetSelection.assets("answer_model_report"),
        )

    with http_server(respond) as address:
        version = register_version(
            registry,
            "ada",
            "named",
            base=f"{address}/v1#{MODEL}",
            base_gguf="",
            kind="answer_model",
            template=ANSWER_MODEL_TEMPLATE.hash,
        )
        registry.move("ada", 1, "stable", actor="command:jo", reason="named", force=True)
        assert registry.prose_release(version).why_not == NOT_MEASURED_REASON
        (check,) = measure().get_asset_check_evaluations()
        asked_count = len(prompts)
        measure()  # the stored verdict is used

    assert 20 <= asked_count == len(prompts) <= PROSE_QUESTION_COUNT
    assert all("From my posts:" in prompt for prompt in prompts)
    assert check.passed is passed
    served = read_policy(home_with_embedder.policy_path).authors["ada"].stable
    assert served is not None
    assert reason in served.prose.why_not
    assert bool(served.prose.why_not) is not passed
    assert (served.prose.cut is not None) is passed, "released prose is checked by the sentence"
    # no training was judged
    assert registry.latest_verdict("ada") is None
    assert registry.verdict("named", GATE_VERSION) is not None
    # another author may name the same model and has another verdict
    other = register_version(registry, "bob", "named", kind="answer_model")
    assert registry.prose_release(other).why_not == NOT_MEASURED_REASON
