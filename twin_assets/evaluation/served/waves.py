"""Candidate and base asked the same questions a few at a time, until that is enough.

The base has more to say: the same questions, and again below the author's posts. These are 3,400
tokens, which a server reads once if nothing else comes into that slot, and else in each wave anew,
beside the 5,000 of the base's ten questions. So questions below posts have a slot of their own,
plain ones another, and the core of the candidate, which is through sooner, goes to a second server
of the base that takes plain questions alone. Where the base is asked nothing, its core goes to a
second server of the candidate.

Belongs here: servers that stay up between the waves, and what was said so far.
Does not belong here: when it is enough (`first_part.py`, `until_decided.py`), asking one server
(`served_model.py`), what there is to ask (`served_answers.py`).
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from time import monotonic
from types import TracebackType

from twin_assets.evaluation.progress import ProgressLines
from twin_assets.evaluation.served.served_answers import (
    ANSWER_TOKENS,
    FREQUENCY_PENALTY,
    OF_BOTH,
    PARITY_TOKENS,
    WORTH_A_SERVER,
    CandidateAnswers,
    PromptAnswers,
    PromptSet,
)
from twin_resources.models.serving import served_model
from twin_resources.models.serving.model_server_process import servers_at_once
from twin_resources.models.serving.running_server import RunningServer
from twin_resources.models.serving.served_model import Prompt, PromptQueue, Serve, ServedAnswer

# the second ones are started where they are worth it
CANDIDATE, HELPER = "candidate", "candidate, beside"
BASE, BESIDE = "base", "base, beside"


class ServerWaves:
    """Use as a context: its servers end with it.

    Attributes:
        candidate, base: answers by position in `PromptSet.prompts`.
        again: the candidate's second answers by position, of `PARITY_TOKENS` tokens.
        wall_s: while the candidate answered in waves, its start included.
        alone_s: while it answered what `ask_candidate` asked.
        servers: of the candidate that answered in waves at the same time, at most.
    """

    def __init__(
        self, prompts: PromptSet, *, serve: Serve, serve_base: Serve, progress: ProgressLines
    ) -> None:
        self.candidate: dict[int, ServedAnswer] = {}
        self.base: dict[int, str] = {}
        self.again: dict[int, ServedAnswer] = {}
        self.wall_s = self.alone_s = 0.0
        self.servers = 1
        self._asked = prompts
        self._serve = {CANDIDATE: serve, HELPER: serve, BASE: serve_base, BESIDE: serve_base}
        self._advance = progress.of(OF_BOTH)
        self._open = {name: ExitStack() for name in self._serve}
        self._running: dict[str, RunningServer] = {}

    def __enter__(self) -> ServerWaves:
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

    def ask(
        self, positions: Sequence[int], *, of_base: Sequence[int] = (), again: bool = False
    ) -> None:
        """One wave; a server uses half of the cores, and candidate and base have one each.

        Args:
            of_base: positions that the base is asked; none: its server is not started for it.
            again: the candidate is asked each question a second time at once.

        Raises:
            TwinError: one of them cannot be served, or does not answer as it must.
        """
        below_posts = frozenset(self._asked.with_posts)
        [first, then] = [
            [at for at in of_base if (at in below_posts) is below] for below in (True, False)
        ]
        mine = self._pile(positions, *((PARITY_TOKENS,) if again else ()))
        posts, plain = self._pile(first), self._pile(then)
        if of_base:
            self._end(HELPER)
        helped = not of_base and self._is_worth(HELPER, mine)
        with ThreadPoolExecutor(3) as pool:
            work = [
                pool.submit(self._by_candidate, mine, plain),
                pool.submit(self._by_base, posts, plain),
            ]
            if helped:
                self.servers = 2
                work.append(pool.submit(self._work, mine, HELPER))
            for done in work:
                done.result()
        self.candidate |= dict(zip(positions, mine.asked(), strict=True))
        for asked, pile in ((first, posts), (then, plain)):
            self.base |= {at: one.text for at, one in zip(asked, pile.asked(), strict=True)}
        if again:
            self.again |= dict(zip(positions, mine.asked(1), strict=True))

    def ask_candidate(self, positions: Sequence[int]) -> None:
        """The candidate alone, by as many servers as there are cores for; the base's end."""
        self._end(BASE, BESIDE)
        pile = self._pile(positions)
        names = [CANDIDATE, HELPER] if self._is_worth(HELPER, pile) else [CANDIDATE]
        began = monotonic()
        with ThreadPoolExecutor(len(names)) as pool:
            for done in [pool.submit(self._work, pile, name) for name in names]:
                done.result()
        self.alone_s += monotonic() - began
        self.candidate |= dict(zip(positions, pile.asked(), strict=True))

    def ask_others(self, prompts: Sequence[Prompt]) -> CandidateAnswers:
        """The candidate, twice, what is not among the prompts of all measures (for parity)."""
        pile = self._pile_of(prompts, PARITY_TOKENS)
        if pile.left:
            self._work(pile, CANDIDATE)
        return CandidateAnswers([list(one) for one in prompts], pile.asked(0), pile.asked(1))

    def said(self) -> PromptAnswers:
        """What was said so far; the time is that of the waves with the base."""
        at_once = self.servers * served_model.AT_ONCE
        return PromptAnswers(self.candidate, self.base, self.wall_s, at_once)

    def _by_candidate(self, mine: PromptQueue, plain: PromptQueue) -> None:
        """What the candidate is asked; then the base's plain questions, on the same core."""
        if mine.left:
            began = monotonic()
            self._work(mine, CANDIDATE)
            self.wall_s += monotonic() - began
        if plain.left and self._is_worth(BESIDE, plain):
            self._work(plain, BESIDE)

    def _by_base(self, posts: PromptQueue, plain: PromptQueue) -> None:
        if not posts.left:
            if plain.left:
                self._work(plain, BASE)
            return
        server = self._server(BASE)
        with ThreadPoolExecutor(2) as pool:
            work = [
                pool.submit(pile.work_off, server, at_once=1, slot=slot)
                for slot, pile in enumerate((posts, plain))
            ]
            for done in work:
                done.result()

    def _is_worth(self, name: str, pile: PromptQueue) -> bool:
        """Whether a second server helps with what is left: it runs, or has enough to do."""
        enough = pile.left >= WORTH_A_SERVER and servers_at_once() > 1
        return enough or name in self._running

    def _end(self, *names: str) -> None:
        with ExitStack() as ending:
            for name in names:
                self._running.pop(name, None)
                ending.push(self._open[name].pop_all())

    def _work(self, pile: PromptQueue, who: str) -> None:
        pile.work_off(self._server(who))

    def _server(self, who: str) -> RunningServer:
        if who not in self._running:
            self._running[who] = self._open[who].enter_context(self._serve[who]())
        return self._running[who]

    def _pile(self, positions: Sequence[int], *more: int) -> PromptQueue:
        return self._pile_of([self._asked.prompts[at] for at in positions], *more)

    def _pile_of(self, prompts: Sequence[Prompt], *more: int) -> PromptQueue:
        return PromptQueue(
            prompts,
            tokens=(ANSWER_TOKENS, *more),
            frequency_penalty=FREQUENCY_PENALTY,
            advance=self._advance,
        )
