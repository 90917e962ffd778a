"""Measure whether an answer model's prose says what the posts say, and store the verdict.

The model is asked about the author's posts as a reader would ask: through the gateway's finder, the
prompt that it would render, and its sampling limits. Its weights were not trained here, so the
other claims of the gate do not apply, and the verdict decides prose alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from twin_assets.corpus.title_questions import (
    generate_title_questions,
    score_titles,
    select_typical_posts,
)
from twin_assets.evaluation.gate import GATE_VERSION
from twin_assets.evaluation.measures.sentence_faithfulness import (
    BLOCKED_FORM,
    CLAIM,
    MAX_UNSUPPORTED,
    calibrate,
    decide_claim,
)
from twin_resources.authors import Author
from twin_resources.authors.answer_forms import PROSE_QUESTION_COUNT
from twin_resources.errors import TwinError
from twin_resources.gateway.exchange.stop_criteria import ProseTruncator
from twin_resources.models.model_fit import ANSWER_S_PER_BILLION
from twin_resources.models.serving.model_server_process import max_concurrent_servers
from twin_resources.models.serving.served_model import PromptQueue, process_queue
from twin_resources.models.serving.template_sampling import frequency_penalty, reply_ban
from twin_resources.processes.progress_lines import ProgressLines
from twin_resources.prompt.control_marks import load_home_marks
from twin_resources.prompt.templates import Message, find_template, render
from twin_resources.quality.judges.entailment import load_entailment
from twin_resources.quality.judges.judge import JudgedAnswer, cache_embeddings
from twin_resources.quality.judges.sentence_support import SentenceJudge, SentenceSupport
from twin_resources.registry.moves import GateClaim, ModelVersion, Verdict

if TYPE_CHECKING:
    from twin_resources.gateway.passage_finder import PassageFinder
    from twin_resources.models.embedder.embedder import Embedder
    from twin_resources.models.serving.model_server import ModelServers
    from twin_resources.registry.registry import Registry
    from twin_resources.settings import Settings
    from twin_resources.storage.tables.tables import Tables

DOCUMENT_COLUMNS = (
    "document_id", "title", "text", "words", "language", "published_at", "source_id",
)  # fmt: skip
ANSWERS_PART = "answers of the answer model"


@dataclass(frozen=True)
class AskedQuestion:
    """A question that the posts answer, as the gateway would ask it.

    Attributes:
        passages: what the gateway's check holds each sentence against: the passages of the prompt
            and the quotations.
    """

    document_id: str
    question: str
    passages: tuple[str, ...]
    prompt: list[Message]


def judge_answer_model(
    author: Author,
    version: ModelVersion,
    *,
    settings: Settings,
    tables: Tables,
    registry: Registry,
    servers: ModelServers,
    finder: PassageFinder,
    embedder: Embedder,
    log: Callable[[str], object],
) -> Verdict:
    """Decide whether an answer model's prose is shown by default; return the stored verdict.

    An undecided claim has no value, and the next `twin up` measures it again.

    Raises:
        TwinError: the posts cannot be searched, or the model does not answer.
    """
    stored = find_verdict(registry, version)
    if stored is not None and stored.claims[0].value is not None:
        log(f"v{version.version} was already measured: {stored.claims[0].detail}")
        return stored
    support = SentenceSupport(cache_embeddings(embedder.embed), embedder=embedder.revision)
    judge: SentenceJudge = support
    if settings.nli_model:
        folder = settings.weights_dir / "entailment"
        judge = load_entailment(settings.nli_model, download_folder=folder)
    gateway_judge = support if judge is not support else None
    own = list(tables.read("embeddings", author.slug, columns=["document_id", "text"]).iter_rows())
    calibration = calibrate(judge, own)
    # Thirty answers of a large model take minutes, so the judges are calibrated first.
    claim: GateClaim | str
    if calibration is None:
        claim = "the posts have too few sentences to calibrate the judge"
    elif not calibration.is_reliable:
        claim = f"{calibration.judge} cannot tell this author's own sentences from wrong ones"
    else:
        documents = tables.read(
            "cleaned_documents", author.slug, columns=list(DOCUMENT_COLUMNS), where="kept"
        )
        posts = select_typical_posts(score_titles(documents), count=PROSE_QUESTION_COUNT)
        titles = zip(posts["document_id"].to_list(), generate_title_questions(posts), strict=True)
        questions = asyncio.run(
            prepare_questions(list(titles), author, version, settings=settings, finder=finder)
        )
        log(f"{len(questions)} of {posts.height} questions have passages that answer them")
        answers = ask_questions(questions, author, version, servers=servers, log=log)
        gateway_calibration = calibrate(gateway_judge, own) if gateway_judge else None
        claim = decide_claim(
            judge,
            calibration,
            [
                JudgedAnswer(asked.question, answer, asked.passages)
                for asked, answer in zip(questions, answers, strict=True)
            ],
            documents=[asked.document_id for asked in questions],
            gateway_judge=gateway_judge,
            gateway_threshold=(
                gateway_calibration.sentence_threshold if gateway_calibration else None
            ),
        )
    if isinstance(claim, str):
        detail = f"not decided: {claim}"
        claim = GateClaim(CLAIM, None, None, MAX_UNSUPPORTED, detail, blocks=BLOCKED_FORM)
    verdict = Verdict(
        author=author.slug,
        checkpoint=version.checkpoint,
        gate_version=GATE_VERSION,
        # A person's choice released the version; no claim about its weights was decided.
        outcome="not_decided",
        claims=(claim,),
        created_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
    )
    registry.record_verdict(verdict)
    log(f"v{version.version}: {verdict.prose_release.description}")
    return verdict


def find_verdict(registry: Registry, version: ModelVersion) -> Verdict | None:
    """Return the newest verdict on an answer model's prose for its author, or None."""
    verdicts = registry.verdicts(version.checkpoint, GATE_VERSION)
    return next((item for item in reversed(verdicts) if item.author == version.author), None)


async def prepare_questions(
    questions: Sequence[tuple[str, str]],
    author: Author,
    version: ModelVersion,
    *,
    settings: Settings,
    finder: PassageFinder,
) -> list[AskedQuestion]:
    """Return the questions for which the gateway would quote a post, with their prompts.

    Args:
        questions: (document id, question).

    Raises:
        TwinError: the posts cannot be searched.
    """
    template, marks = find_template(version.template), load_home_marks(settings)
    asked_questions: list[AskedQuestion] = []
    for document_id, question in questions:
        found = await finder.find(
            author.slug, [question], token_budget=author.context_tokens, with_quotes=True
        )
        if found.missing_reason:
            raise TwinError(
                f"ask about the posts of {author.name}",
                found=found.missing_reason,
                next_step="run `twin import`, then `twin up` again",
            )
        quotes = found.quote_result.quotes if found.quote_result else ()
        if not quotes or found.is_declined:
            continue
        prompt = render(
            template,
            author_name=author.name,
            question=question,
            passages=found.for_prompt(template, quotes),
            marks=marks,
        )
        texts = tuple(source.text for source in (*found.passages, *quotes))
        asked_questions.append(AskedQuestion(document_id, question, texts, prompt))
    return asked_questions


def ask_questions(
    questions: Sequence[AskedQuestion],
    author: Author,
    version: ModelVersion,
    *,
    servers: ModelServers,
    log: Callable[[str], object],
) -> list[str]:
    """Return the answers in order, ended before a loop and at a whole sentence.

    Raises:
        TwinError: the model cannot be served or does not answer.
    """
    progress = ProgressLines(log)
    progress.expect(ANSWERS_PART, len(questions), step_s=ANSWER_S_PER_BILLION)
    queue = PromptQueue(
        [asked.prompt for asked in questions],
        max_tokens=[author.max_tokens],
        frequency_penalty=frequency_penalty(version.template),
        texts_only=True,
        sampling=lambda server: reply_ban(version.template, server.engine),
        on_answer=progress.make_step_recorder(ANSWERS_PART),
    )
    # Each server of this machine uses half of the cores; another machine's decides by itself.
    server_count = max_concurrent_servers() if version.base_gguf else 1
    process_queue(queue, lambda: servers.serve_version(version), max_servers=server_count)
    shown_answers: list[str] = []
    for answer in queue.answers_in_order():
        truncator = ProseTruncator(limit=author.max_tokens)
        shown_answers.append(truncator.feed(answer.text) + truncator.finish(cut_off=True))
    return shown_answers
