"""What an author decided about readers' questions: quote this passage first, or never answer."""
# pyright: strict

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import sqlalchemy as sa

from twin_resources.errors import TwinError
from twin_resources.models.retrieval.selection import select_hits
from twin_resources.storage.state.state import State
from twin_resources.storage.state.state_tables import question_rules, upsert

if TYPE_CHECKING:
    import numpy as np

    from twin_resources.models.retrieval.retrieval import RetrievalResult, Retriever

# Of customers' questions to a bank with the intent of a rule's four questions, .73 are this near to
# one of them, and .013 of those with one of 37 other intents; of Oona's tuning questions, none.
RULE_COSINE = 0.65
MAX_AGE_S = 1.0  # how late a gateway may learn of a new rule


@dataclass(frozen=True)
class QuestionRule:
    """A reader's question and the passage that answers it; without a passage, the twin declines.

    `at` is the time of the author's decision, ISO 8601 in UTC.
    """

    trace_id: str
    author: str
    cluster: str
    question: str
    at: str
    document_id: str = ""
    chunk_id: str = ""


def save_rules(state: State, rules: Sequence[QuestionRule]) -> None:
    """Save rules; a later rule for a question replaces the earlier one."""
    with state.transaction() as connection:
        upsert(connection, question_rules, [vars(rule) for rule in rules])


def read_rules(state: State, author: str) -> list[QuestionRule]:
    """Return an author's rules."""
    statement = sa.select(question_rules).where(question_rules.c.author == author)
    with state.read_transaction() as connection:
        rows = connection.execute(statement.order_by(question_rules.c.trace_id)).mappings()
        return [QuestionRule(**row) for row in rows]


def delete_rules(state: State, author: str, cluster: str) -> int:
    """Delete the rules of a group of questions; return their number."""
    columns = question_rules.c
    statement = sa.delete(question_rules).where(
        columns.author == author, columns.cluster == cluster
    )
    with state.transaction() as connection:
        return connection.execute(statement).rowcount


@dataclass
class QuestionRules:
    """The rules of a home, read again after `MAX_AGE_S`; safe to use from several threads.

    Attributes:
        open_state: opens the state store; called once.
    """

    open_state: Callable[[], State]
    _state: State | None = None
    _rules: dict[str, tuple[float, list[QuestionRule]]] = field(
        default_factory=dict[str, tuple[float, list[QuestionRule]]]
    )
    _vectors: dict[str, tuple[str, list[QuestionRule], np.ndarray]] = field(
        default_factory=dict[str, "tuple[str, list[QuestionRule], np.ndarray]"]
    )

    def apply(
        self,
        retriever: Retriever,
        author: str,
        question: RetrievalResult,
        retrieval: RetrievalResult,
        *,
        token_budget: int,
    ) -> tuple[RetrievalResult, bool]:
        """Apply the rule whose question is nearest to a reader's question, if it is near enough.

        Args:
            question: the search for the question alone.
            retrieval: the search whose passages the answer shows.
            token_budget: limit on the tokens of the passages in a prompt.

        Returns:
            The search with the named passage first, and whether the twin must decline. A rule whose
            passage was edited or deleted has no effect.
        """
        from twin_resources.models.retrieval.retrieval import MAX_PASSAGES

        rules = self._read(author)
        embedder = retriever.get_embedder(question.embedder)
        if not rules or question.vector is None or embedder is None:
            return retrieval, False
        cached = self._vectors.get(author)
        if cached is not None and cached[:2] == (embedder.revision, rules):
            vectors = cached[2]
        else:
            vectors = embedder.embed([rule.question for rule in rules], are_questions=True)
            self._vectors[author] = (embedder.revision, rules, vectors)
        cosines = vectors @ question.vector
        rule, cosine = rules[int(cosines.argmax())], float(cosines.max())
        nearness = embedder.to_common_scale(cosine)
        if nearness < RULE_COSINE or not rule.document_id:
            return retrieval, nearness >= RULE_COSINE
        for passage in retriever.read_post(author, rule.document_id):
            if passage.chunk_id == rule.chunk_id:
                first = replace(passage, cosine=cosine, score=nearness, evidence=nearness)
                others = (item for item in retrieval.ranked if item.chunk_id != rule.chunk_id)
                ranked = (first, *others)
                passages = select_hits(ranked, limit=MAX_PASSAGES, token_budget=token_budget)
                return replace(retrieval, ranked=ranked, passages=passages), False
        return retrieval, False

    def _read(self, author: str) -> list[QuestionRule]:
        read_at, rules = self._rules.get(author, (0.0, []))
        if not read_at or time.monotonic() - read_at > MAX_AGE_S:
            try:
                self._state = self._state or self.open_state()
                rules = read_rules(self._state, author)
            except TwinError as error:  # the last known rules go on
                sys.stderr.write(f"the rules of {author} for questions cannot be read: {error}\n")
            self._rules[author] = (time.monotonic(), rules)
        return rules
