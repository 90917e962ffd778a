"""Asked about a post by its title, is that post found first?

Scope: which titles are asked about, asking, and the count against its threshold.
Out of scope: how a search ranks (`twin_resources.models.retrieval`), the check as Dagster
sees it (`embeddings.py`).

Known-item search: one right answer is known for each question, and its rank is the measure
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

VERSION = "2"  # of the search: chunks of 128 tokens, vectors lead
LEAST_FIRST = 0.97  # of the questions
# Some 15 ms a question: two seconds, whatever the number of posts. The bound of an exact 95 %
# interval for a true .99 is then .967, so that a sound table is not stopped by the draw.
MAX_ASKED = 150
_SHOWN = 5


@dataclass(frozen=True)
class NamedTitles:
    """What is asked about.

    Attributes:
        questions: by the title's words in their order: the question that names it.
        titles: different titles with a word in them.
        untitled: posts without such a title; nobody can ask for them by name.
    """

    questions: Mapping[str, str]
    titles: int
    untitled: int


@dataclass(frozen=True)
class FoundFirst:
    """How many of the questions found a post of the title that they name, and found it first.

    Attributes:
        missed: document ids that were found instead; empty where nothing was found.
    """

    named: NamedTitles
    first: int
    missed: tuple[str, ...]

    @property
    def asked(self) -> int:
        return len(self.named.questions)

    @property
    def allowed(self) -> int:
        """Misses: 3 %; one where 3 % of so few questions is none, and none of a single one."""
        return min(
            max(1, math.floor((1 - LEAST_FIRST) * self.asked + 1e-9)), max(self.asked - 1, 0)
        )

    @property
    def holds(self) -> bool:
        return self.asked - self.first <= self.allowed

    def metadata(self) -> dict[str, Any]:
        """Figures beside their thresholds; ids, never a title."""
        return {
            "titles": self.named.titles,
            "posts_without_title": self.named.untitled,
            "asked": self.asked,
            "asked_of": "all titles" if self.asked == self.named.titles else "a seeded sample",
            "found_first": self.first,
            "share": round(self.first / self.asked, 4) if self.asked else 1.0,
            "least_share": LEAST_FIRST,
            "misses_allowed": self.allowed,
            "found_instead": list(self.missed[:_SHOWN]),
        }


def named_titles(titles: Sequence[str], *, language: str = "en") -> NamedTitles:
    """The questions to ask.

    Args:
        titles: one a post; posts with the same title count as one.
        language: ISO 639-1 of the posts.
    """
    distinct = {words_of(title): title for title in titles}
    untitled = sum(not words_of(title) for title in titles)
    distinct.pop("", None)
    # By hash, so that the same titles are asked about while a table grows.
    drawn = sorted(distinct, key=lambda words: hashlib.sha256(words.encode()).digest())
    questions = {
        words: question_naming(distinct[words], language=language) for words in drawn[:MAX_ASKED]
    }
    return NamedTitles(questions, len(distinct), untitled)


def ask_by_name(tables: Tables, retriever: Retriever, author: str, *, language: str) -> FoundFirst:
    """Ask the author's stored passages about their own posts, by title.

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
        named: what was asked.
        first_by_question: title and document id of the first passage, by the words of the title
            asked about; a question that found nothing is left out.
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
