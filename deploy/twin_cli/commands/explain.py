"""`twin explain`: from an answer's trace back to the posts it rests on.

Belongs here: waiting for the trace, printing. Does not belong here: following the ids
(`twin_resources/registry/explanation.py`).
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.text import Text
from rich.tree import Tree

from twin_resources.processes.stack import find_stack
from twin_resources.registry.explanation import Explanation, follow
from twin_resources.registry.route_names import FRONT_DESK, QUOTES
from twin_resources.settings import Settings

ARRIVAL_S = 8.0  # the gateway exports spans in batches
SHOWN_TEXT = 160  # characters of question, answer and chunk


def run_explain(
    settings: Settings, trace_id: str, *, stages: bool, as_json: bool, console: Console
) -> int:
    """Print the explanation of one answer; returns the exit code.

    Args:
        stages: print what each stage of the request took and changed too.

    Raises:
        TwinError: the trace store does not answer or has no such trace.
    """
    explanation = explain(settings, trace_id)
    if as_json:
        console.print_json(json.dumps(asdict(explanation), ensure_ascii=False, default=str))
    else:
        tree = explanation_tree(explanation)
        if stages:
            branch = tree.add(Text("stages of the request"))
            for line in explanation.trace.get("twin.stages", "none on record").splitlines():
                branch.add(Text(line))
        console.print(tree, soft_wrap=False)
    return 0


def explain(settings: Settings, trace_id: str) -> Explanation:
    """Follow an answer's trace to its posts, in the stack that runs.

    Args:
        trace_id: as `x-twin-trace-id` and `twin ask` give it (32 hex digits).

    Raises:
        TwinError: see `run_explain`.
    """
    stack = find_stack(settings)
    settings = stack.settings if stack else settings
    return follow(settings, _trace(settings, trace_id))


def explanation_tree(explanation: Explanation) -> Tree:
    """The chain as a tree: answer, model, checkpoint, dataset, chunks, posts."""
    trace = explanation.trace
    tree = Tree(Text(f"trace {explanation.trace_id}", "bold"))
    tree.add(Text(f"question: {_short(explanation.question)}"))
    tree.add(Text(f"answer: {_short(explanation.answer)}"))
    facts = ("route", "propensity", "class", "cost_usd", "template", "degraded")
    named = [f"{name} {trace[f'twin.{name}']}" for name in facts if trace.get(f"twin.{name}")]
    tree.add(Text("decided by: " + ", ".join(named)))
    if trace.get("twin.routing"):
        why = tree.add(Text(f"why this model: {trace['twin.routing']}"))
        if trace.get("twin.other") and trace.get("twin.other_usd"):
            usd = float(trace["twin.other_usd"])
            why.add(Text(f"the other ({trace['twin.other']}) would have cost about ${usd:.6f}"))
    model = tree.add(Text(f"model: twin/{trace['twin.author']} {trace.get('twin.version', '')}"))
    if trace.get("twin.version") in {QUOTES, FRONT_DESK}:
        model.add(Text("no model wrote it: the posts were quoted, or the program answered"))
    elif not explanation.model:
        model.add(Text("no checkpoint of this home: base model + retrieval, or a paid model"))
    else:
        checkpoint = model.add(Text(f"checkpoint {explanation.model['checkpoint']}"))
        checkpoint.add(Text(f"folder {explanation.model['folder']}"))
        if explanation.manifest:
            base = explanation.manifest["base"]
            checkpoint.add(Text(f"base {base['name']} (revision {base['revision'][:16]})"))
            checkpoint.add(
                Text(
                    f"trained on {explanation.manifest['tokens']:,} tokens, "
                    f"{explanation.manifest['epochs']:.2f} epochs, code "
                    f"{explanation.manifest['code'][:12]}"
                )
            )
            data = explanation.manifest["dataset"]
            checkpoint.add(
                Text(
                    f"dataset {data['asset']} version {data['data_version']} "
                    f"(Lance version {data['lance_version']}, tag {data['tag']})"
                )
            )
    for number, passage in enumerate(explanation.passages, start=1):
        if not passage.document_id:
            tree.add(Text(f"chunk {passage.chunk_id}: its post was edited or deleted since"))
            continue
        start, end = passage.offsets
        branch = tree.add(Text(f"{number}. chunk {passage.chunk_id}: {_short(passage.text)}"))
        document = branch.add(
            Text(f"document {passage.document_id}, characters {start}–{end}: {passage.title}")
        )
        document.add(Text(f"post {passage.path or passage.source_id} {passage.url}".rstrip()))
    if not explanation.passages:
        tree.add(Text("no post was retrieved for it"))
    return tree


def _trace(settings: Settings, trace_id: str) -> dict[str, Any]:
    from twin_resources.observability.langfuse.client import LangfuseClient, TraceStoreError

    deadline = time.monotonic() + ARRIVAL_S
    with LangfuseClient.from_settings(settings) as client:
        while True:
            try:
                return client.trace(trace_id)
            except TraceStoreError as error:
                if error.status != 404 or time.monotonic() > deadline:
                    raise
                time.sleep(0.5)


def _short(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= SHOWN_TEXT else flat[: SHOWN_TEXT - 1] + "…"
