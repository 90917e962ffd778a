"""Stage 4 of `twin up`: the posts made searchable, and three questions answered from them.

The base model answers as soon as passages are found; the sentences that may be quoted, which it
does not need, are embedded after that.

Belongs here: the import through the running Dagster, the questions, and keeping the answers for the
comparison after training. Does not belong here: what an import does (`twin_assets/corpus`).
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from twin_cli.commands.author_progress import AuthorProgress, EndpointAnswer, write_progress
from twin_cli.commands.clock import StageClock
from twin_cli.commands.endpoint_client import ask, make_client
from twin_cli.commands.outcome import wait_until_served
from twin_cli.commands.presentation import answers_table
from twin_cli.commands.runs import FollowedRun, follow, launch_or_join
from twin_resources.authors import Author
from twin_resources.errors import TwinError
from twin_resources.processes.dagster_http import DagsterHTTP
from twin_resources.processes.endpoints import Endpoints
from twin_resources.processes.programs import ensure_alive, urls
from twin_resources.processes.stack import Stack
from twin_resources.processes.wording import counted

if TYPE_CHECKING:
    from twin_resources.registry.moves import ModelVersion

IMPORT = "import_posts"
SEARCHABLE = "embeddings"  # the asset by which a question finds its passages


def import_posts(stack: Stack, author: str, *, clock: StageClock, until: str = "") -> FollowedRun:
    """Import, clean, chunk and embed an author's posts in a Dagster run.

    Args:
        until: as of `follow`; then `finish_import` waits for the rest.

    Raises:
        TwinError: the run failed; says its first cause and where its page is.
    """
    address = urls(stack.settings)["dagster"]
    dagster = DagsterHTTP(address)
    dagster.add_author(author)
    run_id, launched = launch_or_join(dagster, IMPORT, author)
    clock.say(f"{'importing' if launched else 'joining the import'}: {address}/runs/{run_id}")
    followed = follow(dagster, run_id, clock=clock, title="import", stack=stack, until=until)
    return _imported(stack, author, followed, clock=clock)


def finish_import(
    stack: Stack, author: str, begun: FollowedRun, *, clock: StageClock
) -> FollowedRun:
    """Wait for the rest of an import that was followed to what was needed first.

    Raises:
        TwinError: as `import_posts`.
    """
    if not begun.goes_on:
        return begun
    dagster = DagsterHTTP(urls(stack.settings)["dagster"])
    run_id = begun.run.run_id
    followed = follow(dagster, run_id, clock=clock, title="import", stack=stack, before=begun)
    return _imported(stack, author, followed, clock=clock)


def _imported(
    stack: Stack, author: str, followed: FollowedRun, *, clock: StageClock
) -> FollowedRun:
    address = urls(stack.settings)["dagster"]
    if not followed.succeeded:
        ensure_alive(stack)
        page = f"{address}/runs/{followed.run.run_id}"
        raise TwinError(
            f"import the posts of {author}",
            found="; ".join(followed.failures) or f"the run ended as {followed.run.status}",
            next_step=what_to_mend(followed.refused, page=page),
        )
    if followed.goes_on:
        clock.say(f"searchable after {followed.seconds:.0f} s{changed_posts(followed)}")
    else:
        clock.say(f"imported in {followed.seconds:.0f} s{changed_posts(followed)}")
    return followed


def what_to_mend(refused: Sequence[str], *, page: str) -> str:
    """What a person does about an import that failed.

    Args:
        refused: names of the checks that failed.
        page: of the run.
    """
    from twin_assets.corpus.document_claims import CLAIMS

    if CLAIMS.keys().isdisjoint(refused):
        return f"see {page}, then run `twin up` again"
    return (
        "`twin import PATH --dry-run` names the posts that break it: mend them, or allow a larger "
        f"share of them with TWIN_MOST_QUARANTINED; {page}"
    )


def changed_posts(followed: FollowedRun) -> str:
    """What a run found against the import before: `: posts added 2, edited 1, deleted 0`.

    Empty for a run that came after one that failed past this step, and so did not read them again.
    """
    numbers = followed.numbers.get("raw_posts")
    if numbers is None:
        return ""
    counts = [f"{kind} {numbers[f'posts_{kind}']:,}" for kind in ("added", "edited", "deleted")]
    return f": posts {', '.join(counts)}"


def ask_before(
    stack: Stack,
    endpoints: Endpoints,
    author: Author,
    progress: AuthorProgress,
    *,
    clock: StageClock,
    answer_model: ModelVersion | None = None,
) -> AuthorProgress:
    """Ask the three questions of base model + retrieval, or of the answer model, and keep the
    answers.

    An author who has answers already is not asked again: nothing about them would have changed.
    """
    if progress.before or not progress.questions:
        clock.say("the first answers were given before; ask more with `twin ask`")
        return progress
    model = f"twin/{author.slug}@base"
    if answer_model is not None:
        if wait_until_served(stack.settings, answer_model):
            model = f"twin/{author.slug}"
        else:
            clock.say("the answer model is not up yet (models.log): base answers", style="yellow")
    before = ask_all(endpoints, progress.questions, model=model, clock=clock)
    clock.show(answers_table(before, author=author.name))
    progress = replace(progress, before=before)
    write_progress(stack.settings, author.slug, progress)
    return progress


def ask_all(
    endpoints: Endpoints, questions: Sequence[str], *, model: str, clock: StageClock
) -> tuple[EndpointAnswer, ...]:
    """Each question once, by the official client; one line with its time each."""
    client = make_client(endpoints.gateway, endpoints.gateway_key)
    answers: list[EndpointAnswer] = []
    for question in questions:
        with clock.bar("asking") as bar:
            bar.update(question)
            answer = ask(client, question, model=model)
        sources = counted(len(answer.sources), "source")
        clock.say(f"answered in {answer.seconds:.1f} s, {sources}: {question}")
        answers.append(answer)
    return tuple(answers)
