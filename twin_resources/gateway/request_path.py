"""The way of a question to its prompt, in the order of architecture.md, without LiteLLM.

Belongs here: class → choose the version → input check, front desk → passages → the template that
the version names.
Does not belong here: reading the request (`request_body.py`), LiteLLM's hooks (`plugin.py`).
"""
# pyright: strict

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any, Literal

from twin_resources.access.keys import Key
from twin_resources.access.refusals import Refused
from twin_resources.authors import Author
from twin_resources.authors.answer_forms import (
    NO_VERSION,
    VOICE,
    AnswerForm,
    ProseRelease,
    given_form,
)
from twin_resources.authors.front_desk_settings import DeskKind
from twin_resources.errors import TwinError
from twin_resources.gateway import safety
from twin_resources.gateway.cost import Throughput
from twin_resources.gateway.found_passages import FoundPassages, Passages
from twin_resources.gateway.front_desk import answer_of, kind_of, other_language_text
from twin_resources.gateway.guard_record import records
from twin_resources.gateway.guarding import guard_input, guard_passages
from twin_resources.gateway.guards import GuardFinding
from twin_resources.gateway.live_config import LiveConfig
from twin_resources.gateway.prompt_length import (
    DEFAULT_CONTEXT_TOKENS,
    PAID_CONTEXT_TOKENS,
    context_of,
    counter_of,
    fitting_history,
)
from twin_resources.gateway.provider_view import provider_view
from twin_resources.gateway.question_routing import QuestionRouter
from twin_resources.gateway.request_body import ChatRequest
from twin_resources.gateway.request_record import Fallback, RequestRecord, new_trace_id
from twin_resources.gateway.response_format import not_taken
from twin_resources.gateway.routing.decision import RouteDecision, RouteRequest
from twin_resources.gateway.routing.rules import choose, fallback_of
from twin_resources.gateway.routing.snapshot import Snapshot
from twin_resources.gateway.supported_prose import (
    NO_QUOTATION,
    NOT_JUDGED,
    ProseNote,
    SupportedSentences,
)
from twin_resources.models.quotes.answer_text import (
    MOST_NEAREST,
    Opening,
    not_written_about,
    prose_of,
    quoting,
)
from twin_resources.prompt.control_marks import FAMILIES, ControlMarks, marks_of_home
from twin_resources.prompt.templates import DEFAULT_TEMPLATE, TEMPLATES, Template, render
from twin_resources.registry.route_names import BASE, DRAFT, FRONT_DESK, PAID, QUOTES
from twin_resources.storage.weights.weights import load_base_model

if TYPE_CHECKING:
    from twin_resources.models.quotes.quoter import Quote
    from twin_resources.models.retrieval.retrieval import Passage

SYSTEM_MESSAGES = "system messages"
# About 250 tokens of the 2,048 of a 135M model, beside 450 of passages and 600 of history.
MAX_NOTE_CHARACTERS = 1000


@dataclass(frozen=True)
class PreparedRequest:
    """A request that is ready to be called.

    Attributes:
        answering: its record.
        messages: the rendered prompt.
        sampling: what was sent, over the author's defaults.
        fixed_answer: what answers a refused topic, is the program's own, or quotes; empty: a model
            answers.
    """

    answering: RequestRecord
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
        paid_problem: asks why no answer may be paid for now, by this key and of this author; empty:
            one may. May block.
        paid_takes_json: whether the paid model can be asked for a `response_format`.
        paid_model: LiteLLM's name of it, for the trace; empty: there is none.
        trace_problem: why answers leave no trace now, or empty; the background sets it.
        meters: throughput by server key.
        marks: control tokens of this home's models; the background sets it.
        base_folder: of the base model's tokenizer; empty: not prepared here.
        base_context: tokens that the base model can read; 0: not told. A server elsewhere says
            nothing about itself and has the model's own by default (vLLM).
        router: chooses between own and paid model where the author has a policy.
    """

    live: LiveConfig
    passages: Passages
    usd_per_hour: float
    paid_problem: Callable[[Key, str], str] = lambda _key, _author: ""
    paid_takes_json: bool = True
    paid_model: str = ""
    trace_problem: str = ""
    meters: dict[str, Throughput] = field(default_factory=dict[str, Throughput])
    router: QuestionRouter = field(default_factory=QuestionRouter)
    marks: ControlMarks = FAMILIES
    base_folder: str = ""
    base_context: int = 0

    def follow_tokenizers(self) -> None:
        """Look up what is prepared in this home; reads files, so not on the event loop."""
        settings = self.live.settings
        self.marks = marks_of_home(settings)
        try:
            self.base_folder = str(load_base_model(settings).folder)
        except TwinError:
            self.base_folder = ""  # a server elsewhere answers, or nothing is prepared yet
        self.base_context = context_of(self.base_folder)
        counter_of(self.base_folder)  # loaded here: no question waits for it

    async def prepare(
        self, chat_request: ChatRequest, key: Key, *, today: date | None = None, unpaid: str = ""
    ) -> PreparedRequest:
        """Choose, look up and render.

        Args:
            unpaid: why the paid model cannot be asked, where that was found out after it was
                chosen.

        Raises:
            Refused: see `rules.choose`; 400 the paid model was named and cannot be asked for JSON.
        """
        snapshot = self.live.current
        ignored = () if key.role == "site" or not chat_request.user else ("user",)
        key = key.for_reader(chat_request.user)
        unfit = chat_request.response_format is not None and not self.paid_takes_json
        if unfit and chat_request.alias == PAID:
            raise not_taken(chat_request.model)
        problem = unpaid or ("no JSON from the paid model" if unfit else None)
        request = RouteRequest(chat_request, key, today or datetime.now(UTC).date(), problem)
        request, chosen = await self._route(request, snapshot)
        author = snapshot.authors[chat_request.author]
        chosen, template, renamed = _with_template(snapshot, chosen)
        fixed = await self._fixed_text(chat_request, author)
        chat_request = fixed.asked
        note, cut = _note(chat_request, author)
        ignored += (SYSTEM_MESSAGES,) * bool(chat_request.system and not note)
        wanted, unreleased = _wanted_form(chat_request, author, chosen)
        passages = FoundPassages()
        if not fixed.text:
            passages = await self.passages.find(
                chat_request.author,
                chat_request.searches,
                token_budget=author.context_tokens,
                with_quotes=wanted != VOICE,
            )
        compared = passages.quoted is not None and not passages.quoted.reason
        passages, in_passages = guard_passages(passages, author)
        form = (
            _Form()
            if fixed.text
            else _form_of(
                wanted,
                passages,
                author,
                chat_request.question,
                is_draft=chat_request.alias == DRAFT,
            )
        )
        trace_id, scored = new_trace_id(), None
        if not (form.is_fixed or fixed.text):
            scored = await self.router.score(
                snapshot, chat_request, chosen, found_passages=passages
            )
        if scored is not None:
            _, routed = await self._route(replace(request, scored=scored), snapshot)
            # the form of the answer is settled: its passages have been looked for
            chosen = replace(routed, prose=chosen.prose)
            if chosen.server_key == PAID:
                template = DEFAULT_TEMPLATE
            else:
                chosen, template, renamed = _with_template(snapshot, chosen)
        chosen, routing = replace(chosen, why=None), chosen.why
        whole, saw, held = (chat_request, passages), "", ""
        leaves = chosen.server_key == PAID or bool(chosen.provider)
        if leaves and not (form.is_fixed or fixed.text):
            view = provider_view(chat_request, passages, author)
            chat_request, passages, saw, held = view.asked, view.found, view.saw, view.missing
        counted = _drafted(chosen, chat_request)
        if fixed.front_desk or form.is_fixed:
            counted = _by_no_model(chosen, FRONT_DESK if fixed.front_desk else QUOTES)
        answering = RequestRecord(
            asked=chat_request,
            author=author,
            chosen=counted,
            reader=key.reader,
            prompt_class=chat_request.prompt_class,
            template=template.hash,
            sources=form.sources(passages),
            degraded=tuple(
                note
                for note in (
                    *snapshot.problems_of(chat_request.author),
                    *chosen.degraded,
                    renamed,
                    passages.missing,
                    held,
                    unreleased,
                    form.missing,
                    self.trace_problem,
                    cut,
                )
                if note
            ),
            usd_per_hour=self.usd_per_hour,
            ignored=tuple(sorted((*chat_request.ignored, *ignored))),
            meter=self._meter(chosen, fixed=bool(fixed.text) or form.is_fixed),
            front_desk=fixed.front_desk,
            declined=fixed.topic,
            withheld=fixed.withheld,
            guarded=(
                *records("input", fixed.findings),
                *records("passages", in_passages),
            ),
            provider=(chosen.provider or self.paid_model) if saw else "",
            provider_saw=saw,
            quote_score=passages.quoted.best if compared and passages.quoted else None,
            quote_threshold=passages.quoted.threshold if compared and passages.quoted else None,
            answer=form.answer,
            opening=form.opening,
            quotes=form.quotes,
            nearest=form.nearest,
            cited=form.cited,
            trace_id=trace_id,
            routing=routing,
        )
        answering.prose = self._prose_note(answering)
        sampling = _sampling(chat_request, author)

        def rendered(
            by: Template,
            history: Sequence[Mapping[str, str]],
            shown: tuple[ChatRequest, FoundPassages] = (chat_request, passages),
        ) -> list[dict[str, str]]:
            return render(
                by,
                author_name=author.name,
                persona=author.persona,
                refused_topics=author.refused_topics,
                question=shown[0].question,
                passages=shown[1].passages,
                history=history,
                note=_note(shown[0], author)[0],
                marks=self.marks,
            )

        history, left_out = self._fitting(
            snapshot,
            chat_request,
            chosen,
            rendered(template, ()),
            answer_tokens=sampling["max_tokens"],
        )
        if left_out and not answering.is_fixed:
            left = f"{left_out} earlier turns left out"
            answering.degraded = (*answering.degraded, left)
        if not answering.is_fixed:
            answering.fallback = self._fallback(
                snapshot, chat_request, chosen, lambda by: rendered(by, history, whole)
            )
        return PreparedRequest(
            answering=answering,
            messages=rendered(template, history),
            sampling=sampling,
            fixed_answer=fixed.text or form.opening.text * form.is_fixed,
        )

    async def _fixed_text(self, chat_request: ChatRequest, author: Author) -> _FixedText:
        """What answers before anything is looked up. Danger comes before all else, then a refused
        topic and the guards."""
        guarded = guard_input(chat_request, author)
        kind = await asyncio.to_thread(_desk_kind, chat_request, author)
        topic = safety.refused_topic(guarded.asked.question, author.refused_topics)
        if kind == "danger" or (kind and not (topic or guarded.withheld)):
            titles: list[str] = []
            if kind == "ability" and author.front_desk.text(kind) is None:
                found = await self.passages.find(
                    author.slug, chat_request.searches, token_budget=author.context_tokens
                )
                titles = [one.title for one in guard_passages(found, author)[0].nearest]
            text = answer_of(kind, author, chat_request.question, titles=titles)
            return _FixedText(guarded.asked, guarded.findings, text, front_desk=kind)
        if topic:
            text = safety.declined(author.name, topic)
            return _FixedText(guarded.asked, guarded.findings, text, topic=topic)
        return _FixedText(
            guarded.asked, guarded.findings, guarded.withheld, withheld=guarded.withheld
        )

    async def _route(
        self, request: RouteRequest, snapshot: Snapshot
    ) -> tuple[RouteRequest, RouteDecision]:
        """Who answers, and the request with why the paid model may not, once that was asked: only
        where it would answer, and was not named."""
        chosen = choose(request, snapshot)
        if (
            chosen.server_key != PAID
            or request.asked.names_version
            or request.paid_problem is not None
        ):
            return request, chosen
        problem = await asyncio.to_thread(self.paid_problem, request.key, request.asked.author)
        request = replace(request, paid_problem=problem)
        return request, choose(request, snapshot) if problem else chosen

    def _fallback(
        self,
        snapshot: Snapshot,
        chat_request: ChatRequest,
        chosen: RouteDecision,
        rendered: Callable[[Template], list[dict[str, str]]],
    ) -> Fallback | None:
        """Who answers where the chosen one fails, prepared; None: nobody."""
        stable = fallback_of(snapshot, chat_request.author, chosen)
        if stable is None or (stable.prose.why_not and not chosen.prose.why_not):
            return None  # its prose is not released, where the other's is
        stable, template, _ = _with_template(snapshot, stable)
        meter = self.meters.setdefault(stable.server_key, Throughput())
        stable = _drafted(stable, chat_request)
        return Fallback(stable, template.hash, rendered(template), meter)

    def _prose_note(self, answering: RequestRecord) -> ProseNote:
        """Why prose is not shown, or what of it may be."""
        asked, release = answering.asked, answering.chosen.prose
        if answering.declined or answering.withheld or answering.answer == "not_written_about":
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
        texts = [one.text for one in (*answering.sources, *answering.quotes)]
        return ProseNote(judged=SupportedSentences(judge, cut.threshold, texts, self.passages.run))

    def _fitting(
        self,
        snapshot: Snapshot,
        chat_request: ChatRequest,
        chosen: RouteDecision,
        prompt: Sequence[Mapping[str, str]],
        *,
        answer_tokens: int,
    ) -> tuple[Sequence[Mapping[str, str]], int]:
        """The turns that the chosen model can read beside the prompt; of an assistant's the
        prose."""
        if not chat_request.history:
            return (), 0
        turns = [
            turn
            if turn["role"] == "user"
            else {"role": "assistant", "content": prose_of(turn["content"])}
            for turn in chat_request.history
        ]
        paid = chosen.server_key == PAID
        budget = PAID_CONTEXT_TOKENS if paid else snapshot.context_of(chosen.server_key)
        return fitting_history(
            [turn for turn in turns if turn["content"]],
            prompt=prompt,
            context_tokens=budget or self.base_context or DEFAULT_CONTEXT_TOKENS,
            answer_tokens=answer_tokens,
            count=counter_of("" if paid else self.base_folder),
        )

    def _meter(self, chosen: RouteDecision, *, fixed: bool) -> Throughput | None:
        if fixed or chosen.server_key == PAID or chosen.is_elsewhere:
            return None
        return self.meters.setdefault(chosen.server_key, Throughput())


@dataclass(frozen=True)
class _FixedText:
    """What is known of a request before the posts are looked through.

    Attributes:
        asked: without what the guards mask.
        text: what answers in the place of the posts; empty: the posts do.
        front_desk, topic, withheld: why, as in `RequestRecord`; at most one is not empty.
    """

    asked: ChatRequest
    findings: tuple[GuardFinding, ...]
    text: str
    front_desk: DeskKind | Literal[""] = ""
    topic: str = ""
    withheld: str = ""


@dataclass(frozen=True)
class _Form:
    """What an answer is made of, but for the prose.

    Attributes:
        missing: why nothing was quoted that should have been; empty: all is well.
    """

    answer: AnswerForm | Literal["not_written_about"] = "voice"
    opening: Opening = field(default_factory=Opening)
    quotes: Sequence[Quote] = ()
    nearest: tuple[Passage, ...] = ()
    cited: tuple[Passage, ...] = ()
    missing: str = ""

    @property
    def is_fixed(self) -> bool:
        return self.answer in {"quote", "not_written_about"}

    def sources(self, found_passages: FoundPassages) -> tuple[Passage, ...]:
        """What the answer rests on: the prompt's passages; without a prompt, the quoted posts."""
        if self.answer == "not_written_about":
            return ()
        return self.cited if self.answer == "quote" else found_passages.passages


def _desk_kind(chat_request: ChatRequest, author: Author) -> DeskKind | Literal[""]:
    """The kind that the front desk answers; empty: the posts do.

    Programs ask for a version and for JSON: judges and teachers, with texts of others in their
    prompt. They get what they asked for. Of drafts and batches, readers' too, danger is answered.
    """
    if chat_request.names_version or chat_request.response_format is not None:
        return ""
    before = [turn["content"] for turn in chat_request.history if turn["role"] == "user"]
    kind = kind_of(chat_request.question, before)
    if kind == "ordinary" or author.front_desk.text(kind) == "":
        return ""
    return "" if kind != "danger" and (chat_request.alias or chat_request.batch) else kind


def _note(chat_request: ChatRequest, author: Author) -> tuple[str, str]:
    """What of the system messages the prompt shows, and the clause for `degraded` of a cut one."""
    if author.system_messages == "ignore":
        return "", ""
    if len(chat_request.system) <= MAX_NOTE_CHARACTERS:
        return chat_request.system, ""
    message = f"system message cut off after {MAX_NOTE_CHARACTERS:,} characters"
    return chat_request.system[:MAX_NOTE_CHARACTERS], message


def _wanted_form(
    chat_request: ChatRequest, author: Author, chosen: RouteDecision
) -> tuple[AnswerForm, str]:
    """What the answer is to be, and the clause for `degraded` where prose alone is wanted in vain.

    Who names a version asks for what it says, and JSON has no place for a quotation.
    """
    if chat_request.names_version or chat_request.response_format is not None:
        return VOICE, ""
    if chat_request.alias == DRAFT:
        return "quote_and_voice", ""
    form = given_form(author.answer, chosen.prose)
    if author.answer != VOICE or form == VOICE or chosen.version == QUOTES:
        return form, ""
    how = f"; `twin release {chosen.version} --reason …` forces it" if chosen.checkpoint else ""
    return form, f"{chosen.version} is not released for voice ({chosen.prose.why_not}){how}"


def _form_of(
    wanted: AnswerForm,
    found_passages: FoundPassages,
    author: Author,
    question: str,
    *,
    is_draft: bool,
) -> _Form:
    """The form that the passages allow. Prose stands below quotations; a draft may do without.

    Raises:
        Refused: 503 the posts cannot be read, and nothing else is shown.
    """
    if wanted == VOICE:
        return _Form()
    quoted = found_passages.quoted
    if quoted is None or quoted.reason:
        missing = f"nothing quoted: {quoted.reason}" if quoted else ""
        if is_draft:
            return _Form(missing=missing)
        if found_passages.missing:
            raise Refused(
                503,
                "posts_unreadable",
                tried="quote the author's posts",
                found=found_passages.missing,
                next_step="ask again in some seconds; `twin status` and the gateway's log say why",
            )
        nothing = Opening(f"No post of {author.name} can be quoted now.")
        return _Form("quote", nothing, missing=missing)
    quotes = quoted.quotes
    other = other_language_text(
        question, author, languages=quoted.languages, known=quoted.known_languages
    )
    if other or not quotes:
        near = found_passages.nearest[:MOST_NEAREST]
        nothing = not_written_about(author.name, near, instead=other)
        return _Form("not_written_about", nothing, nearest=near, cited=near)
    posts = {quote.document_id for quote in quotes}
    return _Form(
        wanted,
        quoting(quotes, before_prose=False),
        quotes,
        cited=tuple(passage for passage in found_passages.nearest if passage.document_id in posts),
    )


def _by_no_model(chosen: RouteDecision, name: str) -> RouteDecision:
    """The choice with the name under which answers that no model has written are counted."""
    return replace(chosen, version=name, checkpoint="", route=name, propensity=1.0)


def _drafted(chosen: RouteDecision, chat_request: ChatRequest) -> RouteDecision:
    """The choice as it is counted; of a draft it says nothing about the policy."""
    if chat_request.alias != DRAFT:
        return chosen
    return replace(chosen, route=f"alias:{DRAFT}", propensity=1.0)


def _with_template(
    snapshot: Snapshot, chosen: RouteDecision
) -> tuple[RouteDecision, Template, str]:
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
            prose=ProseRelease(NO_VERSION),
            is_tuned=False,
            is_elsewhere=False,
            provider="",
        )
        return base, DEFAULT_TEMPLATE, f"{note}: answered by base"
    return chosen, DEFAULT_TEMPLATE, f"{note}: the default one is used"


def _sampling(chat_request: ChatRequest, author: Author) -> dict[str, Any]:
    defaults = {
        "temperature": author.temperature,
        "frequency_penalty": author.frequency_penalty,
        "max_tokens": author.max_tokens,
    }
    return defaults | dict(chat_request.sampling)
