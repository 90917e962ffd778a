"""One request: `Exchange` is what was decided before a model is called, `RequestRecord` the answer.

Trace ids: https://www.w3.org/TR/trace-context/
"""
# pyright: strict

from __future__ import annotations

import secrets as random_source
import time
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from datetime import date
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from twin_resources.access.keys import Key
from twin_resources.access.paid_budget import PaidCall
from twin_resources.access.refusals import RefusedError
from twin_resources.authors import Author
from twin_resources.authors.answer_forms import VOICE
from twin_resources.authors.front_desk_settings import DeskKind
from twin_resources.gateway.costs.cost import ThroughputMeter, answer_usd
from twin_resources.gateway.exchange.supported_prose import ProseNote
from twin_resources.gateway.front_desk.answers import dates_text, prose_label
from twin_resources.gateway.front_desk.message_kinds import ORDINARY, ClassifiedMessage
from twin_resources.gateway.guards.guard_record import GuardRecord
from twin_resources.gateway.passage_finder import RetrievedPassages
from twin_resources.gateway.request.prompt_classes import CLASSIFIER
from twin_resources.gateway.request.request_body import ChatRequest, RequestParameters
from twin_resources.gateway.routing.decision import RouteDecision
from twin_resources.gateway.routing.snapshot import Snapshot
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
from twin_resources.models.serving.served_precision import parse_precision
from twin_resources.prompt.templates import DEFAULT_TEMPLATE, Template
from twin_resources.registry.route_names import DRAFT, PAID, QUOTES

if TYPE_CHECKING:
    from twin_resources.models.quotes.quoter import Quote, QuoteResult
    from twin_resources.models.retrieval.retrieval import Passage

TRACE_HEADER, SOURCE_TYPE_HEADER = "x-twin-trace-id", "x-twin-digital-source-type"
_IPTC = "http://cv.iptc.org/newscodes/digitalsourcetype/"
_DISCLOSURE_PLACES = ("field", "first", "each")

ShownForm = Literal["quote", "quote_and_voice", "voice", "not_found"]
"""Parts of an answer; `not_found` shows only the closest passages."""
Writer = Literal["tuned", "untuned", "paid", "fixed", "program"]
"""Writer of an answer: a model tuned on the posts, an untuned model, a paid model, a guard
(`fixed`) or the front desk (`program`)."""


@dataclass(frozen=True)
class FixedText:
    """A fixed answer that replaces an answer from the posts.

    Attributes:
        text: the answer, or empty if the answer comes from the posts.
        front_desk: the kind of message that the program answers itself, or empty. `rewriting` is a
            request to rewrite an earlier answer, `talk` a question about the conversation, `never`
            a question that the author's rule declines.
        guard_refusal: the fixed sentence that replaces an answer blocked by the guards, or empty.
            At most one of `front_desk` and `guard_refusal` is set.
        notice: statement of who answers, shown above an answer from the posts; empty unless the
            reader may be asking who answers.
    """

    text: str = ""
    front_desk: DeskKind | Literal["", "housekeeping", "never", "rewriting", "talk"] = ""
    guard_refusal: str = ""
    notice: str = ""


@dataclass(frozen=True)
class Exchange:
    """One request, with what was decided before a model is called (`request_path.py`).

    Attributes:
        chat_request: the request after guards and redaction.
        key: the key of the client.
        snapshot: the configuration when the request arrived.
        day: the UTC day of the traffic split.
        paid_problem: why the paid model cannot be called, empty if it can, or None before the
            check.
        decision, template: the version that answers, and the template of its prompt.
        message: the kind of the reader's message, for the front desk.
        fixed_text: the fixed answer that replaces an answer from the posts.
        retrieved_passages: the retrieved passages.
        has_searched_quotes: whether the search for quotations succeeded.
        form: the parts of the answer.
        opening: the text before the generated prose, or in its place.
        quotes, nearest, cited_passages: the quotations, the closest passages if nothing was found,
            and the passages of the posts that the opening shows.
        unredacted_inputs: question and passages before redaction for a provider, or None if nothing
            was redacted. The fallback reads them, because it answers on this machine.
        provider, provider_parts: the provider, and the parts of the request that it is shown, or
            empty.
        guard_records: findings of the guards.
        ignored_parameters: client parameters without effect.
        notes: deviations from the intended behavior, one clause each.
        messages: the rendered prompt.
        sampling: the author's default sampling parameters, overridden by the client's.
        fallback: this request to the version that answers if the chosen one fails, with the prompt
            of its own template; None if there is no such version. The stable version replaces a
            canary or a routed paid model, and the base model an answer model on another machine.
    """

    chat_request: ChatRequest
    key: Key
    snapshot: Snapshot
    day: date
    paid_problem: str | None = None
    decision: RouteDecision = field(default=RouteDecision("", "", "", "", "", 1.0))
    template: Template = DEFAULT_TEMPLATE
    message: ClassifiedMessage = ORDINARY
    fixed_text: FixedText = field(default_factory=FixedText)
    retrieved_passages: RetrievedPassages = field(default_factory=RetrievedPassages)
    has_searched_quotes: bool = False
    form: ShownForm = VOICE
    opening: AnswerOpening = field(default_factory=AnswerOpening)
    quotes: Sequence[Quote] = ()
    nearest: tuple[Passage, ...] = ()
    cited_passages: tuple[Passage, ...] = ()
    unredacted_inputs: tuple[ChatRequest, RetrievedPassages] | None = None
    provider: str = ""
    provider_parts: str = ""
    guard_records: tuple[GuardRecord, ...] = ()
    ignored_parameters: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    messages: Sequence[Mapping[str, str]] = ()
    sampling: Mapping[str, Any] = field(default_factory=dict[str, Any])
    fallback: Exchange | None = None

    @property
    def author(self) -> Author:
        return self.snapshot.authors[self.chat_request.author]

    @property
    def is_answered(self) -> bool:
        """Whether the answer is complete without a model."""
        return bool(self.fixed_text.text) or self.form in {"quote", "not_found"}

    @property
    def fixed_answer(self) -> str:
        """The fixed text or the quotations, or empty if a model answers."""
        return self.fixed_text.text or self.opening.text * self.is_answered

    @property
    def quote_result(self) -> QuoteResult | None:
        """Result of the search for quotations, or None if there was no search."""
        return self.retrieved_passages.quote_result if self.has_searched_quotes else None

    @property
    def sources(self) -> tuple[Passage, ...]:
        """The passages in the prompt, or the quoted posts if there is no prompt; best first."""
        if self.form == "not_found":
            return ()
        return self.cited_passages if self.form == "quote" else self.retrieved_passages.passages

    @property
    def ignored(self) -> tuple[str, ...]:
        """Names of the client's parameters that have no effect."""
        return tuple(sorted((*self.chat_request.ignored, *self.ignored_parameters)))

    @property
    def draft_model(self) -> str:
        """The model name that returns unreleased prose."""
        return f"twin/{self.chat_request.author}@{DRAFT}"


@dataclass
class RequestRecord:
    """The record of an answer, from its preparation to its end.

    Attributes:
        exchange: the request, or its fallback once that answers. The record's own fields contain
            later changes.
        decision: the version that answers.
        answer_form: the form of the answer.
        usd_per_hour: price of the machine that answers.
        meter: measures that machine's tokens per second; None if a remote machine answers.
        paid_call: the paid call for the answer; None if no paid model is called.
        degraded: deviations from the policy, one short clause each.
        guard_records: findings of the guards in the question, the passages and the answer.
        stage_log: duration of each stage of the request, one line each.
        prose_note: why prose is shown or hidden.
        trace_id, span_id: W3C trace context, 32 and 16 hexadecimal digits.
        shown_text: the answer as the reader received it, or empty if the model's text is unchanged.
        replaced_decision: the version that the fallback replaced; None without a replacement.
        restart_count: number of restarts after a failure, on any version.
        is_opened: whether the stream began before the model was called.
        is_sent: whether the model was called.
        has_prose: whether the model has written text.
        finish_reason: why the answer ended, as in OpenAI's API.
        usage: the model's token counts `input`, `output` and `total`; empty if it sent none.
        usd, other_usd, tokens_per_second, seconds: set at the end; `other_usd` is the estimated
            cost of the model that was not chosen.
    """

    exchange: Exchange
    decision: RouteDecision
    answer_form: ShownForm = VOICE
    usd_per_hour: float = 0.0
    meter: ThroughputMeter | None = None
    paid_call: PaidCall | None = None
    degraded: tuple[str, ...] = ()
    guard_records: tuple[GuardRecord, ...] = ()
    stage_log: str = ""
    prose_note: ProseNote = field(default_factory=ProseNote)
    trace_id: str = field(default_factory=lambda: random_source.token_hex(16))
    span_id: str = field(default_factory=lambda: random_source.token_hex(8))
    shown_text: str = ""
    replaced_decision: RouteDecision | None = None
    restart_count: int = 0
    is_opened: bool = False
    is_sent: bool = False
    has_prose: bool = False
    finish_reason: str = "stop"
    usage: Mapping[str, int] = field(default_factory=dict[str, int])
    usd: float | None = None
    other_usd: float | None = None
    tokens_per_second: float = 0.0
    seconds: float = 0.0
    is_ended: bool = False
    _started_at: float = 0.0

    @property
    def chat_request(self) -> ChatRequest:
        return self.exchange.chat_request

    @property
    def author(self) -> Author:
        return self.exchange.author

    @property
    def is_fallback(self) -> bool:
        """Whether the fallback answers."""
        return self.replaced_decision is not None

    @property
    def is_json(self) -> bool:
        """Whether the client requested JSON, which cannot contain a sentence of ours."""
        return self.chat_request.response_format is not None

    def begin(self, *, started_at: float | None = None) -> None:
        """Start the clock when the request is sent to its server.

        Args:
            started_at: arrival of the request (`time.monotonic`, seconds), if no model is called.
        """
        self._started_at = time.monotonic() if started_at is None else started_at
        if self.meter is not None:
            self.meter.begin()

    def end(self, tokens: int) -> None:
        """Compute the cost of the answer; later calls have no effect.

        Args:
            tokens: prompt and answer tokens together; 0 if the answer failed.
        """
        if self.is_ended:
            return
        self.is_ended = True
        self.seconds = time.monotonic() - self._started_at
        if self.meter is not None:
            self.tokens_per_second = self.meter.end(tokens).tokens_per_second
        note = self.exchange.decision.routing_note
        if tokens and note is not None and note.other_model:
            self.other_usd = note.other_usd(tokens)
        if self.is_fixed:
            self.usd = 0.0
        elif tokens and self.tokens_per_second > 0:
            self.usd = answer_usd(
                self.usd_per_hour, tokens=tokens, tokens_per_second=self.tokens_per_second
            )
        paid_usd = self.paid_call.usd if self.paid_call is not None else None
        if paid_usd is not None and (paid_usd or self.decision.server_key == PAID):
            # A paid call that failed during its answer is charged as well.
            self.usd = (self.usd or 0.0) + paid_usd

    def record_fallback(self, reason: str, meter: ThroughputMeter) -> None:
        """Record that the chosen version failed and the fallback answers.

        Args:
            reason: the clause for `degraded`.
            meter: throughput of the fallback's machine.
        """
        fallback = self.exchange.fallback
        assert fallback is not None
        if not self.is_ended:
            if self.meter is not None:  # a remote server has no meter
                self.meter.end(0)
            meter.begin()
        self.meter = meter
        self.restart_count += 1
        self.replaced_decision, self.decision = self.decision, fallback.decision
        self.exchange = fallback
        self.degraded = (*self.degraded, reason)

    def record_missing_prose(self, reason: str) -> None:
        """Record that only the opening was sent, so the answer contains only quotations."""
        if not self.is_fixed:
            self.record_as_quotation(reason)
        self.degraded = (*self.degraded, reason)

    def record_as_quotation(self, reason: str) -> None:
        """Count the answer as quotations, because votes on it do not rate the prose."""
        self.answer_form = "quote"
        self.prose_note.hidden_reason = reason
        self.prose_note.draft_model = self.exchange.draft_model
        self.decision = replace(
            self.decision, version=QUOTES, checkpoint="", route=QUOTES, propensity=1.0
        )

    @property
    def writer(self) -> Writer:
        """The kind of writer that answered."""
        if self.exchange.fixed_text.front_desk:
            return "program"
        if self.exchange.fixed_text.guard_refusal:
            return "fixed"
        if self.decision.version == PAID:
            return "paid"
        return "tuned" if self.decision.is_tuned else "untuned"

    @property
    def is_fixed(self) -> bool:
        """Whether no model is called: a guard or the front desk answers, or there is no prose."""
        lacks_prose = (
            self.answer_form in {"quote", "not_found"} and not self.prose_note.supported_sentences
        )
        fixed_text = self.exchange.fixed_text
        return bool(fixed_text.guard_refusal or fixed_text.front_desk) or lacks_prose

    @property
    def prefix(self) -> str:
        """The text sent before the generated prose or before a fixed text."""
        has_opening = (
            self.answer_form == "quote_and_voice" or self.prose_note.supported_sentences is not None
        )
        return self.notice + self.exchange.opening.text * has_opening

    @property
    def heading(self) -> str:
        """The line that precedes the first word of prose and names its writer, or empty."""
        label = self.prose_label
        if not label or self.is_json:
            return ""
        return "\n\n" * bool(self.exchange.opening.text) + render_prose_label(label)

    @property
    def prose_label(self) -> str:
        """Whose words the prose of the answer is, in the reader's language; empty without prose."""
        has_prose = not self.is_fixed and self.answer_form in {"voice", "quote_and_voice"}
        return prose_label(self.chat_request.question, self.author) if has_prose else ""

    @cached_property
    def notice(self) -> str:
        """The paragraph above the text: a statement of who answers, or the disclosure.

        The statement is shown if the reader may be asking who answers. The author's settings
        determine whether the disclosure is shown. A range of dates in the question is said last.
        The paragraph is composed when the answer begins.
        """
        exchange, place = self.exchange, self.author.disclosure
        is_first = not self.chat_request.earlier_answers
        text = exchange.fixed_text.notice
        if (
            not text
            and not exchange.fixed_text.front_desk
            and not self.is_json
            and (place == "each" or (place == "first" and is_first))
        ):
            text = self._disclosure()
        text = " ".join(f"{text} {'' if self.is_json else self._dates_text()}".split())
        return f"{NOTICE_PREFIX}{text}\n\n" if text else ""

    def _dates_text(self) -> str:
        """The line that says which dates of posts were searched; empty without a range."""
        exchange = self.exchange
        found = exchange.retrieved_passages
        if found.date_range is None:
            return ""
        shown = (*exchange.quotes, *exchange.nearest) or found.passages
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
        opening, offset = self.exchange.opening, len(self.notice)
        spans = tuple((begin + offset, end + offset) for begin, end in opening.quote_spans)
        return replace(opening, quote_spans=spans)

    def _disclosure(self) -> str:
        # Without a quotation, the program wrote the text.
        is_empty = self.answer_form == "quote" and not self.exchange.quotes
        return get_disclosure(
            self.author,
            writer=self.writer,
            has_passages=bool(self.exchange.sources),
            answer="not_found" if is_empty else self.answer_form,
        )

    @property
    def citations(self) -> list[dict[str, Any]]:
        """The `annotations` of the message."""
        quotes = self.exchange.quotes
        return citations(quotes, self._opening_after_notice) if quotes else []

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
        exchange, opening = self.exchange, self._opening_after_notice
        found, draft_reason = exchange.retrieved_passages, self.prose_note.draft_reason
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
                for source in exchange.sources
            ],
            "answer": self.answer_form,
            "front_desk": exchange.fixed_text.front_desk,
            "quotes": quote_fields(exchange.quotes, opening) if exchange.quotes else [],
            "nearest": closest_fields(exchange.nearest, opening) if exchange.nearest else [],
            "disclosure": self._disclosure(),
            "digital_source_type": self.digital_source_type,
            "dates": found.date_range.fields() | {"outside": found.is_outside_range}
            if found.date_range
            else None,
            "cost_usd": self.usd,
            "degraded": "; ".join(self.degraded),
            "ignored": list(exchange.ignored),
            "released_for": list(self.decision.prose_release.forms),
            "release": self.decision.prose_release.description,
            "prose": self.prose_note.fields(label=self.prose_label),
            "draft": {"why": draft_reason} if draft_reason else None,
            "precision": parse_precision(self.decision.engine),
        }

    def trace_metadata(self) -> Mapping[str, str]:
        """Return the trace's flat metadata as text, because Langfuse filters on text."""
        exchange, decision = self.exchange, self.decision
        routing_note = exchange.decision.routing_note
        # Erasure finds the trace by the chunk ids of the prompt's passages and of the opening.
        chunk_ids = [passage.chunk_id for passage in (*exchange.sources, *exchange.cited_passages)]
        return {
            "twin.author": self.chat_request.author,
            "twin.version": decision.version,
            "twin.checkpoint": decision.checkpoint,
            "twin.server": decision.engine,
            "twin.route": decision.route,
            "twin.propensity": f"{decision.propensity:.6g}",
            "twin.class": self.chat_request.prompt_class,
            "twin.classifier": CLASSIFIER,
            "twin.template": exchange.template.hash,
            "twin.answer": self.answer_form,
            "twin.prose_label": self.prose_label,
            "twin.quotes": format_for_trace(exchange.quotes),
            "twin.chunks": ",".join(dict.fromkeys(chunk_ids)),
            "twin.cost_usd": _format_number(self.usd, ".9f"),
            "twin.tokens_per_second": f"{self.tokens_per_second:.1f}",
            "twin.degraded": "; ".join(self.degraded),
            "twin.reader": exchange.key.reader,
            "twin.front_desk": exchange.fixed_text.front_desk,
            "twin.routing": routing_note.reason if routing_note else "",
            "twin.gain": _format_number(routing_note.gain if routing_note else None, ".4f"),
            "twin.other": routing_note.other_model if routing_note else "",
            "twin.other_usd": _format_number(self.other_usd, ".9f"),
            "twin.ignored": ",".join(exchange.ignored),
            "twin.batch": "true" if self.chat_request.is_batch else "",
            "twin.provider": exchange.provider,
            "twin.provider_saw": exchange.provider_parts,
            "twin.guards": ",".join(map(str, self.guard_records)),
            "twin.stages": self.stage_log,
        }


def _format_number(value: float | None, format_spec: str) -> str:
    return "" if value is None else format(value, format_spec)


def get_disclosure(
    author: Author, *, writer: Writer, has_passages: bool, answer: ShownForm = VOICE
) -> str:
    """Return the sentence that names the writer of one answer.

    Args:
        author: the author of the twin; a sentence in the author's file is used unchanged.
        writer: the kind of writer that answered.
        has_passages: whether the prompt contained passages.
        answer: parts of the answer.
    """
    if author.disclosure not in {"", *_DISCLOSURE_PLACES}:
        return author.disclosure
    name = author.name
    if writer == "program":
        return f"A fixed text from this program; neither {name} nor a model wrote it."
    if writer == "fixed":
        return f"A fixed sentence that declines this topic; {name} did not write it."
    if answer == "quote":
        return f"{name}'s own sentences, found in the posts by a program; no model wrote them."
    if answer == "not_found":
        return f"A program found no answer in {name}'s posts; only the passages are {name}'s words."
    model = "another provider's language model" if writer == "paid" else "a language model"
    if writer == "tuned":
        description = f"a language model trained on {name}'s posts"
    elif has_passages:
        description = f"{model} that was shown some of {name}'s posts but not trained on them"
    else:
        description = f"{model} that was not trained on {name}'s posts and was shown none of them"
    if answer == "quote_and_voice":
        return f"The quoted sentences are {name}'s own; the others were written by {description}."
    return f"Written by {description}, not by {name}."


@dataclass
class AnswerCall:
    """A request between the allow-list, which sets the first fields, and the provider.

    LiteLLM translates the conversation of each API; nothing else of a request needs its help.

    Attributes:
        key: the key of the client.
        model: name of the twin that answers.
        parameters: what the body said beside its conversation.
        lost_references: names of references to answers that are not stored any more.
        store: keeps the trace id and the text of an answer for later requests, or None. Blocks.
        record: the record of the answer, from its first piece on.
        refusal: why there is no answer, or None.
    """

    key: Key
    model: str
    parameters: RequestParameters
    lost_references: Sequence[str] = ()
    store: Callable[[str, str], None] | None = None
    record: RequestRecord | None = None
    refusal: RefusedError | None = None


current_call: ContextVar[AnswerCall] = ContextVar("current_call")
"""The request that the current task answers."""
