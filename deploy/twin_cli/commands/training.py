"""Run stage 5 of `twin up`: decide whether to train, train, and show the verdict.

Scope: the decision and the messages.
Out of scope: training, the gate (`twin_assets`), and interpreting how a run ended (`outcome.py`).
"""
# pyright: strict

from __future__ import annotations

from dataclasses import dataclass, replace

from rich.text import Text

from twin_cli.commands.author_progress import (
    AuthorProgress,
    TrainingState,
    read_progress,
    write_progress,
)
from twin_cli.commands.outcome import (
    CONSENT_WAIT,
    NO_CONSENT_REASON,
    RELEASE_ASSET,
    RETRAIN,
    TRAINING_DISABLED_REASON,
    OutcomeCode,
    TrainingOutcome,
    build_untrained_outcome,
    determine_run_outcome,
    list_refusal_reasons,
    open_registry,
    read_recorded_outcome,
)
from twin_cli.commands.presentation import format_verdict
from twin_cli.commands.preview_report import MIN_WORDS, has_enough_text
from twin_cli.commands.progress_display import ProgressDisplay
from twin_cli.commands.runs import follow_run, launch_or_join
from twin_resources.authors import Author
from twin_resources.authors.consent import find_consent_date
from twin_resources.processes.dagster_http import DagsterHTTP
from twin_resources.processes.programs import ensure_alive
from twin_resources.processes.stack import Stack
from twin_resources.processes.wording import format_duration
from twin_resources.quality.judges.voice_figures import read_checkpoint_voice_figures, render_bars
from twin_resources.settings import Settings


@dataclass(frozen=True)
class TrainingPlan:
    """The plan of `twin up` for stage 5.

    Attributes:
        state: `expected`, or the reason not to train: the user declined (`not_wanted`), the corpus
            is `too_small`, no consent is recorded (`no_consent`), or a verdict already exists
            (`finished`; importing posts does not by itself start a retraining). `twin status
            --wait` reads it from the author's progress.
        outcome: the outcome if nothing is trained, else None.
    """

    state: TrainingState
    outcome: TrainingOutcome | None = None


def plan_training(
    settings: Settings,
    author: Author,
    progress: AuthorProgress,
    *,
    is_enabled: bool | None,
    is_forced: bool,
) -> TrainingPlan:
    """Decide whether to train this author's model now.

    Args:
        progress: the author's progress, with this preview's numbers of posts and words.
        is_enabled: True with `--train`, False with `--no-train`, None to keep the last choice.
        is_forced: True with `--retrain`, which trains even if a verdict exists.
    """
    if is_enabled is None:
        is_enabled = is_forced or progress.training != "not_wanted"
    recorded_outcome = read_recorded_outcome(settings, author.slug)
    is_judged = recorded_outcome is not None and recorded_outcome.code is not OutcomeCode.FAILED
    if is_judged and not is_forced:
        return TrainingPlan("finished", recorded_outcome)
    state: TrainingState = "expected"
    if not is_enabled:
        state = "not_wanted"
    elif not has_enough_text(progress.kept, progress.words):
        state = "too_small"
    elif find_consent_date(author) is None:
        state = "no_consent"
    if state == "expected":
        return TrainingPlan(state)
    return TrainingPlan(state, build_untrained_outcome(replace(progress, training=state), author))


def start_training(stack: Stack, author: str, *, display: ProgressDisplay) -> str:
    """Launch a training run or join the run in flight; return the run id."""
    dagster = DagsterHTTP.for_home(stack.settings)
    run_id, is_new = launch_or_join(dagster, RETRAIN, author)
    progress = read_progress(stack.settings, author)
    write_progress(stack.settings, author, replace(progress, training="launched", run_id=run_id))
    display.log(f"{'training' if is_new else 'joining the training'}: {dagster.url}/runs/{run_id}")
    return run_id


def train(stack: Stack, author: str, *, display: ProgressDisplay) -> TrainingOutcome:
    """Train, wait for the verdict, show it and return the outcome."""
    run_id = start_training(stack, author, display=display)
    dagster = DagsterHTTP.for_home(stack.settings)
    followed_run = follow_run(
        dagster, run_id, display=display, title="train", stack=stack, until_asset=RELEASE_ASSET
    )
    if followed_run.run.status == "CANCELED":
        ensure_alive(stack)  # `twin stop` may be the cause, because it cancels runs first
    display.log_detail(f"training, gate and release took {format_duration(followed_run.seconds)}")
    outcome = determine_run_outcome(stack.settings, author, followed_run)
    report_outcome(outcome, display=display)
    plot_styles(stack.settings, outcome, display=display)
    if outcome.code is OutcomeCode.FAILED:
        display.log(f"see {dagster.url}/runs/{followed_run.run.run_id}")
    record_finished(stack.settings, author)
    if followed_run.is_unfinished:
        display.log(
            "the rest of the report follows at the lowest priority, and `twin status` says how "
            "long it takes; if a claim fails, the release is reverted"
        )
    return outcome


def record_finished(settings: Settings, author: str) -> None:
    """Record in the author's progress that the outcome of training has been shown."""
    progress = read_progress(settings, author)
    write_progress(settings, author, replace(progress, training="finished"))


def report_outcome(outcome: TrainingOutcome, *, display: ProgressDisplay) -> None:
    """Show the verdict and the outcome, and after a failure or refusal also the next step."""
    if outcome.verdict is not None:
        display.log(format_verdict(outcome.verdict))
        for claim in outcome.verdict.claims:
            display.log_detail(f"{claim.name}: {claim.detail}")
    if outcome.code is OutcomeCode.TUNED and outcome.version is not None:
        display.log(f"released: v{outcome.version.version} is now answering", style="bold green")
        return
    if outcome.code is OutcomeCode.TUNED:
        display.log(f"on trial; {outcome.fallback_description} keeps answering", style="bold green")
        for reason in outcome.reasons:
            display.log_detail(reason)
        display.log("next: nothing; the trial continues automatically, see `twin versions`")
        return
    summary = "not released" if outcome.code is OutcomeCode.REFUSED else "the training failed"
    if any(
        reason.startswith((TRAINING_DISABLED_REASON, NO_CONSENT_REASON))
        for reason in outcome.reasons
    ):
        summary = "not trained"
    display.log(
        f"{summary}: {outcome.fallback_description} will keep answering", style="bold yellow"
    )
    is_refused = outcome.verdict is not None and outcome.verdict.outcome != "passed"
    for reason in outcome.reasons:
        # The reasons for a refusal repeat the claims above, with figures.
        (display.log_detail if is_refused else display.log)(reason)
    display.log(format_next_step(outcome))


def report_completed_gate(
    settings: Settings, outcome: TrainingOutcome, *, display: ProgressDisplay
) -> TrainingOutcome | None:
    """Print the rest of the gate's report as soon as it exists.

    Args:
        outcome: a release based on the first part of the gate's report.

    Returns:
        The outcome to pass to the next call, or None if the report is complete.
    """
    if outcome.code is not OutcomeCode.TUNED or outcome.verdict is None:
        return None
    known_verdict = outcome.verdict
    registry = open_registry(settings)
    verdict = registry.latest_verdict(known_verdict.author)
    registry.state.close()
    if (
        verdict is None
        or verdict.checkpoint != known_verdict.checkpoint
        or verdict == known_verdict
    ):
        return outcome
    if verdict.outcome == "passed":
        passed_count = sum(claim.passed is True for claim in verdict.claims)
        message = (
            f"the gate's report is complete: {passed_count} of {len(verdict.claims)} claims passed"
        )
        display.log(message, style="green")
    else:
        display.log("the release was reverted; quotations are shown instead", style="bold yellow")
        display.log(format_verdict(verdict))
        for reason in list_refusal_reasons(verdict):
            display.log_detail(reason)
    plot_styles(settings, replace(outcome, verdict=verdict), display=display)
    return None


def plot_styles(settings: Settings, outcome: TrainingOutcome, *, display: ProgressDisplay) -> None:
    """Plot the styles of the author, the base model and the tuned model, from the gate's report."""
    if outcome.verdict is None or not display.verbose:
        return
    verdict = outcome.verdict
    voice = read_checkpoint_voice_figures(
        settings.checkpoints_dir, verdict.author, verdict.checkpoint
    )
    if voice is not None:
        display.log("a plot of these styles is stored beside the gate's report")
        display.show(Text("\n".join(render_bars(voice))))


def format_next_step(outcome: TrainingOutcome) -> str:
    """Return the line that names the next step after an outcome that is not a success."""
    if outcome.code is OutcomeCode.FAILED:
        return "next: correct the cause and run `twin up --retrain`"
    if any(CONSENT_WAIT in reason or NO_CONSENT_REASON in reason for reason in outcome.reasons):
        return "next: ask the author, then `twin up --consent`"
    if outcome.reasons == (TRAINING_DISABLED_REASON,):
        return "next: run `twin up --train` to train"
    if outcome.verdict is None:
        return (
            f"next: add posts ({MIN_WORDS:,} words are needed) and run `twin up` again; "
            "until then, questions are answered with quotations"
        )
    return (
        "next: add posts or name a larger --base-model and run `twin up --retrain`; or release the "
        "version manually with `twin release VERSION --reason TEXT`"
    )
