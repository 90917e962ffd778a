"""Run `twin up`: turn a folder of posts into a tuned twin behind one endpoint, in six stages.

Scope: the order of the stages, and the effects of Ctrl-C and of failures in each stage.
Out of scope: the work of a stage (the other modules of this package).
"""
# pyright: strict

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from twin_assets.corpus.preview_tables import open_preview_tables
from twin_cli.commands.agents import format_agent_lines
from twin_cli.commands.answer_models import (
    resolve_name,
    start_prose_measurement,
    sync_answer_model,
)
from twin_cli.commands.author_progress import (
    AuthorProgress,
    compute_fingerprint,
    read_progress,
    write_progress,
)
from twin_cli.commands.console import format_command
from twin_cli.commands.first_answers import (
    QUOTABLE_ASSET,
    ask_first_questions,
    follow_import,
    launch_import,
    show_preview_quotations,
)
from twin_cli.commands.machine_stage import (
    choose_machine_recipe,
    report_recipe,
    resolve_recipe_name,
    show_machine,
)
from twin_cli.commands.outcome import OutcomeCode, TrainingOutcome, read_recorded_outcome
from twin_cli.commands.page_commands import create_page_link
from twin_cli.commands.presentation import format_endpoints
from twin_cli.commands.preview_report import (
    NOTHING_USABLE_EXIT_CODE,
    format_changes,
    run_preview,
    show_preview,
    too_small_reason,
)
from twin_cli.commands.progress_display import ProgressDisplay
from twin_cli.commands.retrain_command import find_report_run, run_retrain
from twin_cli.commands.services import (
    EMBEDDER,
    is_prepared,
    prepare_answers,
    prepare_imports,
    publish_endpoints,
    start_or_attach,
)
from twin_cli.commands.stopping import end_stack, report_lost_databases
from twin_cli.commands.subject import (
    SelectedAuthor,
    add_opt_ins,
    choose_subject,
    resolve_source,
    save_subject,
)
from twin_cli.commands.terminal_questions import (
    add_aliases,
    add_consent,
    confirm,
    is_interactive_terminal,
)
from twin_cli.commands.training import (
    TrainingPlan,
    plan_training,
    report_completed_gate,
    report_outcome,
    start_training,
    train,
)
from twin_cli.commands.versions import release_consented_version
from twin_cli.preflight import AUTOMATIC_RECIPE
from twin_resources.authors.consent import find_consent_date
from twin_resources.errors import TwinError
from twin_resources.processes.dagster_http import DagsterHTTP
from twin_resources.processes.process_identity import identify
from twin_resources.processes.programs import StackEndedError, StackStoppedError, ensure_alive
from twin_resources.processes.stack import (
    SERVICES,
    Stack,
    find_stack,
    record_last_author,
)
from twin_resources.processes.wording import format_count
from twin_resources.settings import Secrets, Settings
from twin_resources.storage.state.home_state import open_home_state
from twin_resources.storage.weights.answer_model import NO_MODEL

if TYPE_CHECKING:
    from twin_assets.corpus.preview import Preview
    from twin_resources.registry.moves import ModelVersion

INTERRUPTED_EXIT_CODE = 130
POLL_INTERVAL_S = 0.5
POLLS_PER_REPORT_CHECK = 10  # polls between two checks of whether the gate's report is complete


@dataclass(frozen=True)
class UpOptions:
    """The command line's options; see `twin up --help`."""

    path: Path | None = None
    author: str = ""
    include: Sequence[str] = ()
    exclude: Sequence[str] = ()
    base_model: str = ""
    embedder: str = ""
    answer_model: str = ""  # NO_MODEL removes it; empty keeps the earlier model
    recipe: str = ""  # AUTOMATIC_RECIPE chooses one; empty keeps the earlier recipe
    consent: bool = False
    dry_run: bool = False
    detach: bool = False
    verbose: bool = False
    train: bool | None = None  # None keeps the earlier choice
    retrain: bool = False
    auto_retrain: bool | None = None  # None keeps the earlier value
    gateways: int | None = None  # None keeps the earlier value
    ports: Mapping[str, int] = field(default_factory=dict[str, int])


def run_up(
    settings: Settings, options: UpOptions, *, display: ProgressDisplay | None = None
) -> int:
    """Run the stages and return the exit code.

    The code is 0 if the model is tuned, if it trains in the background (`--detach`), or if training
    was declined (`--no-train`). It is 3 if the gate refuses the model, the author's consent is
    missing, the corpus is too small or no post is usable, 4 if import or training fails, and 130 if
    it is interrupted earlier.

    Raises:
        TwinError: a stage failed before anything was served. All processes that this call started
            have ended.
    """
    if options.path is not None:
        resolve_source(options.path)  # report a missing path before any other check
    settings = apply_options(settings, options)
    if options.answer_model not in {"", NO_MODEL}:
        options = replace(options, answer_model=resolve_name(settings, options.answer_model))
    if options.recipe not in {"", AUTOMATIC_RECIPE}:
        options = replace(options, recipe=resolve_recipe_name(options.recipe))
    _interrupt_on_signals()
    command = _UpCommand(options, settings, display or ProgressDisplay(verbose=options.verbose))
    try:
        with command.preview_folder, command.display.report_waits():
            return command.run()
    except KeyboardInterrupt:
        return _handle_interrupt(command)
    except StackEndedError:
        raise  # nothing is left to end
    except Exception:
        if command.owns_stack and not command.is_serving:
            end_stack(settings, log=command.display.log)
        raise


def _handle_interrupt(command: _UpCommand) -> int:
    """End the stack if this command started it, and return the exit code."""
    exit_code = INTERRUPTED_EXIT_CODE if command.exit_code is None else command.exit_code
    if not command.owns_stack and find_stack(command.settings) is not None:
        command.display.log("interrupted; the stack was already running and continues")
        return exit_code
    # A second Ctrl-C must not leave processes running.
    for signal_number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signal_number, signal.SIG_IGN)
    command.display.log("stopping …")
    end_stack(command.settings, log=command.display.log)
    command.display.log("everything that this command started has ended")
    return exit_code


def apply_options(settings: Settings, options: UpOptions) -> Settings:
    """Return the settings, overridden by the options."""
    overrides: dict[str, object] = {f"{name}_port": port for name, port in options.ports.items()}
    for name in ("base_model", "embedder"):
        value = getattr(options, name)
        if value:
            overrides[name] = _resolve_path(value)
    if options.gateways is not None:
        overrides["gateways"] = options.gateways
    return settings.model_copy(update=overrides)


class _UpCommand:
    """One run of `twin up`, in stages."""

    def __init__(self, options: UpOptions, settings: Settings, display: ProgressDisplay) -> None:
        self.options = options
        self.settings = settings
        self.display = display
        self.owns_stack = False  # whether this command started the stack and must end it
        self.is_serving = False  # if true, the stack keeps running after a failure
        self.exit_code: int | None = None  # set after the last stage
        self.training_outcome: TrainingOutcome | None = None  # outcome of this call's training
        self.answer_model: ModelVersion | None = None  # answers until a tuned version beats it
        self.preview: Preview | None = None  # None if nothing has changed since the last import
        self.preview_folder = ExitStack()  # removes the preview's tables

    def run(self) -> int:
        self._preflight()
        subject, progress = self._preview_posts()
        if not progress.kept and not progress.fingerprint:
            self.display.log("no post is usable; see the reasons above", style="bold red")
            return NOTHING_USABLE_EXIT_CODE
        previous_model = subject.author.answer_model
        subject = self._apply_recipe(self._apply_author_options(subject))
        if self.options.dry_run:
            if self.preview is not None and is_prepared(self.settings, EMBEDDER):
                show_preview_quotations(self.settings, self.preview, display=self.display)
            return 0
        subject = self._save_subject(subject)
        plan = plan_training(
            self.settings,
            subject.author,
            progress,
            is_enabled=self.options.train,
            is_forced=self.options.retrain,
        )
        progress = replace(progress, training=plan.state, up=identify(os.getpid()))
        write_progress(self.settings, subject.slug, progress)
        stack, run_id, source_fingerprint = self._start_stack(subject, previous_model)
        stays_in_foreground = self.owns_stack and not self.options.detach
        try:
            exit_code = self._answer_and_train(
                stack, subject, progress, plan, run_id=run_id, source_fingerprint=source_fingerprint
            )
        except TwinError as error:
            ensure_alive(stack)  # if the stack has ended, report that instead
            if not stays_in_foreground:
                raise
            self.display.log(str(error), style="bold red")
            exit_code = int(OutcomeCode.FAILED)
        self._show_endpoints(stack, subject)
        self.exit_code = exit_code
        if stays_in_foreground:
            self._wait_in_foreground(stack)
        return exit_code

    def _apply_author_options(self, subject: SelectedAuthor) -> SelectedAuthor:
        """Return the subject with the command line's options for the author."""
        author = subject.author
        if self.options.auto_retrain is not None:
            author = replace(author, auto_retrain=self.options.auto_retrain)
        if self.options.answer_model:
            answer_model = (
                "" if self.options.answer_model == NO_MODEL else self.options.answer_model
            )
            author = replace(author, answer_model=answer_model)
        return replace(subject, author=author)

    def _save_subject(self, subject: SelectedAuthor) -> SelectedAuthor:
        """Save the subject, with the author's consent if given, and return it."""
        subject = add_consent(
            subject,
            is_declared=self.options.consent,
            is_interactive=is_interactive_terminal(),
            log=self.display.log,
        )
        self.settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        save_subject(self.settings, subject)
        if not subject.is_new and find_consent_date(subject.author) is not None:
            for move in release_consented_version(self.settings, subject.slug):
                self.display.log(f"v{move.version} is {move.to_state} now: {move.reason}")
        return subject

    def _start_stack(self, subject: SelectedAuthor, previous_model: str) -> tuple[Stack, str, str]:
        """Run stage 3.

        Returns:
            The stack, the import's run id (empty if nothing is imported) and the fingerprint of its
            sources.
        """
        self.display.begin_stage(3, "prepare and start")
        stack, self.owns_stack = start_or_attach(
            self.settings, display=self.display, requested_ports=self._requested_ports()
        )
        prepare_imports(stack, display=self.display)
        # Computed before the import, so that later changes are imported next time.
        source_fingerprint = compute_fingerprint(subject.author, self.settings)
        run_id = ""
        if self.preview is not None:
            run_id = launch_import(stack, subject.slug, preview=self.preview, display=self.display)
            show_preview_quotations(stack.settings, self.preview, display=self.display)
        prepare_answers(stack, display=self.display)
        self.answer_model = sync_answer_model(
            stack.settings,
            subject.author,
            previous_model=previous_model,
            instance=stack.record.instance,
            display=self.display,
        )
        report_lost_databases(stack.settings, self.display.log)
        self.is_serving = True
        record_last_author(stack.settings, subject.slug)
        return stack, run_id, source_fingerprint

    def _show_endpoints(self, stack: Stack, subject: SelectedAuthor) -> None:
        """Run stage 6."""
        self.display.begin_stage(6, "ready")
        endpoints = publish_endpoints(stack, first_author=subject.slug)
        stop_command = format_command("stop", home=self.settings.home)
        open_command = format_command("open", home=self.settings.home)
        self.display.log(
            format_endpoints(
                endpoints, self.settings.home, stop_command=stop_command, open_command=open_command
            )
        )
        self.display.finish()

    def _apply_recipe(self, subject: SelectedAuthor) -> SelectedAuthor:
        """Return the subject with a recipe from the options, the author's file or the machine."""
        recipe = subject.author.recipe
        if self.options.recipe:
            recipe = "" if self.options.recipe == AUTOMATIC_RECIPE else self.options.recipe
        reason = ""
        needs_recipe = not recipe and (subject.is_new or self.options.recipe == AUTOMATIC_RECIPE)
        if (
            needs_recipe
            and (recipe_choice := choose_machine_recipe(self.settings.base_model)) is not None
        ):
            recipe, reason = recipe_choice.recipe, recipe_choice.reason
        subject = replace(subject, author=replace(subject.author, recipe=recipe))
        report_recipe(subject.author, self.settings, display=self.display, reason=reason)
        return subject

    def _answer_and_train(
        self,
        stack: Stack,
        subject: SelectedAuthor,
        progress: AuthorProgress,
        plan: TrainingPlan,
        *,
        run_id: str,
        source_fingerprint: str,
    ) -> int:
        """Run stages 4 and 5.

        Args:
            run_id: the import's run id, or empty if nothing has changed since the last import.
            source_fingerprint: the result of `compute_fingerprint` before the import.
        """
        endpoints = publish_endpoints(stack, first_author=subject.slug)
        self.display.begin_stage(4, "first answers, word for word from the posts")
        import_run = None
        if run_id:
            import_run = follow_import(
                stack, subject.slug, run_id, display=self.display, until_asset=QUOTABLE_ASSET
            )
        progress = ask_first_questions(
            stack, endpoints, subject.author, progress, display=self.display
        )
        self._show_page(stack)
        if import_run is not None:
            follow_import(
                stack, subject.slug, run_id, display=self.display, previous_run=import_run
            )
            self.preview_folder.close()
            progress = replace(progress, fingerprint=source_fingerprint)
            write_progress(stack.settings, subject.slug, progress)

        if self.answer_model is not None and subject.author.answer != "quote":
            start_prose_measurement(stack, self.answer_model, display=self.display)
        self.display.begin_stage(5, "train, gate, release")
        if plan.outcome is not None:
            outcome = plan.outcome
            if plan.state == "finished":
                self.display.log("no retraining starts automatically; run `twin up --retrain`")
                # Since the plan, a newly named answer model has taken the tuned version's place.
                outcome = read_recorded_outcome(stack.settings, subject.slug) or outcome
            outcome = replace(outcome, answer_model=self.answer_model)
            report_outcome(outcome, display=self.display)
            return 0 if plan.state == "not_wanted" else int(outcome.code)
        dagster = DagsterHTTP.for_home(stack.settings)
        if self.options.retrain and find_report_run(dagster, subject.slug) is not None:
            return run_retrain(  # the report's run is not joined: a training follows it
                stack.settings,
                author=subject.slug,
                reason="twin up --retrain",
                wait=not self.options.detach,
                display=self.display,
            )
        if self.options.detach:
            start_training(stack, subject.slug, display=self.display)
            wait_command = format_command("status --wait", home=self.settings.home)
            self.display.log(
                f"training continues in the background; to wait for it: {wait_command}"
            )
            return 0
        self.training_outcome = train(stack, subject.slug, display=self.display)
        return int(self.training_outcome.code)

    def _show_page(self, stack: Stack) -> None:
        """Print the page's link, or only the error if the page does not start."""
        try:
            # The page takes 4 s, or 40 s during training.
            with self.display.report_waits("starting the page"):
                link = create_page_link(stack, "chat")
        except StackEndedError:
            raise
        except TwinError as error:
            self.display.log(str(error), style="yellow")
            return
        self.display.log(f"the page is ready; this link works once, within ten minutes: {link}")
        self.display.log(format_agent_lines(self.settings.home))

    def _requested_ports(self) -> list[str]:
        """Return the services whose port was requested with an option or `TWIN_<SERVICE>_PORT`."""
        requested_names = {*self.options.ports, *self.settings.model_fields_set}
        return [
            name
            for name in SERVICES
            if name in requested_names or f"{name}_port" in requested_names
        ]

    def _preflight(self) -> None:
        """Run stage 1, and check for conditions that would make later stages fail."""
        from twin_resources.observability.langfuse.connection import find_trace_store

        self.display.begin_stage(1, "preflight")
        show_machine(
            self.settings,
            display=self.display,
            answer_model=self.options.answer_model,
            recipe=self.options.recipe,
        )
        find_trace_store(self.settings, Secrets("", "", "", ""))  # refuses incomplete settings
        # Without a database driver or server, every process would fail. A lost store is refused.
        open_home_state(self.settings).close()

    def _preview_posts(self) -> tuple[SelectedAuthor, AuthorProgress]:
        self.display.begin_stage(2, "preview")
        subject = add_opt_ins(
            choose_subject(self.settings, self.options.path, name=self.options.author),
            self.options.include,
            self.options.exclude,
        )
        progress = read_progress(self.settings, subject.slug)
        if progress.fingerprint and progress.fingerprint == compute_fingerprint(
            subject.author, self.settings
        ):
            self.display.log(
                f"{subject.author.name}: {format_count(progress.kept, 'usable post')}, "
                f"{format_count(progress.words, 'word')}"
            )
            self.display.log(format_changes({}))
            return subject, progress
        tables = self.preview_folder.enter_context(open_preview_tables(self.settings))
        preview = run_preview(self.settings, subject, self.display, tables)
        show_preview(self.display, preview)
        question = f"Start the twin of {subject.author.name} now?"
        if self.options.dry_run and preview.kept and confirm(question, read_line=input):
            self.options = replace(self.options, dry_run=False)
        subject, preview = add_aliases(
            self.settings,
            subject,
            preview,
            tables,
            display=self.display,
            is_interactive=is_interactive_terminal() and not self.options.dry_run,
        )
        progress = read_progress(self.settings, subject.slug)  # with the answers to `add_aliases`
        if reason := too_small_reason(preview.kept, preview.words):
            self.display.log(f"too little text for training: {reason}", style="yellow")
        self.preview = preview
        if preview.embedder != self.settings.embedder:
            self.display.log(f"embedder {preview.embedder}: most posts are not in English")
            self.settings = self.settings.model_copy(update={"embedder": preview.embedder})
        progress = replace(
            progress,
            kept=preview.kept,
            words=preview.words,
            questions=progress.questions or tuple(preview.questions),
        )
        return subject, progress

    def _wait_in_foreground(self, stack: Stack) -> None:
        """Stay in the foreground until Ctrl-C or `twin stop` ends the stack."""
        self.display.log("running; press Ctrl-C to stop everything", style="bold")
        try:
            for poll_number in count():
                ensure_alive(stack)
                if self.training_outcome is not None and poll_number % POLLS_PER_REPORT_CHECK == 0:
                    self.training_outcome = report_completed_gate(
                        stack.settings, self.training_outcome, display=self.display
                    )
                time.sleep(POLL_INTERVAL_S)
        except StackStoppedError:
            self.display.log("stopped by another command")


def _interrupt_on_signals() -> None:
    """Treat a closed terminal and `kill` like Ctrl-C."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    for signal_number in (signal.SIGTERM, signal.SIGHUP):
        # `nohup` deliberately ignores SIGHUP.
        if signal.getsignal(signal_number) is not signal.SIG_IGN:
            signal.signal(signal_number, interrupt)


def _resolve_path(name: str) -> str:
    path = Path(name).expanduser()
    return str(path.resolve()) if path.exists() else name
