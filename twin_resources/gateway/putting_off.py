"""Answers that wait for a provider's batch: put off when they are asked, given when it has them.

Belongs here: what is kept of a request that was put off, and the request as it is answered later.
Does not belong here: the tables (`provider_batch_rows.py`), sending batches to a provider
(`batches/provider_batches.py`), LiteLLM's hooks (`plugin.py`).

The gateway decides, once, who answers, and makes the prompt; where that is the paid model it says
202 in place of asking it. Asked the same again, it says 202 until the batch has ended, then gives
the provider's answer the way of every other: guards, disclosure, cost, trace. What was chosen,
found and shown is kept with the prompt: decided a second time it might be another model, and the
posts of that day are not those which the provider saw.
"""
# pyright: strict

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Literal, TypeVar

from pydantic import TypeAdapter
from sqlalchemy.exc import SQLAlchemyError

from twin_resources.access.keys import Key
from twin_resources.access.provider_batch_rows import BatchRow, BatchRows
from twin_resources.access.refusals import Refused
from twin_resources.authors import Author
from twin_resources.authors.answer_forms import AnswerForm
from twin_resources.errors import TwinError
from twin_resources.gateway.guard_record import GuardRecord
from twin_resources.gateway.request_body import ChatRequest
from twin_resources.gateway.request_record import CitedSource, RequestRecord
from twin_resources.gateway.routing.decision import RouteDecision, RoutingNote
from twin_resources.models.quotes.answer_text import Opening
from twin_resources.models.quotes.quoter import Quote
from twin_resources.models.retrieval.search import Passage
from twin_resources.storage.state.state import State

PUT_OFF = 202
"""Status of a request whose answer comes later: taken, and not answered (RFC 9110, 15.3.3)."""
_T = TypeVar("_T")


@dataclass(frozen=True)
class PutOffRecord:
    """What of an `RequestRecord` must be the same when its answer comes; see there."""

    asked: ChatRequest
    chosen: RouteDecision
    reader: str
    prompt_class: str
    template: str
    sources: tuple[Passage, ...]
    degraded: tuple[str, ...]
    answer: AnswerForm | Literal["not_written_about"]
    opening: Opening
    quotes: tuple[Quote, ...]
    nearest: tuple[Passage, ...]
    cited: tuple[Passage, ...]
    trace_id: str
    span_id: str
    ignored: tuple[str, ...]
    routing: RoutingNote | None
    guarded: tuple[GuardRecord, ...]
    provider: str
    provider_saw: str
    quote_score: float | None
    quote_threshold: float | None
    own_usd: float


@dataclass(frozen=True)
class LateAnswer:
    """A request whose batch has ended.

    Attributes:
        answering: as it was when it was put off.
        messages: the prompt that the provider was sent. sampling: and the other parameters.
        completion: the provider's, in OpenAI's shape.
        usd: what it has cost.
        row: where it stands.
    """

    answering: RequestRecord
    messages: list[dict[str, str]]
    sampling: Mapping[str, Any]
    completion: Mapping[str, Any]
    usd: float
    row: BatchRow


class PuttingOff:
    """Puts off requests, and finds the answers of those that were.

    Args:
        state: opens the state store; called at the first such request.
    """

    def __init__(self, state: Callable[[], State]) -> None:
        self._open = state
        self._rows: BatchRows | None = None

    async def find(self, chat_request: ChatRequest, key: Key, author: Author) -> LateAnswer | None:
        """The answer of a request that was put off; None: it was not, or never submitted.

        Raises:
            Refused: 202 its batch is under way, 422 the provider gave no answer (told once: asked
                the same again, it is put off anew), 503 the state store cannot be read.
        """
        row = await _stored(lambda: self._store().find(key.id, chat_request.batch_row))
        if row is None or row.status == "waiting":
            return None
        if row.status == "submitted":
            raise _later(chat_request, f"in batch {row.batch}, which has not ended")
        if row.answer is None:
            await self.told(row)
            raise Refused(
                422,
                "provider_batch_failed",
                tried=f"answer {chat_request.model} by the provider's batch",
                found=row.error,
                next_step="run the batch again, which asks this row anew, with --provider-batch "
                "or without",
            )
        answering = restored(row.record, author)
        answering.provider_batch = row.batch
        messages: list[dict[str, str]] = [dict(one) for one in row.request["messages"]]
        sampling = {name: row.request[name] for name in row.request if name != "messages"}
        return LateAnswer(answering, messages, sampling, row.answer, row.usd, row)

    async def put_off(
        self,
        answering: RequestRecord,
        key: Key,
        *,
        messages: Sequence[Mapping[str, str]],
        sampling: Mapping[str, Any],
    ) -> Refused:
        """Keep a request whose answer the paid model is to give; nothing is sent or reserved.

        Returns:
            What its client is told: 202, or 503: the state store cannot be written.
        """
        request = answering.asked
        form = {"response_format": dict(request.response_format)} if request.response_format else {}
        row = BatchRow(
            key=key.id,
            fingerprint=request.batch_row,
            author=request.author,
            trace_id=answering.trace_id,
            reader=answering.reader,
            request={"messages": [dict(one) for one in messages], **sampling, **form},
            record=recorded(answering),
        )
        try:
            await _stored(lambda: self._store().put_off(row))
        except Refused as unwritten:
            return unwritten
        return _later(request, "waiting for a batch")

    async def told(self, row: BatchRow) -> None:
        """Its answer goes out."""
        await _stored(lambda: self._store().told(row))

    def _store(self) -> BatchRows:
        if self._rows is None:
            self._rows = BatchRows(self._open())
        return self._rows


async def _stored(work: Callable[[], _T]) -> _T:
    """Done off the event loop.

    Raises:
        Refused: 503.
    """
    try:
        return await asyncio.to_thread(work)
    except (SQLAlchemyError, TwinError) as error:
        raise Refused(
            503,
            "provider_batch_unreadable",
            tried="keep a row for the provider's batch, or find its answer",
            found=f"the state store does not answer ({type(error).__name__})",
            next_step="run the batch again; the gateway's log says more",
        ) from error


def recorded(answering: RequestRecord) -> str:
    """What is kept of a request that is put off, as JSON."""
    routing = answering.routing
    record = PutOffRecord(
        # retrieval is over and has its words unredacted; the reader's name is hashed in `reader`
        asked=replace(answering.asked, search_text="", user=""),
        chosen=answering.chosen,
        reader=answering.reader,
        prompt_class=answering.prompt_class,
        template=answering.template,
        sources=_passages(answering.sources),
        degraded=answering.degraded,
        answer=answering.answer,
        opening=answering.opening,
        quotes=tuple(answering.quotes),
        nearest=_of(Passage, answering.nearest),
        cited=_passages(answering.cited),
        trace_id=answering.trace_id,
        span_id=answering.span_id,
        ignored=answering.ignored,
        routing=routing and replace(routing, cascade=None),  # it has been through that
        guarded=answering.guarded,
        provider=answering.provider,
        provider_saw=answering.provider_saw,
        quote_score=answering.quote_score,
        quote_threshold=answering.quote_threshold,
        own_usd=answering.own_usd,
    )
    return _adapter().dump_json(record).decode()


def restored(document: str, author: Author) -> RequestRecord:
    """The request as it was put off; of the author's file what stands in it now."""
    record = _adapter().validate_json(document)
    return RequestRecord(
        asked=record.asked,
        author=author,
        chosen=record.chosen,
        reader=record.reader,
        prompt_class=record.prompt_class,
        template=record.template,
        sources=record.sources,
        degraded=record.degraded,
        usd_per_hour=0.0,
        meter=None,
        answer=record.answer,
        opening=record.opening,
        quotes=record.quotes,
        nearest=record.nearest,
        cited=record.cited,
        trace_id=record.trace_id,
        span_id=record.span_id,
        ignored=record.ignored,
        routing=record.routing,
        guarded=record.guarded,
        provider=record.provider,
        provider_saw=record.provider_saw,
        quote_score=record.quote_score,
        quote_threshold=record.quote_threshold,
        own_usd=record.own_usd,
    )


def _later(chat_request: ChatRequest, found: str) -> Refused:
    return Refused(
        PUT_OFF,
        "put_off",
        tried=f"answer {chat_request.model} by the provider's batch",
        found=found,
        next_step="ask the same again when that batch has ended; twin batch --provider-batch does",
    )


def _passages(sources: Sequence[CitedSource]) -> tuple[Passage, ...]:
    return _of(Passage, sources)


def _of(kind: type[_T], values: Sequence[object]) -> tuple[_T, ...]:
    of_kind = tuple(one for one in values if isinstance(one, kind))
    if len(of_kind) != len(values):
        raise TypeError(f"not all of these are {kind.__name__}: {values!r}")
    return of_kind


@cache
def _adapter() -> TypeAdapter[PutOffRecord]:
    # The name stands in an annotation of `RoutingNote`; pydantic looks for it here.
    from twin_resources.router.fixed_order import PriceStep

    assert PriceStep is not None
    return TypeAdapter(PutOffRecord)
