"""Measure how often a question that names a post by its title finds that post first.

Scope: sampling the titles, searching, and comparing the count with its threshold.
Out of scope: the ranking of a search (`twin_resources.models.retrieval`), the Dagster check
(`embeddings.py`).
This is known-item search: each question has one right answer, whose rank is measured (success at 1;
Manning, Raghavan and Schütze 2008, chapter 8,
https://nlp.stanford.edu/IR-book/html/htmledition/evaluation-of-ranked-retrieval-results-1.html).
"""
# pyright: strict

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from twin_assets.corpus.title_questions import question_quoting_title
from twin_resources.models.retrieval.naming import normalize_words
from twin_resources.models.retrieval.search import RetrievalQuery

if TYPE_CHECKING:
    from twin_resources.models.retrieval.retrieval import Retriever
    from twin_resources.storage.tables.tables import Tables

VERSION = "2"  # version 2 of the search: chunks of 128 tokens, ranking led by vectors
MIN_FOUND_FIRST_SHARE = 0.97  # share of the questions
# At about 15 ms per question, the searches take two seconds for any number of posts. The lower
# bound of an exact 95 % interval for a true share of .99 is then .967. Sampling alone therefore
# does not fail a sound table.
MAX_QUESTIONS = 150
_MAX_REPORTED_MISSES = 5


@dataclass(frozen=True)
class TitleSearchResult:
    """The number of questions, and of those that found a post with the named title first.

    Attributes:
        missed: document ids that were found instead; "" where nothing was found.
    """

    question_count: int
    found_first_count: int
    missed: tuple[str, ...] = ()

    @property
    def allowed_misses(self) -> int:
        """Number of allowed misses: 3 % of the questions, at least one; zero for one question."""
        return min(
            max(1, math.floor((1 - MIN_FOUND_FIRST_SHARE) * self.question_count + 1e-9)),
            max(self.question_count - 1, 0),
        )

    @property
    def passes(self) -> bool:
        return self.question_count - self.found_first_count <= self.allowed_misses

    def metadata(self) -> dict[str, Any]:
        """Return the figures and thresholds, with document ids but no titles."""
        return {
            "asked": self.question_count,
            "found_first": self.found_first_count,
            "share": round(self.found_first_count / max(self.question_count, 1), 4),
            "least_share": MIN_FOUND_FIRST_SHARE,
            "misses_allowed": self.allowed_misses,
            "found_instead": list(self.missed[:_MAX_REPORTED_MISSES]),
        }


def make_title_questions(titles: Iterable[str], *, language: str = "en") -> dict[str, str]:
    """Return the questions that name the titles, by the words of the title.

    Args:
        titles: one per post; posts with the same title count as one.
        language: ISO 639-1 of the posts.
    """
    distinct_titles = {words: title for title in titles if (words := normalize_words(title))}
    # the hash keeps the sample nearly the same while a table grows
    sampled_words = sorted(
        distinct_titles, key=lambda words: hashlib.sha256(words.encode()).digest()
    )
    return {
        words: question_quoting_title(distinct_titles[words], language=language)
        for words in sampled_words[:MAX_QUESTIONS]
    }


def search_by_title(
    tables: Tables, retriever: Retriever, author: str, *, language: str
) -> TitleSearchResult:
    """Search the author's stored passages with questions that name their titles.

    Args:
        language: ISO 639-1 of the posts.

    Raises:
        TableNotFoundError: the author has no `embeddings`.
    """
    posts = tables.read("embeddings", author, columns=["document_id", "title"])
    titles = posts.unique("document_id", maintain_order=True)["title"].to_list()
    questions = make_title_questions(titles, language=language)
    queries = [RetrievalQuery(question) for question in questions.values()]
    results = retriever.retrieve_many(author, queries, limit=1) if queries else []
    first_results = {
        words: (result.passages[0].title, result.passages[0].document_id)
        for words, result in zip(questions, results, strict=True)
        if result.passages
    }
    return count_found_first(questions, first_results)


def count_found_first(
    questions: Iterable[str], first_by_question: Mapping[str, tuple[str, str]]
) -> TitleSearchResult:
    """Count the questions that found the named post first.

    Args:
        questions: the words of the title in each question.
        first_by_question: title and document id of the first passage, by the words of the title in
            the question. Questions without a result are omitted.
    """
    first_results = {words: first_by_question.get(words, ("", "")) for words in questions}
    missed_ids = tuple(
        document_id
        for words, (title, document_id) in first_results.items()
        if normalize_words(title) != words
    )
    return TitleSearchResult(len(first_results), len(first_results) - len(missed_ids), missed_ids)
