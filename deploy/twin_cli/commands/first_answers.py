"""Run stage 4 of `twin up`: make the posts searchable and answer three questions with quotations.

The base model's prose is not shown, but users can request it from `twin/<author>@base`.

Scope: the import through the running Dagster, and the questions.
Out of scope: the work of an import (`twin_assets/corpus`).
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from twin_assets.corpus.preview_tables import PREVIEW_TAG
from twin_cli.commands.author_progress import AuthorProgress, write_progress
from twin_cli.commands.presentation import format_passage, format_quotation
from twin_cli.commands.progress_display import ProgressDisplay
from twin_cli.commands.questions import EndpointAnswer, ask, make_client
from twin_cli.commands.runs import IMPORT_JOB, FollowedRun, follow_run, launch_or_join
from twin_resources.authors import Author
from twin_resources.errors import TwinError
from twin_resources.processes.dagster_http import DagsterHTTP
from twin_resources.processes.endpoints import Endpoints
from twin_resources.processes.programs import ensure_alive
from twin_resources.processes.stack import Stack
from twin_resources.processes.wording import format_count
from twin_resources.settings import Settings

if TYPE_CHECKING:
    from twin_assets.corpus.preview import Preview

QUOTABLE_ASSET = "embeddings"  # once it exists, quotations can answer questions
FIRST_ANSWER_COUNT = 3  # answers shown on the screen


def show_preview_quotations(
    settings: Settings, preview: Preview, *, display: ProgressDisplay
) -> None:
    """Show three sentences of the author that answer three questions, before anything is stored.

    Args:
        settings: settings of a home whose embedder is prepared.
    """
    from twin_assets.knowledge.preview_quotations import (
        MAX_SENTENCE_CHARACTERS,
        choose_preview_quotations,
    )
    from twin_resources.models.embedder.embedder import load_embedder

    # The first questions are left for the endpoint, which answers them later at greater length.
    questions = preview.questions[FIRST_ANSWER_COUNT:] or preview.questions
    if not questions:
        return
    quotations = choose_preview_quotations(
        preview.posts,
        questions,
        load_embedder(settings, allow_gpu=False),
        count=FIRST_ANSWER_COUNT,
    )
    lines = [
        f"{quote.heading}\n{format_passage(quote.text, max_characters=MAX_SENTENCE_CHARACTERS)}"
        for quote in quotations
    ]
    if lines:
        display.log("\n".join([f"from {preview.author or 'these posts'}:", *lines]))


def launch_import(stack: Stack, author: str, *, preview: Preview, display: ProgressDisplay) -> str:
    """Start an author's import, or join the import in flight; return its run id.

    The run imports, cleans, chunks and embeds the posts. It copies what the preview has read and
    cleaned, as long as the preview's tables exist.
    """
    dagster = DagsterHTTP.for_home(stack.settings)
    dagster.add_author(author)
    run_id, is_new = launch_or_join(dagster, IMPORT_JOB, author, tags={PREVIEW_TAG: preview.folder})
    display.log_detail(
        f"{'importing' if is_new else 'joining the import'}: {dagster.url}/runs/{run_id}"
    )
    return run_id


def follow_import(
    stack: Stack,
    author: str,
    run_id: str,
    *,
    display: ProgressDisplay,
    until_asset: str = "",
    previous_run: FollowedRun | None = None,
) -> FollowedRun:
    """Wait until an import ends, or until posts can be quoted.

    Args:
        until_asset, previous_run: see `follow_run`.

    Raises:
        TwinError: the run failed; the error states the first cause and the run's page.
    """
    dagster = DagsterHTTP.for_home(stack.settings)
    followed_run = follow_run(
        dagster,
        run_id,
        display=display,
        title="import",
        stack=stack,
        until_asset=until_asset,
        previous=previous_run,
    )
    if not followed_run.succeeded:
        ensure_alive(stack)
        run_url = f"{dagster.url}/runs/{followed_run.run.run_id}"
        raise TwinError(
            f"import the posts of {author}",
            found=followed_run.failure,
            next_step=suggest_repair(followed_run.failed_checks, run_url=run_url),
        )
    if previous_run is None or previous_run.is_unfinished:
        outcome = "quotable after" if followed_run.is_unfinished else "imported in"
        display.log(f"{outcome} {followed_run.seconds:.0f} s{format_post_changes(followed_run)}")
    return followed_run


def suggest_repair(refused_claims: Sequence[str], *, run_url: str) -> str:
    """Return the next step after a failed import.

    Args:
        refused_claims: names of the checks that failed.
        run_url: address of the run's page.
    """
    from twin_assets.corpus.document_claims import CLAIMS

    if CLAIMS.keys().isdisjoint(refused_claims):
        return f"see {run_url}, then run `twin up` again"
    return (
        "`twin import PATH --dry-run` lists the posts that fail the check: correct them, or allow "
        f"a larger share with TWIN_MOST_QUARANTINED; see {run_url}"
    )


def format_post_changes(followed: FollowedRun) -> str:
    """Return a run's changes since the previous import: `: posts added 2, edited 1, deleted 0`.

    The result is empty if this run read no posts because a failed run had already read them.
    """
    post_counts = followed.asset_numbers.get("raw_posts")
    if post_counts is None:
        return ""
    counts = [
        f"{change} {post_counts[f'posts_{change}']:,}" for change in ("added", "edited", "deleted")
    ]
    return f": posts {', '.join(counts)}"


def ask_first_questions(
    stack: Stack,
    endpoints: Endpoints,
    author: Author,
    progress: AuthorProgress,
    *,
    display: ProgressDisplay,
) -> AuthorProgress:
    """Ask the endpoint the preview's questions and show the three best quotations.

    If they have been shown before, no question is asked, because the answers are unchanged.
    """
    if progress.examples or not progress.questions:
        display.log("the first answers have already been shown; ask more with `twin ask`")
        return progress
    answers = ask_questions(
        endpoints, progress.questions, model=f"twin/{author.slug}", display=display
    )
    best_answers = select_best_quotations(answers)
    question_count = format_count(len(progress.questions), "question")
    if best_answers:
        display.log(f"asked {question_count}; the best answers:")
        for answer in best_answers[:FIRST_ANSWER_COUNT]:
            display.log(format_quotation(answer))
    else:
        display.log(f"no quotation answered any of {question_count}; ask your own with `twin ask`")
    progress = replace(progress, examples=tuple(answer.question for answer in best_answers))
    write_progress(stack.settings, author.slug, progress)
    return progress


def select_best_quotations(answers: Sequence[EndpointAnswer]) -> tuple[EndpointAnswer, ...]:
    """Return the answers with quotations, the best first.

    A title does not always make a good question. The best answers have the highest cosine between
    question and passage. A quotation with a code block comes last, because it is shown without line
    breaks.
    """

    def sort_key(answer: EndpointAnswer) -> tuple[bool, float]:
        return "```" in answer.quotes[0]["text"], -float(answer.quotes[0]["score"])

    return tuple(sorted((answer for answer in answers if answer.quotes), key=sort_key))


def ask_questions(
    endpoints: Endpoints, questions: Sequence[str], *, model: str, display: ProgressDisplay
) -> tuple[EndpointAnswer, ...]:
    """Ask each question once with the official client and return the answers."""
    client = make_client(endpoints.gateway, endpoints.gateway_key)
    answers: list[EndpointAnswer] = []
    for question in questions:
        with display.bar("asking") as bar:
            bar.update(question)
            answers.append(ask(client, question, model=model))
        display.log_detail(f"answered in {answers[-1].seconds:.1f} s: {question}")
    return tuple(answers)
