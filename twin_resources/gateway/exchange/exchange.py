"""The state of one request, which every stage reads and returns.

Scope: the state between the request body and the prompt, and its facts for a trace.
Out of scope: the stages (`stages/`), the answer (`request_record.py`).
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Any, Literal

from twin_resources.access.keys import Key
from twin_resources.authors import Author
from twin_resources.authors.answer_forms import VOICE, AnswerForm
from twin_resources.authors.front_desk_settings import DeskKind
from twin_resources.gateway.costs.cost import ThroughputMeter
from twin_resources.gateway.front_desk.message_kinds import ORDINARY, ClassifiedMessage
from twin_resources.gateway.guards.guard_record import GuardRecord
from twin_resources.gateway.passage_finder import RetrievedPassages
from twin_resources.gateway.request.request_body import ChatRequest
from twin_resources.gateway.routing.decision import RouteDecision
from twin_resources.gateway.routing.snapshot import Snapshot
from twin_resources.models.quotes.answer_text import AnswerOpening
from twin_resources.prompt.templates import DEFAULT_TEMPLATE, Template

if TYPE_CHECKING:
    from twin_resources.models.quotes.quoter import Quote
    from twin_resources.models.retrieval.retrieval import Passage

NO_DECISION = RouteDecision("", "", "", "", "", 1.0)


@dataclass(frozen=True)
class Fallback:
    """The version that answers when the chosen one fails.

    The stable version replaces a canary or a routed paid model. The base model replaces an answer
    model on another machine.

    Attributes:
        messages: the prompt, rendered with the version's own template.
        meter: throughput of its machine.
        max_tokens: maximum length of its answer, which fits into its context.
    """

    decision: RouteDecision
    template: str
    messages: Sequence[Mapping[str, str]]
    meter: ThroughputMeter
    max_tokens: int


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
class AnswerParts:
    """All parts of an answer except the prose."""

    form: AnswerForm | Literal["not_found"] = VOICE
    opening: AnswerOpening = field(default_factory=AnswerOpening)
    quotes: Sequence[Quote] = ()
    nearest: tuple[Passage, ...] = ()
    cited_passages: tuple[Passage, ...] = ()

    @property
    def is_fixed(self) -> bool:
        return self.form in {"quote", "not_found"}

    def sources(self, retrieved_passages: RetrievedPassages) -> tuple[Passage, ...]:
        """Return the sources: the prompt's passages, or the quoted posts if there is no prompt."""
        if self.form == "not_found":
            return ()
        return self.cited_passages if self.form == "quote" else retrieved_passages.passages


@dataclass(frozen=True)
class Exchange:
    """One request, with the results of the stages so far.

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
        answer_parts: quotations, prose, or both.
        unredacted_inputs: question and passages before redaction for a provider, or None if nothing
            was redacted. The fallback reads them, because it answers on this machine.
        provider_parts: parts of the request that are shown to a provider, or empty.
        guard_records: findings of the guards.
        ignored_parameters: client parameters without effect.
        notes: deviations from the intended behavior, one clause each.
        messages: the rendered prompt.
        sampling: the author's default sampling parameters, overridden by the client's.
        fallback: the version that answers if the chosen one fails; None if there is no such
            version.
    """

    chat_request: ChatRequest
    key: Key
    snapshot: Snapshot
    day: date
    paid_problem: str | None = None
    decision: RouteDecision = NO_DECISION
    template: Template = DEFAULT_TEMPLATE
    message: ClassifiedMessage = ORDINARY
    fixed_text: FixedText = field(default_factory=FixedText)
    retrieved_passages: RetrievedPassages = field(default_factory=RetrievedPassages)
    has_searched_quotes: bool = False
    answer_parts: AnswerParts = field(default_factory=AnswerParts)
    unredacted_inputs: tuple[ChatRequest, RetrievedPassages] | None = None
    provider_parts: str = ""
    guard_records: tuple[GuardRecord, ...] = ()
    ignored_parameters: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    messages: Sequence[Mapping[str, str]] = ()
    sampling: Mapping[str, Any] = field(default_factory=dict[str, Any])
    fallback: Fallback | None = None

    @property
    def author(self) -> Author:
        return self.snapshot.authors[self.chat_request.author]

    @property
    def is_answered(self) -> bool:
        """Whether the answer is complete without a model."""
        return bool(self.fixed_text.text) or self.answer_parts.is_fixed

    @property
    def fixed_answer(self) -> str:
        """The fixed text or the quotations, or empty if a model answers."""
        return self.fixed_text.text or self.answer_parts.opening.text * self.answer_parts.is_fixed

    def trace_facts(self) -> dict[str, str]:
        """Return the facts for a trace: names and numbers, without text of readers or posts."""
        quote_result = self.retrieved_passages.quote_result
        best_score = quote_result.best_score if self.has_searched_quotes and quote_result else None
        values = {
            "model": f"{self.decision.version} ({self.decision.route})"
            if self.decision.route
            else "",
            "fixed": self.fixed_text.front_desk or self.fixed_text.guard_refusal,
            "passages": str(len(self.retrieved_passages.passages) or ""),
            "quotation": "" if best_score is None else f"{best_score:.3f}",
            "form": self.answer_parts.form
            if self.answer_parts.quotes or self.answer_parts.is_fixed
            else "",
            "provider": self.provider_parts,
            "guards": ",".join(map(str, self.guard_records)),
            "notes": "; ".join(self.notes),
            "messages": str(len(self.messages) or ""),
            "fallback": self.fallback.decision.version if self.fallback else "",
        }
        return {name: value for name, value in values.items() if value}
