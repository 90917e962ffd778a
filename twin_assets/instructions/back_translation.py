"""A passage → the question that it answers, made from the title, the headings and the passage.

Belongs here: finding what a passage is about, the question templates, and choosing among them.
Does not belong here: choosing passages (`answer_passages.py`), a teacher's questions
(`teacher.py`), leaks between splits (`leakage.py`).

Idea: instruction back-translation, Li et al. 2023, https://arxiv.org/abs/2308.06259: the answer is
human text and only the instruction is made up. Phrases: after RAKE, Rose et al. 2010,
https://doi.org/10.1002/9780470689646.ch1 (runs of words between stop words and punctuation).
"""
# pyright: strict

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any

from twin_assets.corpus.title_questions import question_about
from twin_assets.instructions.answer_passages import AnswerPassage
from twin_assets.instructions.similar_keys import words_of

TEMPLATES_VERSION = "1"

# Name → wording. Each names the subject; one whose fields a passage can't fill is passed over. They
# have few words of their own: with seven, a fifth of all questions was nearly like another.
TEMPLATES = {
    "under_heading": "In “{title}”, what do you say about {subject} under “{heading}”?",
    "point": "What is your point about {subject} in “{title}”?",
    "together": "How do {subject}, {second} and {third} go together?",
    "was_reading": "I was reading “{title}”. Could you tell me more about {subject}?",
    "by_form": "{title_question} I care most about {subject}.",
    "explain": "Explain {subject}, {second} and {third} to me.",
    "experience": "Any experience with {subject}, {second} and {third}?",
    "why_matters": "Why does {subject} come up in “{title}”?",
    "opinion": "{subject_first}, {second}, {third}: what do you think?",
}
# For languages whose grammar is not known here: quoted parts and no sentence around them.
PLAIN_TEMPLATES = {
    "plain_heading": "“{title}”, “{heading}”: {subject}?",
    "plain": "“{title}”: {subject}, {second}?",
    "plain_subject": "“{title}”: {subject}?",
}
_LANGUAGES = {
    "da": "Danish",
    "de": "German",
    "en": "English",
    "es": "Spanish",
    "fi": "Finnish",
    "fr": "French",
    "it": "Italian",
    "nl": "Dutch",
    "no": "Norwegian_Bokmal",
    "pl": "Polish",
    "pt": "Portuguese",
    "ru": "Russian",
    "sv": "Swedish",
    "tr": "Turkish",
    "uk": "Ukrainian",
}
_TOKEN = re.compile(r"[^\W_](?:[\w+#./'’-]*[\w+#])?|[^\w\s]|\n")
_OPENING_WORDS = 9
_LONGEST_PHRASE = 3


@dataclass(frozen=True)
class Instruction:
    """A question and where it comes from: `template:<name>` or `teacher:<model>`."""

    question: str
    source: str


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
        text: the whole document: what is said often in it is what it is about.
        language: ISO 639-1; decides stop words, and sentences or only quoted parts.
    """
    questions_used: set[str] = set()
    used: Counter[str] = Counter()
    instructions: list[Instruction] = []
    lowered = text.lower()
    for place, passage in enumerate(passages):
        subjects = subjects_of(passage.plain, title=title, text=lowered, language=language)
        # A subject that an earlier passage was asked about goes to the end of the line.
        subjects.sort(key=lambda subject: used[subject.lower()])
        instruction = next(
            candidate
            for candidate in _candidates(passage, subjects, title, text, language, document_id)
            if candidate.question.lower() not in questions_used or _is_last_resort(candidate, place)
        )
        questions_used.add(instruction.question.lower())
        used.update(
            subject.lower()
            for subject in subjects
            if subject.lower() in instruction.question.lower()
        )
        instructions.append(instruction)
    return instructions


def _is_last_resort(candidate: Instruction, place: int) -> bool:
    """A passage that opens like an earlier one: its question repeats, and `leakage` leaves it
    out."""
    return place > 0 and candidate.source == "template:opening"


def _candidates(
    passage: AnswerPassage,
    subjects: Sequence[str],
    title: str,
    text: str,
    language: str,
    document_id: str,
) -> Iterator[Instruction]:
    """Questions for a passage, the first choice first; the last one always exists."""
    sentences = language in {"en", "und", ""}
    templates = list((TEMPLATES if sentences else PLAIN_TEMPLATES).items())
    turn = _number(f"{document_id}/{passage.start}") % len(templates)
    for attempt in range(max(0, len(subjects) - 1) + 1):
        offered = subjects[attempt:]
        fields = _fields(passage, offered, title, text, sentences=sentences)
        for name, wording in templates[turn:] + templates[:turn]:
            needed = set(re.findall(r"\{(\w+)\}", wording))
            if needed <= fields.keys():
                yield Instruction(wording.format(**fields), f"template:{name}")
    opening = " ".join(passage.plain.split()[:_OPENING_WORDS]).rstrip(".,;:!?…")
    wording = (
        "You once wrote “{opening} …”. How does that go on?" if sentences else "“{opening} …”?"
    )
    yield Instruction(wording.format(opening=opening), "template:opening")


def _fields(
    passage: AnswerPassage, subjects: Sequence[str], title: str, text: str, *, sentences: bool
) -> dict[str, str]:
    """What the templates may be filled with; a field without a value is missing."""
    fields: dict[str, str] = {}
    if subjects:
        fields["subject"] = subjects[0]
        fields["subject_first"] = subjects[0][:1].upper() + subjects[0][1:]
        others: list[str] = []
        for other in subjects[1:]:
            if not any(_overlap(other, one) for one in (subjects[0], *others)):
                others.append(other)
        fields |= dict(zip(("second", "third"), others, strict=False))
    if title.strip():
        fields["title"] = title.strip().strip('“”"')
        question = question_about(title, text=text) if sentences else ""
        if question and "“" not in question:
            fields["title_question"] = question
    heading = passage.heading.strip()
    if 1 <= len(heading.split()) <= 8 and heading.lower() != title.strip().lower():
        fields["heading"] = heading.strip('“”"')
    return fields


def _overlap(left: str, right: str) -> bool:
    """Whether two phrases share a word or its beginning ("node", "nodes")."""
    return any(
        one.startswith(other[:5]) or other.startswith(one[:5])
        for one in words_of(left)
        for other in words_of(right)
    )


def subjects_of(plain: str, *, title: str, text: str, language: str) -> list[str]:
    """What a passage is about: phrases of one to three words that stand in it, the best first.

    Args:
        plain: the passage without markup.
        text: the whole document in small letters.
        language: ISO 639-1; without a list of stop words for it only long words are phrases.

    Returns:
        Phrases as the passage writes them, none twice. A phrase counts for more when the document
        repeats it, its title has a word of it, or an article stands before it.
    """
    stop_words = stop_words_of(language)
    title_words = set(words_of(title)) - stop_words
    best: dict[str, tuple[float, int, str]] = {}
    for place, (phrase, before) in enumerate(_phrases(plain, stop_words)):
        words = phrase.lower().split()
        score = float(min(text.count(phrase.lower()), 6))
        score *= (1.0, 1.8, 1.4)[len(words) - 1]
        score *= 1.5 if before in _ARTICLES else 1.0
        score *= 1.3 if title_words.intersection(words) else 1.0
        score *= 0.4 if re.search(r"(?:ed|ly|ing|ize|ise)$", words[-1]) else 1.0
        key = phrase.lower()
        if key not in best or best[key][0] < score:
            best[key] = (score, place, phrase)
    return [phrase for _, _, phrase in sorted(best.values(), key=lambda it: (-it[0], it[1]))]


_ARTICLES = frozenset({"a", "an", "the", "this", "these", "my", "your", "our", "its", "their"})


def _phrases(plain: str, stop_words: Collection[str]) -> Iterator[tuple[str, str]]:
    """(phrase, word before it): runs of up to three words between stop words and punctuation."""
    run: list[str] = []
    before = previous = ""
    for token in [*_TOKEN.findall(plain), "."]:
        word = token.lower()
        inside = word not in stop_words and len(word) > 2 and not word.isdigit() and token.isascii()
        inside = inside or (not token.isascii() and len(word) > 1 and word not in stop_words)
        if inside and any(character.isalpha() for character in word):
            if not run:
                before = previous
            run.append(token)
        else:
            if 1 <= len(run) <= _LONGEST_PHRASE:
                yield " ".join(run), before
            run = []
        previous = word


@cache
def stop_words_of(language: str) -> frozenset[str]:
    """Function words of a language (justext's lists); empty for one that has none.

    English also has words that carry no subject in a question ("thing", "example", "way").
    """
    justext: Any = import_module("justext")  # without type information
    name = _LANGUAGES.get("en" if language in {"", "und"} else language)
    if name is None:
        return frozenset()
    words = {word.lower() for word in justext.get_stoplist(name)}
    if name == "English":
        words |= set(_EMPTY_ENGLISH.split())
    return frozenset(words)


_EMPTY_ENGLISH = (
    "it's i'm i've i'd i'll don't doesn't didn't can't won't isn't wasn't aren't that's there's "
    "you're you'll you've we're we've they're let's what's couldn't wouldn't shouldn't haven't "
    "hasn't it’s i’m i’ve i’d i’ll don’t doesn’t didn’t can’t won’t isn’t wasn’t that’s there’s "
    "thing things way ways example examples instance fact case cases lot bit kind sort point "
    "reason reasons time times day days week weeks month months year years today ago something "
    "anything everything nothing someone anyone everyone also really actually simply just even "
    "still already always never often sometimes usually probably perhaps maybe however therefore "
    "instead though although otherwise rather quite enough almost less least later earlier "
    "sooner recently finally eventually previously currently generally basically essentially "
    "course post article note section figure image screenshot good better best great nice bad "
    "worse simple easy hard small large big different various certain several particular whole "
    "makes making made get gets getting got goes going gone went come comes coming came take takes "
    "taking took taken use uses using used need needs needed want wants wanted know knows known "
    "think thinks thought look looks looking looked seem seems seemed find finds found keep keeps "
    "put puts let means mean work works working worked try tries trying tried turn turns turned "
    "give gives given gave say says said see seen saw show shows shown write writes wrote written "
    "read reads happen happens happened able unable won't cannot doesn following above below "
    "our ours your yours my mine his her hers their theirs me him them us myself yourself itself "
    "themselves here there video link links page file blog here's isn another else etc via per yet "
    "ever except "
)


def _number(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8])
