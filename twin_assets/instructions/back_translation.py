"""Write, for each passage, the question that it answers, as a reader would ask it.

Scope: candidates from the title, headings and the author's own questions; choosing one of them;
passages without a good question. Out of scope: choosing passages (`answer_passages.py`), a
language's wordings (`question_wordings.py`), whether retrieval finds the passage's post by the
question (`round_trip.py`), a teacher's questions (`teacher.py`), leaks between splits
(`leakage.py`).

Idea: instruction back-translation, Li et al. 2023, https://arxiv.org/abs/2308.06259: the answer is
human text and only the instruction is generated. If a passage has no good question, the instruction
asks for a continuation of its first words. That makes sense, whereas a generated question of three
keywords does not (17 of 40 such questions that were read made no sense; rules and figures:
tests/bench/question_ratings).
"""
# pyright: strict

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from twin_assets.corpus.title_questions import question_about
from twin_assets.instructions.answer_passages import AnswerPassage
from twin_assets.instructions.author_questions import own_question
from twin_assets.instructions.question_wordings import (
    QuestionWordings,
    tells_apart,
    wordings_of,
)
from twin_assets.instructions.similar_keys import words_of

TEMPLATES_VERSION = "5"  # of the questions' wordings and of the rules for choosing them

CONTINUATION = "continuation"
"""Name of the template that asks for a continuation of an answer's first words."""

_MAX_TITLE_WORDS = 14  # a longer title is a post's first sentence, not its name
_MAX_HEADING_WORDS = 8
_OPENING_WORDS = 12
_ENGLISH = frozenset({"en", "und", ""})
_SENTENCE = re.compile(r"(?<=[.!?…。！？])[\"”’»)]*\s+|\n+")
_CODE = re.compile(r"[{}\[\]<>=\\|`]|https?:")


@dataclass(frozen=True)
class Instruction:
    """A question and its source: `template:<name>` or `teacher:<model>`.

    Attributes:
        continuation: the request that replaces a question that does not find the passage's post.
    """

    question: str
    source: str
    continuation: str = ""


def write_questions(
    passages: Sequence[AnswerPassage],
    *,
    document_id: str,
    title: str,
    text: str,
    language: str,
) -> list[Instruction]:
    """Write one question for each passage of a document, all different.

    Args:
        passages: the passages of this document, in order.
        title: the title of the document, or empty.
        text: the whole document, which shows whether a word of a title is a name.
        language: the language, ISO 639-1, which determines the wordings. A language without
            wordings gets quoted parts and no sentence.
    """
    post = _Post(document_id, _quotable(title), text, language, passages)
    questions_used: set[str] = set()
    instructions: list[Instruction] = []
    for place in range(len(passages)):
        continuation = post.continuation(place)
        question, source = next(
            (
                (question, source)
                for source, question in post.candidates(place)
                if question.lower() not in questions_used and fluent_question(question)
            ),
            (continuation, CONTINUATION),
        )
        questions_used.add(question.lower())
        instructions.append(Instruction(question, f"template:{source}", continuation))
    return instructions


def fluent_question(question: str) -> bool:
    """Return whether a question has three to forty words, an end mark, no code and no doubled word.

    Quoted parts are as the author wrote them.
    """
    outside = re.sub(r"“[^”]*”|„[^“]*“|«[^»]*»", " x ", question)
    words = words_of(outside)
    doubled = any(one == other for one, other in pairwise(words))
    return (
        len(words) >= 2
        and 3 <= len(words_of(question)) <= 40
        and not doubled
        and not _CODE.search(outside)
        and outside.count('"') % 2 == 0
        and question.rstrip().endswith(("?", ".", "”", "“", "»", "？"))
    )


class _Post:
    """One post and the questions that its passages could answer."""

    def __init__(
        self,
        document_id: str,
        title: str,
        text: str,
        language: str,
        passages: Sequence[AnswerPassage],
    ) -> None:
        self._id, self._title, self._language = document_id, title, language
        # A capitalized title above the text does not make its words names.
        self._text = re.sub(r"(?m)^#.*$", "", text)
        self._passages = passages
        self._wordings: QuestionWordings = wordings_of(language)

    def continuation(self, place: int) -> str:
        """Return the request to continue a passage's first words."""
        words = self._passages[place].plain.split("\n")[0].split()
        sentence = len(_SENTENCE.split(self._passages[place].plain, maxsplit=1)[0].split())
        taken = words[: min(_OPENING_WORDS, sentence)]
        opening = " ".join(taken) + ("" if len(taken) >= sentence else " …")
        opening = re.sub(r"[“”„«»\"]", "’", opening)
        return self._wordings.continuation.format(opening=opening)

    def candidates(self, place: int) -> Iterator[tuple[str, str]]:
        """Yield (name, question) for a passage, the best first."""
        passage = self._passages[place]
        if place == 0:
            yield from self._about_title()
        if passage.heading and (place == 0 or self._passages[place - 1].heading != passage.heading):
            yield from self._about_heading(passage.heading)
        yield from self._own_questions(place, _sentences(passage.plain))

    def _about_title(self) -> Iterator[tuple[str, str]]:
        if not self._title:
            return
        known = self._language in _ENGLISH or self._wordings.title[0] != "“{title}”?"
        question = question_about(self._title, text=self._text, language=self._language)
        if known and _apart(question, self._title):
            yield "title", question
        for wording in self._turned(self._wordings.title, self._title):
            if tells_apart(wording, title=self._title):
                yield "title", wording.format(title=self._title)

    def _about_heading(self, heading: str) -> Iterator[tuple[str, str]]:
        heading = _quotable(heading).rstrip(":. ")
        words = words_of(heading)
        same = set(words) == set(words_of(self._title))
        if not 1 <= len(words) <= _MAX_HEADING_WORDS or same:
            return
        if " ".join(words) in self._wordings.empty_headings or words[0].isdigit():
            return
        if len(words) <= 4 and not self._wordings.unclear.isdisjoint(words):
            return
        if self._language in _ENGLISH:
            asked = question_about(heading, text=self._text, language="en")
            if "“" not in asked and len(words) > 1 and _apart(asked, heading):
                yield "heading", asked
        for wording in self._turned(self._wordings.heading, heading):
            if self._title and tells_apart(wording, heading=heading, title=self._title):
                yield "heading", wording.format(heading=heading, title=self._title)

    def _own_questions(self, place: int, sentences: Sequence[str]) -> Iterator[tuple[str, str]]:
        """Yield questions that the author asks and then answers, so not in a last sentence."""
        before = _sentences(self._passages[place - 1].plain)[-1:] if place else []
        for sentence in [*before, *sentences[:-1]]:
            if not sentence.endswith("?"):
                continue
            if self._language in _ENGLISH:
                if question := own_question(sentence):
                    yield "own_question", question
            elif self._stands_alone(sentence, self._wordings.asks):
                yield "own_question", sentence

    def _stands_alone(self, part: str, firsts: frozenset[str]) -> bool:
        words = [word.strip("¿¡,.?!").lower() for word in part.split()]
        return (
            4 <= len(words) <= 16
            and words[0] in firsts
            and self._wordings.unclear.isdisjoint(words)
            and self._wordings.speaker.isdisjoint(words)
            and not re.search(r"[“”„«»\"():;—–]", part)
        )

    def _turned(self, wordings: Sequence[str], about: str) -> list[str]:
        """Rotate the wordings by a hash of the post's id and the subject."""
        turn = _number(f"{self._id}/{about}") % len(wordings)
        return [*wordings[turn:], *wordings[:turn]]


def _quotable(title: str) -> str:
    """Return a title for use in quotation marks, or an empty text if it is unsuitable."""
    title = " ".join(title.split()).strip('“”"«»„ ')
    if len(title.split()) > _MAX_TITLE_WORDS or title.endswith("…") or re.search(r"[“”«»„]", title):
        return ""
    return title if words_of(title) else ""


def _apart(question: str, filling: str) -> bool:
    """Apply `tells_apart` to a finished question."""
    filled = set(words_of(filling))
    own = " ".join(word for word in words_of(question) if word not in filled)
    return tells_apart(own, filling=filling)


def _sentences(plain: str) -> list[str]:
    return [sentence.strip() for sentence in _SENTENCE.split(plain) if sentence.strip()]


def _number(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8])
