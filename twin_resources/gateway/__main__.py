"""Start the gateway of the home in `TWIN_HOME`: `python -m twin_resources.gateway`.

Scope: cleaning the environment, checking the keys, and starting granian.
Out of scope: answering requests. This process does not import LiteLLM; its worker does.

Granian needs 6.5 ms of CPU time per request to serve the proxy; uvicorn needs 9 ms
(https://github.com/emmett-framework/granian).
"""
# pyright: strict

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping

from twin_resources.errors import TwinError
from twin_resources.gateway.costs.home_counts import (
    COUNTS_VARIABLE,
    METRICS_FOLDER_VARIABLE,
    create_counters_folder,
    create_counts_file,
)
from twin_resources.observability.langfuse.connection import find_trace_store
from twin_resources.processes.child_environment import child_environment
from twin_resources.processes.parent_death import PARENT_VARIABLE
from twin_resources.processes.process_identity import INSTANCE_VARIABLE
from twin_resources.settings import Settings, load_secrets, load_settings

WORKER_STOP_TIMEOUT_S = 10


def gateway_environment(settings: Settings, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment variables for the proxy process.

    The keys of the teacher's and the judge's providers are removed, because the gateway does not
    call them. The paid model's key is included only if the model and the budget are both set.
    """
    gateway_settings = settings.model_copy(update={"teacher_model": "", "judge_model": ""})
    return child_environment(
        gateway_settings, instance=environ.get(INSTANCE_VARIABLE, ""), environ=environ
    )


def main() -> int:
    """Serve until SIGTERM or SIGINT, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m twin_resources.gateway")
    parser.add_argument("--processes", type=int, default=1, help="worker processes")
    process_count: int = parser.parse_args().processes
    settings = load_settings()
    clean_environment = gateway_environment(settings, os.environ)
    if set(os.environ) - set(clean_environment):
        # Executing the program again also removes the other variables from /proc/<pid>/environ.
        os.execve(
            sys.executable,
            [sys.executable, "-m", "twin_resources.gateway", *sys.argv[1:]],
            clean_environment,
        )
    os.environ.update(clean_environment)
    os.environ[PARENT_VARIABLE] = str(os.getpid())  # workers end with this process
    try:
        find_trace_store(settings, load_secrets(settings))
    except TwinError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    if process_count > 1:
        os.environ[COUNTS_VARIABLE] = str(create_counts_file(settings.home))
        os.environ[METRICS_FOLDER_VARIABLE] = str(create_counters_folder(settings.home))
    try:
        _serve(settings, process_count)
    except RuntimeError as error:  # granian binds the port before its worker imports LiteLLM
        failure = TwinError(
            f"listen on {settings.host}:{settings.gateway_port}",
            found=str(error).partition("\n")[0],
            next_step="stop the program that uses the port, or change TWIN_GATEWAY_PORT",
        )
        sys.stderr.write(f"{failure}\n")
        return 1
    return 0


def _serve(settings: Settings, process_count: int) -> None:
    from granian import Granian
    from granian.constants import HTTPModes, Interfaces
    from granian.log import LogLevels

    Granian(
        "twin_resources.gateway.runtime.app:application",
        factory=True,
        address=settings.host,
        port=settings.gateway_port,
        interface=Interfaces.ASGI,
        workers=process_count,
        http=HTTPModes.http1,
        websockets=False,
        log_level=LogLevels.warning,
        log_access=False,
        workers_kill_timeout=WORKER_STOP_TIMEOUT_S,
    ).serve()


if __name__ == "__main__":
    raise SystemExit(main())
