"""One request between its body and its prompt: the value that every stage reads and gives again.

Scope: the exchange, and its facts as a trace tells them. Out of scope: the stages
(`stages/`), the answer (`request_record.py`).
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
from twin_resources.gateway.costs.cost import Throughput
from twin_resources.gateway.found_passages import FoundPassages
from twin_resources.gateway.guards.guard_record import GuardRecord
from twin_resources.gateway.request.request_body import ChatRequest
from twin_resources.gateway.routing.decision import RouteDecision
from twin_resources.gateway.routing.snapshot import Snapshot
from twin_resources.models.quotes.answer_text import Opening
from twin_resources.prompt.templates import DEFAULT_TEMPLATE, Template

if TYPE_CHECKING:
    from twin_resources.models.quotes.quoter import Quote
    from twin_resources.models.retrieval.retrieval import Passage

NOT_CHOSEN = RouteDecision("", "", "", "", "", 1.0)


@dataclass(frozen=True)
class Fallback:
    """The stable version, prepared to answer when a canary or a routed paid model fails; or the
    base model, in the place of an answer model elsewhere.

    Attributes:
        messages: rendered with its own template.
        meter: of its machine.
    """

    chosen: RouteDecision
    template: str
    messages: Sequence[Mapping[str, str]]
    meter: Throughput


@dataclass(frozen=True)
class FixedText:
    """What answers in the place of the posts.

    Attributes:
        text: empty: the posts answer.
        front_desk: the kind of message that the program answers itself; or empty.
        withheld: the fixed sentence in the place of an answer that the guards do not let pass; or
            empty. At most one of both is not.
    """

    text: str = ""
    front_desk: DeskKind | Literal["", "housekeeping"] = ""
    withheld: str = ""


@dataclass(frozen=True)
class AnswerParts:
    """What an answer is made of, but for the prose."""

    answer: AnswerForm | Literal["not_written_about"] = VOICE
    opening: Opening = field(default_factory=Opening)
    quotes: Sequence[Quote] = ()
    nearest: tuple[Passage, ...] = ()
    cited: tuple[Passage, ...] = ()

    @property
    def is_fixed(self) -> bool:
        return self.answer in {"quote", "not_written_about"}

    def sources(self, found_passages: FoundPassages) -> tuple[Passage, ...]:
        """What the answer rests on: the prompt's passages; without a prompt, the quoted posts."""
        if self.answer == "not_written_about":
            return ()
        return self.cited if self.answer == "quote" else found_passages.passages


@dataclass(frozen=True)
class Exchange:
    """One request, as far as the stages have come.

    Attributes:
        asked: the question, as guards and redaction leave it. key: who asks.
        snapshot: the configuration of this moment.
        day: the UTC day of the draw.
        unpaid: why the paid model cannot be asked; empty: it can; None: nobody has looked yet.
        chosen, template: who answers, and how its prompt is rendered.
        fixed: what answers in the place of the posts.
        passages: what the posts hold. searched: quotations were looked for, and none was missing.
        form: quotations, prose, or both.
        before: question and passages before they were redacted for a provider, for the fallback,
            which answers on this machine; None: nothing was redacted.
        provider_saw: what of the request a provider is shown; empty: it stays on this machine.
        guarded: what the guards found. ignored: what the client sent and has no effect.
        notes: what did not go as it was wanted, one clause each.
        history: the earlier turns that the model can read. messages: the rendered prompt.
        sampling: what was sent, over the author's defaults.
        fallback: who answers where the chosen one fails; None: nobody.
    """

    asked: ChatRequest
    key: Key
    snapshot: Snapshot
    day: date
    unpaid: str | None = None
    chosen: RouteDecision = NOT_CHOSEN
    template: Template = DEFAULT_TEMPLATE
    fixed: FixedText = field(default_factory=FixedText)
    passages: FoundPassages = field(default_factory=FoundPassages)
    searched: bool = False
    form: AnswerParts = field(default_factory=AnswerParts)
    before: tuple[ChatRequest, FoundPassages] | None = None
    provider_saw: str = ""
    guarded: tuple[GuardRecord, ...] = ()
    ignored: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    history: Sequence[Mapping[str, str]] = ()
    messages: Sequence[Mapping[str, str]] = ()
    sampling: Mapping[str, Any] = field(default_factory=dict[str, Any])
    fallback: Fallback | None = None

    @property
    def author(self) -> Author:
        return self.snapshot.authors[self.asked.author]

    @property
    def is_answered(self) -> bool:
        """No model has to write anything."""
        return bool(self.fixed.text) or self.form.is_fixed

    @property
    def fixed_answer(self) -> str:
        """What answers a refused topic, is the program's own, or quotes; empty: a model answers."""
        return self.fixed.text or self.form.opening.text * self.form.is_fixed

    def facts(self) -> dict[str, str]:
        """What a trace tells of it: names and numbers, no text of readers or posts."""
        quoted = self.passages.quoted
        best = quoted.best if self.searched and quoted else None
        told = {
            "model": f"{self.chosen.version} ({self.chosen.route})" if self.chosen.route else "",
            "fixed": self.fixed.front_desk or self.fixed.withheld,
            "passages": str(len(self.passages.passages) or ""),
            "quotation": "" if best is None else f"{best:.3f}",
            "form": self.form.answer if self.form.quotes or self.form.is_fixed else "",
            "provider": self.provider_saw,
            "guards": ",".join(map(str, self.guarded)),
            "notes": "; ".join(self.notes),
            "messages": str(len(self.messages) or ""),
            "fallback": self.fallback.chosen.version if self.fallback else "",
        }
        return {name: value for name, value in told.items() if value}
