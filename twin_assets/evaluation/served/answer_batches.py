"""Run servers of candidate and base that stay up while questions are asked in batches.

The base answers more: the same questions, and again below the author's posts, which are
3,400 tokens. A server reads the posts once if nothing else uses their slot, so questions below
posts have a slot of their own and plain ones another. The candidate finishes sooner; its core
then runs a second server of the base for plain questions only. If the base is asked nothing, its
core runs a second server of the candidate.

Scope: the servers, and the answers so far.
Out of scope: deciding when to stop (`sequential_plan.py`), asking one server
(`served_model.py`), the questions (`served_answers.py`).
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from types import TracebackType

from twin_assets.evaluation.progress import ProgressLines
from twin_assets.evaluation.served.served_answers import (
    ANSWER_TOKENS,
    OF_BOTH,
    OF_SERVED,
    PARITY_TOKENS,
    WORTH_A_SERVER,
    CandidateAnswers,
    PromptAnswers,
    PromptSet,
)
from twin_resources.authors import FREQUENCY_PENALTY
from twin_resources.models.serving.model_server_process import servers_at_once
from twin_resources.models.serving.running_server import RunningServer
from twin_resources.models.serving.served_model import Prompt, PromptQueue, Serve, ServedAnswer

# the second servers start only if there is enough work for them
CANDIDATE, HELPER = "candidate", "candidate, beside"
BASE, BESIDE = "base", "base, beside"


class AnswerBatches:
    """Answers in batches; use it as a context, at whose end the servers stop.

    Attributes:
        candidate, base: answers by position in `PromptSet.prompts`.
    """

    def __init__(
        self, prompts: PromptSet, *, serve: Serve, serve_base: Serve, progress: ProgressLines
    ) -> None:
        self.candidate: dict[int, ServedAnswer] = {}
        self.base: dict[int, str] = {}
        self._asked = prompts
        self._serve = {CANDIDATE: serve, HELPER: serve, BASE: serve_base, BESIDE: serve_base}
        self._progress = progress
        self._open = {name: ExitStack() for name in self._serve}
        self._running: dict[str, RunningServer] = {}

    def __enter__(self) -> AnswerBatches:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._open[CANDIDATE]:
            self._end(HELPER, BASE, BESIDE)
        self._running.clear()

    @property
    def answers(self) -> PromptAnswers:
        """Answers so far."""
        return PromptAnswers(self.candidate, self.base)

    def ask(self, positions: Sequence[int], *, of_base: Sequence[int] = ()) -> None:
        """Ask one batch; a server uses half of the cores, and candidate and base have one each.

        Args:
            of_base: positions for the base; if empty, its servers stop.

        Raises:
            TwinError: one of them cannot be served, or does not answer as required.
        """
        below_posts = frozenset(self._asked.with_posts)
        [first, then] = [
            [at for at in of_base if (at in below_posts) is below] for below in (True, False)
        ]
        mine, posts, plain = self._queue(positions), self._queue(first), self._queue(then)
        if of_base:
            self._end(HELPER)
            _run(
                lambda: self._by_candidate(mine, plain),
                lambda: self._by_base(posts, plain),
            )
        else:
            self._end(BASE, BESIDE)
            self._by_candidate_alone(mine)
        self.candidate |= dict(zip(positions, mine.asked(), strict=True))
        for asked, queue in ((first, posts), (then, plain)):
            self.base |= {at: one.text for at, one in zip(asked, queue.asked(), strict=True)}

    def ask_twice(self, prompts: Sequence[Prompt]) -> CandidateAnswers:
        """Ask the candidate each prompt twice at once, so the second answer uses the first's cache.

        These prompts are not in the list for all measures.
        """
        self._end(BASE, BESIDE)
        queue = PromptQueue(
            prompts,
            tokens=(ANSWER_TOKENS, PARITY_TOKENS),
            frequency_penalty=FREQUENCY_PENALTY,
            advance=self._progress.of(OF_SERVED),
        )
        self._by_candidate_alone(queue)
        return CandidateAnswers(
            [list(prompt) for prompt in prompts], queue.asked(0), queue.asked(1)
        )

    def _by_candidate_alone(self, mine: PromptQueue) -> None:
        if mine.left:
            names = [CANDIDATE, HELPER] if self._is_worth(HELPER, mine) else [CANDIDATE]
            _run(*(lambda name=name: self._work(mine, name) for name in names))

    def _by_candidate(self, mine: PromptQueue, plain: PromptQueue) -> None:
        """Ask the candidate its questions, then the base its plain ones on the same core."""
        if mine.left:
            self._work(mine, CANDIDATE)
        if plain.left and self._is_worth(BESIDE, plain):
            self._work(plain, BESIDE)

    def _by_base(self, posts: PromptQueue, plain: PromptQueue) -> None:
        if not posts.left:
            if plain.left:
                self._work(plain, BASE)
            return
        server = self._server(BASE)
        _run(
            lambda: posts.work_off(server, at_once=1, slot=0),
            lambda: plain.work_off(server, at_once=1, slot=1),
        )

    def _is_worth(self, name: str, queue: PromptQueue) -> bool:
        """Return whether a second server helps with the rest: it runs, or has enough to do."""
        enough = queue.left >= WORTH_A_SERVER and servers_at_once() > 1
        return enough or name in self._running

    def _end(self, *names: str) -> None:
        with ExitStack() as ending:
            for name in names:
                self._running.pop(name, None)
                ending.push(self._open[name].pop_all())

    def _work(self, queue: PromptQueue, who: str) -> None:
        queue.work_off(self._server(who))

    def _server(self, who: str) -> RunningServer:
        if who not in self._running:
            self._running[who] = self._open[who].enter_context(self._serve[who]())
        return self._running[who]

    def _queue(self, positions: Sequence[int]) -> PromptQueue:
        return PromptQueue(
            [self._asked.prompts[at] for at in positions],
            tokens=[ANSWER_TOKENS],
            frequency_penalty=FREQUENCY_PENALTY,
            advance=self._progress.of(OF_BOTH),
        )


def _run(*work: Callable[[], None]) -> None:
    """Run work side by side; raise the first error once all have ended."""
    with ThreadPoolExecutor(len(work)) as pool:
        for done in [pool.submit(one) for one in work]:
            done.result()
