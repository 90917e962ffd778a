"""Test which of several dated passages answers a question, and which dates it may name."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from tests.stored_passages import build_passages, store_passages
from twin_resources.authors import CONTEXT_TOKENS
from twin_resources.gateway.passage_finder import PassageFinder
from twin_resources.models.embedder.embedder import Embedder
from twin_resources.models.retrieval.retrieval import Retriever
from twin_resources.storage.tables.tables import Tables

POSTS = {
    "2012": ("Oil", 2012, "For the pivots of a tower clock I use whale oil, one drop on each."),
    "2020": ("Oil", 2020, "For the pivots of a tower clock I use synthetic oil, one drop on each."),
    "glue": ("Glue", 2016, "Hide glue holds a clock's case, and heat opens the joint again."),
    "undated": ("Oil", None, "For the pivots of a tower clock I use olive oil, one drop on each."),
}


@pytest.fixture
def finder(tables: Tables, embedder: Embedder) -> PassageFinder:
    rows = [
        {
            "chunk_id": name, "document_id": name, "title": title, "text": text,
            "published_at": datetime(year, 6, 1, tzinfo=UTC) if year else None,
        }
        for name, (title, year, text) in POSTS.items()
    ]  # fmt: skip
    store_passages(tables, "ann", build_passages(rows, embedder))
    return PassageFinder(lambda: Retriever(tables.base_uri, embedder))


@pytest.mark.parametrize(
    ("question", "quoted", "dates"),
    [
        ("Which oil do you use for the pivots?", ["2020", "2012", "undated"], None),
        ("Which oil did you use for the pivots in 2012?", ["2012"], ("2012-01-01", False)),
        ("Which oil do you use for the pivots since 2014?", ["2020"], ("2014-01-01", False)),
        ("Which oil did you use for the pivots in 2016?", ["2020", "2012"], ("2016-01-01", True)),
        ("Which oil did you use for the pivots in 1999?", ["2020", "2012"], ("1999-01-01", True)),
    ],
)
def test_the_newer_passage_and_the_named_years_answer(
    finder: PassageFinder, question: str, quoted: list[str], dates: tuple[str, bool] | None
) -> None:
    found = asyncio.run(
        finder.find("ann", [question], token_budget=CONTEXT_TOKENS, with_quotes=True)
    )
    assert found.quote_result is not None
    shown = [quote.document_id for quote in found.quote_result.quotes]
    shown = [name for name in shown if name != "glue"]
    assert sorted(shown[: len(quoted)]) == sorted(quoted)
    assert shown[0] == quoted[0]
    if dates is None:
        assert found.date_range is None
    else:
        assert found.date_range is not None
        assert (str(found.date_range.first), found.is_outside_range) == dates
