"""`twin explain`: from an answer's trace back to the posts it rests on.

Belongs here: following the ids: trace → model version → checkpoint manifest → dataset version →
chunks → documents → posts. Does not belong here: how each store is read (`langfuse/client.py`,
`registry/registry.py`, `tables/tables.py`).
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text
from rich.tree import Tree

from twin_resources.command.outcome import open_registry
from twin_resources.errors import TwinError
from twin_resources.settings import Settings
from twin_resources.stack.stack import find_stack

if TYPE_CHECKING:
    from twin_resources.tables.tables import Tables

ARRIVAL_S = 8.0  # the gateway exports spans in batches
SHOWN_TEXT = 160  # characters of question, answer and chunk


@dataclass(frozen=True)
class Passage:
    """A chunk that the model was given, and the post it was cut from; empty where it is gone."""

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
    """Everything that decided one answer.

    Attributes:
        trace: the flat metadata that the gateway wrote (`twin.…`).
        model: the registry's row of the version, or empty for base model and paid answers.
        manifest: of its checkpoint.
        passages: in the order in which the prompt had them.
    """

    trace_id: str
    trace: dict[str, str]
    question: str
    answer: str
    model: dict[str, Any]
    manifest: dict[str, Any]
    passages: tuple[Passage, ...]


def run_explain(settings: Settings, trace_id: str, *, as_json: bool, console: Console) -> int:
    """Print the explanation of one answer; returns the exit code.

    Raises:
        TwinError: the trace store does not answer or has no such trace.
    """
    explanation = explain(settings, trace_id)
    if as_json:
        from dataclasses import asdict

        console.print_json(json.dumps(asdict(explanation), ensure_ascii=False, default=str))
    else:
        console.print(explanation_tree(explanation), soft_wrap=False)
    return 0


def explain(settings: Settings, trace_id: str) -> Explanation:
    """Follow an answer's trace to its posts.

    Args:
        trace_id: as `x-twin-trace-id` and `twin ask` give it (32 hex digits).

    Raises:
        TwinError: see `run_explain`.
    """
    from twin_resources.state.state import State
    from twin_resources.tables.tables import Tables

    stack = find_stack(settings)
    settings = stack.settings if stack else settings
    found = _trace(settings, trace_id)
    trace = {name: str(text) for name, text in found["metadata"].items() if name[:5] == "twin."}
    if "twin.author" not in trace:
        raise TwinError(
            f"explain the trace {trace_id}",
            found="it was not written by this gateway",
            next_step="take the trace id of an answer: `x-twin-trace-id`, or `twin ask`",
        )
    question, answer = _texts(found["observations"])
    model, manifest = _model(settings, trace.get("twin.checkpoint", ""), trace["twin.author"])
    tables = Tables(settings.tables_base, state=State.open(settings.state_address))
    chunk_ids = [chunk for chunk in trace.get("twin.chunks", "").split(",") if chunk]
    return Explanation(
        trace_id=trace_id,
        trace=trace,
        question=question,
        answer=answer,
        model=model,
        manifest=manifest,
        passages=passages_of(tables, trace["twin.author"], chunk_ids),
    )


def passages_of(tables: Tables, author: str, chunk_ids: Sequence[str]) -> tuple[Passage, ...]:
    """Chunks with the documents and posts they come from, in the given order."""
    if not chunk_ids:
        return ()
    chunks = _by_key(tables, "document_chunks", author, "chunk_id", chunk_ids)
    documents = _by_key(
        tables,
        "cleaned_documents",
        author,
        "document_id",
        [row["document_id"] for row in chunks.values()],
        columns=("document_id", "source_id"),
    )
    posts = _by_key(
        tables,
        "raw_posts",
        author,
        "source_id",
        [row["source_id"] for row in documents.values()],
        columns=("source_id", "path", "url", "deleted"),
    )
    found: list[Passage] = []
    for chunk_id in chunk_ids:
        chunk = chunks.get(chunk_id)
        if chunk is None:
            found.append(Passage(chunk_id))
            continue
        source_id = documents.get(chunk["document_id"], {}).get("source_id", "")
        post = posts.get(source_id, {})
        found.append(
            Passage(
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
    return tuple(found)


def explanation_tree(found: Explanation) -> Tree:
    """The chain as a tree: answer, model, checkpoint, dataset, chunks, posts."""
    trace = found.trace
    tree = Tree(Text(f"trace {found.trace_id}", "bold"))
    tree.add(Text(f"question: {_short(found.question)}"))
    tree.add(Text(f"answer: {_short(found.answer)}"))
    facts = ("route", "propensity", "class", "cost_usd", "template", "degraded")
    named = [f"{name} {trace[f'twin.{name}']}" for name in facts if trace.get(f"twin.{name}")]
    tree.add(Text("decided by: " + ", ".join(named)))
    model = tree.add(Text(f"model: twin/{trace['twin.author']} {trace.get('twin.version', '')}"))
    if not found.model:
        model.add(Text("no checkpoint of this home: base model + retrieval, or a paid model"))
    else:
        checkpoint = model.add(Text(f"checkpoint {found.model['checkpoint']}"))
        checkpoint.add(Text(f"folder {found.model['folder']}"))
        if found.manifest:
            base = found.manifest["base"]
            checkpoint.add(Text(f"base {base['name']} (revision {base['revision'][:16]})"))
            checkpoint.add(
                Text(
                    f"trained on {found.manifest['tokens']:,} tokens, "
                    f"{found.manifest['epochs']:.2f} epochs, code {found.manifest['code'][:12]}"
                )
            )
            data = found.manifest["dataset"]
            checkpoint.add(
                Text(
                    f"dataset {data['asset']} version {data['data_version']} "
                    f"(Lance version {data['lance_version']}, tag {data['tag']})"
                )
            )
    for number, passage in enumerate(found.passages, start=1):
        if not passage.document_id:
            tree.add(Text(f"chunk {passage.chunk_id}: its post was edited or deleted since"))
            continue
        start, end = passage.offsets
        branch = tree.add(Text(f"{number}. chunk {passage.chunk_id}: {_short(passage.text)}"))
        document = branch.add(
            Text(f"document {passage.document_id}, characters {start}–{end}: {passage.title}")
        )
        document.add(Text(f"post {passage.path or passage.source_id} {passage.url}".rstrip()))
    if not found.passages:
        tree.add(Text("no post was retrieved for it"))
    return tree


def _trace(settings: Settings, trace_id: str) -> dict[str, Any]:
    from twin_resources.langfuse.client import LangfuseClient, TraceStoreError

    deadline = time.monotonic() + ARRIVAL_S
    with LangfuseClient.from_settings(settings) as client:
        while True:
            try:
                return client.trace(trace_id)
            except TraceStoreError as error:
                if error.status != 404 or time.monotonic() > deadline:
                    raise
                time.sleep(0.5)


def _texts(observations: Sequence[dict[str, Any]]) -> tuple[str, str]:
    """Question and answer of the generation; empty where the trace keeps no text."""
    for one in observations:
        if one.get("type") == "GENERATION":
            asked: Any = _decoded(one.get("input"))
            answered: Any = _decoded(one.get("output"))
            if isinstance(asked, list) and asked:
                asked = asked[-1].get("content")
            if isinstance(answered, dict):
                answered = answered.get("content")
            # the prompt's last paragraph: the retrieved passages stand before it
            question = str(asked or "").rsplit("\n\n", 1)[-1].removeprefix("Question: ")
            return question, str(answered or "")
    return "", ""


def _decoded(value: Any) -> Any:
    if isinstance(value, str) and value[:1] in "[{":
        try:
            return json.loads(value)
        except json.JSONDecodeError:
            return value  # a text that only begins like JSON
    return value


def _model(
    settings: Settings, checkpoint: str, author: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    from dataclasses import asdict

    if not checkpoint:
        return {}, {}
    version = open_registry(settings).by_checkpoint(checkpoint, author=author)
    if version is None:
        return {}, {}
    path = Path(version.folder) / "manifest.json"
    if not path.is_file():
        return asdict(version), {}
    return asdict(version), json.loads(path.read_text(encoding="utf-8"))


def _by_key(
    tables: Tables,
    asset: str,
    author: str,
    key: str,
    values: Sequence[str],
    *,
    columns: Sequence[str] | None = None,
) -> dict[str, dict[str, Any]]:
    if not values:
        return {}
    listed = ", ".join("'" + value.replace("'", "''") + "'" for value in dict.fromkeys(values))
    frame = tables.read(asset, author, columns=columns, where=f"{key} IN ({listed})")
    return {row[key]: row for row in frame.iter_rows(named=True)}


def _short(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= SHOWN_TEXT else flat[: SHOWN_TEXT - 1] + "…"
