"""Record one request and its answer, for the reader and for the trace.

Scope: the record of a request, its `twin` field, its header and the flat metadata of
its trace.
Out of scope: filling the record (`routing/`, `compose.py`), sending a span (`tracing.py`).

Trace ids: https://www.w3.org/TR/trace-context/
"""
# pyright: strict

from __future__ import annotations

import secrets as random_source
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from twin_resources.authors import Author
from twin_resources.authors.answer_forms import AnswerForm
from twin_resources.gateway.costs.answer_cost import AnswerCost
from twin_resources.gateway.exchange.disclosure import Writer, get_disclosure, has_disclosure_above
from twin_resources.gateway.exchange.exchange import Exchange, Fallback, FixedText
from twin_resources.gateway.exchange.supported_prose import ProseNote
from twin_resources.gateway.front_desk.answers import dates_text, prose_label
from twin_resources.gateway.guards.guard_record import GuardRecord
from twin_resources.gateway.request.prompt_classes import CLASSIFIER
from twin_resources.gateway.request.request_body import ChatRequest
from twin_resources.gateway.routing.decision import RouteDecision
from twin_resources.models.quotes.answer_text import (
    NOTICE_PREFIX,
    AnswerOpening,
    citations,
    closest_fields,
    format_for_trace,
    post_fields,
    quote_fields,
    render_prose_label,
)
from twin_resources.models.quotes.quoter import Quote, QuoteResult
from twin_resources.models.serving.served_precision import parse_precision
from twin_resources.registry.route_names import DRAFT, PAID, QUOTES

if TYPE_CHECKING:
    from twin_resources.models.retrieval.retrieval import Passage

TRACE_HEADER, SOURCE_TYPE_HEADER = "x-twin-trace-id", "x-twin-digital-source-type"
_IPTC = "http://cv.iptc.org/newscodes/digitalsourcetype/"


@dataclass
class RequestRecord:
    """The record of one request, from the choice of the version to the end of its answer.

    Attributes:
        exchange: result of the stages. The record's own fields contain later changes.
        cost: timing and price of the answer.
        decision: the version that answers.
        answer_form: the form of the answer, see `Author.answer`; `not_found` shows only the
            closest passages.
        degraded: deviations from the policy, one short clause each.
        guard_records: findings of the guards in the question, the passages and the answer.
        safety_findings: reasons that the answer is scored as unsafe; set when the answer ends.
        trace_id, span_id: W3C trace context, 32 and 16 hexadecimal digits.
        shown_text: the answer as the reader received it, or empty if the model's text is unchanged.
        replaced_decision: the version that the fallback replaced; None without a replacement.
        restart_count: number of restarts after a failure, on any version.
        prose_note: why prose is shown or hidden.
        provider: the paid model that received a part of the request, or empty.
        stage_log: duration and changes of each stage, one line each.
        is_opened: whether the stream began before the model was called.
        is_sent: whether the model was called.
        has_prose: whether the model has written text.
        finish_reason: why the answer ended, as in OpenAI's API.
        usage: the model's token counts `input`, `output` and `total`; empty if it sent none.
    """

    exchange: Exchange
    cost: AnswerCost
    decision: RouteDecision
    answer_form: AnswerForm | Literal["not_found"] = "voice"
    degraded: tuple[str, ...] = ()
    guard_records: tuple[GuardRecord, ...] = ()
    safety_findings: tuple[str, ...] = ()
    trace_id: str = field(default_factory=lambda: random_source.token_hex(16))
    span_id: str = field(default_factory=lambda: random_source.token_hex(8))
    shown_text: str = ""
    replaced_decision: RouteDecision | None = None
    restart_count: int = 0
    prose_note: ProseNote = field(default_factory=ProseNote)
    provider: str = ""
    stage_log: str = ""
    is_opened: bool = False
    is_sent: bool = False
    has_prose: bool = False
    finish_reason: str = "stop"
    usage: Mapping[str, int] = field(default_factory=dict[str, int])

    @property
    def chat_request(self) -> ChatRequest:
        return self.exchange.chat_request

    @property
    def author(self) -> Author:
        return self.exchange.author

    @property
    def fallback(self) -> Fallback | None:
        """The version that answers if the chosen one fails, or None."""
        return self.exchange.fallback

    @property
    def fixed_text(self) -> FixedText:
        return self.exchange.fixed_text

    @property
    def opening(self) -> AnswerOpening:
        """The text before the generated prose, or in its place."""
        return self.exchange.answer_parts.opening

    @property
    def quotes(self) -> Sequence[Quote]:
        return self.exchange.answer_parts.quotes

    @property
    def ignored(self) -> tuple[str, ...]:
        """Names of the client's parameters that have no effect."""
        return tuple(sorted((*self.chat_request.ignored, *self.exchange.ignored_parameters)))

    @property
    def quote_result(self) -> QuoteResult | None:
        """Result of the search for quotations, or None if there was no search."""
        exchange = self.exchange
        return exchange.retrieved_passages.quote_result if exchange.has_searched_quotes else None

    @property
    def template(self) -> str:
        """Hash of the prompt template of the version that answers."""
        fallback = self.fallback if self.replaced_decision is not None else None
        return fallback.template if fallback else self.exchange.template.hash

    @cached_property
    def sources(self) -> Sequence[Passage]:
        """The passages in the prompt, or the quoted posts if there is no prompt; best first."""
        return self.exchange.answer_parts.sources(self.exchange.retrieved_passages)

    def end(self, tokens: int, *, paid_usd: float | None = None) -> None:
        """Compute the cost of the answer; see `AnswerCost.end`."""
        self.cost.end(
            tokens,
            paid_usd=paid_usd,
            is_fixed=self.is_fixed,
            is_paid=self.decision.server_key == PAID,
            routing_note=self.exchange.decision.routing_note,
        )

    def record_fallback(self, reason: str) -> None:
        """Record once that the chosen version failed and the fallback answers.

        Args:
            reason: the clause for `degraded`.
        """
        if self.fallback is None or self.replaced_decision is not None:
            return
        self.cost.switch_meter(self.fallback.meter)
        self.restart_count += 1
        self.replaced_decision, self.decision = self.decision, self.fallback.decision
        self.degraded = (*self.degraded, reason)

    @property
    def can_restart(self) -> bool:
        """Whether a server of this home writes the answer.

        A second attempt is then free, and a crashed server restarts in about a second.
        """
        return self.cost.paid_call is None and not self.decision.is_elsewhere and not self.is_fixed

    def record_restart(self) -> None:
        """Record that the server failed during the answer and is called again."""
        self.restart_count += 1
        self.degraded = (*self.degraded, f"{self.decision.route} broke off: answered again")

    def record_missing_prose(self, reason: str) -> None:
        """Record that only the opening was sent, so the answer contains only quotations."""
        if not self.is_fixed:
            self._record_as_quotation(reason)
        self.degraded = (*self.degraded, reason)

    def record_unsupported_prose(self) -> None:
        """Record that too few sentences are supported, so that only the quotations are shown."""
        sentences = self.prose_note.supported_sentences
        if sentences is not None:
            self._record_as_quotation(sentences.describe_loss())
            self.shown_text = self.opening.text

    def _record_as_quotation(self, reason: str) -> None:
        """Count the answer as quotations, because votes on it do not rate the prose."""
        self.answer_form = "quote"
        self.prose_note.hidden_reason, self.prose_note.draft_model = reason, self.draft_model
        self.decision = replace(
            self.decision, version=QUOTES, checkpoint="", route=QUOTES, propensity=1.0
        )

    @property
    def completion_id(self) -> str:
        return f"chatcmpl-{self.trace_id}"

    def record_repetition(self) -> None:
        """Record that the answer was cut before a loop."""
        self.degraded = (*self.degraded, "the model repeated itself: the answer was cut there")

    @property
    def should_end_at_sentence(self) -> bool:
        """Whether the gateway ends the answer at a sentence.

        It does so if a model writes prose and the client set neither `max_tokens` nor `stop`.
        """
        client_limits = {"max_tokens", "stop"} & self.chat_request.sampling.keys()
        return not client_limits and not self.is_fixed and self.chat_request.response_format is None

    @property
    def writer(self) -> Writer:
        """The kind of writer that answered, see `disclosure.py`."""
        if self.fixed_text.front_desk:
            return "program"
        if self.fixed_text.guard_refusal:
            return "fixed"
        if self.decision.version == PAID:
            return "paid"
        return "tuned" if self.decision.is_tuned else "untuned"

    @property
    def is_fixed(self) -> bool:
        """Whether no model is called: a guard or the front desk answers, or there is no prose."""
        has_fixed_text = bool(self.fixed_text.guard_refusal or self.fixed_text.front_desk)
        lacks_prose = (
            self.answer_form in {"quote", "not_found"} and not self.prose_note.supported_sentences
        )
        return has_fixed_text or lacks_prose

    @property
    def prefix(self) -> str:
        """The text sent before the generated prose or before a fixed text."""
        has_opening = (
            self.answer_form == "quote_and_voice" or self.prose_note.supported_sentences is not None
        )
        return self.notice + self.opening.text * has_opening

    @property
    def heading(self) -> str:
        """The line that precedes the first word of prose and names its writer, or empty."""
        label = self.prose_label
        if not label or self.chat_request.response_format is not None:
            return ""
        return "\n\n" * bool(self.opening.text) + render_prose_label(label)

    @property
    def prose_label(self) -> str:
        """Whose words the prose of the answer is, in the reader's language; empty without prose."""
        has_prose = not self.is_fixed and self.answer_form in {"voice", "quote_and_voice"}
        return prose_label(self.chat_request.question, self.author) if has_prose else ""

    @property
    def draft_model(self) -> str:
        """The model name that returns unreleased prose."""
        return f"twin/{self.chat_request.author}@{DRAFT}"

    @cached_property
    def notice(self) -> str:
        """The paragraph above the text: a statement of who answers, or the disclosure.

        The statement is shown if the reader may be asking who answers. The author's settings
        determine whether the disclosure is shown. A range of dates in the question is said last.
        The paragraph is composed when the answer begins.
        """
        is_first = not any(turn["role"] == "assistant" for turn in self.chat_request.history)
        is_json = self.chat_request.response_format is not None
        text = self.fixed_text.notice
        if (
            not text
            and not self.fixed_text.front_desk
            and has_disclosure_above(self.author, is_first=is_first, is_json=is_json)
        ):
            text = self._disclosure()
        text = " ".join(f"{text} {'' if is_json else self._dates_text()}".split())
        return f"{NOTICE_PREFIX}{text}\n\n" if text else ""

    def _dates_text(self) -> str:
        """The line that says which dates of posts were searched; empty without a range."""
        found, parts = self.exchange.retrieved_passages, self.exchange.answer_parts
        if found.date_range is None:
            return ""
        shown = (*parts.quotes, *parts.nearest) or found.passages
        dates = [post.published_at for post in shown if post.published_at]
        return dates_text(
            self.chat_request.question,
            self.author,
            found.date_range,
            other_dates=dates if found.is_outside_range else None,
        )

    @property
    def _opening_after_notice(self) -> AnswerOpening:
        """The opening, with offsets into the whole text of the answer."""
        if not self.notice:
            return self.opening
        offset = len(self.notice)
        spans = tuple((begin + offset, end + offset) for begin, end in self.opening.quote_spans)
        return replace(self.opening, quote_spans=spans)

    def _disclosure(self) -> str:
        return get_disclosure(
            self.author,
            writer=self.writer,
            has_passages=bool(self.sources),
            # Without a quotation, the program wrote the text.
            answer="not_found"
            if self.answer_form == "quote" and not self.quotes
            else self.answer_form,
        )

    @property
    def citations(self) -> list[dict[str, Any]]:
        """The `annotations` of the message."""
        return citations(self.quotes, self._opening_after_notice) if self.quotes else []

    @property
    def traceparent(self) -> str:
        return f"00-{self.trace_id}-{self.span_id}-01"

    def headers(self) -> dict[str, str]:
        """Return the headers of the answer, which are known before its first token."""
        source = self.digital_source_type
        return {TRACE_HEADER: self.trace_id} | ({SOURCE_TYPE_HEADER: source} if source else {})

    @property
    def digital_source_type(self) -> str:
        """IPTC's term for an answer in which a model wrote, alone or below quotations, or empty.

        Source: https://cv.iptc.org/newscodes/digitalsourcetype/
        """
        if not self.prose_label:
            return ""
        is_mixed = self.answer_form == "quote_and_voice"
        return f"{_IPTC}{'compositeWithT' if is_mixed else 't'}rainedAlgorithmicMedia"

    def twin_field(self) -> dict[str, Any]:
        """Return the structured field `twin` of the answer.

        A stream contains it in its opening and, with the final values, in its last content chunk.
        """
        nearest, found = self.exchange.answer_parts.nearest, self.exchange.retrieved_passages
        return {
            "trace_id": self.trace_id,
            "version": self.decision.version,
            "route": self.decision.route,
            "sources": [
                {
                    "chunk_id": source.chunk_id,
                    **post_fields(source),
                    "text": source.text,
                    "start": source.start,
                    "end": source.end,
                }
                for source in self.sources
            ],
            "answer": self.answer_form,
            "front_desk": self.fixed_text.front_desk,
            "quotes": quote_fields(self.quotes, self._opening_after_notice) if self.quotes else [],
            "nearest": closest_fields(nearest, self._opening_after_notice) if nearest else [],
            "disclosure": self._disclosure(),
            "digital_source_type": self.digital_source_type,
            "dates": found.date_range.fields() | {"outside": found.is_outside_range}
            if found.date_range
            else None,
            "cost_usd": self.cost.usd,
            "degraded": "; ".join(self.degraded),
            "ignored": list(self.ignored),
            "released_for": list(self.decision.prose_release.forms),
            "release": self.decision.prose_release.description,
            "prose": self.prose_note.fields(label=self.prose_label),
            "draft": {"why": self.prose_note.draft_reason}
            if self.prose_note.draft_reason
            else None,
            "precision": parse_precision(self.decision.engine),
        }

    def _chunk_ids(self) -> list[str]:
        """Return the chunk ids of the prompt's passages and of the posts in the opening.

        Erasure finds the trace by these ids.
        """
        passages = (*self.sources, *self.exchange.answer_parts.cited_passages)
        return list(dict.fromkeys(passage.chunk_id for passage in passages))

    def trace_metadata(self) -> Mapping[str, str]:
        """Return the trace's flat metadata as text, because Langfuse filters on text."""
        routing_note = self.exchange.decision.routing_note
        return {
            "twin.author": self.chat_request.author,
            "twin.version": self.decision.version,
            "twin.checkpoint": self.decision.checkpoint,
            "twin.server": self.decision.engine,
            "twin.route": self.decision.route,
            "twin.propensity": f"{self.decision.propensity:.6g}",
            "twin.class": self.chat_request.prompt_class,
            "twin.classifier": CLASSIFIER,
            "twin.template": self.template,
            "twin.answer": self.answer_form,
            "twin.prose_label": self.prose_label,
            "twin.quotes": format_for_trace(self.quotes),
            "twin.chunks": ",".join(self._chunk_ids()),
            "twin.cost_usd": "" if self.cost.usd is None else f"{self.cost.usd:.9f}",
            "twin.tokens_per_second": f"{self.cost.tokens_per_second:.1f}",
            "twin.degraded": "; ".join(self.degraded),
            "twin.reader": self.exchange.key.reader,
            "twin.front_desk": self.fixed_text.front_desk,
            "twin.routing": routing_note.reason if routing_note else "",
            "twin.gain": _format_number(routing_note.gain if routing_note else None, ".4f"),
            "twin.other": routing_note.other_model if routing_note else "",
            "twin.other_usd": _format_number(self.cost.other_usd, ".9f"),
            "twin.ignored": ",".join(self.ignored),
            "twin.batch": "true" if self.chat_request.is_batch else "",
            "twin.safety": ",".join(self.safety_findings),
            "twin.provider": self.provider,
            "twin.provider_saw": self.exchange.provider_parts,
            "twin.guards": ",".join(map(str, self.guard_records)),
            "twin.stages": self.stage_log,
        }


def _format_number(value: float | None, format_spec: str) -> str:
    return "" if value is None else format(value, format_spec)
