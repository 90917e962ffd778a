"""Set the timeout of requests to a model server, and decide whether a slow server is stuck.

Scope: the time limit of a request, its single retry, and the check that the server is computing.
Out of scope: the content of requests and answers (`served_model.py`).

A slow server may only be short of CPU time. During a training run or tests, an answer can take
minutes instead of seconds, and a timeout would lose the whole batch. The CPU time of the server's
process distinguishes a slow server from a stuck one. A dead server is detected at once, because its
connections close.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Mapping
from time import sleep
from typing import TYPE_CHECKING, Any

import psutil

from twin_resources.errors import TwinError
from twin_resources.models.serving.adapter_routes import list_models
from twin_resources.models.serving.running_server import RunningServer

if TYPE_CHECKING:
    import httpx

ANSWER_TIMEOUT_S = 120.0  # with two free cores, a 135M model answers in 2 to 5 s
BUSY_TIMEOUT_FACTOR = 8  # extends the time limit of a server that is computing
MIN_COMPUTING_CPU_S = 0.1  # an idle server uses less within the time limit
EXIT_DELAY_S = 0.5  # a killed process closes its connections shortly before it counts as exited


class StallPolicy:
    """The time limit for requests to one server; concurrent requests may share a policy.

    Attributes:
        limit_s: seconds to wait for an answer. The limit is multiplied by `BUSY_TIMEOUT_FACTOR`
            after the first request that exceeds it while the server is computing.
    """

    def __init__(self, server: RunningServer, *, timeout_s: float = ANSWER_TIMEOUT_S) -> None:
        self.limit_s = timeout_s
        self._busy_timeout_s = BUSY_TIMEOUT_FACTOR * timeout_s
        self._server = server

    def post(self, client: httpx.Client, body: Mapping[str, Any]) -> httpx.Response:
        """Post a request, and repeat it once if it failed and the server is healthy.

        Raises:
            TwinError: the server has exited or is not computing.
            httpx.HTTPError: the second attempt also failed, or the server refuses.
        """
        import httpx

        try:
            return self._post_once(client, body)
        except httpx.TransportError:
            return self._post_once(client, body)

    def _post_once(self, client: httpx.Client, body: Mapping[str, Any]) -> httpx.Response:
        import httpx

        timeout_s, cpu_start_s = self.limit_s, self._cpu_seconds()
        url = f"{self._server.url}/chat/completions"
        try:
            return client.post(url, json=body, timeout=timeout_s).raise_for_status()
        except httpx.TransportError as error:
            self._check_server_health(error, timeout_s, cpu_start_s)
            raise

    def _check_server_health(
        self, error: httpx.TransportError, timeout_s: float, cpu_start_s: float
    ) -> None:
        """Raise a `TwinError` unless the server is healthy."""
        import httpx

        is_late = isinstance(error, httpx.TimeoutException)
        if not is_late:
            sleep(EXIT_DELAY_S)
        if self._server.pid is None:
            list_models(self._server.url, self._server.key)  # raises if it does not answer
        elif (cpu_used_s := self._cpu_seconds() - cpu_start_s) < MIN_COMPUTING_CPU_S and is_late:
            raise TwinError(
                f"ask {self._server.alias} at {self._server.url}",
                found=f"no answer within {timeout_s:.0f} s; its process {self._server.pid} used "
                f"{cpu_used_s:.2f} s of CPU time",
                next_step="check whether that process is stopped or out of memory; its log is "
                "logs/model-server-*.log in the home",
            ) from error
        if is_late:
            self.limit_s = self._busy_timeout_s

    def _cpu_seconds(self) -> float:
        """Return the CPU seconds of the server's process; 0 for an external server.

        Raises:
            TwinError: the process has exited.
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
            "may have killed the process because memory ran out",
        )
