"""One answer on its way: what was chosen and found for it, and what the reader and the trace are
told.

Scope: the record of a request, its `twin` field, its two headers and the flat metadata of
its trace.
Out of scope: how it came about (`routing/`, `plugin.py`), how a span is sent
(`tracing.py`).

Trace ids: https://www.w3.org/TR/trace-context/
"""
# pyright: strict

from __future__ import annotations

import secrets as random_source
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, Protocol
from urllib.parse import quote

from twin_resources.access.refusals import Refused
from twin_resources.authors import Author
from twin_resources.authors.answer_forms import AnswerForm
from twin_resources.gateway.costs.answer_cost import AnswerCost
from twin_resources.gateway.exchange.disclosure import WrittenBy, disclosure, stands_above
from twin_resources.gateway.exchange.exchange import Exchange, Fallback, FixedText
from twin_resources.gateway.exchange.supported_prose import ProseNote
from twin_resources.gateway.guards.guard_record import GuardRecord
from twin_resources.gateway.request.prompt_classes import CLASSIFIER
from twin_resources.gateway.request.request_body import ChatRequest
from twin_resources.gateway.routing.decision import RouteDecision
from twin_resources.models.quotes.answer_text import (
    HEADING,
    MAX_NEAREST,
    NOTICE,
    NamedPost,
    Opening,
    citations,
    post_fields,
    quote_fields,
    traced,
)
from twin_resources.models.quotes.quoter import Quote, Quoted
from twin_resources.models.serving.served_precision import precision_of
from twin_resources.registry.route_names import DRAFT, PAID, QUOTES

if TYPE_CHECKING:
    from twin_resources.models.retrieval.retrieval import Passage

TRACE_HEADER = "x-twin-trace-id"
SOURCES_HEADER = "x-twin-sources"
MAX_SOURCES_BYTES = 2048  # proxies on the way drop answers with larger headers


class CitedSource(NamedPost, Protocol):
    """What an answer says about a passage it rests on; `retrieval.Passage` is one."""

    @property
    def chunk_id(self) -> str: ...
    @property
    def text(self) -> str: ...
    @property
    def start(self) -> int: ...
    @property
    def end(self) -> int: ...


@dataclass
class RequestRecord:
    """The record of one request, from the choice of the version to the end of its answer.

    Attributes:
        exchange: what the stages have found. Where the answer changes it, the record's own fields
            say how it stands now.
        cost: its clock and its bill.
        chosen: who answers.
        answer: what the reader gets: see `Author.answer`; `not_written_about`: only the posts that
            lie nearest.
        degraded: what did not go as the policy wanted it, one short clause each.
        guarded: what the guards found in question, passages and answer.
        findings: what the answer is scored unsafe for; known when it is over.
        trace_id, span_id: W3C trace context, 32 and 16 hexadecimal digits.
        call_id: LiteLLM's.
        shown: the answer as the reader got it; empty: as the model wrote it.
        drawn: who was chosen first, once the fallback has taken over; None: nobody failed.
        begun_anew: how often it was begun again after a failure, by whomever.
        prose: why prose is shown, or not.
        failure: why no model has answered, as the client is told; None: one has, or nobody failed.
        provider: the paid model that was shown something of the request; empty: all of it stayed
            on the machine.
        stages: what each stage of its preparation took and changed, one line each.
        is_told: its span is written.
        is_opened: its stream was begun before the model was asked (`early_opening.py`).
        is_prose_begun: the model has written something.
    """

    exchange: Exchange
    cost: AnswerCost
    chosen: RouteDecision
    answer: AnswerForm | Literal["not_written_about"] = "voice"
    degraded: tuple[str, ...] = ()
    guarded: tuple[GuardRecord, ...] = ()
    findings: tuple[str, ...] = ()
    trace_id: str = field(default_factory=lambda: random_source.token_hex(16))
    span_id: str = field(default_factory=lambda: random_source.token_hex(8))
    call_id: str = ""
    shown: str = ""
    drawn: RouteDecision | None = None
    begun_anew: int = 0
    prose: ProseNote = field(default_factory=ProseNote)
    failure: Refused | None = None
    provider: str = ""
    stages: str = ""
    is_told: bool = False
    is_opened: bool = False
    is_prose_begun: bool = False

    @property
    def asked(self) -> ChatRequest:
        return self.exchange.asked

    @property
    def author(self) -> Author:
        return self.exchange.author

    @property
    def fallback(self) -> Fallback | None:
        """Who answers if the one that was chosen fails; None: nobody."""
        return self.exchange.fallback

    @property
    def fixed(self) -> FixedText:
        return self.exchange.fixed

    @property
    def opening(self) -> Opening:
        """The text before the generated prose, or in its place."""
        return self.exchange.form.opening

    @property
    def quotes(self) -> Sequence[Quote]:
        return self.exchange.form.quotes

    @property
    def ignored(self) -> tuple[str, ...]:
        """What the client sent and has no effect, by name."""
        return tuple(sorted((*self.asked.ignored, *self.exchange.ignored)))

    @property
    def quoted(self) -> Quoted | None:
        """What the search for quotations found; None: nothing was looked for."""
        return self.exchange.passages.quoted if self.exchange.searched else None

    @property
    def template(self) -> str:
        """Hash of the template that the prompt of who answers was rendered with."""
        moved = self.fallback if self.drawn is not None else None
        return moved.template if moved else self.exchange.template.hash

    @cached_property
    def sources(self) -> Sequence[Passage]:
        """The passages in the prompt, or of the posts quoted without one; best first."""
        return self.exchange.form.sources(self.exchange.passages)

    def end(self, tokens: int, *, paid_usd: float | None = None) -> None:
        """See `AnswerCost.end`."""
        self.cost.end(
            tokens,
            paid_usd=paid_usd,
            is_fixed=self.is_fixed,
            is_paid=self.chosen.server_key == PAID,
            routing=self.exchange.chosen.why,
        )

    def answered_by_fallback(self, how: str) -> None:
        """Who was chosen has failed and the fallback answers; told once.

        Args:
            how: the clause for `degraded`.
        """
        if self.fallback is None or self.drawn is not None:
            return
        self.cost.move_to(self.fallback.meter)
        self.begun_anew += 1
        self.drawn, self.chosen = self.chosen, self.fallback.chosen
        self.degraded = (*self.degraded, how)

    @property
    def can_be_begun_anew(self) -> bool:
        """A server of this home writes it: once more costs nobody anything, and one that died is
        back in about a second."""
        return self.cost.bought is None and not self.chosen.is_elsewhere and not self.is_fixed

    def begins_anew(self) -> None:
        """Its server broke off in the middle and is asked once more."""
        self.begun_anew += 1
        self.degraded = (*self.degraded, f"{self.chosen.route} broke off: asked again")

    def stands_without_prose(self, why: str) -> None:
        """Nothing but its opening went out: it is an answer that only quotes."""
        if not self.is_fixed:
            self._only_quotes(why)
        self.degraded = (*self.degraded, why)

    def stands_alone(self) -> None:
        """Too few sentences of the prose are supported: the reader gets the quotations."""
        judged = self.prose.judged
        if judged is not None:
            left_out = judged.sentences - judged.kept
            self._only_quotes(f"{left_out} of {judged.sentences} sentences are unsupported")
            self.shown = self.opening.text

    def _only_quotes(self, why: str) -> None:
        """A vote on it says nothing of the version that wrote, or should have."""
        self.answer = "quote"
        self.prose.why_not, self.prose.ask = why, self.draft_model
        self.chosen = replace(
            self.chosen, version=QUOTES, checkpoint="", route=QUOTES, propensity=1.0
        )

    @property
    def completion_id(self) -> str:
        return f"chatcmpl-{self.trace_id}"

    def repeated_itself(self) -> None:
        """The answer went in loops and was ended before them."""
        self.degraded = (*self.degraded, "the model repeated itself: ended before that")

    @property
    def ends_at_sentence(self) -> bool:
        """Whether the gateway says where the answer ends: it is prose of a model, and the client
        has not said it himself."""
        named = {"max_tokens", "stop"} & self.asked.sampling.keys()
        return not named and not self.is_fixed and self.asked.response_format is None

    @property
    def written_by(self) -> WrittenBy:
        """See `disclosure.py`."""
        if self.fixed.front_desk:
            return "program"
        if self.fixed.withheld:
            return "fixed"
        if self.chosen.version == PAID:
            return "paid"
        return "tuned" if self.chosen.is_tuned else "untuned"

    @property
    def is_fixed(self) -> bool:
        """No model is asked: a guard, the front desk, quotations alone, or nothing to
        quote."""
        has_text = bool(self.fixed.withheld or self.fixed.front_desk)
        without_prose = self.answer in {"quote", "not_written_about"} and not self.prose.judged
        return has_text or without_prose

    @property
    def prefix(self) -> str:
        """What goes out before the generated prose, or before a fixed text."""
        if self.prose.judged is not None:
            return self.notice + self.opening.text
        return self.notice + self.opening.text * bool(self.heading) + self.heading

    @property
    def heading(self) -> str:
        """What stands between quotations and prose; empty: not both are there."""
        return f"\n\n{HEADING}\n\n" if self.answer == "quote_and_voice" else ""

    @property
    def draft_model(self) -> str:
        """The name that gives prose although it is not released."""
        return f"twin/{self.asked.author}@{DRAFT}"

    @cached_property
    def notice(self) -> str:
        """The disclosure as a paragraph above the text, where the author wants it there; as it is
        when the answer begins."""
        first = not any(turn["role"] == "assistant" for turn in self.asked.history)
        is_document = self.asked.response_format is not None
        if self.fixed.front_desk or not stands_above(
            self.author, first=first, is_document=is_document
        ):
            return ""
        return f"{NOTICE}{' '.join(self._disclosure().split())}\n\n"

    @property
    def _placed(self) -> Opening:
        """The opening as the places in the answer's text count it."""
        if not self.notice:
            return self.opening
        by = len(self.notice)
        places = tuple((begin + by, end + by) for begin, end in self.opening.places)
        return replace(self.opening, places=places)

    def _disclosure(self) -> str:
        return disclosure(
            self.author,
            written_by=self.written_by,
            shown_posts=bool(self.sources),
            # without a quotation it is a sentence of the program's
            answer="not_written_about"
            if self.answer == "quote" and not self.quotes
            else self.answer,
        )

    @property
    def citations(self) -> list[dict[str, Any]]:
        """The `annotations` of the message."""
        return citations(self.quotes, self._placed)

    @property
    def traceparent(self) -> str:
        return f"00-{self.trace_id}-{self.span_id}-01"

    def headers(self) -> dict[str, str]:
        """The two headers of the answer; known before its first token."""
        return {TRACE_HEADER: self.trace_id, SOURCES_HEADER: sources_header(self.sources)}

    def twin_field(self) -> dict[str, Any]:
        """The structured field `twin` of the answer; on a stream of its opening, and, with what is
        known at the end, of its last content chunk."""
        return {
            "trace_id": self.trace_id,
            "version": self.chosen.version,
            "route": self.chosen.route,
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
            "answer": self.answer,
            "front_desk": self.fixed.front_desk,
            "quotes": quote_fields(self.quotes, self._placed),
            "nearest": [post_fields(post) for post in self.exchange.form.nearest[:MAX_NEAREST]],
            "disclosure": self._disclosure(),
            "cost_usd": self.cost.usd,
            "degraded": "; ".join(self.degraded),
            "ignored": list(self.ignored),
            "released_for": list(self.chosen.prose.forms),
            "release": self.chosen.prose.in_words,
            "prose": self.prose.fields(shown=self.answer in {"voice", "quote_and_voice"}),
            "draft": {"why": self.prose.draft} if self.prose.draft else None,
            "precision": precision_of(self.chosen.engine),
        }

    def _named_chunks(self) -> list[str]:
        """Of the prompt's passages, then of the posts that the opening quotes or names: by them
        forgetting finds the trace."""
        passages = (*self.sources, *self.exchange.form.cited)
        return list(dict.fromkeys(passage.chunk_id for passage in passages))

    def trace_metadata(self) -> Mapping[str, str]:
        """The flat metadata of the trace; every value is text, because Langfuse filters on text."""
        routing = self.exchange.chosen.why
        return {
            "twin.author": self.asked.author,
            "twin.version": self.chosen.version,
            "twin.checkpoint": self.chosen.checkpoint,
            "twin.server": self.chosen.engine,
            "twin.route": self.chosen.route,
            "twin.propensity": f"{self.chosen.propensity:.6g}",
            "twin.class": self.asked.prompt_class,
            "twin.classifier": CLASSIFIER,
            "twin.template": self.template,
            "twin.answer": self.answer,
            "twin.quotes": traced(self.quotes),
            "twin.chunks": ",".join(self._named_chunks()),
            "twin.cost_usd": "" if self.cost.usd is None else f"{self.cost.usd:.9f}",
            "twin.tokens_per_second": f"{self.cost.tokens_per_second:.1f}",
            "twin.degraded": "; ".join(self.degraded),
            "twin.reader": self.exchange.key.reader,
            "twin.front_desk": self.fixed.front_desk,
            "twin.routing": routing.reason if routing else "",
            "twin.gain": _number(routing.gain if routing else None, ".4f"),
            "twin.other": routing.other if routing else "",
            "twin.other_usd": _number(self.cost.other_usd, ".9f"),
            "twin.ignored": ",".join(self.ignored),
            "twin.batch": "true" if self.asked.batch else "",
            "twin.safety": ",".join(self.findings),
            "twin.provider": self.provider,
            "twin.provider_saw": self.exchange.provider_saw,
            "twin.guards": ",".join(map(str, self.guarded)),
            "twin.stages": self.stages,
        }


def new_trace_id() -> str:
    """32 random hexadecimal digits, as W3C's trace context wants them."""
    return random_source.token_hex(16)


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def sources_header(sources: Sequence[CitedSource]) -> str:
    """Chunk ids, best first, separated by commas: ASCII (percent-encoded), whole ids, at most 2
    KB."""
    entries: list[str] = []
    size = 0
    for source in sources:
        encoded = quote(source.chunk_id, safe="-._~/#:")
        size += len(encoded) + 1
        if size > MAX_SOURCES_BYTES:
            break
        entries.append(encoded)
    return ",".join(entries)
