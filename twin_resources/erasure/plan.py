"""Find everything that belongs to a subject, before anything is erased.

Scope: following a post, an author or a reader to documents, chunks, samples, traces and
checkpoints; fingerprinting their texts.
Out of scope: erasing, what a column name means (`lance_tables.py`).
"""
# pyright: strict

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Protocol, cast

import sqlalchemy as sa

from twin_resources.authors import list_authors, read_author
from twin_resources.erasure.checkpoint_folders import trained_on
from twin_resources.erasure.data_store import Installation
from twin_resources.erasure.erasure_target import ErasureSubject, ErasureTarget
from twin_resources.erasure.lance_tables import LanceTables
from twin_resources.erasure.text_fingerprints import FingerprintCollector
from twin_resources.erasure.trace_store import SeenObservation, is_of, trace_store_of
from twin_resources.errors import TwinError
from twin_resources.observability.langfuse.trace_texts import question_of
from twin_resources.quality.ledger import ledger_tables as ledger

POSTS = "raw_posts"
_TEXTS = ("raw_posts", "cleaned_documents")


class _Traces(Protocol):
    def seen(self) -> Iterator[SeenObservation]: ...


def plan(instance: Installation, subject: ErasureSubject, *, key_hash: str = "") -> ErasureTarget:
    """Return everything that belongs to a subject.

    Raises:
        TwinError: the post, the author or the reader is unknown; nothing was written.
    """
    ledger.open_tables(instance.state)
    gone = replace(_begin(instance, subject), key_hash=key_hash)
    tables, marking = LanceTables(instance), FingerprintCollector()
    if subject.kind == "post":
        gone = _followed(tables, gone)
        for text in _own_texts(tables, gone):
            marking.add(text)
        for text in _other_posts(instance, gone):
            marking.keep(text)
        gone = replace(gone, marks=marking.marks())
    traces, shown_to = _traces_of(instance, gone)
    gone = replace(
        gone, ids=gone.ids | traces, traces=frozenset(traces), shown_to=frozenset(shown_to)
    )
    if subject.kind != "post":
        if subject.kind == "author":
            for asset in _TEXTS:
                for text in _posts_of(instance, subject.author, asset=asset):
                    marking.add(text)
        _mark_asked(instance, gone, marking)
        for author in list_authors(instance.settings):
            if author.slug != subject.author:
                for text in _posts_of(instance, author.slug):
                    marking.keep(text)
        gone = replace(gone, marks=marking.marks())
    gone = replace(gone, authors=_authors_of(instance, gone))
    if subject.kind == "author":
        return gone  # tables and checkpoints are deleted as folders
    gone = _followed(tables, gone)
    authors = [gone.author] if gone.author else instance.registry.authors()
    seen = {one for author in authors for one in trained_on(instance, author, gone)}
    return replace(gone, checkpoints=frozenset(seen))


def _begin(instance: Installation, subject: ErasureSubject) -> ErasureTarget:
    if subject.kind == "author":
        name = _display_name(instance, subject.author)
        names = frozenset({subject.author, name} - {""})
        return ErasureTarget(subject, ids=frozenset({subject.author}), names=names)
    if subject.kind == "reader":
        return ErasureTarget(subject, ids=frozenset({subject.name}))
    tables = instance.tables
    if not tables.exists(POSTS, subject.author):
        raise TwinError(
            f"forget a post of {subject.author!r}",
            found="an author whose posts were never imported",
            next_step="see `twin status` for the authors of this home",
        )
    posts = tables.read(POSTS, subject.author, columns=["source_id", "url"])
    named = posts.filter((posts["source_id"] == subject.name) | (posts["url"] == subject.name))
    if named.is_empty():
        raise TwinError(
            f"forget the post {subject.name!r} of {subject.author}",
            found=f"{posts.height} posts, none with that source id or address",
            next_step="ask again with `twin forget`, which finds the post by any name it has",
        )
    return ErasureTarget(subject, ids=frozenset(named["source_id"].to_list()))


def _display_name(instance: Installation, slug: str) -> str:
    known = (instance.settings.authors_dir / f"{slug}.toml").is_file()
    name = read_author(instance.settings, slug).name if known else ""
    there = known or slug in LanceTables(instance).authors(_nobody(slug))
    if not there and slug not in instance.registry.authors():
        raise TwinError(
            f"forget the author {slug!r}",
            found="nobody of that name in this home",
            next_step="see `twin status` for its authors; a slug is meant, not the name",
        )
    # a single word may be anybody's name; the slug matches anyway
    return name if " " in name.strip() else ""


def _nobody(slug: str) -> ErasureTarget:
    return ErasureTarget(ErasureSubject("author", slug, slug), names=frozenset({slug}))


def _followed(tables: LanceTables, gone: ErasureTarget) -> ErasureTarget:
    """Add the keys of rows derived from the target, until no new key is found."""
    while True:
        made: set[str] = set()
        chunks: set[str] = set()
        for author in tables.authors(gone):
            for asset in tables.assets(author):
                matched = tables.hits(asset, author, gone, by_text=False).made
                made |= matched
                if "chunk" in asset or asset == "embeddings":
                    chunks |= matched
        if made <= gone.ids:
            return gone
        gone = replace(gone, ids=gone.ids | made, chunks=gone.chunks | frozenset(chunks))


def _own_texts(tables: LanceTables, gone: ErasureTarget) -> Iterator[str]:
    for asset in tables.assets(gone.author):
        yield from tables.own_texts(asset, gone.author, gone)


def _other_posts(instance: Installation, gone: ErasureTarget) -> Iterator[str]:
    for asset in _TEXTS:
        yield from _posts_of(instance, gone.author, but=gone, asset=asset)


def _posts_of(
    instance: Installation, author: str, *, but: ErasureTarget | None = None, asset: str = POSTS
) -> Iterator[str]:
    if not instance.tables.exists(asset, author):
        return
    rows = instance.tables.read(asset, author, columns=["source_id", "title", "text"])
    for source_id, title, text in rows.iter_rows():
        if but is None or not but.is_value(str(source_id)):
            yield f"{title}"
            yield f"{text}"


def _traces_of(instance: Installation, gone: ErasureTarget) -> tuple[set[str], set[str]]:
    """Return the target's traces, and those answered by a paid provider as `model trace-id`.

    Both the ledger and the trace store are read, because either may hold older or newer traces.
    """
    table = ledger.traces
    with instance.state.reading() as connection:
        statement = sa.select(table)
        if gone.author:
            statement = statement.where(table.c.author == gone.author)
        if gone.subject.kind == "reader":
            statement = statement.where(table.c.reader == gone.subject.name)
        rows = connection.execute(statement).mappings()
        trace_ids = {
            str(row["trace_id"])
            for row in rows
            if gone.whole_author or gone.is_among(dict(row)) or _shows(row, gone)
        }
    store = cast("_Traces", trace_store_of(instance))
    providers: dict[str, str] = {}
    for one in store.seen():
        if is_of(one, gone) or _shows(one.row, gone):
            trace_ids.add(one.trace_id)
        if one.provider:
            providers[one.trace_id] = one.provider
    return trace_ids, {f"{providers[trace]} {trace}" for trace in trace_ids & providers.keys()}


def _shows(row: Any, gone: ErasureTarget) -> bool:
    """Return whether a prompt held one of the target's passages."""
    shown = row.get("chunks")
    if shown is None:
        metadata = row.get("metadata")
        facts: dict[str, Any] = (
            json.loads(metadata) if isinstance(metadata, str) else metadata or {}
        )
        shown = facts.get("twin.chunks") or ""
    listed: str = shown if isinstance(shown, str) else json.dumps(shown)
    return (
        any(part.strip(" []\"'") in gone.chunks for part in listed.split(",")) if listed else False
    )


def _authors_of(instance: Installation, gone: ErasureTarget) -> frozenset[str]:
    if gone.author:
        return frozenset({gone.author})
    with instance.state.reading() as connection:
        authors = {
            str(author)
            for table in (ledger.traces, ledger.scores)
            for author in connection.execute(
                sa.select(table.c.author).where(table.c.reader == gone.subject.name).distinct()
            ).scalars()
        }
    return frozenset(authors - {""})


def _mark_asked(instance: Installation, gone: ErasureTarget, marking: FingerprintCollector) -> None:
    """Fingerprint the target's questions and edits, except words that others also use."""
    requests = list(_asked(instance, gone))
    for is_own, text in requests:
        if is_own:
            marking.add(text)
    for is_own, text in requests:
        if not is_own:
            marking.keep(text)


def _asked(instance: Installation, gone: ErasureTarget) -> Iterator[tuple[bool, str]]:
    """Yield (whether it is erased, the text) of everyone's questions and edits."""
    of_reader, reader = gone.subject.kind == "reader", gone.subject.name
    traces, scores = ledger.traces, ledger.scores
    with instance.state.reading() as connection:
        for row in connection.execute(sa.select(traces.c.trace_id, traces.c.question)):
            yield row.trace_id in gone.traces, row.question
        columns = (scores.c.trace_id, scores.c.reader, scores.c.text)
        for row in connection.execute(sa.select(*columns)):
            own = row.reader == reader if of_reader else row.trace_id in gone.traces
            yield own, row.text
    store = cast("_Traces", trace_store_of(instance))
    for one in store.seen():
        yield one.trace_id in gone.traces, question_of(one.row.get("input"), "")
