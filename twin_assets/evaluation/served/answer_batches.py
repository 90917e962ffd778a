"""Run servers for candidate and base, and keep them running between batches of questions.

The base answers more prompts: the same questions, and each question again after the author's posts,
which have 3,400 tokens. A server reads the posts once if no other prompt uses their slot, so
questions with posts and plain questions have separate slots. The candidate finishes sooner; its
core then runs a second server of the base for plain questions only. If the base has no questions,
its core runs a second server of the candidate.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from types import TracebackType

from twin_assets.evaluation.served.served_answers import (
    ANSWER_TOKENS,
    ANSWERS_PART,
    MIN_ANSWERS_FOR_SERVER,
    PARITY_TOKENS,
    SERVED_PART,
    CandidateAnswers,
    PromptAnswers,
    PromptSet,
)
from twin_resources.authors import FREQUENCY_PENALTY
from twin_resources.models.serving.model_server_process import max_concurrent_servers
from twin_resources.models.serving.running_server import RunningServer
from twin_resources.models.serving.served_model import (
    Prompt,
    PromptQueue,
    StartServer,
)
from twin_resources.processes.progress_lines import ProgressLines

# The second servers start only if there is enough work for them.
CANDIDATE, SECOND_CANDIDATE = "candidate", "second candidate"
BASE, SECOND_BASE = "base", "second base"


class AnswerBatches:
    """Asks questions in batches; as a context manager, stops its servers on exit.

    Attributes:
        answers: answers so far, by position in `PromptSet.prompts`.
    """

    def __init__(
        self,
        prompts: PromptSet,
        *,
        serve: StartServer,
        serve_base: StartServer,
        progress: ProgressLines,
    ) -> None:
        self.answers = PromptAnswers()
        self._prompts = prompts
        self._serve = {
            CANDIDATE: serve,
            SECOND_CANDIDATE: serve,
            BASE: serve_base,
            SECOND_BASE: serve_base,
        }
        self._progress = progress
        self._exit_stacks = {name: ExitStack() for name in self._serve}
        self._running: dict[str, RunningServer] = {}

    def __enter__(self) -> AnswerBatches:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._exit_stacks[CANDIDATE]:
            self._stop_servers(SECOND_CANDIDATE, BASE, SECOND_BASE)
        self._running.clear()

    def ask(self, positions: Sequence[int], *, base_positions: Sequence[int] = ()) -> None:
        """Ask one batch; candidate and base have one server each, with half of the cores.

        Args:
            base_positions: positions for the base; if empty, its servers stop.

        Raises:
            TwinError: one of the models cannot be served, or does not answer as required.
        """
        base_posts = frozenset(self._prompts.with_posts)
        posts_positions = [position for position in base_positions if position in base_posts]
        plain_positions = [position for position in base_positions if position not in base_posts]
        candidate_queue, posts_queue, plain_queue = map(
            self._make_queue, (positions, posts_positions, plain_positions)
        )
        if base_positions:
            self._stop_servers(SECOND_CANDIDATE)
            _run_parallel(
                lambda: self._answer_with_candidate(candidate_queue, plain_queue),
                lambda: self._answer_with_base(posts_queue, plain_queue),
            )
        else:
            self._stop_servers(BASE, SECOND_BASE)
            self._answer_with_candidate_only(candidate_queue)
        self.answers.candidate |= zip(positions, candidate_queue.answers_in_order(), strict=True)
        base_answers = [*posts_queue.answers_in_order(), *plain_queue.answers_in_order()]
        self.answers.base |= {
            position: answer.text
            for position, answer in zip(
                [*posts_positions, *plain_positions], base_answers, strict=True
            )
        }

    def ask_twice(self, prompts: Sequence[Prompt], answers: CandidateAnswers) -> None:
        """Ask the candidate each prompt twice in a row; the second answer uses the first's cache.

        These prompts are not in the list for all measures.

        Args:
            answers: the answers so far, to which the new ones are added.
        """
        self._stop_servers(BASE, SECOND_BASE)
        queue = PromptQueue(
            prompts,
            max_tokens=(ANSWER_TOKENS, PARITY_TOKENS),
            frequency_penalty=FREQUENCY_PENALTY,
            on_answer=self._progress.make_step_recorder(SERVED_PART),
        )
        self._answer_with_candidate_only(queue)
        answers.prompts += [list(prompt) for prompt in prompts]
        answers.first_answers += queue.answers_in_order(0)
        answers.repeated_answers += queue.answers_in_order(1)

    def _answer_with_candidate_only(self, queue: PromptQueue) -> None:
        if queue.remaining_count:
            names = (
                [CANDIDATE, SECOND_CANDIDATE]
                if self._should_run_server(SECOND_CANDIDATE, queue)
                else [CANDIDATE]
            )
            _run_parallel(*(lambda name=name: self._process_queue(queue, name) for name in names))

    def _answer_with_candidate(
        self, candidate_queue: PromptQueue, plain_queue: PromptQueue
    ) -> None:
        """Ask the candidate its questions, then the base its plain questions on the same core."""
        if candidate_queue.remaining_count:
            self._process_queue(candidate_queue, CANDIDATE)
        if plain_queue.remaining_count and self._should_run_server(SECOND_BASE, plain_queue):
            self._process_queue(plain_queue, SECOND_BASE)

    def _answer_with_base(self, posts_queue: PromptQueue, plain_queue: PromptQueue) -> None:
        if not posts_queue.remaining_count:
            if plain_queue.remaining_count:
                self._process_queue(plain_queue, BASE)
            return
        server = self._get_server(BASE)
        _run_parallel(
            lambda: posts_queue.query_server(server, max_concurrent=1, slot=0),
            lambda: plain_queue.query_server(server, max_concurrent=1, slot=1),
        )

    def _should_run_server(self, name: str, queue: PromptQueue) -> bool:
        """Return whether to use a second server: it already runs, or enough prompts remain."""
        has_enough_work = (
            queue.remaining_count >= MIN_ANSWERS_FOR_SERVER and max_concurrent_servers() > 1
        )
        return has_enough_work or name in self._running

    def _stop_servers(self, *names: str) -> None:
        with ExitStack() as stack:
            for name in names:
                self._running.pop(name, None)
                stack.push(self._exit_stacks[name].pop_all())

    def _process_queue(self, queue: PromptQueue, name: str) -> None:
        queue.query_server(self._get_server(name))

    def _get_server(self, name: str) -> RunningServer:
        if name not in self._running:
            self._running[name] = self._exit_stacks[name].enter_context(self._serve[name]())
        return self._running[name]

    def _make_queue(self, positions: Sequence[int]) -> PromptQueue:
        return PromptQueue(
            [self._prompts.prompts[position] for position in positions],
            max_tokens=[ANSWER_TOKENS],
            frequency_penalty=FREQUENCY_PENALTY,
            on_answer=self._progress.make_step_recorder(ANSWERS_PART),
        )


def _run_parallel(*functions: Callable[[], None]) -> None:
    """Run functions in parallel; raise the first error after all have ended."""
    with ThreadPoolExecutor(len(functions)) as pool:
        for future in [pool.submit(function) for function in functions]:
            future.result()
