"""Run `twin demo-loop`: run the loop once with a simulated reader and a model broken on purpose.

Scope: the order of the steps, and waiting for the sensor and Dagster.
Out of scope: decisions (made by the sensor, the gate and the trial), the reader's rule
(`subjects.py`), and the settings that shorten the loop (`home.py`).

Every step uses the real system: two further training runs with DeepSpeed, the gate, the proxy, the
trace store, and the sensor in Dagster's daemon. The demo announces its staged parts
(`STAGING_NOTICE`). The reader is simulated, and one training run deliberately gets shuffled answers
and is forced past the gate that refused it.
"""
# pyright: strict

from __future__ import annotations

import os
import shutil
import statistics
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import TypeVar

from twin_cli.commands.demo.home import (
    DEMO_SETTINGS,
    create_demo_author,
    load_demo_settings,
    posts_folder,
    release_withheld_posts,
)
from twin_cli.commands.demo.reader import RatedAnswer, SimulatedReader
from twin_cli.commands.demo.receipt import (
    PhaseQuality,
    Receipt,
    build_receipt_table,
    write_receipt,
)
from twin_cli.commands.first_answers import import_posts
from twin_cli.commands.outcome import RETRAIN, OutcomeCode, list_refusal_reasons, open_registry
from twin_cli.commands.progress_display import ProgressDisplay
from twin_cli.commands.runs import follow_run
from twin_cli.commands.services import publish_endpoints, require_stack
from twin_cli.commands.status import run_wait
from twin_cli.commands.stopping import end_stack
from twin_cli.commands.up import INTERRUPTED_EXIT_CODE, UpOptions, run_up
from twin_resources.authors import Author
from twin_resources.dagster_runs import Run
from twin_resources.errors import TwinError
from twin_resources.processes.dagster_http import DagsterHTTP
from twin_resources.processes.endpoints import urls
from twin_resources.processes.programs import ensure_alive, is_server_ready, wait_until
from twin_resources.processes.stack import Stack
from twin_resources.quality.release import trial as trials
from twin_resources.quality.retraining import alarm_records
from twin_resources.quality.retraining.alarm_records import AlarmRecord
from twin_resources.quality.retraining.score_watch import current_evidence
from twin_resources.registry.registry import Registry, reconcile
from twin_resources.settings import PACES, Settings

STAGE_COUNT = 7
# If quality falls from .80 to .33, each score multiplies the evidence by 1.1.
MAX_BROKEN_SCORES = 200
STAGING_NOTICE = (
    "staged: the reader, who asks held-out questions and scores answers by counting words, a rule "
    "that neither the gate nor a trial uses; a separate reader identity for each score; a training "
    "run on shuffled answers; and its prose, which is forced past the gate"
)
RECOVERY_SCORE_COUNT = 30
SPOILING_METHOD = "shuffled_answers"
ACTOR = "demo"
ALARM_TIMEOUT_S = 180.0  # after the last score; the demo reports a missing alarm
RECEIPT_FILE_NAME = "receipt.json"
Result = TypeVar("Result")


def run_demo(settings: Settings) -> int:
    """Run the demo; return 0 if every step happened, else 1. Its stack keeps running.

    Raises:
        TwinError: a step failed. The receipt contains the earlier steps.
    """
    display = ProgressDisplay(stage_count=STAGE_COUNT)
    settings = load_demo_settings(settings.home)
    _reset_home(settings, display)
    pace_overrides = {name: os.environ[name] for name in DEMO_SETTINGS}
    pace_overrides |= {
        name: str(value) for name, value in PACES[pace_overrides.pop("TWIN_PACE")].items()
    }
    demo = _Demo(settings, create_demo_author(settings), display, pace_overrides)
    path = settings.home / RECEIPT_FILE_NAME
    try:
        with display.report_waits():
            demo.run()
    except KeyboardInterrupt:
        display.log("stopping …")
        end_stack(settings, log=display.log)
        return INTERRUPTED_EXIT_CODE
    finally:
        write_receipt(path, demo.receipt)
    display.show(build_receipt_table(demo.receipt))
    display.log(f"receipt: {path}")
    display.log("the stack keeps running; `twin stop` ends it")
    missing_steps = demo.receipt.missing_steps()
    for step in missing_steps:
        display.log(f"did not happen: {step}", style="bold red")
    return 1 if missing_steps else 0


def _reset_home(settings: Settings, display: ProgressDisplay) -> None:
    """End an earlier demo and remove its files except the weights."""
    end_stack(settings, log=display.log)
    for path in settings.home.iterdir():
        if path.name == "weights":
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


class _Demo:
    """One run of the demo; each step fills in its part of the receipt."""

    def __init__(
        self,
        settings: Settings,
        author: Author,
        display: ProgressDisplay,
        pace_overrides: Mapping[str, str],
    ) -> None:
        self.settings, self.author, self.display = settings, author, display
        self.receipt = Receipt(settings=pace_overrides)
        self.last_bad_score_at = 0.0  # on the monotonic clock
        self.registry: Registry = open_registry(settings)

    def run(self) -> None:
        """Run all steps."""
        pace_text = ", ".join(f"{name}={value}" for name, value in self.receipt.settings.items())
        self.display.log(STAGING_NOTICE)
        self.display.log(f"these settings make the loop faster than in real use: {pace_text}")
        with self._step(1, "a first model, as `twin up` makes it"):
            self._train_first_model()
        self.stack: Stack = require_stack(self.settings)
        self.settings = self.stack.settings
        self.dagster = DagsterHTTP.for_home(self.settings)
        endpoints = publish_endpoints(self.stack, first_author=self.author.slug)
        reader = SimulatedReader(self.settings, endpoints, self.author)
        count = self.settings.baseline_values
        with self._step(2, f"a simulated reader scores {count} answers"):
            first_version = self._stable_version_name()
            self._wait_until_served(int(first_version.removeprefix("v")))
            # Some answers come from no version, because no post is similar enough.
            self.receipt.before = self._collect_scores(
                reader,
                2 * count,
                lambda answers: sum(row.version == first_version for row in answers) >= count,
            )
            self._wait_until_certified(first_version)
        with self._step(3, "the service is broken: answers shuffled, and forced past the gate"):
            self._break_service()
        with self._step(4, "quality falls until the sensor fires"):
            self.receipt.broken = self._collect_scores(
                reader, MAX_BROKEN_SCORES, lambda _answers: self._list_alarms() != []
            )
            self.last_bad_score_at = time.monotonic()
            self._record_alarm()
        with self._step(5, "retraining: data, training, gate, pairs"):
            self._follow_retraining()
        with self._step(6, "quality recovers"):
            self.receipt.after = self._collect_scores(
                reader, RECOVERY_SCORE_COUNT, lambda _answers: False
            )
        with self._step(7, "the evidence in the Dagster UI"):
            self._collect_evidence()

    def _train_first_model(self) -> None:
        options = UpOptions(path=posts_folder(self.settings), detach=True)
        # `up` counts its own stages, so it gets a separate display.
        code = run_up(self.settings, options, display=ProgressDisplay(self.display.console))
        if code == 0:
            code = run_wait(self.settings, author=self.author.slug, timeout_s=None)
        if code != OutcomeCode.TUNED:
            raise TwinError(
                "train the demo's first model",
                found=f"`twin up` ended with exit code {code}",
                next_step="see the messages above and the logs in the demo's home",
            )

    def _break_service(self) -> None:
        self.receipt.posts_arrived = tuple(release_withheld_posts(self.settings))
        self.display.log(f"meanwhile {len(self.receipt.posts_arrived)} posts arrive")
        import_posts(self.stack, self.author.slug, display=self.display)
        run_id = self.dagster.launch(
            RETRAIN,
            self.author.slug,
            tags={"twin/demo": SPOILING_METHOD},
            config={"fine_tuned_checkpoint": {"spoil": SPOILING_METHOD}},
        )
        self.display.log(f"training on shuffled answers: {self._run_url(run_id)}")
        follow_run(self.dagster, run_id, display=self.display, title="spoiled", stack=self.stack)
        verdict = self.registry.latest_verdict(self.author.slug)
        self.receipt.refused = tuple(list_refusal_reasons(verdict))
        for reason in self.receipt.refused:
            self.display.log(f"the gate refuses it: {reason}")
        broken_version = self.registry.versions(self.author.slug)[-1]
        # The blocking checks ended the run before the release step.
        if broken_version.state == "candidate":
            reconcile(
                self.registry,
                self.author.slug,
                gate_version=self.registry.gate_version(),
                mode="shadow",
                actor=ACTOR,
            )
        transition = self.registry.move(
            self.author.slug,
            broken_version.version,
            "stable",
            actor=ACTOR,
            reason="the demo breaks the service on purpose",
            force=True,
        )
        self.receipt.forced = (
            f"v{transition.version}: {transition.from_state} → {transition.to_state} by {ACTOR}"
        )
        self.display.log(f"forced past the gate: {self.receipt.forced}")
        self._wait_until_served(broken_version.version)

    def _record_alarm(self) -> None:
        """Wait for the sensor's alarm and record it; the last scores may not have arrived yet."""
        deadline = time.monotonic() + ALARM_TIMEOUT_S
        while not (alarms := self._list_alarms()):
            ensure_alive(self.stack)
            if time.monotonic() > deadline:
                self.display.log(f"no alarm after {self.receipt.broken.scores} scores")
                return
            time.sleep(1.0)
        first_alarm = alarms[0]
        self.receipt.e_value = first_alarm.alarm.likelihood_ratio
        self.receipt.threshold = first_alarm.alarm.threshold
        self.receipt.values_to_alarm = first_alarm.alarm.values_since_fall
        self.display.log(f"the sensor: {first_alarm.message or 'an alarm'}")

    def _follow_retraining(self) -> None:
        if not self._list_alarms():
            return  # already reported; the step is recorded as missing
        run = self._wait_for(self._find_quality_run)
        self.display.log(f"started by the sensor: {self._run_url(run.run_id)}")
        followed_run = follow_run(
            self.dagster, run.run_id, display=self.display, title="retraining", stack=self.stack
        )
        self.receipt.run_id = followed_run.run.run_id
        verdict = self.registry.latest_verdict(self.author.slug)
        judged_checkpoint = verdict.checkpoint if verdict is not None else ""
        new_version = self.registry.find_by_checkpoint(judged_checkpoint, author=self.author.slug)
        if new_version is None or verdict is None or verdict.outcome != "passed":
            self.display.log(
                f"the retraining was not released: {'; '.join(list_refusal_reasons(verdict))}"
            )
            return
        if not followed_run.succeeded:
            raise TwinError(
                f"retrain {self.author.slug} after the alarm",
                found=followed_run.failure,
                next_step=f"see {self._run_url(followed_run.run.run_id)}",
            )
        self._wait_for(
            lambda: self.registry.get(self.author.slug, new_version.version).state == "stable"
        )
        self.receipt.promoted = f"v{new_version.version}"
        trial = trials.newest_trial_of_version(
            self.registry.state, self.author.slug, new_version.version
        )
        if trial is not None:
            self.receipt.trial = trial.finding.finding
            self.receipt.trial_reason = f"{trial.evidence.pairs} pairs: {trial.finding.reason}"
        self._wait_until_served(new_version.version)
        self.receipt.recovered_s = round(time.monotonic() - self.last_bad_score_at, 1)

    def _collect_evidence(self) -> None:
        run_id = self.dagster.launch("collect_feedback", self.author.slug)
        follow_run(self.dagster, run_id, display=self.display, title="evidence", stack=self.stack)
        runs = [
            run for run in self._list_retraining_runs() if run.tags.get("twin/cause") == "quality"
        ]
        self.receipt.runs, self.receipt.alarms = len(runs), len(self._list_alarms())
        dagster_url = urls(self.settings)["dagster"]
        self.display.log(f"the evidence: {dagster_url}/assets/quality_evidence")

    def _collect_scores(
        self,
        reader: SimulatedReader,
        max_answers: int,
        should_stop: Callable[[list[RatedAnswer]], bool],
    ) -> PhaseQuality:
        """Show a bar while the reader scores answers, and return the quality of this phase."""
        scores: list[float] = []
        with self.display.bar("reading") as bar:

            def record_score(answer: RatedAnswer) -> None:
                ensure_alive(self.stack)
                scores.append(answer.score)
                bar.update(
                    f"{len(scores)} answers, {answer.version} {answer.score:.2f}, "
                    f"mean {statistics.fmean(scores):.2f}"
                )

            rated_answers = reader.read(max_answers, on_score=record_score, should_stop=should_stop)
        versions = [answer.version for answer in rated_answers]
        mean = round(statistics.fmean(scores), 3)
        self.display.log(f"{len(scores)} answers of {', '.join(sorted(set(versions)))}: {mean:.2f}")
        return PhaseQuality(len(scores), mean, statistics.mode(versions))

    def _stable_version_name(self) -> str:
        """Return the name of the version that answers."""
        stable_version = self.registry.stable_version(self.author.slug)
        if stable_version is None:
            raise TwinError(
                "score the demo's first model",
                found="no version is stable, so the base model answers",
                next_step="see the gate's verdict above",
            )
        return f"v{stable_version.version}"

    def _wait_until_certified(self, version: str) -> None:
        """Wait until the sensor has a baseline of that version's scores."""
        slug = self.author.slug

        def is_certified() -> bool:
            with self.registry.state.read_transaction() as connection:
                watches = current_evidence(connection).get(slug, [])
            return any(watch.is_armed and watch.version == version for watch in watches)

        self._wait_for(is_certified)
        self.display.log(f"the sensor has certified {version} by its scores")

    def _wait_until_served(self, version: int) -> None:
        """Force a version's prose past the gate if necessary, and wait until it answers."""
        model_version = self.registry.get(self.author.slug, version)
        prose_release = self.registry.prose_release(model_version)
        if prose_release.why_not and not prose_release.forced:
            reason = "the demo's reader rates prose"
            self.registry.force_prose(model_version.author, version, actor=ACTOR, reason=reason)
            self.display.log(f"its prose is forced past the gate: {prose_release.why_not}")
        name = f"{self.author.slug}/v{version}"
        self._wait_for(lambda: is_server_ready(self.settings, name))
        time.sleep(2.0)  # the gateway reads the new policy within one second

    def _wait_for(self, poll: Callable[[], Result | None]) -> Result:
        return wait_until(self.stack, poll, program="dagster-daemon")

    def _list_alarms(self) -> list[AlarmRecord]:
        """Return the author's alarms, oldest first."""
        with self.registry.state.read_transaction() as connection:
            return list(reversed(alarm_records.list_alarms(connection, self.author.slug)))

    def _list_retraining_runs(self) -> list[Run]:
        return self.dagster.list_runs(job=RETRAIN, author=self.author.slug, limit=50)

    def _find_quality_run(self) -> Run | None:
        runs = self._list_retraining_runs()
        return next((run for run in runs if run.tags.get("twin/cause") == "quality"), None)

    def _run_url(self, run_id: str) -> str:
        return f"{urls(self.settings)['dagster']}/runs/{run_id}"

    @contextmanager
    def _step(self, number: int, title: str) -> Generator[None]:
        self.display.begin_stage(number, title)
        started_at = time.monotonic()
        try:
            yield
        finally:
            self.receipt.seconds[title] = round(time.monotonic() - started_at, 1)
