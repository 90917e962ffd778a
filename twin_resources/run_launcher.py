"""Launch runs on this machine, and notice a run whose process ended together with its code server.

Dagster's code server starts the runs and reports the death of their processes. If the server itself
is killed, its runs end with it, and its successor knows none of them: without this launcher, they
would stay "started" forever, and what waits for them would wait as long.
"""

from __future__ import annotations

import socket

from dagster import DagsterRun, DefaultRunLauncher
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.launcher import CheckRunHealthResult, WorkerStatus
from dagster._grpc.types import GetCurrentRunsResult
from dagster._serdes import deserialize_value


class LocalRunLauncher(DefaultRunLauncher):
    """Dagster's launcher, with a health check for its daemon's run monitoring."""

    def terminate(self, run_id: str) -> bool:
        """End a run; return False if it has no process any more.

        Nobody listens at the address of a server that was killed, and its runs ended with it.

        Raises:
            DagsterUserCodeUnreachableError: the server does not respond in time; it may be busy.
        """
        try:
            return super().terminate(run_id)
        except DagsterUserCodeUnreachableError:
            if self._has_server(run_id):
                raise
            return False

    def _has_server(self, run_id: str) -> bool:
        """Return whether a process listens at the socket of the run's code server."""
        client = self._get_grpc_client_for_termination(run_id)
        if client is None or client.socket is None:
            return client is not None
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(client.socket)
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        return True

    @property
    def supports_check_run_worker_health(self) -> bool:
        """Run monitoring asks about each run that has started."""
        return True

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """Ask the code server at the address of the run's server whether it executes the run.

        Dagster reads the run's status again before it believes that the run is dead, so a run that
        ends between the two questions is none. A server that does not respond may be busy or about
        to be restarted: the next check asks again.
        """
        client = self._get_grpc_client_for_termination(run.run_id)
        if client is None:  # ended since
            return CheckRunHealthResult(WorkerStatus.SUCCESS)
        try:
            reply = client.get_current_runs()
        except DagsterUserCodeUnreachableError:
            return CheckRunHealthResult(WorkerStatus.RUNNING, "the code server does not respond")
        if run.run_id in deserialize_value(reply, GetCurrentRunsResult).current_runs:
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        return CheckRunHealthResult(
            WorkerStatus.NOT_FOUND, "the code server that executed the run was restarted"
        )
