"""Prepare a question: run the stages and create the record of the answer.

Scope: running the stages, and the record of their results. Out of scope: the stages (`stages/`),
reading the request (`request_body.py`), calling a model (`compose.py`).
"""
# pyright: strict

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, date, datetime

from twin_resources.access.keys import Key
from twin_resources.gateway.costs.answer_cost import AnswerCost
from twin_resources.gateway.exchange.exchange import Exchange
from twin_resources.gateway.exchange.request_record import RequestRecord
from twin_resources.gateway.exchange.supported_prose import (
    NO_QUOTATION,
    NOT_JUDGED,
    ProseNote,
    SupportedSentenceFilter,
)
from twin_resources.gateway.request.request_body import ChatRequest
from twin_resources.gateway.routing.decision import RouteDecision
from twin_resources.gateway.stages import STAGES
from twin_resources.gateway.stages.prompt import decision_for_statistics
from twin_resources.gateway.stages.services import RequestServices
from twin_resources.gateway.stages.stage import run_stages
from twin_resources.registry.route_names import DRAFT, FRONT_DESK, PAID, QUOTES


@dataclass
class RequestPath(RequestServices):
    """The services of a gateway, with a method that prepares questions."""

    async def prepare(
        self,
        chat_request: ChatRequest,
        key: Key,
        *,
        today: date | None = None,
        paid_problem: str = "",
    ) -> RequestRecord:
        """Choose the model, retrieve passages and render the prompt; return the request's record.

        Args:
            paid_problem: why the paid model cannot be called, if that became known after it was
                chosen.

        Raises:
            RefusedError: see the stages.
        """
        exchange = Exchange(
            chat_request=chat_request,
            key=key.for_reader(chat_request.user),
            snapshot=self.live_config.current,
            day=today or datetime.now(UTC).date(),
            paid_problem=paid_problem or None,
            ignored_parameters=("user",)
            if chat_request.user and (key.role != "site" or key.is_public)
            else (),
        )
        exchange, stage_log = await run_stages(exchange, self, STAGES)
        return self._create_record(exchange, stage_log)

    def _create_record(self, exchange: Exchange, stage_log: str) -> RequestRecord:
        """Create the initial record of the answer."""
        decision = exchange.decision
        notes = (
            *exchange.snapshot.collect_problems(exchange.chat_request.author),
            *decision.degraded,
            *exchange.notes,
            self.trace_problem,
        )
        has_no_meter = exchange.is_answered or decision.server_key == PAID or decision.is_elsewhere
        meter = None if has_no_meter else self.meter(decision.server_key)
        record = RequestRecord(
            exchange=exchange,
            cost=AnswerCost(self.usd_per_hour, meter),
            decision=replace(_statistics_decision(exchange), routing_note=None),
            answer_form=exchange.answer_parts.form,
            degraded=tuple(note for note in notes if note),
            guard_records=exchange.guard_records,
            provider=(decision.provider or self.paid_model) if exchange.provider_parts else "",
            stage_log=stage_log,
        )
        record.prose_note = self._build_prose_note(record)
        return record

    def _build_prose_note(self, record: RequestRecord) -> ProseNote:
        """Return the reason that no prose is shown, or the filter of its sentences."""
        chat_request, release = record.chat_request, record.decision.prose_release
        if record.fixed_text.guard_refusal or record.answer_form == "not_found":
            return ProseNote()
        if record.answer_form == "quote":
            if record.author.answer == "quote":
                return ProseNote()
            return ProseNote(release.why_not or NO_QUOTATION, record.draft_model)
        if chat_request.alias or chat_request.response_format is not None:
            is_draft = chat_request.alias == DRAFT
            return ProseNote(draft_reason=release.why_not or (NOT_JUDGED if is_draft else ""))
        cutoff = release.cut if record.answer_form == "quote_and_voice" else None
        judge = self.passage_finder.create_sentence_judge(cutoff.judge) if cutoff else None
        if cutoff is None or judge is None:
            return ProseNote()
        texts = [source.text for source in (*record.sources, *record.quotes)]
        return ProseNote(
            supported_sentences=SupportedSentenceFilter(
                judge, cutoff.threshold, texts, self.passage_finder.run_in_thread
            )
        )


def _statistics_decision(exchange: Exchange) -> RouteDecision:
    """Return the decision under the name that the statistics use."""
    if not exchange.is_answered or exchange.fixed_text.guard_refusal:
        return decision_for_statistics(exchange.decision, exchange.chat_request)
    route = FRONT_DESK if exchange.fixed_text.front_desk else QUOTES
    return replace(exchange.decision, version=route, checkpoint="", route=route, propensity=1.0)
