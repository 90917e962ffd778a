"""Find an answer's provenance: model, checkpoint, dataset, chunks and posts.

Scope: looking up a trace's ids in the registry, the manifest and the tables.
Out of scope: reading each store (`langfuse/client.py`, `registry/registry.py`,
`tables/tables.py`), showing the result (`commands/answer_history.py`, `page/trace_pages.py`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twin_resources.errors import TwinError
from twin_resources.observability.langfuse.trace_texts import extract_answer, extract_question
from twin_resources.settings import Settings
from twin_resources.storage.tables.rows_by_id import sql_in_filter

if TYPE_CHECKING:
    from twin_resources.registry.registry import Registry
    from twin_resources.storage.tables.tables import Tables


@dataclass(frozen=True)
class ExplainedPassage:
    """A chunk in the prompt, with its post; only `chunk_id` is set if the chunk was deleted."""

    chunk_id: str
    document_id: str = ""
    title: str = ""
    position: int = 0
    offsets: tuple[int, int] = (0, 0)
    text: str = ""
    source_id: str = ""
    path: str = ""
    url: str = ""


@dataclass(frozen=True)
class Explanation:
    """The provenance of one answer.

    Attributes:
        trace: the flat metadata that the gateway wrote (`twin.…`).
        model: the version's row in the registry; empty if the base or paid model answered.
        manifest: the manifest of the version's checkpoint.
        passages: the passages, in the order of the prompt.
    """

    trace_id: str
    trace: dict[str, str]
    question: str
    answer: str
    model: dict[str, Any]
    manifest: dict[str, Any]
    passages: tuple[ExplainedPassage, ...]


def explain_answer(settings: Settings, langfuse_trace: Mapping[str, Any]) -> Explanation:
    """Trace an answer to its posts.

    Args:
        langfuse_trace: a result of `LangfuseClient.trace`.

    Raises:
        TwinError: the trace was not written by a gateway of this project.
    """
    from twin_resources.registry.registry import Registry
    from twin_resources.storage.state.home_state import open_home_state
    from twin_resources.storage.tables.tables import Tables

    metadata = {
        name: str(text)
        for name, text in langfuse_trace["metadata"].items()
        if name.startswith("twin.")
    }
    if "twin.author" not in metadata:
        raise TwinError(
            f"explain the trace {langfuse_trace['id']}",
            found="it was not written by this gateway",
            next_step="use the trace id of an answer: see `x-twin-trace-id` or `twin ask`",
        )
    generations = [row for row in langfuse_trace["observations"] if row.get("type") == "GENERATION"]
    generation: Mapping[str, Any] = generations[0] if generations else {}
    state = open_home_state(settings)
    model, manifest = _load_version_and_manifest(
        Registry(state, policy_path=settings.policy_path),
        metadata.get("twin.checkpoint", ""),
        metadata["twin.author"],
    )
    tables = Tables(settings.tables_base, state=state)
    chunk_ids = [chunk for chunk in metadata.get("twin.chunks", "").split(",") if chunk]
    return Explanation(
        trace_id=str(langfuse_trace["id"]),
        trace=metadata,
        question=extract_question(generation.get("input"), metadata.get("twin.template", "")),
        answer=extract_answer(generation.get("output")),
        model=model,
        manifest=manifest,
        passages=load_passages(tables, metadata["twin.author"], chunk_ids),
    )


def load_passages(
    tables: Tables, author: str, chunk_ids: Sequence[str]
) -> tuple[ExplainedPassage, ...]:
    """Return chunks with their documents and posts, in the given order."""
    if not chunk_ids:
        return ()
    chunks = _read_rows_by_key(tables, "document_chunks", author, "chunk_id", chunk_ids)
    documents = _read_rows_by_key(
        tables,
        "cleaned_documents",
        author,
        "document_id",
        [row["document_id"] for row in chunks.values()],
        columns=("document_id", "source_id"),
    )
    posts = _read_rows_by_key(
        tables,
        "raw_posts",
        author,
        "source_id",
        [row["source_id"] for row in documents.values()],
        columns=("source_id", "path", "url", "deleted"),
    )
    passages: list[ExplainedPassage] = []
    for chunk_id in chunk_ids:
        chunk = chunks.get(chunk_id)
        if chunk is None:
            passages.append(ExplainedPassage(chunk_id))
            continue
        source_id = documents.get(chunk["document_id"], {}).get("source_id", "")
        post = posts.get(source_id, {})
        passages.append(
            ExplainedPassage(
                chunk_id=chunk_id,
                document_id=chunk["document_id"],
                title=chunk["title"],
                position=chunk["position"],
                offsets=(chunk["start"], chunk["end"]),
                text=chunk["text"],
                source_id=source_id,
                path=post.get("path", ""),
                url=chunk["url"] or post.get("url", ""),
            )
        )
    return tuple(passages)


def _load_version_and_manifest(
    registry: Registry, checkpoint: str, author: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    version = registry.find_by_checkpoint(checkpoint, author=author) if checkpoint else None
    if version is None:
        return {}, {}
    path = Path(version.folder) / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return asdict(version), manifest


def _read_rows_by_key(
    tables: Tables,
    asset: str,
    author: str,
    key: str,
    values: Sequence[str],
    *,
    columns: Sequence[str] | None = None,
) -> dict[str, dict[str, Any]]:
    if not values or not tables.exists(asset, author):  # the table may have been deleted
        return {}
    frame = tables.read(asset, author, columns=columns, where=sql_in_filter(key, set(values)))
    return {row[key]: row for row in frame.iter_rows(named=True)}
