"""Write the question that each passage answers, as a reader would ask it.

Scope: candidates from the title, headings and the author's own questions; choosing one of them;
passages without a good question. Out of scope: choosing passages (`answer_passages.py`), a
language's wordings (`question_wordings.py`), whether retrieval finds the passage's post for the
question (`round_trip.py`), a teacher's questions (`teacher.py`), leaks between splits
(`leakage.py`).

Idea: instruction back-translation, Li et al. 2023, https://arxiv.org/abs/2308.06259: the answer is
human text and only the instruction is generated. If a passage has no good question, the instruction
asks for a continuation of its first words. Such a request makes sense, whereas a generated question
of three keywords often does not: 17 of 40 made no sense (tests/bench/question_ratings has the rules
and figures).
"""
# pyright: strict

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from twin_assets.corpus.shingles import split_words
from twin_assets.corpus.title_questions import question_from_title
from twin_assets.instructions.answer_passages import AnswerPassage
from twin_assets.instructions.author_questions import readdress_question
from twin_assets.instructions.question_wordings import (
    QuestionWordings,
    find_wordings,
    is_distinctive,
)

TEMPLATES_VERSION = "5"  # version of the wordings and the rules for choosing questions

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
        continuation: the request that replaces a question that does not retrieve the passage's
            post.
    """

    question: str
    source: str
    continuation: str = ""


def write_questions(
    passages: Sequence[AnswerPassage], *, document_id: str, title: str, text: str, language: str
) -> list[Instruction]:
    """Write one question for each passage of a document, all different.

    Args:
        passages: the passages of this document, in order.
        title: the title of the document, or empty.
        text: the whole document, which shows whether a word of a title is a name.
        language: the language, ISO 639-1, which determines the wordings. In a language without
            wordings, a question is quoted text without a sentence around it.
    """
    post = _Post(document_id, _clean_title(title), text, language, passages)
    questions_used: set[str] = set()
    instructions: list[Instruction] = []
    for index in range(len(passages)):
        continuation = post.write_continuation(index)
        question, source = next(
            (
                (question, source)
                for source, question in post.iter_candidates(index)
                if question.lower() not in questions_used and is_fluent_question(question)
            ),
            (continuation, CONTINUATION),
        )
        questions_used.add(question.lower())
        instructions.append(Instruction(question, f"template:{source}", continuation))
    return instructions


def is_fluent_question(question: str) -> bool:
    """Return whether a question has 3 to 40 words, an end mark, no code and no repeated word.

    Quoted text is not checked, because the author wrote it.
    """
    unquoted_text = re.sub(r"“[^”]*”|„[^“]*“|«[^»]*»", " x ", question)
    words = split_words(unquoted_text)
    has_repeated_word = any(word == next_word for word, next_word in pairwise(words))
    return (
        len(words) >= 2
        and 3 <= len(split_words(question)) <= 40
        and not has_repeated_word
        and not _CODE.search(unquoted_text)
        and unquoted_text.count('"') % 2 == 0
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
        # Headings are removed, because a capitalized heading does not make its words names.
        self._text = re.sub(r"(?m)^#.*$", "", text)
        self._passages = passages
        self._wordings: QuestionWordings = find_wordings(language)

    def write_continuation(self, index: int) -> str:
        """Return the request to continue a passage's first words."""
        words = self._passages[index].plain_text.split("\n")[0].split()
        sentence_length = len(
            _SENTENCE.split(self._passages[index].plain_text, maxsplit=1)[0].split()
        )
        opening_words = words[: min(_OPENING_WORDS, sentence_length)]
        opening = " ".join(opening_words) + ("" if len(opening_words) >= sentence_length else " …")
        opening = re.sub(r"[“”„«»\"]", "’", opening)
        return self._wordings.continuation.format(opening=opening)

    def iter_candidates(self, index: int) -> Iterator[tuple[str, str]]:
        """Yield (name, question) for a passage, the best first."""
        passage = self._passages[index]
        if index == 0:
            yield from self._generate_title_questions()
        if passage.heading and (index == 0 or self._passages[index - 1].heading != passage.heading):
            yield from self._write_heading_questions(passage.heading)
        yield from self._find_own_questions(index, _split_sentences(passage.plain_text))

    def _generate_title_questions(self) -> Iterator[tuple[str, str]]:
        if not self._title:
            return
        is_supported_language = (
            self._language in _ENGLISH or self._wordings.title[0] != "“{title}”?"
        )
        question = question_from_title(self._title, text=self._text, language=self._language)
        if is_supported_language and _is_distinctive_question(question, self._title):
            yield "title", question
        for wording in self._rotate_wordings(self._wordings.title, self._title):
            if is_distinctive(wording, title=self._title):
                yield "title", wording.format(title=self._title)

    def _write_heading_questions(self, heading: str) -> Iterator[tuple[str, str]]:
        heading = _clean_title(heading).rstrip(":. ")
        words = split_words(heading)
        repeats_title = set(words) == set(split_words(self._title))
        if not 1 <= len(words) <= _MAX_HEADING_WORDS or repeats_title:
            return
        if " ".join(words) in self._wordings.empty_headings or words[0].isdigit():
            return
        if len(words) <= 4 and not self._wordings.referring_words.isdisjoint(words):
            return
        if self._language in _ENGLISH:
            question = question_from_title(heading, text=self._text, language="en")
            if (
                "“" not in question
                and len(words) > 1
                and _is_distinctive_question(question, heading)
            ):
                yield "heading", question
        for wording in self._rotate_wordings(self._wordings.heading, heading):
            if self._title and is_distinctive(wording, heading=heading, title=self._title):
                yield "heading", wording.format(heading=heading, title=self._title)

    def _find_own_questions(
        self, index: int, sentences: Sequence[str]
    ) -> Iterator[tuple[str, str]]:
        """Yield the author's own questions, except a last sentence, which no answer follows."""
        preceding_sentences = (
            _split_sentences(self._passages[index - 1].plain_text)[-1:] if index else []
        )
        for sentence in [*preceding_sentences, *sentences[:-1]]:
            if not sentence.endswith("?"):
                continue
            if self._language in _ENGLISH:
                if question := readdress_question(sentence):
                    yield "own_question", question
            elif self._is_self_contained(sentence, self._wordings.question_words):
                yield "own_question", sentence

    def _is_self_contained(self, sentence: str, question_words: frozenset[str]) -> bool:
        words = [word.strip("¿¡,.?!").lower() for word in sentence.split()]
        return (
            4 <= len(words) <= 16
            and words[0] in question_words
            and self._wordings.referring_words.isdisjoint(words)
            and self._wordings.first_person_words.isdisjoint(words)
            and not re.search(r"[“”„«»\"():;—–]", sentence)
        )

    def _rotate_wordings(self, wordings: Sequence[str], subject: str) -> list[str]:
        """Rotate the wordings by a hash of the post's id and the subject."""
        digest = hashlib.sha256(f"{self._id}/{subject}".encode()).digest()
        offset = int.from_bytes(digest[:8]) % len(wordings)
        return [*wordings[offset:], *wordings[:offset]]


def _clean_title(title: str) -> str:
    """Return a title for use in quotation marks, or an empty string if it is unsuitable."""
    title = " ".join(title.split()).strip('“”"«»„ ')
    if len(title.split()) > _MAX_TITLE_WORDS or title.endswith("…") or re.search(r"[“”«»„]", title):
        return ""
    return title if split_words(title) else ""


def _is_distinctive_question(question: str, inserted_text: str) -> bool:
    """Apply `is_distinctive` to a question that already contains its values."""
    inserted_words = set(split_words(inserted_text))
    remaining_text = " ".join(word for word in split_words(question) if word not in inserted_words)
    return is_distinctive(remaining_text, filling=inserted_text)


def _split_sentences(plain_text: str) -> list[str]:
    return [sentence.strip() for sentence in _SENTENCE.split(plain_text) if sentence.strip()]
