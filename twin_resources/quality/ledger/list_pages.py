"""Request pages of traces and scores from the trace store.

Scope: the two lists with their parameters, pages by time or by trace.
Out of scope: the choice of windows (`paged_feed.py`), storing (`ledger_writer.py`).
API: https://api.reference.langfuse.com, `GET /v3/scores` and `GET /v2/observations`
"""
# pyright: strict

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from twin_resources.observability.trace_store.json_values import (
    format_timestamp,
    parse_timestamp_ms,
)
from twin_resources.quality.ledger.ledger_writer import SCORES, TRACES

# The gateway's own scores have another environment (`gateway/hooks/trace_logger.py`).
ENVIRONMENT = "default"  # the environment of a score that names none

Row = dict[str, Any]


class PageClient(Protocol):
    """A trace store that returns pages of rows, such as `LangfuseClient`."""

    def page(self, path: str, parameters: Mapping[str, str]) -> tuple[list[Row], str]: ...

    def identify(self) -> str: ...


@dataclass(frozen=True)
class ListPages:
    """The pages of a list, selected by time.

    Attributes:
        kind: `scores` or `traces`.
        time_field: the name of the field with a row's time.
        base_parameters: the parameters of every request.
        page_size: the number of rows in a full page.
    """

    client: PageClient
    kind: str
    path: str
    time_field: str
    base_parameters: Mapping[str, str]
    page_size: int

    def __call__(self, since_ms: int, until_ms: int, cursor: str) -> tuple[list[Row], str]:
        window = self._bound("from", since_ms) | self._bound("to", until_ms)
        return self._page(window | ({"cursor": cursor} if cursor else {}))

    def _bound(self, side: str, time_ms: int) -> dict[str, str]:
        """Return the parameter that bounds the window on this side, such as `fromTimestamp`."""
        name = f"{side}{self.time_field[0].upper()}{self.time_field[1:]}"
        return {name: format_timestamp(time_ms) or ""}

    def _page(self, parameters: Mapping[str, str]) -> tuple[list[Row], str]:
        """Request one page with these parameters and the base parameters."""
        request_parameters = {**self.base_parameters, **parameters, "limit": str(self.page_size)}
        return self.client.page(self.path, request_parameters)

    def fetch_traces_by_id(self, trace_ids: Sequence[str], since_ms: int) -> list[Row]:
        """Return the answers in these traces that started at `since_ms` or later.

        Without a start time, Langfuse searches all its data.
        """
        id_filter = {
            "type": "stringOptions",
            "column": "traceId",
            "operator": "any of",
            "value": list(trace_ids),
        }
        filter_json = json.dumps([id_filter], separators=(",", ":"))
        return self._page(self._bound("from", since_ms) | {"filter": filter_json})[0]

    def get_time_ms(self, row: Row) -> int:
        return parse_timestamp_ms(row[self.time_field])


def score_pages(client: PageClient, environments: str = ENVIRONMENT) -> ListPages:
    """Return the pages of scores, selected by arrival time."""
    parameters = {"fields": "core,details,subject,annotation", "environment": environments}
    return ListPages(client, SCORES, "/api/public/v3/scores", "timestamp", parameters, 100)


def trace_pages(client: PageClient) -> ListPages:
    """Return the pages of answers (generation spans), selected by start time."""
    parameters = {
        "type": "GENERATION",
        "fields": "core,basic,time,io,metadata,metrics",
        "expandMetadata": "twin.chunks",
    }
    return ListPages(client, TRACES, "/api/public/v2/observations", "startTime", parameters, 200)
