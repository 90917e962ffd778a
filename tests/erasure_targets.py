"""Erasure targets as a plan would list them: a post with its texts, a reader, an author."""

from __future__ import annotations

from collections.abc import Iterable

from twin_resources.erasure.erasure_target import ErasureSubject, ErasureTarget
from twin_resources.erasure.text_fingerprints import FingerprintCollector


def post_target(
    author: str, source_id: str, *texts: str, ids: Iterable[str] = (), **fields: frozenset[str]
) -> ErasureTarget:
    collector = FingerprintCollector()
    for text in texts:
        collector.add(text)
    return ErasureTarget(
        ErasureSubject("post", author, source_id),
        ids=frozenset({source_id, *ids}),
        fingerprints=collector.fingerprints(),
        **fields,
    )


def reader_target(
    reader: str, *, traces: Iterable[str] = (), key_hash: str = "", shown_to: Iterable[str] = ()
) -> ErasureTarget:
    return ErasureTarget(
        ErasureSubject("reader", "", reader),
        ids=frozenset({reader, *traces}),
        traces=frozenset(traces),
        key_hash=key_hash,
        shown_to=frozenset(shown_to),
    )


def author_target(author: str, *other_names: str) -> ErasureTarget:
    names = frozenset({author, *other_names})
    return ErasureTarget(
        ErasureSubject("author", author, author),
        ids=frozenset({author}),
        authors=names,
        names=names,
    )
