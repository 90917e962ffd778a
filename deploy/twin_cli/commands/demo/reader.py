"""The simulated reader of the demo: asks, sees question and answer, and scores by a fixed rule.

Belongs here: the questions, the rule, posting the score. Does not belong here: what the scores lead
to. The rule is topic × fluent (`judges/topic.py`), scaled once on the author's training pairs; it
knows neither version nor time nor phase. It looks at what the model wrote: the author's own
sentences above it are on the topic whoever answers, and with them a model of shuffled answers had
.98 where the good one had .99. Every score is marked `simulated`, and each comes from a reader of
its own, so that each is a settled value.
"""
# pyright: strict

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from twin_cli.commands.endpoint_client import ask, make_client
from twin_resources.authors import Author
from twin_resources.errors import TwinError
from twin_resources.models.quotes.answer_text import prose_of
from twin_resources.processes.endpoints import Endpoints
from twin_resources.settings import Settings, load_secrets

if TYPE_CHECKING:
    from twin_resources.quality.judges.topic import TopicJudge

AT_ONCE = 2
ANSWERABLE = 0.5  # what the rule gives the author's own answer: where it is less, it cannot judge
QUESTIONS = 60  # as many as a trial replays; they are asked again and again, as popular ones are
SEED = 20


@dataclass(frozen=True)
class RatedAnswer:
    """One answer and what the reader gave it, in [0, 1]."""

    question: str
    version: str
    trace_id: str
    score: float


class SimulatedReader:
    """Asks `QUESTIONS` of the author's in a fixed order, the first again after the last.

    Only such as the rule can judge: it gives the author's own answer at least `ANSWERABLE`.

    Raises:
        TwinError: the author has no dataset to take questions from.
    """

    def __init__(self, settings: Settings, endpoints: Endpoints, author: Author) -> None:
        self._settings, self._endpoints, self._author = settings, endpoints, author
        self._judge, self._questions = _rule_and_questions(settings, author.slug)
        self._asked = 0

    def read(
        self, count: int, *, on_score: Callable[[RatedAnswer], object], until: Callable[[], bool]
    ) -> list[RatedAnswer]:
        """Ask and score up to `count` questions; ends early once `until` says so."""
        rated: list[RatedAnswer] = []
        with ThreadPoolExecutor(AT_ONCE) as pool:
            while len(rated) < count and not until():
                numbers = range(self._asked, self._asked + min(AT_ONCE, count - len(rated)))
                self._asked += len(numbers)
                for scored in pool.map(self._ask_and_score, numbers):
                    rated.append(scored)
                    on_score(scored)
        return rated

    def only_ask(self, count: int, *, model: str = "") -> list[str]:
        """Ask the first `count` questions and score nothing; returns who answered.

        Args:
            model: by its name; empty: whoever the gateway chooses.
        """
        admin = load_secrets(self._settings).gateway_master_key
        client = make_client(self._endpoints.gateway, admin)
        name = model or f"twin/{self._author.slug}"
        return [ask(client, one, model=name).version for one in self._questions[:count]]

    def _ask_and_score(self, number: int) -> RatedAnswer:
        import httpx

        question = self._questions[number % len(self._questions)]
        admin = load_secrets(self._settings).gateway_master_key  # may name readers
        client = make_client(self._endpoints.gateway, admin)
        answer = ask(client, question, model=f"twin/{self._author.slug}")
        score = rating(self._judge, question, answer.text)
        address = f"{self._endpoints.gateway.removesuffix('/v1')}/twin/feedback"
        body = {
            "trace_id": answer.trace_id,
            "score": score,
            "reader": f"simulated reader {number}",
            "simulated": True,
        }
        posted = httpx.post(
            address,
            json=body,
            headers={"Authorization": f"Bearer {admin}"},
            timeout=30.0,
            trust_env=False,
        )
        if not posted.is_success:
            raise TwinError(
                "give the simulated reader's score",
                found=f"{posted.status_code}: {posted.text[:300]}",
                next_step="see gateway.log",
            )
        return RatedAnswer(question, answer.version, answer.trace_id, score)


def rating(judge: TopicJudge, question: str, answer: str) -> float:
    """What the rule gives to the prose of an answer, in [0, 1]; of quotations alone it is 0."""
    from twin_resources.quality.judges.judge import JudgedAnswer

    return round(judge.score_all([JudgedAnswer(question, prose_of(answer))])[0], 4)


def _rule_and_questions(settings: Settings, author: str) -> tuple[TopicJudge, Sequence[str]]:
    from twin_resources.models.embedder.embedder import load_embedder
    from twin_resources.quality.judges.judge import JudgedAnswer
    from twin_resources.quality.judges.topic import TopicJudge, TopicPair, calibrate_topic
    from twin_resources.storage.state.state import State
    from twin_resources.storage.tables.tables import Tables

    state = State.open(settings.state_address)
    try:
        frame = Tables(settings.tables_base, state=state).read(
            "instruction_dataset",
            author,
            columns=["sample_id", "question", "answer", "document_id"],
            where="split = 'train'",
        )
    finally:
        state.close()
    rows = frame.sort("sample_id").select("question", "answer", "document_id").rows()
    random.Random(SEED).shuffle(rows)
    embedder = load_embedder(settings)
    calibration = calibrate_topic(
        [TopicPair(*row) for row in rows], embed=embedder.embed, embedder=embedder.revision
    )
    judge = TopicJudge(calibration, embedder.embed)
    own = judge.score_all([JudgedAnswer(question, answer) for question, answer, _ in rows])
    questions = (row[0] for row, score in zip(rows, own, strict=True) if score >= ANSWERABLE)
    return judge, list(dict.fromkeys(questions))[:QUESTIONS]
