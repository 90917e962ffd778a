"""Read and write traces and scores in the embedded trace store or a real Langfuse.

Scope: HTTP requests to the endpoints of both stores, paging, and failures as `TwinError`.
Out of scope: the meaning of scores (sensors, assets), retries while the server is unavailable
(`outbox.py`), prompts and datasets.
API: https://api.reference.langfuse.com. A failed read raises an error instead of returning nothing.
"""
# pyright: strict

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote

from twin_resources.errors import TwinError
from twin_resources.observability.langfuse.connection import TraceStore, find_trace_store
from twin_resources.observability.trace_store.observation_documents import EMBEDDED_STORE_ID
from twin_resources.settings import Settings, load_secrets

if TYPE_CHECKING:
    import httpx

ALL_FIELD_GROUPS = "core,basic,time,io,metadata,model,usage,prompt,metrics,trace_context"
SCORE_FIELD_GROUPS = "core,details,subject,annotation"
SCORE_PAGE_SIZE = 100  # the API's maximum
OBSERVATION_PAGE_SIZE = 200  # a row with input, output and metadata takes a few KB
EXPANDED_METADATA = ("twin.chunks",)  # by default, the API truncates values to 200 characters
# After a 429; the default applies if the response has no Retry-After.
MIN_RETRY_WAIT_S, DEFAULT_RETRY_WAIT_S = 1.0, 60.0
EMBEDDED_STORE_NAME = "the embedded trace store"  # followed by the id of its file
MAX_RETRY_AFTER_S = 3600.0  # also the maximum total wait of one call
MAX_PAGES = 10_000  # prevents an endless loop if a cursor points back to an earlier page


class TraceStoreError(TwinError):
    """A call to the trace store failed; `status` is the HTTP status, or None if there is none."""

    def __init__(self, tried: str, *, found: str, next_step: str, status: int | None) -> None:
        self.status = status
        super().__init__(tried, found=found, next_step=next_step)

    @property
    def is_server_error(self) -> bool:
        """Whether the store returned a server error; a smaller request may succeed."""
        return self.status is not None and self.status >= HTTPStatus.INTERNAL_SERVER_ERROR


class LangfuseClient:
    """A client for one project of a trace store.

    Args:
        host: the base URL without a path, such as `http://127.0.0.1:4318`.
        public_key, secret_key: the project's key pair.
        timeout_s: the time limit of one call, in seconds.
        http: an HTTP client configured with the keys and the base URL; created by default.
        wait: the sleep function of a caller that can wait. After a 429, the call is repeated when
            the server permits, for up to an hour in total. If None, the call fails at once.
    """

    def __init__(
        self,
        host: str,
        *,
        public_key: str,
        secret_key: str,
        timeout_s: float = 20.0,
        http: httpx.Client | None = None,
        wait: Callable[[float], object] | None = None,
    ) -> None:
        store = TraceStore(host.rstrip("/"), public_key, secret_key)
        self.host = store.host
        self._wait = wait
        self._http = http or store.open_http_client(timeout_s=timeout_s)

    @classmethod
    def from_settings(
        cls, settings: Settings, *, wait: Callable[[float], object] | None = None
    ) -> LangfuseClient:
        """Return a client for this home's trace store: the configured Langfuse or the local store.

        Args:
            wait: see the class.

        Raises:
            TwinError: the Langfuse settings are incomplete.
        """
        store = find_trace_store(settings, load_secrets(settings))
        return cls(store.host, public_key=store.public_key, secret_key=store.secret_key, wait=wait)

    def __enter__(self) -> LangfuseClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def health(self) -> dict[str, Any]:
        """Return `{"status": "OK", "version": …}`.

        Raises:
            TraceStoreError: the server does not respond or is unhealthy.
        """
        return self._call("GET", "/api/public/health", action="check the health of the trace store")

    def projects(self) -> list[dict[str, Any]]:
        """Return a list with the only project of this key pair. Invalid keys raise an error."""
        return self._require_rows(
            self._call("GET", "/api/public/projects", action="find the project of the keys")
        )

    def identify(self) -> str:
        """Return a text that names this store and no other: its address and project.

        The embedded store has an id of its own, because its port may change and its file may be
        lost and begun anew.

        Raises:
            TraceStoreError: the store does not answer, or its keys belong to no project.
        """
        projects = self.projects()
        if not projects:
            raise TraceStoreError(
                f"find out which store {self.host} is",
                found="keys without a project",
                next_step="check LANGFUSE_PUBLIC_KEY and LANGFUSE_SECRET_KEY: they are a project's",
                status=HTTPStatus.OK,
            )
        project = projects[0]
        metadata: Mapping[str, Any] = project.get("metadata") or {}
        if store_id := metadata.get(EMBEDDED_STORE_ID):
            return f"{EMBEDDED_STORE_NAME} {str(store_id)[:8]}"
        return f"{self.host}, project {project['id']}"

    def observations(
        self,
        *,
        trace_id: str = "",
        type: str = "",
        name: str = "",
        version: str = "",
        since: datetime | None = None,
        filter: Sequence[Mapping[str, Any]] = (),
        fields: str = ALL_FIELD_GROUPS,
        expand_metadata: Sequence[str] = (),
    ) -> Iterator[dict[str, Any]]:
        """Yield observations, newest first; read each page on demand.

        Args:
            since: the earliest start time.
            filter: conditions in the API's syntax, joined by AND.
            fields: comma-separated field groups.
            expand_metadata: the names of values to return in full; other values are truncated to
                200 characters.

        Raises:
            TraceStoreError: a page could not be read.
        """
        parameters = {
            "traceId": trace_id,
            "type": type,
            "name": name,
            "version": version,
            "fromStartTime": "" if since is None else _format_timestamp(since),
            "filter": json.dumps(list(filter)) if filter else "",
            "expandMetadata": ",".join(expand_metadata),
            "fields": fields,
        }
        return self._pages("/api/public/v2/observations", parameters, OBSERVATION_PAGE_SIZE)

    def trace(self, trace_id: str) -> dict[str, Any]:
        """Return `{"id", "observations": […], "metadata": {…}}`.

        The oldest observation is first, and a parent precedes its children. `metadata` merges the
        metadata of all observations, and a generation's values take precedence. It omits the names
        that the transport adds (`attributes.`, `resourceAttributes.`, `scope.`).

        Raises:
            TraceStoreError: the read failed, or the trace does not exist (`status` 404).
        """
        observations = list(self.observations(trace_id=trace_id, expand_metadata=EXPANDED_METADATA))
        if not observations:
            raise TraceStoreError(
                f"read trace {trace_id} from {self.host}",
                found="no observations",
                next_step="check the id; a trace arrives a few seconds after its answer",
                status=404,
            )
        sorted_observations = sorted(
            observations, key=lambda item: (item["startTime"], _nesting_depth(item, observations))
        )
        metadata: dict[str, Any] = {}
        for observation in sorted(observations, key=lambda item: item["type"] == "GENERATION"):
            metadata |= {
                name: value
                for name, value in cast(dict[str, Any], observation["metadata"] or {}).items()
                if not name.startswith(("attributes.", "resourceAttributes.", "scope."))
            }
        return {"id": trace_id, "observations": sorted_observations, "metadata": metadata}

    def scores(
        self, *, trace_id: Sequence[str] = (), name: Sequence[str] = ()
    ) -> Iterator[dict[str, Any]]:
        """Yield scores, newest first; read each page on demand.

        Raises:
            TraceStoreError: a page could not be read.
        """
        parameters = {
            "traceId": ",".join(trace_id),
            "name": ",".join(name),
            "fields": SCORE_FIELD_GROUPS,
        }
        return self._pages("/api/public/v3/scores", parameters, SCORE_PAGE_SIZE)

    def post_score(
        self,
        name: str,
        value: float | bool | str,
        *,
        trace_id: str = "",
        experiment_id: str = "",
        id: str = "",
        comment: str = "",
        metadata: Mapping[str, Any] | None = None,
    ) -> str:
        """Write one score and return its id.

        Version 4.16 of the server refuses an array of scores. The score replaces an existing score
        with the same `id`. A bool is written as BOOLEAN.

        Raises:
            TraceStoreError: the score was not accepted.
        """
        optional_fields: dict[str, Any] = {
            "id": id,
            "traceId": trace_id,
            "datasetRunId": experiment_id,
            "dataType": "BOOLEAN" if isinstance(value, bool) else "",
            "comment": comment,
            "metadata": dict(metadata or {}),
        }
        score = {"name": name, "value": int(value) if isinstance(value, bool) else value}
        request_body = score | {key: field for key, field in optional_fields.items() if field}
        body = self._call(
            "POST", "/api/public/scores", action=f"write score {name!r}", json=request_body
        )
        return str(body["id"])

    def post(self, path: str, body: Mapping[str, Any], *, action: str) -> dict[str, Any]:
        """Post a JSON object and return the response's.

        Raises:
            TraceStoreError: the request was not accepted.
        """
        return self._call("POST", path, action=action, json=dict(body))

    def delete_score(self, score_id: str) -> None:
        """Delete one score; an unknown id is not an error."""
        path = f"/api/public/scores/{quote(score_id, safe='')}"
        self._call("DELETE", path, action=f"delete score {score_id}")

    def delete_dataset_item(self, item_id: str) -> None:
        """Delete one dataset item, including its entries in the runs that used it."""
        path = f"/api/public/dataset-items/{quote(item_id, safe='')}"
        self._call("DELETE", path, action=f"delete dataset item {item_id}")

    def delete_traces(self, trace_ids: Sequence[str]) -> None:
        """Delete traces with their observations and scores in one call; ignore unknown ids.

        Langfuse Cloud allows 50 to 1,000 deletions a day, by plan; this call counts as one.
        """
        self._call(
            "DELETE",
            "/api/public/traces",
            action=f"delete {len(trace_ids):,} traces",
            json={"traceIds": list(trace_ids)},
        )

    def page(self, path: str, parameters: Mapping[str, str]) -> tuple[list[dict[str, Any]], str]:
        """Return one page of a list endpoint, newest first, and the next cursor (empty at the end).

        Only callers that count their requests need this; others use `observations` and `scores`.

        Raises:
            TraceStoreError: the page could not be read.
        """
        action = f"read {path.rsplit('/', 1)[1]} from {self.host}"
        body = self._call("GET", path, action=action, params=dict(parameters))
        return self._require_rows(body), str(body.get("meta", {}).get("cursor") or "")

    def _pages(
        self, path: str, query_parameters: Mapping[str, str], page_size: int
    ) -> Iterator[dict[str, Any]]:
        parameters = {name: value for name, value in query_parameters.items() if value}
        parameters["limit"] = str(page_size)
        for _ in range(MAX_PAGES):
            rows, cursor = self.page(path, parameters)
            yield from rows
            if not cursor or not rows:
                return
            if cursor == parameters.get("cursor"):
                break
            parameters["cursor"] = cursor
        raise TraceStoreError(
            f"read {path} from {self.host}",
            found="a cursor that repeats or never ends",
            next_step="choose a shorter time window",
            status=200,
        )

    def _require_rows(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        rows = body.get("data")
        if not isinstance(rows, list):
            raise TraceStoreError(
                f"read from {self.host}",
                found="a response without `data`",
                next_step="check that LANGFUSE_HOST runs Langfuse 4.16 or later",
                status=200,
            )
        return cast(list[dict[str, Any]], rows)

    def _call(self, method: str, path: str, *, action: str, **request: Any) -> dict[str, Any]:
        import httpx

        try:
            response = self._send(method, path, **request)
        except httpx.HTTPError as error:
            raise TraceStoreError(
                action,
                found=f"{self.host} does not answer ({type(error).__name__}: {error})",
                next_step="run `twin status` to check whether the trace store is running",
                status=None,
            ) from error
        if not response.is_success:
            raise TraceStoreError(
                action,
                found=f"HTTP {response.status_code}: {response.text[:500]}",
                next_step=_suggest_next_step(response.status_code),
                status=response.status_code,
            )
        try:
            body = response.json()
        except ValueError as error:
            raise TraceStoreError(
                action,
                found=f"a response that is not JSON: {response.text[:200]!r}",
                next_step="check that the address belongs to a trace store, not to a web page",
                status=response.status_code,
            ) from error
        return cast(dict[str, Any], body)

    def _send(self, method: str, path: str, **request: Any) -> httpx.Response:
        remaining_s = MAX_RETRY_AFTER_S
        while True:
            response = self._http.request(method, path, **request)
            if response.status_code != HTTPStatus.TOO_MANY_REQUESTS or self._wait is None:
                return response
            requested_s = parse_retry_after_s(
                response.headers.get("retry-after", ""), now=datetime.now(UTC)
            )
            wait_s = max(
                MIN_RETRY_WAIT_S, DEFAULT_RETRY_WAIT_S if requested_s is None else requested_s
            )
            if wait_s > remaining_s:
                return response
            self._wait(wait_s)
            remaining_s -= wait_s


def parse_retry_after_s(header: str, *, now: datetime) -> float | None:
    """Return the delay in a Retry-After header (RFC 9110, section 10.2.3), in seconds.

    The result is at most an hour. Return None if the header is empty or invalid.
    """
    text = header.strip()
    try:
        seconds = (
            float(text) if text.isdigit() else (parsedate_to_datetime(text) - now).total_seconds()
        )
    except (ValueError, TypeError):
        return None
    return min(max(seconds, 0.0), MAX_RETRY_AFTER_S)


def _nesting_depth(observation: dict[str, Any], trace: Sequence[dict[str, Any]]) -> int:
    """Return the number of ancestors. A parent may start in the same millisecond as its child."""
    parents = {item["id"]: item["parentObservationId"] for item in trace}
    depth, ancestor = 0, observation["parentObservationId"]
    while ancestor in parents and depth < len(parents):
        depth, ancestor = depth + 1, parents[ancestor]
    return depth


def _suggest_next_step(status: int) -> str:
    if status in (401, 403):
        return "check LANGFUSE_PUBLIC_KEY and LANGFUSE_SECRET_KEY, or the home's own key pair"
    if status == 404:
        return "check the address; a Langfuse older than 4.16 does not have this endpoint"
    if status == 429:
        return "wait and try again: the server limits the request rate"
    return "correct the request" if status < 500 else "read the trace store's log"


def _format_timestamp(time: datetime) -> str:
    utc_time = time if time.tzinfo else time.replace(tzinfo=UTC)
    return utc_time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
