"""Run stage 5 of `twin up`: the decision to train, the training, the verdict, the comparison.

Scope: the decision and the display.
Out of scope: training and gate themselves (`twin_assets`), the meaning of a run's end
(`outcome.py`).
"""
# pyright: strict

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from rich.text import Text

from twin_cli.commands.author_progress import (
    AuthorProgress,
    Training,
    read_progress,
    write_progress,
)
from twin_cli.commands.clock import StageClock, duration
from twin_cli.commands.first_answers import ask_again
from twin_cli.commands.outcome import (
    NOT_WANTED,
    RELEASED,
    RETRAIN,
    WAITS,
    Ending,
    StackOutcome,
    ending_of,
    open_registry,
    refusal_reasons,
    standing_ending,
    untrained_ending,
    wait_until_served,
)
from twin_cli.commands.presentation import prose_lines, verdict_line
from twin_cli.commands.preview_report import MIN_WORDS, is_enough
from twin_cli.commands.runs import follow, launch_or_join
from twin_resources.authors import Author
from twin_resources.errors import TwinError
from twin_resources.processes.dagster_http import DagsterHTTP
from twin_resources.processes.endpoints import Endpoints, urls
from twin_resources.processes.programs import ensure_alive
from twin_resources.processes.stack import Stack
from twin_resources.quality.judges.voice_shown import bars, voice_shown_of
from twin_resources.settings import Settings

if TYPE_CHECKING:
    from twin_resources.registry.moves import ModelVersion

Why = Literal["train", "not_wanted", "too_small", "judged"]


@dataclass(frozen=True)
class TrainingPlan:
    """The plan of `twin up` for stage 5.

    Attributes:
        why: `train`, or the reason not to: the user declined, the corpus is too small, or a verdict
            already exists (an import alone retrains nothing).
        ending: the outcome that applies when nothing is trained.
    """

    why: Why
    ending: Ending | None = None

    @property
    def follows(self) -> bool:
        return self.why == "train"

    @property
    def training(self) -> Training:
        """The state that `twin status --wait` finds in the author's progress."""
        if self.why == "train":
            return "expected"
        return "finished" if self.why == "judged" else self.why


def plan_training(
    settings: Settings, author: str, progress: AuthorProgress, *, wanted: bool, again: bool
) -> TrainingPlan:
    """Decide whether this author is trained now.

    Args:
        progress: the progress with the posts and words of this preview.
        wanted: False with `--no-train`.
        again: True with `--retrain`, which trains even if a verdict exists.
    """
    standing = standing_ending(settings, author)
    judged = standing is not None and standing.outcome is not StackOutcome.FAILED
    if judged and not again:
        return TrainingPlan("judged", standing)
    if not wanted:
        return TrainingPlan(
            "not_wanted", untrained_ending(replace(progress, training="not_wanted"))
        )
    if not is_enough(progress.kept, progress.words):
        return TrainingPlan("too_small", untrained_ending(replace(progress, training="too_small")))
    return TrainingPlan("train")


def start_training(stack: Stack, author: str, *, clock: StageClock) -> str:
    """Launch the training or join the one in flight; return the run id."""
    address = urls(stack.settings)["dagster"]
    run_id, launched = launch_or_join(DagsterHTTP.of_home(stack.settings), RETRAIN, author)
    progress = read_progress(stack.settings, author)
    write_progress(
        stack.settings, author, replace(progress, training="launched", run_id=run_id, after=())
    )
    clock.say(f"{'training' if launched else 'joining the training'}: {address}/runs/{run_id}")
    return run_id


def train(stack: Stack, endpoints: Endpoints, author: Author, *, clock: StageClock) -> Ending:
    """Train, wait for the verdict, show it, and ask the three questions again."""
    run_id = start_training(stack, author.slug, clock=clock)
    dagster = DagsterHTTP.of_home(stack.settings)
    followed = follow(dagster, run_id, clock=clock, title="train", stack=stack, until=RELEASED)
    if followed.run.status == "CANCELED":
        ensure_alive(stack)  # `twin stop` cancels runs first, so it may be the cause
    clock.detail(f"training, gate and release took {duration(followed.seconds)}")
    ending = ending_of(stack.settings, author.slug, followed)
    tell_ending(ending, clock=clock)
    show_voice(stack.settings, ending, clock=clock)
    if ending.outcome is StackOutcome.FAILED:
        clock.say(f"see {urls(stack.settings)['dagster']}/runs/{followed.run.run_id}")
    compare(stack, endpoints, author, ending, clock=clock)
    if followed.goes_on:
        clock.say(
            "the rest of the gate's report is made meanwhile, and takes the release back where a "
            "claim does not hold"
        )
    return ending


def compare(
    stack: Stack, endpoints: Endpoints, author: Author, ending: Ending, *, clock: StageClock
) -> None:
    """Ask the released version the same questions, and show its prose if it may write any.

    Its quotations are those shown before the training.
    """
    progress = read_progress(stack.settings, author.slug)
    if ending.version is not None and progress.before and not progress.after:
        if wait_until_served(stack.settings, ending.version):
            _wait_for_route(endpoints, author, ending, clock=clock)
            questions = [answer.question for answer in progress.before]
            after = ask_again(endpoints, questions, model=f"twin/{author.slug}", clock=clock)
            version = f"v{ending.version.version}"
            if prose := prose_lines(after):
                clock.say(f"in this voice, by {version}, a language model, not {author.name}:")
                clock.say(prose)
            else:
                clock.say(f"answers go on to be quotations: {version} is not shown in prose")
            progress = replace(progress, after=after)
        else:
            clock.say(
                "the model server of the released version is not up yet; see models.log",
                style="yellow",
            )
    write_progress(stack.settings, author.slug, replace(progress, training="finished"))


def _wait_for_route(
    endpoints: Endpoints, author: Author, ending: Ending, *, clock: StageClock
) -> None:
    """Ask until the released version answers; the gateway follows the policy within seconds.

    The question uses the alias, because `twin/<author>` may answer a greeting without any model.
    """
    from twin_cli.commands.questions import ask, make_client

    assert ending.version is not None
    wanted = f"v{ending.version.version}"
    client = make_client(endpoints.gateway, endpoints.gateway_key)
    deadline = time.monotonic() + 20.0
    while True:
        try:
            answers = ask(client, "Hello?", model=f"twin/{author.slug}@stable").version
        except TwinError as error:  # the gateway has no stable version yet
            answers = error.found
        if answers == wanted:
            return
        if time.monotonic() > deadline:
            clock.say(f"{wanted} is released, and the gateway does not answer by it yet: {answers}")
            return
        time.sleep(0.5)


def tell_ending(ending: Ending, *, clock: StageClock) -> None:
    """Show the verdict and the outcome, and the next step unless it is a success."""
    if ending.verdict is not None:
        clock.say(verdict_line(ending.verdict))
        for claim in ending.verdict.claims:
            clock.detail(f"{claim.name}: {claim.detail}")
    if ending.outcome is StackOutcome.TUNED and ending.version is not None:
        clock.say(f"released: v{ending.version.version} answers now", style="bold green")
        return
    if ending.outcome is StackOutcome.TUNED:
        clock.say(f"on trial; {ending.who_answers} goes on answering", style="bold green")
        for reason in ending.reasons:
            clock.detail(reason)
        clock.say("next: nothing; the trial goes on by itself, see `twin versions`")
        return
    word = "not released" if ending.outcome is StackOutcome.REFUSED else "the training failed"
    if ending.reasons == (NOT_WANTED,):
        word = "not trained"
    clock.say(f"{word}: {ending.who_answers} will go on answering", style="bold yellow")
    refused = ending.verdict is not None and ending.verdict.outcome != "passed"
    for reason in ending.reasons:
        # a refusal's reasons are the figures of the claims named above
        (clock.detail if refused else clock.say)(reason)
    clock.say(next_step(ending))


def tell_report(settings: Settings, ending: Ending, *, clock: StageClock) -> Ending | None:
    """Print the rest of the gate's report once it is there.

    Args:
        ending: a release by the gate's first part.

    Returns:
        The ending to pass the next time, or None if nothing more will come.
    """
    if ending.outcome is not StackOutcome.TUNED or ending.verdict is None:
        return None
    known = ending.verdict
    registry = open_registry(settings)
    newest = registry.latest_verdict(known.author)
    registry.state.close()
    if newest is None or newest.checkpoint != known.checkpoint or newest == known:
        return ending
    if newest.outcome == "passed":
        met = sum(claim.passed is True for claim in newest.claims)
        message = f"the gate's report is complete: {met} of {len(newest.claims)} claims hold"
        clock.say(message, style="green")
    else:
        clock.say("the release was taken back; quotations answer", style="bold yellow")
        clock.say(verdict_line(newest))
        for reason in refusal_reasons(newest):
            clock.detail(reason)
    show_voice(settings, replace(ending, verdict=newest), clock=clock)
    return None


def show_voice(settings: Settings, ending: Ending, *, clock: StageClock) -> None:
    """Show how author, base model and tuned model write, as far as the gate's report has it."""
    if ending.verdict is None or not clock.verbose:
        return
    verdict = ending.verdict
    shown = voice_shown_of(settings.checkpoints_dir, verdict.author, verdict.checkpoint)
    if shown is not None:
        clock.say("the voice, seen (the picture lies beside the gate's report)")
        clock.show(Text("\n".join(bars(shown))))


def next_step(ending: Ending) -> str:
    """Return what to do about an outcome that is not a success."""
    if ending.outcome is StackOutcome.FAILED:
        return "next: mend the cause and run `twin up --retrain`"
    if any(WAITS in reason for reason in ending.reasons):
        return "next: ask the author, then `twin up --consent`"
    if ending.reasons == (NOT_WANTED,):
        return "next: run `twin up` without --no-train when it is to be trained"
    if ending.verdict is None:
        return (
            f"next: add posts ({MIN_WORDS:,} words are needed) and run `twin up` again; "
            "quotations answer meanwhile"
        )
    return (
        "next: add posts or name a larger --base-model and run `twin up --retrain`; or release it "
        "by hand with `twin release VERSION --reason TEXT`"
    )


def show_ending(
    plan: TrainingPlan, *, clock: StageClock, answer_model: ModelVersion | None = None
) -> StackOutcome:
    """Show stage 5 when nothing is trained.

    Args:
        answer_model: the author's named model that answers, or None if none was named.
    """
    assert plan.ending is not None
    ending = replace(plan.ending, answer_model=answer_model)
    if plan.why == "judged":
        clock.say("nothing is retrained by itself; `twin up --retrain` does it")
    tell_ending(ending, clock=clock)
    return ending.outcome
