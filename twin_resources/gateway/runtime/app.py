"""Build the ASGI application that granian serves: the allow-list around the LiteLLM proxy.

Scope: the order in which environment, configuration and LiteLLM are loaded.
Out of scope: starting a server (`__main__.py`), the settings of LiteLLM (`proxy_config.py`).
"""

from __future__ import annotations

import faulthandler
import os
from typing import cast

from starlette.types import ASGIApp

from twin_resources.gateway.api.origins import allow_origins
from twin_resources.gateway.api.routes import RouteAllowlist
from twin_resources.gateway.config.proxy_config import proxy_environment, write_proxy_config
from twin_resources.gateway.runtime.gc_schedule import disable_collection
from twin_resources.gateway.runtime.log_redaction import remove_exception_text
from twin_resources.observability.langfuse.connection import find_trace_store
from twin_resources.processes.parent_death import PARENT_VARIABLE, end_with_parent
from twin_resources.settings import load_secrets, load_settings


def application() -> ASGIApp:
    """Build the application for the home in `TWIN_HOME`.

    Changes `os.environ`, because LiteLLM reads its variables when it is imported.
    """
    # a worker of a killed server would keep the port
    end_with_parent(int(os.environ.pop(PARENT_VARIABLE, "0")))
    faulthandler.enable()  # logs the traceback of a crash in native code
    settings = load_settings()
    secrets = load_secrets(settings)
    config = write_proxy_config(settings)
    os.environ.update(proxy_environment(config, secrets, find_trace_store(settings, secrets)))

    with disable_collection():
        from litellm.proxy.proxy_server import app

        from twin_resources.gateway.api.agent_tools import AgentTools
        from twin_resources.gateway.api.questions_page import QuestionsPage
        from twin_resources.gateway.runtime import process

    remove_exception_text()
    limits = (process.request_path.passage_finder, process.admission, process.counter)
    allowlist = RouteAllowlist(
        proxy=cast(ASGIApp, app),
        keyring=process.keyring,
        live_config=process.live_config,
        background_tasks=process.background_tasks,
        outbox=process.outbox,
        home_metrics=process.home_metrics,
        agent_tools=AgentTools(process.live_config, *limits),
        questions_page=QuestionsPage(settings, process.keyring, process.live_config, *limits),
        admission=process.admission,
        responses=process.responses,
    )
    return allow_origins(allowlist, process.keyring)
