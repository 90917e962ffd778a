"""Mark the turns of other speakers in an interview or a dialogue as quotations.

An interview stands on a site as labeled turns, `**Ana:** …` and `**Bob:** …`. Only the author's
own turns, and what stands before the first one, are the author's words. The others become block
quotations: they stay readable beside an answer, but no training reads them, and a passage that is
mostly quotation is not found (`is_mostly_quoted`).

Another form has no labels: the questions are headings, or bold, and the first one greets the guest,
`## Hi, Bob. Would you like to introduce yourself?`. What stands below them is the guest's.
"""
# pyright: strict

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from twin_assets.corpus.bylines import is_named_author
from twin_assets.corpus.code_blocks import iter_prose_lines

_NAME = r"[^\W\d_a-z][\w.'’-]{0,20}(?: [^\W\d_][\w.'’-]{0,20}){0,3}"
_FULL_NAME = re.compile(
    r"[^\W\d_a-z]\S*(?: (?:[^\W\d_a-z]\S*|de|van|von|der|den|la|le|da|di|bin|al))+"
)
# A bold label may be any name, such as a handle.
_LABEL = re.compile(
    rf"(?P<bold>\*\*|__)?(?P<name>(?(bold)[^\s*:][^*:\n]{{0,40}}?|{_NAME}))"
    r"(?(bold)(?::(?P=bold)|(?P=bold) ?:)|:) +\S"
)
# A whole turn may be bold, mostly a question. So may a note, so that the name must be a person's.
_BOLD_TURN = re.compile(rf"(?P<bold>\*\*|__)(?P<name>{_NAME}): *[^\W_]")
_HEADING = re.compile(r"(#{1,6}) ")
# A whole line that is a heading, or bold, perhaps with the mark of an item.
_EMPHASIZED_LINE = re.compile(
    r"(?:(?P<heading>#{1,6}) |(?P<item>(?:\d*[.)]|[*+-]) +)?(?P<bold>\*\*|__)(?=\S))"
    r"(?P<words>(?:(?!(?P=bold)).)*)(?(bold)(?P=bold))\s*"
)
_GREETING = re.compile(r"(?:hi|hello|hey|welcome),? (?P<name>[^\W\d_][\w'’-]*)[.,!]", re.IGNORECASE)
_MIN_QUESTIONS = 3
_MIN_SPEAKERS = 2
_MIN_TURNS = 2  # of each speaker
_MIN_SHARE_OF_TURNS = 1 / 4  # of a post's paragraphs
_MIN_SHARE_OF_FULL_NAMES = 1 / 3  # of the turns; a guest may have a handle, and a break a label
_TITLE = re.compile(r"[^\W\d_]{2,}\.")  # "Dr.", which is not in a name's initials
_OWN_LABELS = frozenset({"i", "me"})


@dataclass(frozen=True)
class _Label:
    """The label of a turn.

    Attributes:
        name: the speaker; the full name where the label is the initials of an earlier one.
        is_bold: whether the label is bold.
        is_bold_turn: whether the turn behind it is bold too.
    """

    name: str
    is_bold: bool
    is_bold_turn: bool


def mark_other_speakers(text: str, names: Sequence[str]) -> str:
    """Return a cleaned text whose turns by other speakers are block quotations.

    Args:
        text: Markdown, one line per paragraph.
        names: the author's name and aliases; without names, nothing is marked.
    """
    if not names:
        return text
    marked = _mark_turns(text, names) if _has_turns(text) else text
    return _mark_answers(text, names) if marked == text else marked


def has_dialogue_form(text: str) -> bool:
    """Return whether the turns of a text depend on who its author is (`mark_other_speakers`)."""
    return _has_turns(text) or bool(_find_questions(text))


def _mark_turns(text: str, names: Sequence[str]) -> str:
    """Mark the turns that begin with the label of another speaker.

    A post is a dialogue if two speakers have two turns each, and these are a quarter of its
    paragraphs. One of the speakers must be the author, or two must have bold full names and a third
    of the turns: words such as "Problem:" and "Solution:" recur too.
    """
    lines = text.split("\n")
    prose, all_labels = _find_labels(text)
    own = {label.name for label in all_labels.values() if _is_author(label.name, names)}
    labels = {
        index: label
        for index, label in all_labels.items()
        if not label.is_bold_turn or label.name in own or _FULL_NAME.fullmatch(label.name)
    }
    turns = Counter(label.name for label in labels.values())
    speakers = {name for name, count in turns.items() if count >= _MIN_TURNS}
    full_names = [
        label.name
        for label in labels.values()
        if label.name in speakers and label.is_bold and _FULL_NAME.fullmatch(label.name)
    ]
    has_full_names = len(set(full_names)) >= _MIN_SPEAKERS and len(
        full_names
    ) >= _MIN_SHARE_OF_FULL_NAMES * sum(turns[name] for name in speakers)
    paragraph_count = sum(1 for line in prose.values() if line.strip())
    turn_count = sum(turns[name] for name in speakers | own)
    if (
        len(speakers | own) < _MIN_SPEAKERS
        or not speakers - own
        or not (own or has_full_names)
        or turn_count < _MIN_SHARE_OF_TURNS * paragraph_count
    ):
        return text
    is_others = False
    for index, line in enumerate(lines):
        if index in labels and labels[index].name in speakers | own:
            is_others = labels[index].name not in own
        elif index in prose and _HEADING.match(line):
            is_others = False
        if is_others and (line.strip() or index not in prose):
            lines[index] = f"> {line}"
    return "\n".join(lines)


def _has_turns(text: str) -> bool:
    """Return whether enough paragraphs begin with a label that recurs."""
    if ":" not in text:
        return False
    prose, labels = _find_labels(text)
    turns = Counter(label.name for label in labels.values())
    paragraph_count = sum(1 for line in prose.values() if line.strip())
    return (
        len(turns) >= _MIN_SPEAKERS
        and max(turns.values()) >= _MIN_TURNS
        and len(labels) >= _MIN_SHARE_OF_TURNS * paragraph_count
    )


def _mark_answers(text: str, names: Sequence[str]) -> str:
    """Mark what stands below the questions to a guest, who is not the author.

    A heading deeper than the question is in the answer; a bold line is the interviewer's where the
    questions are bold.
    """
    questions = _find_questions(text)
    greeting = next((_GREETING.match(match["words"]) for match in questions.values()), None)
    if greeting is None or _is_author(greeting["name"], names):
        return text
    lines = text.split("\n")
    prose = dict(iter_prose_lines(text))
    question: re.Match[str] | None = None
    for index, line in enumerate(lines):
        emphasized = _EMPHASIZED_LINE.fullmatch(line) if index in prose else None
        heading = _HEADING.match(line) if index in prose else None
        if index in questions:
            question = questions[index]
        elif question is None or (emphasized and emphasized["bold"] and question["bold"]):
            continue
        elif heading and len(heading[1]) <= len(question["heading"] or "#" * 6):
            question = None
        elif line.strip() or index not in prose:
            # The indent of an item's paragraphs would make them code in a quotation.
            indent = len(question["item"] or "")
            lines[index] = f"> {re.sub(rf'^ {{0,{indent}}}', '', line)}"
    return "\n".join(lines)


def _find_questions(text: str) -> dict[int, re.Match[str]]:
    """Return the questions of an interview that greets its guest, by the index of their line."""
    if not _GREETING.search(text):
        return {}
    questions = {
        index: match
        for index, line in iter_prose_lines(text)
        if (match := _EMPHASIZED_LINE.fullmatch(line)) and match["words"].endswith("?")
    }
    if len(questions) < _MIN_QUESTIONS:
        return {}
    first_question = next(iter(questions.values()))
    return questions if _GREETING.match(first_question["words"]) else {}


def _find_labels(text: str) -> tuple[dict[int, str], dict[int, _Label]]:
    """Return the lines of prose by their index, and the labels with which some of them begin.

    A label that is the initials of an earlier full name, `**JS:**` after `**James Scott:**`, is
    that person's.
    """
    prose = dict(iter_prose_lines(text))
    labels: dict[int, _Label] = {}
    names_by_initials: dict[str, str] = {}
    for index, line in prose.items():
        label = _LABEL.match(line)
        match = label or _BOLD_TURN.match(line)
        if match is None:
            continue
        name = names_by_initials.get(match["name"].replace(".", ""), match["name"])
        if _FULL_NAME.fullmatch(name):
            initials = "".join(word[0] for word in name.split() if not _TITLE.fullmatch(word))
            names_by_initials.setdefault(initials, name)
        labels[index] = _Label(name, is_bold=bool(match["bold"]), is_bold_turn=label is None)
    return prose, labels


def _is_author(label: str, names: Sequence[str]) -> bool:
    initials = {"".join(word[0] for word in name.split()).casefold() for name in names if name}
    label_letters = label.replace(".", "").casefold()
    return (
        label_letters in _OWN_LABELS
        or (len(label_letters) > 1 and label_letters in initials)
        or is_named_author(label, tuple(names))
    )
