"""A passage → the question that it answers, as a reader would ask it.

Belongs here: the candidates, from title, headings, the author's own questions and the noun phrases
of a passage; which of them is taken; and what a passage without a good one becomes. Does not belong
here: choosing passages (`answer_passages.py`), the wordings of a language (`question_wordings.py`),
whether retrieval finds the passage's post by the question (`round_trip.py`), a teacher's questions
(`teacher.py`), leaks between splits (`leakage.py`).

Idea: instruction back-translation, Li et al. 2023, https://arxiv.org/abs/2308.06259: the answer is
human text and only the instruction is made up. A passage that no good question is found for is
asked to be gone on with, from its first words: that makes sense, and a made-up question of three
keywords does not (of 40 read 17 were senseless; rules and figures: tests/bench/question_ratings).
"""
# pyright: strict

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from twin_assets.corpus.title_questions import in_sentence, question_about
from twin_assets.instructions.answer_passages import AnswerPassage
from twin_assets.instructions.author_questions import own_question, yours
from twin_assets.instructions.english_verbs import is_base_verb, is_verb
from twin_assets.instructions.passage_topics import (
    PostWords,
    Topic,
    plural,
    post_words,
    topics_of,
)
from twin_assets.instructions.question_wordings import (
    QuestionWordings,
    tells_apart,
    wordings_of,
)
from twin_assets.instructions.similar_keys import words_of
from twin_assets.instructions.stop_words import stop_words_of

TEMPLATES_VERSION = "5"  # of the questions' wordings and of how they are chosen

CONTINUATION = "continuation"
"""Name of the template that asks to go on from an answer's first words."""

_MOST_TITLE_WORDS = 14  # a longer one is a post's first sentence, not its name
_MOST_HEADING_WORDS = 8
_OPENING_WORDS = 12
_MOST_TOPICS = 4  # a passage's fifth noun phrase is not what it is about
_ENGLISH = frozenset({"en", "und", ""})
_SENTENCE = re.compile(r"(?<=[.!?…。！？])[\"”’»)]*\s+|\n+")
_CODE = re.compile(r"[{}\[\]<>=\\|`]|https?:")


@dataclass(frozen=True)
class Instruction:
    """A question and where it comes from: `template:<name>` or `teacher:<model>`.

    Attributes:
        continuation: what is asked instead where the question does not find the passage's post.
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
    """One question for each passage of a document, all different.

    Args:
        passages: of this document, in order.
        title: of the document; may be empty.
        text: the whole document: by it a word of a title is known to be a name.
        language: ISO 639-1; decides wordings. One without any gets quoted parts and no sentence.
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
    """Whether a question reads as one: three to forty words, ended, no code, no word doubled.

    What is quoted in it is as the author wrote it.
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


_HOW = frozenset({"quickly", "manually", "easily", "automatically", "safely", "always", "never"})


class _Post:
    """One post, and the questions that its passages could answer."""

    def __init__(
        self,
        document_id: str,
        title: str,
        text: str,
        language: str,
        passages: Sequence[AnswerPassage],
    ) -> None:
        self._id, self._title, self._language = document_id, title, language
        # A title that stands above the text in capitals makes no word of it a name.
        self._text = re.sub(r"(?m)^#.*$", "", text)
        self._passages = passages
        self._wordings: QuestionWordings = wordings_of(language)
        self._words: PostWords = post_words(
            [passage.plain for passage in passages], language=language
        )
        self._used: Counter[str] = Counter()

    def continuation(self, place: int) -> str:
        """The request to go on from a passage's first words."""
        words = self._passages[place].plain.split("\n")[0].split()
        sentence = len(_SENTENCE.split(self._passages[place].plain, maxsplit=1)[0].split())
        taken = words[: min(_OPENING_WORDS, sentence)]
        opening = " ".join(taken) + ("" if len(taken) >= sentence else " …")
        opening = re.sub(r"[“”„«»\"]", "’", opening)
        return self._wordings.continuation.format(opening=opening)

    def candidates(self, place: int) -> Iterator[tuple[str, str]]:
        """(name, question) for a passage, the best first."""
        passage = self._passages[place]
        if place == 0:
            yield from self._about_title()
        if passage.heading and (place == 0 or self._passages[place - 1].heading != passage.heading):
            yield from self._about_heading(passage.heading)
        sentences = _sentences(passage.plain)
        yield from self._own_questions(place, sentences)
        if self._language not in _ENGLISH:
            yield from self._conditions(sentences)
        yield from self._about_topics(place)

    def _about_title(self) -> Iterator[tuple[str, str]]:
        if not self._title:
            return
        known = self._language in _ENGLISH or self._wordings.title[0] != "“{title}”?"
        question = question_about(self._title, text=self._text, language=self._language)
        if self._language in _ENGLISH and (deed := self._deed_question(self._title)):
            question = deed
        if known and _apart(question, self._title):
            yield "title", question
        for wording in self._turned(self._wordings.title):
            if tells_apart(wording, title=self._title):
                yield "title", wording.format(title=self._title)

    def _deed_question(self, title: str) -> str:
        """A title that says what to do, `Kill The Current Session` → "How do I …?"; else empty."""
        if not self._is_deed(title.split()):
            return ""
        return f"How do I {in_sentence(title, text=self._text)}?"

    def _is_deed(self, words: Sequence[str]) -> bool:
        """Whether a title begins with a verb: a common one that the post never uses as a noun."""
        lowered = [word.lower() for word in words]
        verb = lowered[lowered[0] in _HOW :][:1]
        if len(words) < 3 or not verb or not is_base_verb(verb[0]):
            return False
        if not wordings_of("en").unclear.isdisjoint(lowered) or re.search(r"[:;?!]", words[-1]):
            return False
        as_noun = rf"(?i)\b(?:a|an|the|this|my|your|of|in) {re.escape(verb[0])}\b"
        return not re.search(as_noun, self._text) and lowered[1] not in {"of", "and", "is", "for"}

    def _about_heading(self, heading: str) -> Iterator[tuple[str, str]]:
        heading = _quotable(heading).rstrip(":. ")
        words = words_of(heading)
        same = set(words) == set(words_of(self._title))
        if not 1 <= len(words) <= _MOST_HEADING_WORDS or same:
            return
        if " ".join(words) in self._wordings.empty_headings or words[0].isdigit():
            return
        if len(words) <= 4 and not self._wordings.unclear.isdisjoint(words):
            return
        if self._language in _ENGLISH:
            asked = self._deed_question(heading) or question_about(
                heading, text=self._text, language="en"
            )
            if "“" not in asked and len(words) > 1 and _apart(asked, heading):
                yield "heading", asked
        for wording in self._turned(self._wordings.heading):
            if self._title and tells_apart(wording, heading=heading, title=self._title):
                shown = heading
                if "“{heading}”" not in wording and "„{heading}“" not in wording:
                    shown = self._as_phrase(heading)
                yield "heading", wording.format(heading=shown, title=self._title)

    def _as_phrase(self, heading: str) -> str:
        """A heading within a sentence: as it is where it is a noun phrase, else quoted."""
        words = heading.split()
        inner = [word for word in words if word.lower() not in {"the", "a", "an", "of", "and"}]
        stop = stop_words_of("en")
        if len(words) > 4 or any(is_verb(word) or word.lower() in stop for word in inner):
            return f"“{heading}”"
        return in_sentence(heading, text=self._text)

    def _own_questions(self, place: int, sentences: Sequence[str]) -> Iterator[tuple[str, str]]:
        """What the author asks and goes on to answer: not in a passage's last sentence."""
        before = _sentences(self._passages[place - 1].plain)[-1:] if place else []
        for sentence in [*before, *sentences[:-1]]:
            if not sentence.endswith("?"):
                continue
            if self._language in _ENGLISH:
                if question := own_question(sentence):
                    yield "own_question", question
            elif self._stands_alone(sentence, self._wordings.asks):
                yield "own_question", sentence

    def _conditions(self, sentences: Sequence[str]) -> Iterator[tuple[str, str]]:
        """What follows "if …" at the beginning of a sentence; the clause is copied as it stands."""
        for sentence in sentences:
            clause, comma, rest = sentence.partition(",")
            if comma and rest and self._stands_alone(clause, self._wordings.conditions):
                clause = clause[:1].lower() + clause[1:]
                for wording in self._turned(self._wordings.condition):
                    yield "condition", wording.format(clause=clause)

    def _stands_alone(self, part: str, firsts: frozenset[str]) -> bool:
        words = [word.strip("¿¡,.?!").lower() for word in part.split()]
        return (
            4 <= len(words) <= 16
            and words[0] in firsts
            and self._wordings.unclear.isdisjoint(words)
            and self._wordings.speaker.isdisjoint(words)
            and not re.search(r"[“”„«»\"():;—–]", part)
        )

    def _about_topics(self, place: int) -> Iterator[tuple[str, str]]:
        topics = topics_of(
            self._passages[place].plain,
            place,
            self._words,
            title=self._title,
            language=self._language,
        )[:_MOST_TOPICS]
        # A phrase that an earlier passage was asked about goes to the end of the line.
        for topic in sorted(topics, key=lambda one: self._used[one.head]):
            for wording in self._turned(self._topic_wordings(topic)):
                shown = self._shown(topic)
                title = {"title": self._title} if "{title}" in wording else {}
                if tells_apart(wording, topic=shown, **title):
                    self._used[topic.head] += 1
                    yield "topic", wording.format(topic=shown, **title)

    def _topic_wordings(self, topic: Topic) -> Sequence[str]:
        """With the post's title where the phrase alone says little: "the sting" of what?"""
        titled = self._wordings.titled_topic if self._title else ()
        many = " " in topic.phrase and (topic.article != "the" or " of " in topic.phrase)
        if many or topic.phrase[:1].isupper() or not titled:
            return self._wordings.topic
        return titled

    def _shown(self, topic: Topic) -> str:
        if self._language in _ENGLISH:
            if topic.article in {"a", "an"}:  # of one such thing nobody asks
                return _all_such(topic.phrase)
            return yours([topic.article, topic.phrase] if topic.article else [topic.phrase])
        if self._wordings.article_kept and topic.article:
            return f"{topic.article} {topic.phrase}"
        return topic.phrase

    def _turned(self, wordings: Sequence[str]) -> list[str]:
        """The wordings from a place on that the post's id and the passage decide."""
        if not wordings:
            return []
        turn = _number(f"{self._id}/{sum(self._used.values())}") % len(wordings)
        return [*wordings[turn:], *wordings[:turn]]


def _all_such(phrase: str) -> str:
    """`clock with a bell`, after "a" → "clocks with a bell"."""
    before, of, after = phrase.partition(" of ")
    *rest, noun = before.split()
    return " ".join([*rest, noun if noun.endswith("s") else plural(noun)]) + of + after


def _quotable(title: str) -> str:
    """A title as it can stand in quotation marks; empty for one that is none."""
    title = " ".join(title.split()).strip('“”"«»„ ')
    if (
        len(title.split()) > _MOST_TITLE_WORDS
        or title.endswith("…")
        or re.search(r"[“”«»„]", title)
    ):
        return ""
    return title if words_of(title) else ""


def _apart(question: str, filling: str) -> bool:
    """`tells_apart` for a question that is made already."""
    filled = set(words_of(filling))
    own = " ".join(word for word in words_of(question) if word not in filled)
    return tells_apart(own, filling=filling)


def _sentences(plain: str) -> list[str]:
    return [sentence.strip() for sentence in _SENTENCE.split(plain) if sentence.strip()]


def _number(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8])
