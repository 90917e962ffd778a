"""Simulate the demo's reader, who asks questions and scores the answers by a fixed rule.

Scope: asking the questions, and sending the scores.
Out of scope: the rule (`subjects.py`), and the consequences of the scores.

The questions are held out: no version was trained on their posts, but the twin may quote them.
The rule does not depend on version, time or phase, and neither the gate nor a trial uses it as a
judge. It rates only the text that the model wrote, because quoted sentences name the subject for
any model. With quotes, a model trained on shuffled answers scored .98 and the good model .99. Every
score is marked `simulated` and comes from a separate reader, so that each is a settled value.
"""
# pyright: strict

from __future__ import annotations

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass

from twin_cli.commands.answer_history import send_feedback
from twin_cli.commands.demo.subjects import (
    HeldOutQuestion,
    score_answer,
    select_questions_with_subjects,
)
from twin_cli.commands.questions import ask, make_client
from twin_resources.authors import Author
from twin_resources.errors import TwinError
from twin_resources.models.quotes.answer_text import extract_prose
from twin_resources.processes.endpoints import Endpoints
from twin_resources.settings import Settings, load_secrets

MAX_CONCURRENT = 2
MIN_QUESTIONS = 10
MAX_QUESTIONS = 60  # the number that a trial replays; the reader repeats them
SEED = 20


@dataclass(frozen=True)
class RatedAnswer:
    """One answer and the reader's score in [0, 1]."""

    question: str
    version: str
    trace_id: str
    score: float


class SimulatedReader:
    """A reader who asks up to `MAX_QUESTIONS` held-out questions in a fixed order, repeatedly.

    Raises:
        TwinError: the author has no dataset, or too few held-out questions with a known subject.
    """

    def __init__(self, settings: Settings, endpoints: Endpoints, author: Author) -> None:
        self._settings, self._endpoints, self._author = settings, endpoints, author
        self._questions = read_held_out_questions(settings, author.slug)
        self._asked_count = 0

    def read(
        self,
        max_answers: int,
        *,
        on_score: Callable[[RatedAnswer], object],
        should_stop: Callable[[list[RatedAnswer]], bool],
    ) -> list[RatedAnswer]:
        """Ask and score up to `max_answers` questions; stop early once `should_stop` returns True.

        Args:
            should_stop: receives the answers so far.
        """
        rated_answers: list[RatedAnswer] = []
        with ThreadPoolExecutor(MAX_CONCURRENT) as pool:
            while len(rated_answers) < max_answers and not should_stop(rated_answers):
                count = min(MAX_CONCURRENT, max_answers - len(rated_answers))
                numbers = range(self._asked_count, self._asked_count + count)
                self._asked_count += count
                for rated_answer in pool.map(self._ask_and_score, numbers):
                    rated_answers.append(rated_answer)
                    on_score(rated_answer)
        return rated_answers

    def _ask_and_score(self, number: int) -> RatedAnswer:
        held_out_question = self._questions[number % len(self._questions)]
        admin_key = load_secrets(self._settings).gateway_master_key  # it alone may name readers
        client = make_client(self._endpoints.gateway, admin_key)
        answer = ask(client, held_out_question.question, model=f"twin/{self._author.slug}")
        score = score_answer(held_out_question, extract_prose(answer.text))
        feedback = {
            "trace_id": answer.trace_id,
            "score": score,
            "reader": f"simulated reader {number}",
            "simulated": True,
        }
        send_feedback(self._endpoints.gateway, admin_key, feedback)
        return RatedAnswer(held_out_question.question, answer.version, answer.trace_id, score)


def read_held_out_questions(settings: Settings, author: str) -> list[HeldOutQuestion]:
    """Return the questions of an author's held-out posts, in a fixed random order.

    Raises:
        TwinError: there is no dataset, or it has fewer than `MIN_QUESTIONS` such questions.
    """
    from twin_resources.storage.state.home_state import open_home_state
    from twin_resources.storage.tables.tables import Tables

    with closing(open_home_state(settings)) as state:
        frame = Tables(settings.tables_base, state=state).read(
            "instruction_dataset",
            author,
            columns=["sample_id", "question", "answer"],
            where="split = 'held_out'",
        )
    rows = frame.sort("sample_id").select("question", "answer").rows()
    random.Random(SEED).shuffle(rows)
    questions = select_questions_with_subjects(rows)[:MAX_QUESTIONS]
    if len(questions) < MIN_QUESTIONS:
        raise TwinError(
            "select the demo's questions from held-out posts",
            found=f"only {len(questions)} questions have a subject that the rule can recognize",
            next_step=f"report this: the bundled sample should have at least {MIN_QUESTIONS}",
        )
    return questions
