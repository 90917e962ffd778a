"""Prepare a question without LiteLLM: run the stages and create the record of the answer.

Scope: running the stages, and the record of their results. Out of scope: a stage (`stages/`),
reading the request (`request_body.py`), LiteLLM's hooks (`plugin.py`).
"""
# pyright: strict

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, date, datetime

from twin_resources.access.keys import Key
from twin_resources.gateway.costs.answer_cost import AnswerCost
from twin_resources.gateway.exchange.exchange import Exchange
from twin_resources.gateway.exchange.request_record import RequestRecord, new_trace_id
from twin_resources.gateway.exchange.supported_prose import (
    NO_QUOTATION,
    NOT_JUDGED,
    ProseNote,
    SupportedSentences,
)
from twin_resources.gateway.request.request_body import ChatRequest
from twin_resources.gateway.routing.decision import RouteDecision
from twin_resources.gateway.stages import STAGES
from twin_resources.gateway.stages.prompt import counted_as_draft
from twin_resources.gateway.stages.services import RequestServices
from twin_resources.gateway.stages.stage import run_stages
from twin_resources.registry.route_names import DRAFT, FRONT_DESK, QUOTES


@dataclass
class RequestPath(RequestServices):
    """Prepares questions."""

    async def prepare(
        self, chat_request: ChatRequest, key: Key, *, today: date | None = None, unpaid: str = ""
    ) -> RequestRecord:
        """Choose the model, retrieve and render; return the record of a request ready to be sent.

        Args:
            unpaid: why the paid model cannot be asked, if that became known after it was chosen.

        Raises:
            Refused: see the stages.
        """
        exchange = Exchange(
            asked=chat_request,
            key=key.for_reader(chat_request.user),
            snapshot=self.live.current,
            day=today or datetime.now(UTC).date(),
            unpaid=unpaid or None,
            ignored=("user",) if chat_request.user and key.role != "site" else (),
        )
        exchange, stage_log = await run_stages(exchange, self, STAGES)
        return self._record(exchange, stage_log)

    def _record(self, exchange: Exchange, stage_log: str) -> RequestRecord:
        """Create the initial record of the answer."""
        chosen = exchange.chosen
        notes = (
            *exchange.snapshot.problems_of(exchange.asked.author),
            *chosen.degraded,
            *exchange.notes,
            self.trace_problem,
        )
        answering = RequestRecord(
            exchange=exchange,
            cost=AnswerCost(
                self.usd_per_hour, None if exchange.is_answered else self.meter_of(chosen)
            ),
            chosen=replace(_counted(exchange), why=None),
            answer=exchange.form.answer,
            degraded=tuple(note for note in notes if note),
            guarded=exchange.guarded,
            provider=(chosen.provider or self.paid_model) if exchange.provider_saw else "",
            trace_id=new_trace_id(),
            stages=stage_log,
        )
        answering.prose = self._prose_note(answering)
        return answering

    def _prose_note(self, answering: RequestRecord) -> ProseNote:
        """Return why prose is not shown, or the judge of its sentences."""
        asked, release = answering.asked, answering.chosen.prose
        if answering.fixed.withheld or answering.answer == "not_written_about":
            return ProseNote()
        if answering.answer == "quote":
            if answering.author.answer == "quote":
                return ProseNote()
            return ProseNote(release.why_not or NO_QUOTATION, answering.draft_model)
        if asked.alias or asked.response_format is not None:
            is_draft = asked.alias == DRAFT
            return ProseNote(draft=release.why_not or (NOT_JUDGED if is_draft else ""))
        cut = release.cut if answering.answer == "quote_and_voice" else None
        judge = self.passages.sentence_judge(cut.judge) if cut else None
        if cut is None or judge is None:
            return ProseNote()
        texts = [source.text for source in (*answering.sources, *answering.quotes)]
        return ProseNote(judged=SupportedSentences(judge, cut.threshold, texts, self.passages.run))


def _counted(exchange: Exchange) -> RouteDecision:
    """Return the choice under the name that the statistics use."""
    if not exchange.is_answered or exchange.fixed.withheld:
        return counted_as_draft(exchange.chosen, exchange.asked)
    name = FRONT_DESK if exchange.fixed.front_desk else QUOTES
    return replace(exchange.chosen, version=name, checkpoint="", route=name, propensity=1.0)
