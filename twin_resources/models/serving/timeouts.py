"""Set the timeout of requests to a model server, and decide whether a late server is stuck.

Scope: the limit of a request, the one retry, whether the server is alive and computing.
Out of scope: the content of requests and answers (`served_model.py`).

A late server may only be short of CPU time: beside a training and some tests an answer of seconds
takes minutes, and giving up loses the whole batch. The server's own CPU time distinguishes the two
cases. A dead server is noticed at once, because its connections close.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Mapping
from time import sleep
from typing import TYPE_CHECKING, Any

import psutil

from twin_resources.errors import TwinError
from twin_resources.models.serving.model_server import offered_models
from twin_resources.models.serving.running_server import RunningServer

if TYPE_CHECKING:
    import httpx

LIMIT_S = 120.0  # for one answer; with two free cores a model of 135M takes 2 to 5
PATIENCE = 8  # factor of the limit for a server that computes
COMPUTES_S = 0.1  # CPU seconds within the limit; an idle server uses less
PAUSE_S = 0.5  # a killed process closes its connections shortly before it counts as ended


class StallPolicy:
    """Posts requests to one server; concurrent requests may share it.

    Attributes:
        limit_s: seconds to wait for an answer. It is multiplied by `PATIENCE` after the first
            request that takes longer while the server computes.
    """

    def __init__(self, server: RunningServer, *, limit_s: float = LIMIT_S) -> None:
        self.limit_s = limit_s
        self._longest_s = PATIENCE * limit_s
        self._server = server

    def post(self, client: httpx.Client, body: Mapping[str, Any]) -> httpx.Response:
        """Post a request, and once more if the connection failed and the server is healthy.

        Raises:
            TwinError: the server has ended or does not compute.
            httpx.HTTPError: the second attempt failed as well, or the server refuses.
        """
        import httpx

        try:
            return self._try(client, body)
        except httpx.TransportError:
            return self._try(client, body)

    def _try(self, client: httpx.Client, body: Mapping[str, Any]) -> httpx.Response:
        import httpx

        limit_s, used_s = self.limit_s, self._cpu_seconds()
        url = f"{self._server.url}/chat/completions"
        try:
            return client.post(url, json=body, timeout=limit_s).raise_for_status()
        except httpx.TransportError as error:
            self._check(error, limit_s, used_s)
            raise

    def _check(self, error: httpx.TransportError, limit_s: float, used_s: float) -> None:
        """Raise a `TwinError` unless the server is healthy."""
        import httpx

        late = isinstance(error, httpx.TimeoutException)
        if not late:
            sleep(PAUSE_S)
        if self._server.pid is None:
            offered_models(self._server.url, self._server.key)  # raises if it does not answer
        elif (used_s := self._cpu_seconds() - used_s) < COMPUTES_S and late:
            raise TwinError(
                f"ask {self._server.alias} at {self._server.url}",
                found=f"no answer within {limit_s:.0f} s, in which its process {self._server.pid} "
                f"computed for {used_s:.2f} s",
                next_step="check whether that process is stopped or out of memory; its log is "
                "logs/model-server-*.log in the home",
            ) from error
        if late:
            self.limit_s = self._longest_s

    def _cpu_seconds(self) -> float:
        """Return the CPU seconds of the server's process; 0 for an external server.

        Raises:
            TwinError: the process has ended.
        """
        if self._server.pid is None:
            return 0.0
        try:
            process = psutil.Process(self._server.pid)
            if process.status() != psutil.STATUS_ZOMBIE:
                times = process.cpu_times()
                return times.user + times.system
        except psutil.NoSuchProcess:
            pass
        raise TwinError(
            f"ask {self._server.alias} at {self._server.url}",
            found=f"its process {self._server.pid} has ended",
            next_step="read logs/model-server-*.log in the home; if it is empty, the system "
            "may have ended it because memory ran out",
        )
