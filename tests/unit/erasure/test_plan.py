"""Test which texts a plan fingerprints and which traces it contains."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from tests.stored_rows import store_rows
from twin_resources.authors import Author, write_author
from twin_resources.erasure import journal
from twin_resources.erasure.data_store import Installation
from twin_resources.erasure.erasing import _load_or_make_plan
from twin_resources.erasure.erasure_target import ErasureSubject
from twin_resources.erasure.plan import plan_erasure
from twin_resources.quality.ledger import ledger_tables as ledger
from twin_resources.settings import Settings

OWN_TEXT = "in march the old clock of my uncle stopped for good"
TWICE_WRITTEN = "she carried the tall lamp down the stairs without any help"
BOBS_TEXT = "nobody in the whole house asked him why he did that"
QUESTION = "where did the gray bird of your garden build its nest"
SHARED_QUESTION = "what do you think about oil on the pivots of clocks"
EDIT = "it was my own sister who mended the kettle last year"
OTHER_EDIT = "it was a man from the village who mended it then"


@pytest.fixture
def installation(home: Settings) -> Iterator[Installation]:
    """Yield an installation whose posts share sentences; two readers asked and edited answers."""
    installation = Installation.for_settings(home)
    posts = {
        "ann": {"a.md": f"{OWN_TEXT}. {TWICE_WRITTEN}. {BOBS_TEXT}", "b.md": TWICE_WRITTEN},
        "bob": {"c.md": f"{BOBS_TEXT}. Another thing."},
    }
    for author, texts in posts.items():
        write_author(home, Author(author, f"{author.title()} Bell"))
        rows = [
            {"source_id": key, "url": "", "title": key, "text": text} for key, text in texts.items()
        ]
        store_rows(installation.tables, "raw_posts", author, rows, key="source_id")
    sources = [("a-1", "a.md"), ("b-1", "b.md")]
    rows = [{"chunk_id": chunk, "document_id": post, "text": OWN_TEXT} for chunk, post in sources]
    store_rows(installation.tables, "embeddings", "ann", rows, key="chunk_id")
    ledger.open_tables(installation.state)
    questions = {
        "t1": ("ann", "r1", QUESTION, "c-1"), "t2": ("ann", "r1", SHARED_QUESTION, ""),
        "t3": ("bob", "r2", SHARED_QUESTION, ""), "t4": ("ann", "r1", OWN_TEXT, "a.md"),
    }  # fmt: skip
    edits = {"s1": ("t3", "bob", "r1", EDIT), "s2": ("t1", "ann", "r2", OTHER_EDIT)}
    with installation.state.transaction() as connection:
        for trace, (author, reader, question, chunks) in questions.items():
            fields = {"trace_id": trace, "author": author, "reader": reader, "question": question}
            row = build_blank_row(ledger.traces) | fields | {"chunks": chunks}
            connection.execute(sa.insert(ledger.traces).values(row))
        for score, (trace, author, reader, text) in edits.items():
            fields = {"id": score, "trace_id": trace, "author": author, "reader": reader}
            row = build_blank_row(ledger.scores) | fields | {"text": text}
            connection.execute(sa.insert(ledger.scores).values(row))
    yield installation
    installation.state.close()


def build_blank_row(table: sa.Table) -> dict[str, object]:
    """Build a row whose values are empty or zero."""
    default_values = {str: "", int: 0, float: 0.0, bool: False}
    return {column.name: default_values[column.type.python_type] for column in table.c}


@pytest.mark.parametrize(
    ("subject", "fingerprinted_texts", "traces", "authors"),
    [
        (ErasureSubject("post", "ann", "a.md"), {OWN_TEXT, BOBS_TEXT}, {"t4"}, {"ann"}),
        (ErasureSubject("author", "ann", "ann"),
         {OWN_TEXT, TWICE_WRITTEN, QUESTION, OTHER_EDIT}, {"t1", "t2", "t4"}, {"ann"}),
        (ErasureSubject("reader", "", "r1"), {QUESTION, EDIT}, {"t1", "t2", "t4"}, {"ann", "bob"}),
        (ErasureSubject("reader", "", "r2"), {OTHER_EDIT}, {"t3"}, {"ann", "bob"}),
    ],
    ids=("post", "author", "reader", "other reader"),
)  # fmt: skip
def test_texts_that_others_also_wrote_are_not_fingerprinted(
    installation: Installation,
    subject: ErasureSubject,
    fingerprinted_texts: set[str],
    traces: set[str],
    authors: set[str],
) -> None:
    target = plan_erasure(installation, subject, key_hash="h")
    quotes = (OWN_TEXT, TWICE_WRITTEN, BOBS_TEXT, QUESTION, SHARED_QUESTION, EDIT, OTHER_EDIT)
    assert {quote for quote in quotes if target.fingerprints.matches(quote)} == fingerprinted_texts
    assert (target.traces, target.authors, target.key_hash) == (traces, authors, "h")
    assert traces <= target.ids
    number = journal.open_request(installation.state, subject, asked_by="test", key_hash="h")
    for _ in range(2):  # first created, then read from the journal and its fingerprint file
        plan = _load_or_make_plan(
            installation, journal.find_request(installation.state, number), subject
        )
        assert (plan.ids, plan.traces, plan.key_hash) == (target.ids, traces, "h")
        assert (plan.fingerprints.runs == target.fingerprints.runs).all()
    assert target.chunks == ({"a-1"} if subject.kind == "post" else set())
    assert target.names == ({"ann", "Ann Bell"} if subject.kind == "author" else set())
