"""Measure how often a question that names a post by its title finds that post first.
Scope: sampling the titles, asking, and comparing the count with its threshold.
Out of scope: the ranking of a search (`twin_resources.models.retrieval`), the Dagster check
(`embeddings.py`).
This is known-item search: each question has one right answer, and its rank is the measure
(success at 1; Manning, Raghavan and Schütze 2008, chapter 8,
https://nlp.stanford.edu/IR-book/html/htmledition/evaluation-of-ranked-retrieval-results-1.html).
"""
# pyright: strict

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from twin_assets.corpus.title_questions import question_naming
from twin_resources.models.retrieval.naming import words_of
from twin_resources.models.retrieval.search import RetrievalQuery

if TYPE_CHECKING:
    from twin_resources.models.retrieval.retrieval import Retriever
    from twin_resources.storage.tables.tables import Tables

VERSION = "2"  # version of the search: chunks of 128 tokens, vectors lead
MIN_SHARE = 0.97  # of the questions
# About 15 ms per question: two seconds, whatever the number of posts. The bound of an exact 95 %
# interval for a true .99 is then .967, so that sampling alone does not fail a sound table.
MAX_ASKED = 150
_SHOWN = 5


@dataclass(frozen=True)
class NamedTitles:
    """The questions, and the counts of titles.
    Attributes:
        questions: the words of a title → the question that names it.
        titles: number of different titles with a word in them.
        untitled: number of posts without such a title; nobody can ask for them by name.
    """

    questions: Mapping[str, str]
    titles: int
    untitled: int


@dataclass(frozen=True)
class FoundFirst:
    """The number of questions that found a post with the named title first.
    Attributes:
        missed: document ids that were found instead; "" where nothing was found.
    """

    named: NamedTitles
    first: int
    missed: tuple[str, ...]

    @property
    def asked(self) -> int:
        return len(self.named.questions)

    @property
    def allowed(self) -> int:
        """Allowed misses: 3 % of the questions, at least one, but none for a single question."""
        return min(max(1, math.floor((1 - MIN_SHARE) * self.asked + 1e-9)), max(self.asked - 1, 0))

    @property
    def holds(self) -> bool:
        return self.asked - self.first <= self.allowed

    def metadata(self) -> dict[str, Any]:
        """Return the figures with their thresholds; ids, never a title."""
        return {
            "titles": self.named.titles,
            "posts_without_title": self.named.untitled,
            "asked": self.asked,
            "asked_of": "all titles" if self.asked == self.named.titles else "a seeded sample",
            "found_first": self.first,
            "share": round(self.first / self.asked, 4) if self.asked else 1.0,
            "least_share": MIN_SHARE,
            "misses_allowed": self.allowed,
            "found_instead": list(self.missed[:_SHOWN]),
        }


def named_titles(titles: Sequence[str], *, language: str = "en") -> NamedTitles:
    """Make the questions.
    Args:
        titles: one per post; posts with the same title count as one.
        language: ISO 639-1 of the posts.
    """
    distinct = {words_of(title): title for title in titles}
    untitled = sum(not words_of(title) for title in titles)
    distinct.pop("", None)
    # Sampled by hash, so that the sample stays the same while a table grows.
    drawn = sorted(distinct, key=lambda words: hashlib.sha256(words.encode()).digest())
    questions = {
        words: question_naming(distinct[words], language=language) for words in drawn[:MAX_ASKED]
    }
    return NamedTitles(questions, len(distinct), untitled)


def ask_by_name(tables: Tables, retriever: Retriever, author: str, *, language: str) -> FoundFirst:
    """Search the author's stored passages with questions that name their titles.

    Args:
        language: ISO 639-1 of the posts.

    Raises:
        TableMissing: the author has no `embeddings`.
    """
    posts = tables.read("embeddings", author, columns=["document_id", "title"])
    titles = posts.unique("document_id", maintain_order=True)["title"].to_list()
    named = named_titles(titles, language=language)
    queries = [RetrievalQuery(question) for question in named.questions.values()]
    answers = retriever.retrieve_many(author, queries, limit=1) if queries else []
    best = {
        words: (answer.passages[0].title, answer.passages[0].document_id)
        for words, answer in zip(named.questions, answers, strict=True)
        if answer.passages
    }
    return found_first(named, best)


def found_first(named: NamedTitles, first_by_question: Mapping[str, tuple[str, str]]) -> FoundFirst:
    """Count the answers.

    Args:
        named: the questions.
        first_by_question: words of the title in the question → title and document id of the first
            passage; questions that found nothing are left out.
    """
    first = 0
    missed: list[str] = []
    for words in named.questions:
        title, document = first_by_question.get(words, ("", ""))
        if words_of(title) == words:
            first += 1
        else:
            missed.append(document)
    return FoundFirst(named, first, tuple(missed))
