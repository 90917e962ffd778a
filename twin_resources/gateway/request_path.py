"""From a question to a prompt: who answers, the front desk, passages, the form, the prompt.

Each stage reads an `Exchange` and returns a new one. The routing rules are in `routing/`, the
search in `passage_finder.py`, the front desk's texts in `front_desk/`.
"""
# pyright: strict

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from typing import Any, Literal

from twin_resources.access.keys import Key
from twin_resources.access.refusals import RefusedError, bad_request
from twin_resources.authors import Author
from twin_resources.authors.answer_forms import (
    NO_VERSION_REASON,
    VOICE,
    AnswerForm,
    ProseRelease,
    resolve_form,
)
from twin_resources.authors.consent import find_consent_date
from twin_resources.authors.front_desk_settings import DESK_KINDS, DeskKind
from twin_resources.errors import TwinError
from twin_resources.gateway.config.live_config import LiveConfig
from twin_resources.gateway.costs.cost import ThroughputMeter
from twin_resources.gateway.costs.home_counts import HomeCounts
from twin_resources.gateway.exchange.exchange import Exchange, FixedText, RequestRecord
from twin_resources.gateway.exchange.guardrails import guard_input, guard_passages
from twin_resources.gateway.exchange.supported_prose import (
    NO_QUOTATION,
    NOT_JUDGED,
    ProseNote,
    SupportedSentenceFilter,
)
from twin_resources.gateway.front_desk.answers import (
    front_desk_answer,
    is_unread_language,
    not_found_text,
    quotation_notes,
    rewriting_text,
    talk_text,
)
from twin_resources.gateway.front_desk.message_kinds import (
    ORDINARY,
    ClassifiedMessage,
    classify_message,
)
from twin_resources.gateway.front_desk.rewriting_requests import classify_talk_message
from twin_resources.gateway.guards.guard_record import summarize_findings
from twin_resources.gateway.passage_finder import PassageFinder, RetrievedPassages
from twin_resources.gateway.request.housekeeping import HOUSEKEEPING, housekeeping_answer
from twin_resources.gateway.request.prompt_length import (
    DEFAULT_CONTEXT_TOKENS,
    PAID_CONTEXT_TOKENS,
    context_length,
    fit_history,
    token_counter,
)
from twin_resources.gateway.request.request_body import ChatRequest
from twin_resources.gateway.routing.decision import (
    RouteDecision,
    ScoredQuestion,
    choose_fallback,
    choose_version,
)
from twin_resources.gateway.routing.model_names import check_access
from twin_resources.gateway.routing.question_routing import QuestionRouter
from twin_resources.gateway.routing.snapshot import Snapshot
from twin_resources.models.quotes.answer_text import (
    MAX_NEAREST,
    AnswerOpening,
    extract_prose,
    render_closest,
    render_quotes,
)
from twin_resources.models.serving.template_sampling import frequency_penalty
from twin_resources.privacy import redact
from twin_resources.prompt.control_marks import COMMON_MARKS, ControlMarks, load_home_marks
from twin_resources.prompt.templates import DEFAULT_TEMPLATE, TEMPLATES, Template, render
from twin_resources.registry.route_names import BASE, DRAFT, FRONT_DESK, PAID, QUOTES
from twin_resources.storage.weights.weights import load_base_model

NO_CONSENT = "the author has not consented: the paid model is shown no posts"
UNCHECKED = "its sentences cannot be checked: the gate measured it with another judge"
# About 250 tokens; the passages of a prompt have about 450.
MAX_NOTE_CHARACTERS = 1000
# How far a passage must be above the threshold to answer a certainly private question. Of 5 English
# tuning messages to four authors, one has a passage .10 above it ("how old is her daughter and …"),
# and no other reaches it.
_PRIVATE_MARGIN = 0.12


@dataclass
class RequestPath:
    """The stages of a request, with what the requests of a gateway share.

    Attributes:
        live_config: the configuration files, reread when they change.
        passage_finder: retrieves passages and quotations.
        usd_per_hour: price of the machine.
        paid_problem: returns the reason that this key cannot pay for an answer of this author now,
            or an empty string if it can. May block.
        paid_model: LiteLLM's name of the paid model, for the trace, or empty if there is none.
        trace_problem: why answers are not traced now, or empty; set in the background.
        counts: counters shared by all gateway processes.
        router: chooses between the home's model and the paid one if the author has a policy.
        control_marks: control tokens of this home's models; set in the background.
        base_folder: folder of the base model's tokenizer, or empty if it is not prepared here.
        base_context: context of the base model in tokens, or 0 if unknown. It is assumed for a
            server on another machine, which does not report its context (vLLM's default).
    """

    live_config: LiveConfig
    passage_finder: PassageFinder
    usd_per_hour: float
    paid_problem: Callable[[Key, str], str] = lambda _key, _author: ""
    paid_model: str = ""
    trace_problem: str = ""
    counts: HomeCounts = field(default_factory=HomeCounts)
    router: QuestionRouter = field(default_factory=QuestionRouter)
    control_marks: ControlMarks = COMMON_MARKS
    base_folder: str = ""
    base_context: int = 0

    async def prepare(
        self,
        chat_request: ChatRequest,
        key: Key,
        *,
        today: date | None = None,
        paid_problem: str = "",
    ) -> RequestRecord:
        """Run the stages, and return the initial record of the answer.

        Args:
            paid_problem: why the paid model cannot be called, if that became known after it was
                chosen.

        Raises:
            RefusedError: see the stages.
        """
        may_name_reader = key.role == "site" and not key.is_public
        exchange = Exchange(
            chat_request,
            key.for_reader(chat_request.user),
            self.live_config.current,
            today or datetime.now(UTC).date(),
            paid_problem=paid_problem or None,
            ignored_parameters=("user",) if chat_request.user and not may_name_reader else (),
        )
        log: list[str] = []
        for stage in STAGES:
            start_time = time.perf_counter()
            exchange = await stage(exchange, self)
            log.append(f"{stage.__name__} {(time.perf_counter() - start_time) * 1000:.1f} ms")
        decision = exchange.decision
        notes = (
            *exchange.snapshot.collect_problems(chat_request.author),
            *decision.degraded,
            *exchange.notes,
            self.trace_problem,
        )
        has_no_meter = exchange.is_answered or decision.server_key == PAID or decision.is_elsewhere
        counted = _decision_for_statistics(decision, exchange.chat_request)
        if exchange.is_answered and not exchange.fixed_text.guard_refusal:
            name = FRONT_DESK if exchange.fixed_text.front_desk else QUOTES
            counted = replace(decision, version=name, checkpoint="", route=name, propensity=1.0)
        return RequestRecord(
            exchange,
            replace(counted, routing_note=None),
            exchange.form,
            self.usd_per_hour,
            None if has_no_meter else self.meter(decision.server_key),
            degraded=tuple(note for note in notes if note),
            guard_records=exchange.guard_records,
            stage_log="\n".join(log),
            prose_note=self._create_prose_note(exchange),
        )

    def _create_prose_note(self, exchange: Exchange) -> ProseNote:
        """Return the reason that no prose is shown, or the filter of its sentences."""
        chat_request, release = exchange.chat_request, exchange.decision.prose_release
        if exchange.fixed_text.guard_refusal or exchange.form == "not_found":
            return ProseNote()
        if exchange.form == "quote":
            if exchange.author.answer == "quote":
                return ProseNote()
            return ProseNote(release.why_not or NO_QUOTATION, exchange.draft_model)
        if chat_request.alias or chat_request.response_format is not None:
            is_draft = chat_request.alias == DRAFT
            return ProseNote(draft_reason=release.why_not or (NOT_JUDGED if is_draft else ""))
        cutoff = release.cut if exchange.form == "quote_and_voice" else None
        judge = self.passage_finder.create_sentence_judge(cutoff.judge) if cutoff else None
        if cutoff is None or judge is None:
            return ProseNote()
        texts = [source.text for source in (*exchange.sources, *exchange.quotes)]
        return ProseNote(
            supported_sentences=SupportedSentenceFilter(
                judge, cutoff.threshold, texts, self.passage_finder.run_in_thread
            )
        )

    def reload_tokenizers(self) -> None:
        """Read the tokenizers of this home.

        This reads files, so it must not run on the event loop.
        """
        settings = self.live_config.settings
        self.control_marks = load_home_marks(settings)
        try:
            self.base_folder = str(load_base_model(settings).folder)
        except TwinError:
            self.base_folder = ""  # a remote server answers, or no model is prepared yet
        self.base_context = context_length(self.base_folder)
        token_counter(self.base_folder)  # loaded now, so that no question waits for it

    def meter(self, server_key: str) -> ThroughputMeter:
        """Return the meter of a model server."""
        return ThroughputMeter(server_key, self.counts)


async def choose_model(exchange: Exchange, path: RequestPath) -> Exchange:
    """Choose the version, and check whether this key may ask for it.

    Raises:
        RefusedError: see `check_access` and `choose_version`.
    """
    check_access(exchange.snapshot, exchange.chat_request, exchange.key)
    return await _choose_version(exchange, path)


async def _choose_version(
    exchange: Exchange, path: RequestPath, scored_question: ScoredQuestion | None = None
) -> Exchange:
    """Choose the version, and check whether a paid model may be called that nobody named."""
    chat_request, paid_problem = exchange.chat_request, exchange.paid_problem

    def choose() -> RouteDecision:
        return choose_version(
            exchange.snapshot,
            chat_request,
            exchange.key,
            exchange.day,
            paid_problem=paid_problem or "",
            scored_question=scored_question,
        )

    decision = choose()
    is_unnamed = decision.server_key == PAID and not chat_request.has_named_version
    if is_unnamed and paid_problem is None:
        paid_problem = await asyncio.to_thread(path.paid_problem, exchange.key, chat_request.author)
        decision = choose()
    decision, template = _resolve_template(exchange.snapshot, decision)
    return replace(exchange, paid_problem=paid_problem, decision=decision, template=template)


def _resolve_template(
    snapshot: Snapshot, decision: RouteDecision
) -> tuple[RouteDecision, Template]:
    """Return the decision with its engine, and the template that the version names.

    If that template is unknown here, the base model replaces the version.
    """
    decision = replace(decision, engine=snapshot.get_server(decision.server_key).engine)
    template = TEMPLATES.get(decision.template) if decision.template else DEFAULT_TEMPLATE
    if template is not None:
        return decision, template
    note = f"template {decision.template} of {decision.version} is unknown here"
    if not snapshot.is_ready(BASE):
        note = f"{note}: the default template is used"
        return replace(decision, degraded=(*decision.degraded, note)), DEFAULT_TEMPLATE
    base_decision = RouteDecision(
        BASE,
        BASE,
        "",
        "",
        decision.route,
        decision.propensity,
        (*decision.degraded, f"{note}: answered by base"),
        engine=snapshot.get_server(BASE).engine,
        prose_release=ProseRelease(NO_VERSION_REASON),
        routing_note=decision.routing_note,
    )
    return base_decision, DEFAULT_TEMPLATE


async def screen_message(exchange: Exchange, _: RequestPath) -> Exchange:
    """Mask the question, and answer it at once if no passage may do so.

    These are a chat program's own requests, danger, insults, what the guards refuse, and messages
    about the conversation itself.

    Raises:
        RefusedError: 400 if the client requests JSON, for which there is no fixed text.
    """
    chat_request, author = exchange.chat_request, exchange.author
    json_format = chat_request.response_format
    if text := housekeeping_answer(chat_request):
        return replace(exchange, fixed_text=FixedText(text, front_desk=HOUSEKEEPING))
    # In a thread, because embedding the message takes 25 ms of CPU time.
    result, message = await asyncio.to_thread(
        lambda: (guard_input(chat_request, author), _classify(chat_request, author))
    )
    answer = FixedText(result.guard_refusal, guard_refusal=result.guard_refusal)
    question, earlier = chat_request.question, chat_request.earlier_answers
    is_for_model = bool(chat_request.alias) or _requested_form(exchange)[0] == VOICE
    if message.kind == "danger" or (message.kind == "insult" and not answer.text):
        answer = _front_desk_text(message.kind, exchange)
    elif not answer.text and earlier and not is_for_model:
        kind = await asyncio.to_thread(classify_talk_message, question)
        if kind == "talk":
            text = talk_text(question, author, result.chat_request.history)
            answer = FixedText(text, front_desk=kind)
        elif kind:
            answer = FixedText(rewriting_text(question, author), front_desk=kind)
    if answer.text and json_format is not None:
        raise bad_request(
            f"{answer.text} Ask a different question, or omit response_format.",
            param="response_format",
            code="question_refused",
        )
    return replace(
        exchange,
        chat_request=result.chat_request,
        message=message,
        fixed_text=answer,
        guard_records=summarize_findings("input", result.findings),
    )


def _classify(chat_request: ChatRequest, author: Author) -> ClassifiedMessage:
    """Return the kind of message, which is ordinary unless the front desk may answer.

    A request for a version or for JSON comes from a program (a judge or a teacher) with other
    people's texts in its prompt, so the model answers it. In drafts and batches, which may come
    from readers, the front desk answers only danger.
    """
    if chat_request.has_named_version or chat_request.response_format is not None:
        return ORDINARY
    earlier_messages = [turn["content"] for turn in chat_request.history if turn["role"] == "user"]
    message = classify_message(chat_request.question, earlier_messages)
    if message.kind == "danger":
        return message
    if chat_request.alias or chat_request.is_batch:
        return ORDINARY
    off = [kind for kind in DESK_KINDS if author.front_desk.get_text(kind) == ""]
    return replace(
        message,
        kind="ordinary" if message.kind in off else message.kind,
        may_ask_identity=message.may_ask_identity and "identity" not in off,
    )


def _front_desk_text(kind: DeskKind | Literal["never"], exchange: Exchange) -> FixedText:
    titles = [passage.title for passage in exchange.retrieved_passages.nearest]
    question = exchange.chat_request.question
    text = front_desk_answer(kind, exchange.author, question, titles=titles)
    return FixedText(text, front_desk=kind)


async def retrieve(exchange: Exchange, path: RequestPath) -> Exchange:
    """Find passages, and quotations if the answer may show one.

    Raises:
        RefusedError: 429 if the queue of questions is full.
    """
    if exchange.fixed_text.text:
        return exchange
    author, chat_request = exchange.author, exchange.chat_request
    result = await path.passage_finder.find(
        author.slug,
        chat_request.search_texts,
        token_budget=author.context_tokens,
        # The front desk gives way to a passage that answers.
        with_quotes=_requested_form(exchange)[0] != VOICE or exchange.message.kind != "ordinary",
        earlier_answers=chat_request.earlier_answers,
        page=chat_request.page,
        # The prompt of a judge or teacher, which names a version, holds other people's texts.
        has_dates=not chat_request.has_named_version,
    )
    passages, findings = await asyncio.to_thread(guard_passages, result, author)
    return replace(
        exchange,
        retrieved_passages=passages,
        has_searched_quotes=result.quote_result is not None and not result.quote_result.reason,
        guard_records=(*exchange.guard_records, *summarize_findings("passages", findings)),
        notes=_add(exchange.notes, passages.missing_reason),
    )


async def answer_at_front_desk(exchange: Exchange, _: RequestPath) -> Exchange:
    """Answer a message that no passage answers, or say above the passages who answers.

    Only a private question may be certain of its kind and still be answered by the posts: an author
    may have written about house and dog. It needs a passage clearly above the threshold.
    """
    if exchange.fixed_text.text:
        return exchange
    chat_request, message, found = (
        exchange.chat_request,
        exchange.message,
        exchange.retrieved_passages,
    )
    is_for_reader = not chat_request.has_named_version and chat_request.response_format is None
    is_never = found.is_declined and is_for_reader
    result = found.quote_result
    has_passage = result is not None and bool(result.quotes)
    if has_passage and message.is_certain:
        margin = result.best_score - result.threshold if result is not None else 0.0
        has_passage = message.kind == "private" and margin >= _PRIVATE_MARGIN
    if is_never or (message.kind != "ordinary" and not has_passage):
        # Nothing was retrieved for the program's own text.
        kind = "never" if is_never or message.kind == "ordinary" else message.kind
        return replace(
            exchange,
            fixed_text=_front_desk_text(kind, exchange),
            retrieved_passages=RetrievedPassages(),
            has_searched_quotes=False,
        )
    if message.may_ask_identity:
        notice = front_desk_answer("identity", exchange.author, chat_request.question)
        return replace(exchange, fixed_text=FixedText(notice=notice))
    return exchange


async def choose_form(exchange: Exchange, path: RequestPath) -> Exchange:
    """Set the form of the answer; only a draft may show prose without quotations above it.

    Raises:
        RefusedError: 503 if the posts cannot be read and the answer needs them.
    """
    if exchange.fixed_text.text:
        return exchange
    author, found, question = (
        exchange.author,
        exchange.retrieved_passages,
        exchange.chat_request.question,
    )
    release = exchange.decision.prose_release
    if (
        release.cut is not None
        and author.answer != VOICE  # prose alone is not judged by sentence
        and path.passage_finder.create_sentence_judge(release.cut.judge) is None
    ):
        # The embedder or the rules have changed since the verdict; the next one releases it again.
        held = replace(exchange.decision, prose_release=replace(release, why_not=UNCHECKED))
        exchange = replace(exchange, decision=held)
    form, release_note = _requested_form(exchange)
    exchange = replace(exchange, notes=_add(exchange.notes, release_note))
    result = found.quote_result
    if form == VOICE:
        return exchange
    if result is None or result.reason:
        exchange = replace(
            exchange,
            notes=_add(exchange.notes, f"no quotation: {result.reason}" if result else ""),
        )
        if exchange.chat_request.alias == DRAFT:
            return exchange
        if found.missing_reason:
            message = f"The posts cannot be quoted, {found.missing_reason}; see the gateway's log."
            raise RefusedError(503, "posts_unreadable", message)
        opening = AnswerOpening(f"No post by {author.name} can be quoted right now.")
        return replace(exchange, form="quote", opening=opening)
    languages: Any = {"languages": result.languages, "known_languages": result.known_languages}
    if not result.quotes or is_unread_language(question, **languages):
        closest = found.nearest[:MAX_NEAREST]
        text = not_found_text(question, author, has_closest=bool(closest), **languages)
        opening = render_closest(text, closest)
        return replace(
            exchange, form="not_found", opening=opening, nearest=closest, cited_passages=closest
        )
    quoted_ids = {quote.document_id for quote in result.quotes}
    return replace(
        exchange,
        form=form,
        opening=render_quotes(result.quotes, **quotation_notes(question, author)),
        quotes=result.quotes,
        cited_passages=tuple(
            passage for passage in found.nearest if passage.document_id in quoted_ids
        ),
    )


def _requested_form(exchange: Exchange) -> tuple[AnswerForm, str]:
    """Return the requested form, and a note if prose alone is requested but not released.

    A client that names a version gets the prose of that version. A JSON response cannot contain a
    quotation.
    """
    chat_request, author, decision = exchange.chat_request, exchange.author, exchange.decision
    if chat_request.has_named_version or chat_request.response_format is not None:
        return VOICE, ""
    if chat_request.alias == DRAFT:
        return "quote_and_voice", ""
    form = resolve_form(author.answer, decision.prose_release)
    if author.answer != VOICE or form == VOICE or decision.version == QUOTES:
        return form, ""
    hint = f"; to force it, run `twin release {decision.version} --reason …`"
    reason = decision.prose_release.why_not
    return form, (
        f"{decision.version} is not released for voice ({reason})"
        f"{hint if decision.checkpoint else ''}"
    )


async def score_models(exchange: Exchange, path: RequestPath) -> Exchange:
    """Choose again by the author's fitted policy, which needs the question's vector."""
    if exchange.is_answered:
        return exchange
    scored_question = await path.router.score(
        exchange.snapshot,
        exchange.chat_request,
        exchange.decision,
        retrieved_passages=exchange.retrieved_passages,
    )
    if scored_question is None:
        return exchange
    prose_release = exchange.decision.prose_release  # the form of the answer is already set
    exchange = await _choose_version(exchange, path, scored_question)
    return replace(exchange, decision=replace(exchange.decision, prose_release=prose_release))


async def redact_outbound(exchange: Exchange, path: RequestPath) -> Exchange:
    """Remove personal data and secrets from readers' texts, and passages without consent.

    A request to a model on this machine is not changed.
    """
    decision = exchange.decision
    if exchange.is_answered or not (decision.server_key == PAID or decision.provider):
        return exchange

    def redact_text(text: str) -> str:
        return redact(text, region=exchange.author.language).text

    chat_request, found = exchange.chat_request, exchange.retrieved_passages
    turns = tuple(
        {"role": turn["role"], "content": redact_text(turn["content"])}
        for turn in chat_request.history
    )
    passages = found.passages if find_consent_date(exchange.author) is not None else ()
    shared_parts = ["question"]
    shared_parts += [f"{len(turns)} earlier turns"] if turns else []
    shared_parts += [f"{len(passages)} passages"] if passages else []
    return replace(
        exchange,
        chat_request=replace(
            chat_request,
            question=redact_text(chat_request.question),
            system=redact_text(chat_request.system),
            history=turns,
        ),
        retrieved_passages=replace(found, passages=passages),
        unredacted_inputs=(chat_request, found),
        provider=decision.provider or path.paid_model,
        provider_parts=", ".join(shared_parts),
        notes=_add(exchange.notes, NO_CONSENT if len(passages) < len(found.passages) else ""),
    )


async def render_prompt(exchange: Exchange, path: RequestPath) -> Exchange:
    """Render the prompt with as many earlier turns as fit into the model's context."""
    request, author, ignored = exchange.chat_request, exchange.author, exchange.ignored_parameters
    notes = exchange.notes
    if request.system and author.system_messages == "ignore":
        ignored = (*ignored, "system messages")
    elif len(request.system) > MAX_NOTE_CHARACTERS:
        message = f"the system message was truncated to {MAX_NOTE_CHARACTERS:,} characters"
        notes = _add(notes, message)
    sampling: dict[str, Any] = {
        "temperature": author.temperature,
        "frequency_penalty": frequency_penalty(exchange.template.hash),
        "max_tokens": author.max_tokens,
        **request.sampling,
    }
    messages, dropped_count, max_tokens = _render_in_context(
        exchange, path, exchange.decision.server_key, exchange.template, sampling["max_tokens"]
    )
    if dropped_count and not exchange.is_answered:
        notes = _add(notes, f"{dropped_count} earlier turns were left out")
    return replace(
        exchange,
        sampling=sampling | {"max_tokens": max_tokens},
        ignored_parameters=ignored,
        notes=notes,
        messages=messages,
    )


async def prepare_fallback(exchange: Exchange, path: RequestPath) -> Exchange:
    """Render the prompt of the version that answers if the chosen one fails."""
    decision = exchange.decision
    if exchange.is_answered:
        return exchange
    fallback = choose_fallback(exchange.snapshot, exchange.author.slug, decision)
    if fallback is None or (fallback.prose_release.why_not and not decision.prose_release.why_not):
        return exchange  # no fallback, or one whose prose is not released, unlike the chosen one's
    fallback, template = _resolve_template(exchange.snapshot, fallback)
    original = exchange
    if exchange.unredacted_inputs is not None:
        request, passages = exchange.unredacted_inputs
        original = replace(exchange, chat_request=request, retrieved_passages=passages)
    messages, _, max_tokens = _render_in_context(
        original, path, fallback.server_key, template, exchange.sampling["max_tokens"]
    )
    counted = _decision_for_statistics(fallback, exchange.chat_request)
    prepared = replace(
        original,
        decision=replace(counted, routing_note=decision.routing_note),
        template=template,
        messages=messages,
        sampling={**exchange.sampling, "max_tokens": max_tokens},
    )
    return replace(exchange, fallback=prepared)


def _decision_for_statistics(decision: RouteDecision, chat_request: ChatRequest) -> RouteDecision:
    """Return the decision for the statistics; drafts are excluded from those of the policy."""
    if chat_request.alias != DRAFT:
        return decision
    return replace(decision, route=f"alias:{DRAFT}", propensity=1.0)


def _render_in_context(
    exchange: Exchange, path: RequestPath, server_key: str, template: Template, max_tokens: int
) -> tuple[list[dict[str, str]], int, int]:
    """Return the prompt with the turns that fit into a server's context.

    Returns:
        The prompt, the number of turns dropped, and the `max_tokens` that fit. An assistant's turn
        is reduced to its prose.
    """
    request, author, is_paid = exchange.chat_request, exchange.author, server_key == PAID
    has_note = author.system_messages != "ignore"

    def render_with(history: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
        return render(
            template,
            author_name=author.name,
            question=request.question,
            passages=exchange.retrieved_passages.for_prompt(template, exchange.quotes),
            history=history,
            note=request.system[:MAX_NOTE_CHARACTERS] if has_note else "",
            marks=path.control_marks,
        )

    turns = [
        turn
        if turn["role"] == "user"
        else {"role": "assistant", "content": extract_prose(turn["content"])}
        for turn in request.history
    ]
    server_context = exchange.snapshot.get_server(server_key).context
    context_tokens = PAID_CONTEXT_TOKENS if is_paid else server_context
    prompt = render_with(())
    history, dropped_count, max_tokens = fit_history(
        [turn for turn in turns if turn["content"]],
        prompt=prompt,
        context_tokens=context_tokens or path.base_context or DEFAULT_CONTEXT_TOKENS,
        answer_tokens=max_tokens,
        count_tokens=token_counter("" if is_paid else path.base_folder),
    )
    return render_with(history) if history else prompt, dropped_count, max_tokens


def _add(notes: tuple[str, ...], note: str) -> tuple[str, ...]:
    return (*notes, note) if note else notes


Stage = Callable[[Exchange, RequestPath], Awaitable[Exchange]]
STAGES: tuple[Stage, ...] = (
    choose_model,
    screen_message,
    retrieve,
    answer_at_front_desk,
    choose_form,
    score_models,
    redact_outbound,
    render_prompt,
    prepare_fallback,
)
"""The stages of a request, in order; each may end it with `RefusedError`."""
