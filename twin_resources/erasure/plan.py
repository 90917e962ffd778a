"""Find all data that belongs to a subject before it is erased.

Scope: finding the documents, chunks, samples, traces and checkpoints that derive from a post, an
author or a reader; fingerprinting their texts.
Out of scope: erasing, the meaning of column names (`lance_tables.py`).
"""
# pyright: strict

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from twin_resources.authors import list_author_slugs, read_author
from twin_resources.authors.agent_skill import list_skills
from twin_resources.erasure.checkpoint_folders import find_trained_checkpoints
from twin_resources.erasure.data_store import Installation
from twin_resources.erasure.erasure_target import ErasureSubject, ErasureTarget
from twin_resources.erasure.lance_tables import LanceTables
from twin_resources.erasure.text_fingerprints import FingerprintCollector
from twin_resources.erasure.trace_store import (
    ErasableObservation,
    belongs_to_target,
    list_trace_stores,
)
from twin_resources.errors import TwinError
from twin_resources.observability.langfuse.tombstones import list_chunk_ids
from twin_resources.observability.langfuse.trace_texts import extract_question
from twin_resources.quality.ledger import ledger_tables as ledger

POSTS = "raw_posts"
_TEXT_ASSETS = ("raw_posts", "cleaned_documents")


def plan_erasure(
    installation: Installation, subject: ErasureSubject, *, key_hash: str = ""
) -> ErasureTarget:
    """Return a subject's target, with all data that belongs to it.

    Raises:
        TwinError: the post, the author or the reader is unknown; nothing was written.
    """
    ledger.open_tables(installation.state)
    target = replace(
        _make_initial_target(installation, subject),
        key_hash=key_hash,
        # before the erasure, which removes an author's record of them
        skills=frozenset(list_skills(installation.settings, subject.author)),
    )
    tables, collector = LanceTables(installation), FingerprintCollector()
    if subject.kind == "post":
        target = _follow_derived_rows(tables, target)
        for asset in tables.list_assets(target.author):
            for text in tables.iter_own_texts(asset, target.author, target):
                collector.add(text)
        for asset in _TEXT_ASSETS:
            for text in _read_post_texts(installation, target.author, excluded=target, asset=asset):
                collector.exclude_shared(text)
        target = replace(target, fingerprints=collector.fingerprints())
    traces, shown_to = _find_traces(installation, target)
    target = replace(
        target, ids=target.ids | traces, traces=frozenset(traces), shown_to=frozenset(shown_to)
    )
    if subject.kind != "post":
        if subject.kind == "author":
            for asset in _TEXT_ASSETS:
                for text in _read_post_texts(installation, subject.author, asset=asset):
                    collector.add(text)
        _fingerprint_requests(installation, target, collector)
        for slug in list_author_slugs(installation.settings):
            if slug != subject.author:
                for text in _read_post_texts(installation, slug):
                    collector.exclude_shared(text)
        target = replace(target, fingerprints=collector.fingerprints())
    target = replace(target, authors=_find_authors(installation, target))
    if subject.kind == "author":  # tables and checkpoints are deleted as folders
        return target
    target = _follow_derived_rows(tables, target)
    authors = [target.author] if target.author else installation.registry.authors()
    trained_checkpoints = {
        checkpoint
        for author in authors
        for checkpoint in find_trained_checkpoints(installation, author, target)
    }
    return replace(target, checkpoints=frozenset(trained_checkpoints))


def _make_initial_target(installation: Installation, subject: ErasureSubject) -> ErasureTarget:
    if subject.kind == "author":
        name = _display_name(installation, subject.author)
        names = frozenset({subject.author, name} - {""})
        return ErasureTarget(subject, ids=frozenset({subject.author}), names=names)
    if subject.kind == "reader":
        return ErasureTarget(subject, ids=frozenset({subject.name}))
    tables = installation.tables
    if not tables.exists(POSTS, subject.author):
        raise TwinError(
            f"forget a post of {subject.author!r}",
            found="no imported posts of this author",
            next_step="run `twin status` to list the authors of this home",
        )
    posts = tables.read(POSTS, subject.author, columns=["source_id", "url"])
    matching_posts = posts.filter(
        (posts["source_id"] == subject.name) | (posts["url"] == subject.name)
    )
    if matching_posts.is_empty():
        raise TwinError(
            f"forget the post {subject.name!r} of {subject.author}",
            found=f"{posts.height} posts, none with that source id or address",
            next_step="run `twin forget`, which finds the post by any of its names",
        )
    return ErasureTarget(subject, ids=frozenset(matching_posts["source_id"].to_list()))


def _display_name(installation: Installation, slug: str) -> str:
    has_author_file = (installation.settings.authors_dir / f"{slug}.toml").is_file()
    name = read_author(installation.settings, slug).name if has_author_file else ""
    target = ErasureTarget(ErasureSubject("author", slug, slug), names=frozenset({slug}))
    is_known = has_author_file or slug in LanceTables(installation).list_author_folders(target)
    if not is_known and slug not in installation.registry.authors():
        raise TwinError(
            f"forget the author {slug!r}",
            found="no author with that slug in this home",
            next_step="run `twin status` to list its authors; pass a slug, not a name",
        )
    # A single word may be another person's name, and the slug matches anyway.
    return name if " " in name.strip() else ""


def _follow_derived_rows(tables: LanceTables, target: ErasureTarget) -> ErasureTarget:
    """Add the keys of rows derived from the target, until no new key is found."""
    while True:
        derived_keys: set[str] = set()
        chunks: set[str] = set()
        for author in tables.list_author_folders(target):
            for asset in tables.list_assets(author):
                matched_keys = tables.find_derived_keys(asset, author, target)
                derived_keys |= matched_keys
                if "chunk" in asset or asset == "embeddings":
                    chunks |= matched_keys
        if derived_keys <= target.ids:
            return target
        target = replace(
            target, ids=target.ids | derived_keys, chunks=target.chunks | frozenset(chunks)
        )


def _read_post_texts(
    installation: Installation,
    author: str,
    *,
    excluded: ErasureTarget | None = None,
    asset: str = POSTS,
) -> Iterator[str]:
    if not installation.tables.exists(asset, author):
        return
    rows = installation.tables.read(asset, author, columns=["source_id", "title", "text"])
    for source_id, title, text in rows.iter_rows():
        if excluded is None or not excluded.matches_identifier(str(source_id)):
            yield f"{title}"
            yield f"{text}"


def _find_traces(installation: Installation, target: ErasureTarget) -> tuple[set[str], set[str]]:
    """Return the target's traces, and `model trace-id` for traces with a paid provider's answer.

    Both the ledger and the trace store are read, because each may have traces that the other lacks.
    """
    table = ledger.traces
    with installation.state.read_transaction() as connection:
        statement = sa.select(table)
        if target.author:
            statement = statement.where(table.c.author == target.author)
        if target.subject.kind == "reader":
            statement = statement.where(table.c.reader == target.subject.name)
        rows = connection.execute(statement).mappings()
        trace_ids = {
            str(row["trace_id"])
            for row in rows
            if target.is_whole_author
            or target.matches_value(dict(row))
            or _contains_target_passage(row, target)
        }
    providers: dict[str, str] = {}
    for observation in _iter_observations(installation):
        if belongs_to_target(observation, target) or _contains_target_passage(
            observation.row, target
        ):
            trace_ids.add(observation.trace_id)
        if observation.provider:
            providers[observation.trace_id] = observation.provider
    return trace_ids, {f"{providers[trace]} {trace}" for trace in trace_ids & providers.keys()}


def _iter_observations(installation: Installation) -> Iterator[ErasableObservation]:
    for store in list_trace_stores(installation):
        yield from store.iter_observations()


def _contains_target_passage(row: Any, target: ErasureTarget) -> bool:
    """Return whether a prompt contained one of the target's passages."""
    passage_ids = row.get("chunks")
    if passage_ids is None:
        metadata = row.get("metadata")
        metadata_values: dict[str, Any] = (
            json.loads(metadata) if isinstance(metadata, str) else metadata or {}
        )
        passage_ids = metadata_values.get("twin.chunks")
    return not target.chunks.isdisjoint(list_chunk_ids(passage_ids))


def _find_authors(installation: Installation, target: ErasureTarget) -> frozenset[str]:
    if target.author:
        return frozenset({target.author})
    with installation.state.read_transaction() as connection:
        authors = {
            str(author)
            for table in (ledger.traces, ledger.scores)
            for author in connection.execute(
                sa.select(table.c.author).where(table.c.reader == target.subject.name).distinct()
            ).scalars()
        }
    return frozenset(authors - {""})


def _fingerprint_requests(
    installation: Installation, target: ErasureTarget, collector: FingerprintCollector
) -> None:
    """Fingerprint the target's questions and edits, except words that others also use."""
    requests = list(_read_request_texts(installation, target))
    for is_own, text in requests:
        if is_own:
            collector.add(text)
    for is_own, text in requests:
        if not is_own:
            collector.exclude_shared(text)


def _read_request_texts(
    installation: Installation, target: ErasureTarget
) -> Iterator[tuple[bool, str]]:
    """Yield the questions and edits of all readers, each as (whether it is erased, text)."""
    is_reader, reader = target.subject.kind == "reader", target.subject.name
    traces, scores = ledger.traces, ledger.scores
    with installation.state.read_transaction() as connection:
        for row in connection.execute(sa.select(traces.c.trace_id, traces.c.question)):
            yield row.trace_id in target.traces, row.question
        columns = (scores.c.trace_id, scores.c.reader, scores.c.text)
        for row in connection.execute(sa.select(*columns)):
            is_own = row.reader == reader if is_reader else row.trace_id in target.traces
            yield is_own, row.text
    for observation in _iter_observations(installation):
        yield (
            observation.trace_id in target.traces,
            extract_question(observation.row.get("input"), ""),
        )
