"""Create the objects of one gateway process; LiteLLM's configuration names three of them.

Importing this module reads the settings and imports LiteLLM, so
only the server process imports it (`app.py`). LiteLLM would execute a module next to config.yaml
once per reference.
"""

from __future__ import annotations

import contextlib
import os
from functools import cache
from pathlib import Path
from typing import Any

from twin_resources.access.account import open_account
from twin_resources.access.keys import open_key_store, open_keyring
from twin_resources.access.paid_budget import PaidBudget
from twin_resources.gateway.api.admission import AdmissionControl
from twin_resources.gateway.api.key_limits import KeyRequestCounter
from twin_resources.gateway.api.recent_responses import RecentResponses
from twin_resources.gateway.compose import Composer
from twin_resources.gateway.config.live_config import LiveConfig
from twin_resources.gateway.config.proxy_config import refuse_redirects
from twin_resources.gateway.costs.home_counts import COUNTS_VARIABLE, HomeCounts
from twin_resources.gateway.hooks.canary_watch import ACTOR, CanaryWatch
from twin_resources.gateway.hooks.trace_logger import TraceLogger
from twin_resources.gateway.hooks.trace_outbox import OutboxExporter
from twin_resources.gateway.passage_finder import create_passage_finder
from twin_resources.gateway.provider import ResponseFields, TwinProvider, authenticate
from twin_resources.gateway.request_path import RequestPath
from twin_resources.gateway.routing.question_routing import QuestionRouter
from twin_resources.gateway.runtime.background_tasks import BackgroundTasks
from twin_resources.gateway.runtime.home_metrics import HomeMetrics
from twin_resources.observability.langfuse.outbox import (
    GATEWAY_CHECKPOINT_PAGES,
    Outbox,
    outbox_path,
)
from twin_resources.settings import load_settings
from twin_resources.storage.state.home_state import open_home_state


async def _complete(**arguments: Any) -> Any:
    from litellm import acompletion

    return await acompletion(**arguments)


def _roll_back(author: str, version: int, reason: str) -> None:
    """Roll a version back in the registry if it is still a canary."""
    from twin_resources.registry.registry import Registry

    with contextlib.closing(open_home_state(settings)) as state:
        registry = Registry(state, policy_path=settings.policy_path)
        if registry.get(author, version).state == "canary":
            registry.move(author, version, "rolled_back", actor=ACTOR, reason=reason)


def _create_paid_budget() -> PaidBudget | None:
    if not settings.has_paid_route:
        return None
    account = open_account(settings, open_home_state(settings))
    return PaidBudget(account, model=settings.paid_model)


def _author_language(author: str) -> str:
    entry = live_config.current.authors.get(author)
    return entry.language if entry else ""


def _flush() -> None:
    """Write waiting settlements and spans before the process ends."""
    if budget is not None:
        budget.flush()
    trace_logger.flush()


settings = load_settings()
outbox = Outbox(outbox_path(settings), checkpoint_pages=GATEWAY_CHECKPOINT_PAGES)
exporter = OutboxExporter(outbox)
keyring = open_keyring(settings)
live_config = LiveConfig(settings)
refuse_redirects()
budget = _create_paid_budget()
counts_path = os.environ.get(COUNTS_VARIABLE)
counts = HomeCounts(Path(counts_path) if counts_path else None)
request_path = RequestPath(
    live_config, create_passage_finder(settings), settings.self_hosted_usd_per_hour, counts=counts
)
if budget is not None:
    request_path.paid_problem = budget.unavailable_reason
    request_path.paid_model = settings.paid_model
    request_path.router = QuestionRouter(settings.paid_model, budget.remaining_budget)
home_metrics = HomeMetrics(settings, live_config, outbox)
admission = AdmissionControl(settings.requests_per_key, settings.requests_per_server, counts)
watch = CanaryWatch(live_config, _roll_back)
trace_logger = TraceLogger(exporter, environment=settings.langfuse_environment)
counter = KeyRequestCounter(cache(lambda: open_key_store(settings)))
provider = TwinProvider(
    Composer(request_path, admission, counter, trace_logger, watch, budget, _complete)
)
response_fields = ResponseFields()
responses = RecentResponses(lambda: open_home_state(settings), outbox, _author_language)
background_tasks = BackgroundTasks(
    request_path=request_path,
    trace_problem=lambda: exporter.problem,
    throughput_path=settings.home / "gateway" / "throughput.json",
    flush=_flush,
    delete_expired=responses.delete_expired,
)

__all__ = ["authenticate"]  # named by LiteLLM's configuration
