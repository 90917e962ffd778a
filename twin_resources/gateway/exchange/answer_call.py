"""One request on its way through LiteLLM: what the allow-list read, and what the composer found."""
# pyright: strict

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from twin_resources.access.keys import Key
from twin_resources.access.refusals import RefusedError
from twin_resources.gateway.exchange.request_record import RequestRecord


@dataclass
class AnswerCall:
    """A request between the allow-list, which sets the first fields, and the provider.

    LiteLLM translates the messages of each API; nothing else of a request needs its help.

    Attributes:
        key: the key of the client.
        model: name of the twin that answers.
        admitted: parameters without effect on the model, see `ignored_parameters.py`.
        store: keeps the trace id and the text of an answer for later requests, or None. Blocks.
        record: the record of the answer, from its first piece on.
        refusal: why there is no answer, or None.
    """

    key: Key
    model: str
    admitted: Mapping[str, Any]
    store: Callable[[str, str], None] | None = None
    record: RequestRecord | None = None
    refusal: RefusedError | None = None


current_call: ContextVar[AnswerCall] = ContextVar("current_call")
"""The request that the current task answers."""
