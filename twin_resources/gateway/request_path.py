"""The way of a question to its prompt, in the order of architecture.md, without LiteLLM.

Belongs here: class → choose the version → input check → passages → the template that the version
names.
Does not belong here: reading the request (`request_body.py`), LiteLLM's hooks (`plugin.py`).
"""
# pyright: strict

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from typing import Any

from twin_resources.answer_forms import QUOTING_FORMS
from twin_resources.authors import Author
from twin_resources.gateway import safety
from twin_resources.gateway.answering import Answering, Standby
from twin_resources.gateway.choice import (
    BASE,
    PAID,
    Chosen,
    Snapshot,
    choose,
    diverted_to,
    standby_of,
)
from twin_resources.gateway.cost import Throughput
from twin_resources.gateway.keys import Key
from twin_resources.gateway.live import Live
from twin_resources.gateway.passages import Passages
from twin_resources.gateway.request_body import Asked
from twin_resources.gateway.response_format import not_taken
from twin_resources.prompt import DEFAULT_TEMPLATE, TEMPLATES, Template, render


@dataclass(frozen=True)
class Prepared:
    """A request that is ready to be called.

    Attributes:
        answering: its record.
        messages: the rendered prompt.
        sampling: what was sent, over the author's defaults.
        fixed_answer: the sentence that answers a refused topic; empty: a model answers.
    """

    answering: Answering
    messages: list[dict[str, str]]
    sampling: Mapping[str, Any]
    fixed_answer: str


@dataclass
class RequestPath:
    """Prepares questions.

    Attributes:
        live: the files that are followed.
        passages: retrieval.
        usd_per_hour: price of the machine.
        paid_problem: asks why no answer may be paid for now; empty: one may. May block.
        paid_takes_json: whether the paid model can be asked for a `response_format`.
        trace_problem: why answers leave no trace now, or empty; the background sets it.
        meters: throughput by server key.
    """

    live: Live
    passages: Passages
    usd_per_hour: float
    paid_problem: Callable[[], str] = lambda: ""
    paid_takes_json: bool = True
    trace_problem: str = ""
    meters: dict[str, Throughput] = field(default_factory=dict[str, Throughput])

    async def prepare(self, asked: Asked, key: Key, *, today: date | None = None) -> Prepared:
        """Choose, look up and render.

        Raises:
            Refused: see `choice.choose`; 400 the paid model was named and cannot be asked for JSON.
        """
        snapshot = self.live.current
        unfit = asked.response_format is not None and not self.paid_takes_json
        if unfit and asked.alias == PAID:
            raise not_taken(asked.model)
        to_paid = diverted_to(snapshot, asked) == PAID
        problem = "no JSON from the paid model" if unfit else ""
        if to_paid and not problem:
            problem = await asyncio.to_thread(self.paid_problem)
        day = today or datetime.now(UTC).date()
        chosen = choose(snapshot, asked, key=key, day=day, paid_problem=problem)
        author = snapshot.authors[asked.author]
        chosen, template, renamed = _with_template(snapshot, chosen)
        topic = safety.refused_topic(asked.question, author.refused_topics)
        found, missing = (), ""
        if not topic:
            found, missing = await self.passages.find(
                asked.author, asked.search_text, token_budget=author.context_tokens
            )
        answering = Answering(
            asked=asked,
            author=author,
            chosen=chosen,
            reader=key.reader,
            prompt_class=asked.prompt_class,
            template=template.hash,
            sources=tuple(found),
            degraded=tuple(
                note
                for note in (
                    *snapshot.problems_of(asked.author),
                    *chosen.degraded,
                    renamed,
                    missing,
                    self.trace_problem,
                    f"{asked.turns_left_out} earlier turns left out"
                    if asked.turns_left_out
                    else "",
                )
                if note
            ),
            usd_per_hour=self.usd_per_hour,
            meter=self._meter(chosen, declined=bool(topic)),
            declined=topic,
        )

        def rendered(by: Template) -> list[dict[str, str]]:
            return render(
                by,
                author_name=author.name,
                persona=author.persona,
                refused_topics=author.refused_topics,
                question=asked.question,
                passages=found,
                history=asked.history,
            )

        if not topic and (stable := standby_of(snapshot, asked.author, chosen)) is not None:
            stable, other, _ = _with_template(snapshot, stable)
            meter = self.meters.setdefault(stable.server_key, Throughput())
            answering.standby = Standby(stable, other.hash, rendered(other), meter)
        return Prepared(
            answering=answering,
            messages=rendered(template),
            sampling=_sampling(asked, author),
            fixed_answer=safety.declined(author.name, topic) if topic else "",
        )

    def _meter(self, chosen: Chosen, *, declined: bool) -> Throughput | None:
        if declined or chosen.server_key == PAID:
            return None
        return self.meters.setdefault(chosen.server_key, Throughput())


def _with_template(snapshot: Snapshot, chosen: Chosen) -> tuple[Chosen, Template, str]:
    """The template that the version names, and on the choice what computes its answer; a version
    whose template is unknown here gives way to base."""
    chosen = replace(chosen, engine=snapshot.engine_of(chosen.server_key))
    if not chosen.template:
        return chosen, DEFAULT_TEMPLATE, ""
    known = TEMPLATES.get(chosen.template)
    if known is not None:
        return chosen, known, ""
    note = f"template {chosen.template} of {chosen.version} unknown here"
    if snapshot.is_ready(BASE):
        base = replace(
            chosen,
            server_key=BASE,
            version=BASE,
            checkpoint="",
            template="",
            engine=snapshot.engine_of(BASE),
            released_for=QUOTING_FORMS,
        )
        return base, DEFAULT_TEMPLATE, f"{note}: answered by base"
    return chosen, DEFAULT_TEMPLATE, f"{note}: the default one is used"


def _sampling(asked: Asked, author: Author) -> dict[str, Any]:
    defaults = {
        "temperature": author.temperature,
        "frequency_penalty": author.frequency_penalty,
        "max_tokens": author.max_tokens,
    }
    return defaults | dict(asked.sampling)
