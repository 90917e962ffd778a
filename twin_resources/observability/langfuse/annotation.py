"""Read Langfuse's score configs, propose `[scores]` lines from them, and fill an annotation queue.

A person can score in Langfuse's page only with a score config, whose name is the score's name. An
author's queue has the answers that the judges were least certain of. The embedded store has none of
this. API: https://api.reference.langfuse.com, score configs and annotation queues (numbered pages).
"""
# pyright: strict

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any, cast

from twin_resources.authors.score_settings import (
    RESERVED_NAMES,
    RESERVED_PREFIX,
    CountedScores,
)
from twin_resources.observability.langfuse.client import LangfuseClient

CONFIGS_PATH, QUEUES_PATH = "/api/public/score-configs", "/api/public/annotation-queues"
PAGE_SIZE = 50
ANSWERS_A_WEEK = 20
MAX_NEW_ITEMS = 5  # a call; Langfuse's free cloud plan allows 30 requests a minute
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def read_score_configs(client: LangfuseClient) -> list[dict[str, Any]]:
    """Return the score configs of the project that are not archived; the newest of each name.

    Raises:
        TraceStoreError: a page could not be read.
    """
    configs: dict[str, dict[str, Any]] = {}
    for config in _read_numbered_pages(client, CONFIGS_PATH):
        if not config["isArchived"]:
            configs.setdefault(str(config["name"]), config)
    return list(configs.values())


def propose_score_lines(configs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a line for the table `[scores]` for each config whose scores can count.

    Texts cannot, nor the twin's own names, nor a numeric config without both bounds.
    """
    lines: list[str] = []
    for config in configs:
        name = str(config["name"])
        entry = _propose_entry(config)
        if entry is None or name in RESERVED_NAMES or name.startswith(RESERVED_PREFIX):
            continue
        fields = ", ".join(f"{key} = {value}" for key, value in entry.items())
        lines.append(f"{_format_key(name)} = {{ {fields} }}")
    return lines


def _propose_entry(config: Mapping[str, Any]) -> dict[str, str] | None:
    entry = {"by": '"annotator"'}
    match config["dataType"]:
        case "BOOLEAN":
            return entry
        case "NUMERIC":
            bounds = config.get("minValue"), config.get("maxValue")
            if None in bounds or bounds[0] == bounds[1]:
                return None
            return entry if bounds == (0, 1) else entry | {"range": json.dumps(list(bounds))}
        case "CATEGORICAL":
            categories = cast("list[dict[str, Any]]", config.get("categories") or [])
            numbers = [float(category["value"]) for category in categories]
            if len(set(numbers)) < 2:
                return None
            low, high = min(numbers), max(numbers)
            values = ", ".join(
                f"{_format_key(str(category['label']))} = "
                f"{round((number - low) / (high - low), 4):g}"
                for category, number in zip(categories, numbers, strict=True)
            )
            return entry | {"values": f"{{ {values} }}"}
        case _:
            return None


def _format_key(name: str) -> str:
    return name if _BARE_KEY.fullmatch(name) else json.dumps(name, ensure_ascii=False)


def fill_annotation_queue(
    client: LangfuseClient,
    author: str,
    counted_scores: CountedScores,
    judged_values: Mapping[str, float],
    *,
    now: datetime,
) -> int:
    """Add the answers that judges were least certain of to the author's queue; return how many.

    The queue is made with the score configs that the author's file counts by annotator. Without
    one, there is nothing that a person could score with, and no queue.

    Args:
        judged_values: trace id → the mean of its judges' scores, for last week's answers that no
            reader has voted on. The nearest to .5 are the least certain.
        now: timezone-aware; at most `ANSWERS_A_WEEK` items are added in seven days.

    Raises:
        TraceStoreError: Langfuse does not answer or refuses a request; what was added stays.
    """
    names = {score.name for score in counted_scores.scores if score.by == "annotator"}
    if not names or not judged_values:
        return 0
    config_ids = [
        str(config["id"]) for config in read_score_configs(client) if config["name"] in names
    ]
    if not config_ids:
        return 0
    queue_name = f"twin/{author}: least certain"
    queues = _read_numbered_pages(client, QUEUES_PATH)
    queue = next((queue for queue in queues if queue["name"] == queue_name), None)
    if queue is None:
        body = {
            "name": queue_name,
            "description": "Answers of the last week that the judges were least certain of.",
            "scoreConfigIds": config_ids,
        }
        queue = client.post(QUEUES_PATH, body, action=f"make the annotation queue {queue_name!r}")
    items_path = f"{QUEUES_PATH}/{queue['id']}/items"
    items = list(_read_numbered_pages(client, items_path))
    week_start = now.astimezone(UTC) - timedelta(days=7)
    recent_count = sum(datetime.fromisoformat(item["createdAt"]) >= week_start for item in items)
    queued_traces = {str(item["objectId"]) for item in items}
    candidates = sorted(
        (trace_id for trace_id in judged_values if trace_id not in queued_traces),
        key=lambda trace_id: (abs(judged_values[trace_id] - 0.5), trace_id),
    )
    new_traces = candidates[: max(0, min(MAX_NEW_ITEMS, ANSWERS_A_WEEK - recent_count))]
    for trace_id in new_traces:
        body = {"objectId": trace_id, "objectType": "TRACE"}
        client.post(items_path, body, action=f"add {trace_id} to the queue {queue_name!r}")
    return len(new_traces)


def _read_numbered_pages(client: LangfuseClient, path: str) -> Iterator[dict[str, Any]]:
    for page_number in count(1):
        rows, _ = client.page(path, {"page": str(page_number), "limit": str(PAGE_SIZE)})
        yield from rows
        if len(rows) < PAGE_SIZE:
            return
