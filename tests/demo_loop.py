"""Close the loop once, with a simulated reader and a version that is broken on purpose.

    python -m tests.demo_loop [HOME]

Trainings, gate, trial, sensor, servers and the public endpoint are real. Staged are the reader, who
asks held-out questions and scores answers by counting words, a rule that neither the gate nor a
trial uses, each time under another reader's name; a training on shuffled answers whose version is
forced past the gate; and that the version before it may not come back, without which the sensor
rolls back to it and trains nothing. It takes three quarters of an hour on an idle machine.

A question's subjects are its words that also occur in the author's passage and are rare. An answer
gets the full score if it names two subjects (or the only one) and has twelve words that are not in
the question. Words are compared by their first six letters.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import httpx
from openai import OpenAI
from twin_cli.commands.outcome import RETRAIN, list_refusal_reasons, open_registry
from twin_cli.commands.progress_display import ProgressDisplay
from twin_cli.commands.runs import follow_run
from twin_cli.commands.services import require_stack
from twin_cli.commands.subject import choose_subject

from twin_resources.authors import Author, write_author
from twin_resources.dagster_runs import Run
from twin_resources.models.quotes.answer_text import extract_prose
from twin_resources.processes.dagster_http import DagsterHTTP
from twin_resources.processes.endpoints import urls
from twin_resources.processes.programs import is_server_ready, wait_until
from twin_resources.quality.release import trial as trials
from twin_resources.quality.retraining import alarm_records
from twin_resources.quality.retraining.score_watch import current_evidence
from twin_resources.registry.moves import ModelVersion, Verdict
from twin_resources.registry.registry import reconcile
from twin_resources.settings import Settings, load_secrets, load_settings
from twin_resources.storage.state.state import State
from twin_resources.storage.tables.tables import Tables

# With one or two readers the loop takes months; these values make it minutes.
ENVIRONMENT = {
    "TWIN_PACE": "demo",
    "TWIN_AUTO_RETRAIN": "true",
    **dict.fromkeys(("TWIN_PAID_MODEL", "TWIN_TEACHER_MODEL", "TWIN_JUDGE_MODEL"), ""),
}
WITHHELD_POSTS = 3
MAX_QUESTIONS = 60  # the number that a trial replays
# 150 for the comparison and 20 after them; some have too rare a class or no version.
MAX_BASELINE_SCORES = 400
MAX_BROKEN_SCORES = 200  # from .80 to .33, each score multiplies the evidence by 1.1
RECOVERY_SCORES = 30
ACTOR = "demo"
SPOILING = "shuffled_answers"
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)?")
Result = TypeVar("Result")


def stems(text: str) -> set[str]:
    """Return the first six letters of a text's words, without a plural s."""
    words = (word.casefold().replace("’", "'").removesuffix("'s") for word in _WORD.findall(text))
    return {(word.removesuffix("s") if len(word) > 3 else word)[:6] for word in words if word[2:]}


def select_questions(pairs: Sequence[tuple[str, str]]) -> dict[str, set[str]]:
    """Return the subjects of each question that has one.

    Args:
        pairs: held-out questions with the author's own passages.
    """
    passages = dict(reversed(pairs))  # for a repeated question, the first passage
    in_passages = Counter(stem for passage in passages.values() for stem in stems(passage))
    in_questions = Counter(stem for question in passages for stem in stems(question))
    subjects = {
        question: {
            stem
            for stem in stems(question) & stems(passages[question])
            if in_passages[stem] <= max(1, len(passages) / 3)
            and in_questions[stem] <= max(1, len(passages) / 10)
        }
        for question in dict.fromkeys(question for question, _ in pairs)
    }
    return {question: found for question, found in subjects.items() if found}


def score_answer(question: str, subjects: set[str], prose: str) -> float:
    """Return a score in [0, 1]."""
    answer = stems(prose)
    named = len(subjects & answer) / min(2, len(subjects))
    return round(min(1.0, named) * min(1.0, len(answer - stems(question)) / 12), 4)


class Demo:
    """One run of the loop in a home of its own."""

    def __init__(self, home: Path) -> None:
        os.environ.update(ENVIRONMENT)
        self.settings: Settings = load_settings(home)
        self.posts, self.asked = self.settings.home / "posts", 0
        self.display = ProgressDisplay()
        self.author = self._write_author()

    def _write_author(self) -> Author:
        """Copy the sample author's posts except the oldest few, which arrive later.

        The oldest, because a document's split is drawn at the first import and favors the newest.
        """
        nowhere = self.settings.model_copy(update={"home": self.settings.home / "none"})
        sample = choose_subject(nowhere, None)
        shutil.copytree(sample.location, self.posts)
        (self.settings.home / "posts-later").mkdir()
        for post in sorted(self.posts.rglob("[0-9]*.md"))[:WITHHELD_POSTS]:
            shutil.move(post, self.settings.home / "posts-later" / post.name)
        author = replace(
            sample.author, sources=(str(self.posts),), max_tokens=40, auto_retrain=None,
            answer="voice",  # the reader rates prose; quotes are the same for all versions
            recipe="smollm2-135m-demo", release_mode="shadow", context_tokens=256,
        )  # fmt: skip
        write_author(self.settings, author)
        return author

    def run(self) -> list[str]:
        """Run all steps; return what did not happen."""
        self.twin("up", str(self.posts), "--detach")
        self.twin("status", "--wait", "--author", self.author.slug)
        self.stack = require_stack(self.settings)
        self.settings = self.stack.settings
        self.dagster = DagsterHTTP.for_home(self.settings)
        self.registry = open_registry(self.settings)
        self.questions = self._read_questions()
        first = self.registry.stable_version(self.author.slug)
        if first is None:
            return ["the first version was released"]
        self.serve(first.version)
        before = self.read(MAX_BASELINE_SCORES, lambda _: self._is_certified(f"v{first.version}"))
        if not self._is_certified(f"v{first.version}"):
            return ["the first version was certified by its readers"]
        broken_verdict = self.break_service(first)
        broken = self.read(MAX_BROKEN_SCORES, lambda _: bool(self.alarms()))
        fell_at = time.monotonic()
        if not self.alarms():
            return [f"the sensor raised an alarm within {MAX_BROKEN_SCORES} bad scores"]
        alarm = self.wait(lambda: next((item for item in self.alarms() if item.decision), None))
        if alarm.decision != "train":
            return [f"the sensor started a retraining; instead: {alarm.message}"]
        run = self.wait(lambda: next(iter(self.quality_runs()), None))
        follow_run(self.dagster, run.run_id, display=self.display, title="retraining",
                   stack=self.stack)  # fmt: skip
        verdict = self.registry.latest_verdict(self.author.slug)
        if verdict is None or verdict.outcome != "passed":
            reasons = "; ".join(list_refusal_reasons(verdict))
            return [f"the gate passed the new version; instead: {reasons}"]
        stable = self.wait(self._newest_after_trial)
        if stable.state != "stable":
            return [f"the new version was promoted; instead it is {stable.state}"]
        self.serve(stable.version)
        self.display.log(f"{time.monotonic() - fell_at:.0f} s from the last bad score to recovery")
        after = self.read(RECOVERY_SCORES, lambda _: False)
        trial = trials.newest_trial_of_version(
            self.registry.state, self.author.slug, stable.version
        )
        means = [statistics.fmean(score for _, score in rows) for rows in (before, broken, after)]
        happened = {
            # By which claim depends on chance: on 30 questions, a share of topics that is .15 below
            # the base's is not always proved to be below.
            "the gate refused the broken version": broken_verdict is not None
            and broken_verdict.outcome == "failed",
            "quality fell": means[1] < means[0] - 0.1,
            "the sensor fired once, and one run trained": len(self.alarms())
            == len(self.quality_runs())
            == 1,
            "pairs promoted the new version": trial is not None
            and trial.finding.finding == "promote",
            "quality recovered": means[2] > means[1] + 0.1,
        }
        self.display.log(
            "mean scores before, broken, after: " + ", ".join(f"{m:.2f}" for m in means)
        )
        return [step for step, is_true in happened.items() if not is_true]

    def break_service(self, incumbent: ModelVersion) -> Verdict | None:
        """Train on shuffled answers while posts arrive, and force that version past the gate.

        The incumbent may not come back, so that the sensor has to start a retraining. Return the
        gate's verdict on the forced version.
        """
        slug = self.author.slug
        folder = min(self.posts.rglob("[0-9]*.md")).parent
        for post in (self.settings.home / "posts-later").iterdir():
            shutil.move(post, folder / post.name)
        self.twin("import")
        config = {"fine_tuned_checkpoint": {"spoil": SPOILING}}
        run_id = self.dagster.launch(RETRAIN, slug, tags={"twin/demo": SPOILING}, config=config)
        follow_run(self.dagster, run_id, display=self.display, title="spoiled", stack=self.stack)
        verdict = self.registry.latest_verdict(slug)
        version = self.registry.versions(slug)[-1]
        if version.state == "candidate":  # the checks ended the run before the release step
            reconcile(self.registry, slug, gate_version=self.registry.gate_version(),
                      mode="shadow", actor=ACTOR)  # fmt: skip
        self.registry.move(slug, version.version, "stable", actor=ACTOR, force=True,
                           reason="the demo breaks the service on purpose")  # fmt: skip
        reasons = "; ".join(list_refusal_reasons(verdict))
        self.display.log(f"v{version.version} is forced past the gate: {reasons}")
        # A version that is provably better would be taken back within seconds, without a training.
        reason = "staged: as if a post of its training had been forgotten"
        self.registry.taint(slug, incumbent.version, actor=ACTOR, reason=reason)
        self.serve(version.version)
        return verdict

    def serve(self, number: int) -> None:
        """Release a version's prose, by force if necessary, and wait until it answers."""
        version = self.registry.get(self.author.slug, number)
        release = self.registry.prose_release(version)
        if release.why_not and not release.forced:
            self.registry.force_prose(
                self.author.slug, number, actor=ACTOR, reason="the demo's reader rates prose"
            )
        name = f"{self.author.slug}/v{number}"
        self.wait(lambda: is_server_ready(self.settings, name))
        time.sleep(2.0)  # the gateway reads the new policy within one second

    def read(
        self, count: int, should_stop: Callable[[list[tuple[str, float]]], bool]
    ) -> list[tuple[str, float]]:
        """Ask and score questions at the public endpoint; return versions and scores."""
        rows: list[tuple[str, float]] = []
        with ThreadPoolExecutor(2) as pool:
            while len(rows) < count and not should_stop(rows):
                rows += pool.map(self.ask, range(self.asked, self.asked + 2))
                self.asked += 2
                if len(rows) % 20 == 0:
                    mean = statistics.fmean(score for _, score in rows)
                    self.display.log(f"{len(rows)} answers, {rows[-1][0]}, mean {mean:.2f}")
        return rows

    def ask(self, number: int) -> tuple[str, float]:
        """Ask one question as a reader of its own, and send the score; return the version too."""
        question, subjects = self.questions[number % len(self.questions)]
        url = urls(self.settings)["gateway"]
        key = load_secrets(self.settings).gateway_master_key  # it alone may name readers
        with httpx.Client(trust_env=False, timeout=300) as transport:
            completion = OpenAI(
                base_url=url, api_key=key, http_client=transport, max_retries=9
            ).chat.completions.create(
                model=f"twin/{self.author.slug}", messages=[{"role": "user", "content": question}]
            )
            twin = (completion.model_extra or {})["twin"]
            prose = extract_prose(completion.choices[0].message.content or "")
            score = score_answer(question, subjects, prose)
            transport.post(
                url.removesuffix("/v1") + "/twin/feedback",
                headers={"Authorization": f"Bearer {key}"},
                json={
                    "trace_id": twin["trace_id"], "score": score, "simulated": True,
                    "reader": f"simulated reader {number}",
                },
            ).raise_for_status()  # fmt: skip
        return str(twin["version"]), score

    def alarms(self) -> list[alarm_records.AlarmRecord]:
        with self.registry.state.read_transaction() as connection:
            return list(alarm_records.list_alarms(connection, self.author.slug))

    def quality_runs(self) -> list[Run]:
        runs = self.dagster.list_runs(job=RETRAIN, author=self.author.slug, limit=50)
        return [run for run in runs if run.tags.get("twin/cause") == "quality"]

    def wait(self, poll: Callable[[], Result | None]) -> Result:
        return wait_until(self.stack, poll, program="dagster-daemon")

    def twin(self, *arguments: str) -> None:
        subprocess.run(
            [sys.executable, "-m", "twin_cli", *arguments, "--home", str(self.settings.home)],
            check=True,
        )

    def _newest_after_trial(self) -> ModelVersion | None:
        """Return the newest version once no trial is still deciding on it."""
        newest = self.registry.versions(self.author.slug)[-1]
        return None if newest.state in ("candidate", "shadow") else newest

    def _is_certified(self, version: str) -> bool:
        with self.registry.state.read_transaction() as connection:
            watches = current_evidence(connection).get(self.author.slug, [])
        return any(watch.is_armed and watch.version == version for watch in watches)

    def _read_questions(self) -> list[tuple[str, set[str]]]:
        """Return held-out questions, on whose posts no version was trained, in a fixed order."""
        tables = Tables(self.settings.tables_base, state=State.open(self.settings.state_address))
        frame = tables.read(
            "instruction_dataset", self.author.slug, columns=["sample_id", "question", "answer"],
            where="split = 'held_out'",
        )  # fmt: skip
        rows = frame.sort("sample_id").select("question", "answer").rows()
        random.Random(20).shuffle(rows)
        return list(select_questions(rows).items())[:MAX_QUESTIONS]


def main() -> int:
    home = Path(sys.argv[1] if len(sys.argv) > 1 else ".twin-demo")
    demo = Demo(home)
    try:
        missing = demo.run()
    finally:
        demo.twin("stop")
    for step in missing:
        demo.display.log(f"did not happen: {step}", style="bold red")
    return bool(missing)


if __name__ == "__main__":
    sys.exit(main())
