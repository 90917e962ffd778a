"""Plans: fingerprinted texts and erased traces; texts that others wrote as well stay."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from tests.model_versions import register_version
from tests.stored_rows import store_rows
from twin_resources.authors import Author, write_author
from twin_resources.erasure import journal
from twin_resources.erasure.data_store import Installation
from twin_resources.erasure.erasing import _load_or_make_plan
from twin_resources.erasure.erasure_target import ErasureSubject, ErasureTarget
from twin_resources.erasure.home_files import HomeFiles
from twin_resources.erasure.manual_steps import list_manual_steps
from twin_resources.erasure.plan import plan_erasure
from twin_resources.quality.ledger import ledger_tables as ledger
from twin_resources.settings import Settings

OWN = "in march the old clock of my uncle stopped for good"
TWICE = "she carried the tall lamp down the stairs without any help"
BOBS = "nobody in the whole house asked him why he did that"
ASKED = "where did the grey bird of your garden build its nest"
BOTH_ASKED = "what do you think about oil on the pivots of clocks"
EDIT = "it was my own sister who mended the kettle last year"
OTHERS_EDIT = "it was a man from the village who mended it then"


@pytest.fixture
def instance(home: Settings) -> Iterator[Installation]:
    """Ann's post shares sentences with her other post and with Bob's; two readers ask and vote."""
    installation = Installation.for_settings(home)
    posts = {
        "ann": {"a.md": f"{OWN}. {TWICE}. {BOBS}", "b.md": TWICE},
        "bob": {"c.md": f"{BOBS}. Another thing."},
    }
    for author, texts in posts.items():
        write_author(home, Author(author, f"{author.title()} Bell"))
        rows = [
            {"source_id": key, "url": "", "title": key, "text": text} for key, text in texts.items()
        ]
        store_rows(installation.tables, "raw_posts", author, rows, key="source_id")
    chunk_sources = [("a-1", "a.md"), ("b-1", "b.md")]
    rows = [{"chunk_id": chunk, "document_id": post, "text": OWN} for chunk, post in chunk_sources]
    store_rows(installation.tables, "document_chunks", "ann", rows, key="chunk_id")
    ledger.open_tables(installation.state)
    questions = {
        "t1": ("ann", "r1", ASKED, "c-1"), "t2": ("ann", "r1", BOTH_ASKED, ""),
        "t3": ("bob", "r2", BOTH_ASKED, ""), "t4": ("ann", "r1", OWN, "a.md"),
    }  # fmt: skip
    edits = {"s1": ("t3", "bob", "r1", EDIT), "s2": ("t1", "ann", "r2", OTHERS_EDIT)}
    with installation.state.transaction() as connection:
        for trace, (author, reader, question, chunks) in questions.items():
            fields = {"trace_id": trace, "author": author, "reader": reader, "question": question}
            row = blank(ledger.traces) | fields | {"chunks": chunks}
            connection.execute(sa.insert(ledger.traces).values(row))
        for score, (trace, author, reader, text) in edits.items():
            fields = {"id": score, "trace_id": trace, "author": author, "reader": reader}
            row = blank(ledger.scores) | fields | {"text": text}
            connection.execute(sa.insert(ledger.scores).values(row))
    yield installation
    installation.state.close()


def blank(table: sa.Table) -> dict[str, object]:
    """Return a row of empty values."""
    defaults = {str: "", int: 0, float: 0.0, bool: False}
    return {column.name: defaults[column.type.python_type] for column in table.c}


@pytest.mark.parametrize(
    ("subject", "marked", "traces", "authors"),
    [
        (ErasureSubject("post", "ann", "a.md"), {OWN, BOBS}, {"t4"}, {"ann"}),
        (ErasureSubject("author", "ann", "ann"),
         {OWN, TWICE, ASKED, OTHERS_EDIT}, {"t1", "t2", "t4"}, {"ann"}),
        (ErasureSubject("reader", "", "r1"), {ASKED, EDIT}, {"t1", "t2", "t4"}, {"ann", "bob"}),
        (ErasureSubject("reader", "", "r2"), {OTHERS_EDIT}, {"t3"}, {"ann", "bob"}),
    ],
    ids=("post", "author", "reader", "other reader"),
)  # fmt: skip
def test_texts_that_others_also_wrote_are_not_fingerprinted(
    instance: Installation,
    subject: ErasureSubject,
    marked: set[str],
    traces: set[str],
    authors: set[str],
) -> None:
    target = plan_erasure(instance, subject, key_hash="h")
    quotes = (OWN, TWICE, BOBS, ASKED, BOTH_ASKED, EDIT, OTHERS_EDIT)
    assert {quote for quote in quotes if target.fingerprints.matches(quote)} == marked
    assert (target.traces, target.authors, target.key_hash) == (traces, authors, "h")
    assert traces <= target.ids
    number = journal.open_request(instance.state, subject, asked_by="test", key_hash="h")
    for _ in range(2):  # first created, then read from the journal and its fingerprint file
        plan = _load_or_make_plan(instance, journal.find_request(instance.state, number), subject)
        assert (plan.ids, plan.key_hash) == (target.ids, "h")
        assert (plan.fingerprints.runs == target.fingerprints.runs).all()
    assert target.chunks == ({"a-1"} if subject.kind == "post" else set())
    assert target.names == ({"ann", "Ann Bell"} if subject.kind == "author" else set())


def test_a_published_version_is_listed_although_its_record_is_erased(
    instance: Installation,
) -> None:
    """The author's files, with the record of the address, are erased before steps are listed."""
    for author, checkpoint in (("ann", "c1"), ("ann", "c2"), ("bob", "c3")):
        register_version(instance.registry, author, checkpoint)
    notes = [
        {"checkpoint": key, "repository": f"hub/{name}", "revision": f"https://hub/{name}/v1"}
        for key, name in (("c1", "ann"), ("c3", "bob"))
    ]
    lines = "".join(f"{json.dumps(note)}\n" for note in notes)
    published = instance.settings.home / "published.jsonl"
    published.write_text(lines, encoding="utf-8")

    subject = ErasureSubject("author", "ann", "ann")
    planned = plan_erasure(instance, subject)
    target = ErasureTarget.from_json(subject, planned.to_json(), planned.fingerprints)
    HomeFiles(instance).erase(target)

    assert published.read_text(encoding="utf-8") == f"{json.dumps(notes[1])}\n"
    steps = list_manual_steps(instance, target, asked_at=0.0)
    assert [step.how for step in steps if "model hub" in step.what] == [
        "delete them there: c1 (https://hub/ann/v1)"
    ]
