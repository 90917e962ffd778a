"""English statements → the questions that they answer, as a reader would put them.

Belongs here: the forms of a sentence that say which question it answers (a purpose, a cause, a
condition, "how …"), and turning the author's "I" into "you". Does not belong here: noun phrases
(`passage_topics.py`), other languages (`question_wordings.py`).

Method: overgenerate by rules and keep what is sure, after Heilman and Smith 2010,
https://aclanthology.org/N10-1086/. There is no parser here: a form whose clause cannot be cut out
by closed classes of words makes no question.
"""
# pyright: strict

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

from twin_assets.instructions.english_verbs import is_base_verb, is_verb
from twin_assets.instructions.question_wordings import WORDINGS
from twin_assets.instructions.stop_words import stop_words_of

_ENGLISH = WORDINGS["en"]
_SHORTEST, _LONGEST = 3, 14  # words of a clause that becomes a question
_CONNECTORS = re.compile(
    r"^(?:and|but|so|now|then|still|well|yes|no|oh|however|of course|in short|also|first|finally|"
    r"for example|for instance|in fact|instead|otherwise|sometimes|usually|often|besides),?\s+",
    re.IGNORECASE,
)
_YOURS = {
    "i": "you", "me": "you", "my": "your", "mine": "yours", "myself": "yourself", "we": "you",
    "us": "you", "our": "your", "ours": "yours", "ourselves": "yourselves", "i'm": "you’re",
    "i've": "you’ve", "i'd": "you’d", "i'll": "you’ll", "we're": "you’re", "we've": "you’ve",
    "we'd": "you’d", "we'll": "you’ll",
}  # fmt: skip
_WITH_I = {"am": "are", "was": "were"}  # beside "I"
_DOUBT = re.compile(
    r"\b(?:no|not|never|nobody|nothing|hardly|wonder\w*|\w+n['’]t)\b", re.IGNORECASE
)
_PAST = re.compile(
    r"\b(?:was|were|had|did|came|went|took|made|got|said|saw|told|gave|found|knew|thought|began|"
    r"kept|left|felt|brought|wrote|stood|heard|let|meant|met|ran|paid|sat|spoke|used|wanted|asked|"
    r"\w{2,}ed)\b",
    re.IGNORECASE,
)
_PURPOSE = re.compile(r"^(?:in order )?to (?P<rest>[a-z]+ [^,;:]+), (?:\w)", re.IGNORECASE)
_WANTED = re.compile(
    r"\bif (?:you|i|we) (?:want|need|wish) to (?P<rest>[a-z]+ [^,;:.]+)[,.]", re.IGNORECASE
)
_BEST_WAY = re.compile(
    r"\bthe (?P<which>(?:only|best|easiest|simplest|fastest|usual|right|safest|quickest) way) "
    r"to (?P<rest>[a-z]+ [^,;:.]+?)(?: is\b| was\b|[.,;:])",
    re.IGNORECASE,
)
_CAUSE = re.compile(
    r"^(?P<what>[^,;:]+?),? (?:because|which is why) (?!of\b)[^?]{12,}", re.IGNORECASE
)
_REASON = re.compile(
    r"\b(?:the (?:main |real |only )?reason (?:that |why )?|(?:that|this|which) is why )"
    r"(?P<what>[^,;:.]+?)(?: is\b| was\b|[,;:.])",
    re.IGNORECASE,
)
_TOLD = re.compile(
    r"\b(?:know|knew|explain\w*|show\w*|learn\w*|see|understand|describe\w*|tells?|told|find out|"
    r"demonstrate\w*|on|of|about|is|decid\w+|determin\w+|depends on) "
    r"(?P<clause>(?P<word>how to|how|why|whether|where) [^,;:.()]+)",
    re.IGNORECASE,
)
_CONDITION = re.compile(r"^(?P<clause>(?:if|when) [^,;:]+), (?P<then>.+)", re.IGNORECASE)
_STRANGE = re.compile(r"[{}\[\]<>=\\|`*_#@$%^~/“”\"()]|https?:|\.\w|\d{4,}|–|—| - |…")


def clause_questions(sentences: list[str]) -> Iterator[tuple[str, str]]:
    """Questions that sentences answer by their form, the surest form first.

    Args:
        sentences: of one passage, without markup.

    Yields:
        (name of the form, question).
    """
    stripped = [_bare(sentence) for sentence in sentences]
    for form in (_purposes, _told, _causes, _conditions, _advice, _statements):
        for sentence in stripped:
            yield from form(sentence)


def habit_questions(sentences: list[str]) -> Iterator[tuple[str, str]]:
    """`I keep a jar for January.` → "Do you keep a jar for January?"; as `clause_questions`."""
    for sentence in map(_bare, sentences):
        found = _HABIT.match(sentence)
        if not found or not is_base_verb(found["verb"]) or found["verb"].lower() in _NO_HABITS:
            continue
        rest = _as_asked(f"{found['verb']} {found['rest']}")
        if rest:
            yield "habit", f"Do you {rest}?"


def _purposes(sentence: str) -> Iterator[tuple[str, str]]:
    for pattern in (_PURPOSE, _WANTED):
        found = pattern.search(sentence)
        if found and (rest := _deed(found["rest"])):
            yield "how_do_i", f"How do I {rest.replace('your ', 'my ')}?"
    found = _BEST_WAY.search(sentence)
    if found and (rest := _deed(found["rest"])):
        yield "best_way", f"What is the {found['which'].lower()} to {rest}?"


def _deed(clause: str) -> str:
    """What somebody wants to do; empty for what an author does in a text ("to sum up")."""
    rest = _as_asked(clause, shortest=2)
    first = rest.split(" ", 1)[0].lower()
    return rest if is_base_verb(first) and first not in _NO_DEEDS else ""


_NO_DEEDS_TEXT = (
    "be have say begin start see understand know hear make summarize illustrate demonstrate tell "
    "think sound get prove show mention"
)
_NO_DEEDS = frozenset(_NO_DEEDS_TEXT.split())


def _told(sentence: str) -> Iterator[tuple[str, str]]:
    found = _TOLD.search(sentence)
    if not found or _DOUBT.search(sentence[: found.start("clause")]):
        return
    clause = _as_asked(found["clause"], shortest=4)
    if not clause:
        return
    if found["word"].lower() == "how to":
        yield "how_do_i", f"How do I {clause[7:].replace('your ', 'my ')}?"
    elif found["word"].lower() in {"how", "why"}:
        yield "explain", f"Can you explain {clause}?"
    else:
        yield "tell", f"Can you tell me {clause}?"


def _causes(sentence: str) -> Iterator[tuple[str, str]]:
    for pattern in (_REASON, _CAUSE):
        found = pattern.search(sentence)
        # What happened once had its cause; nobody asks for it who was not there.
        past = found and _PAST.search(found["what"])
        if found and not past and (what := _as_asked(found["what"], shortest=4)):
            yield "why", _why(what)


def _why(clause: str) -> str:
    """`you use ink …` → "Why do you use ink?"; else without turning the verb round."""
    first, second, *rest = clause.split()
    if first == "you" and second in _AUXILIARIES:
        return f"Why {second} you {' '.join(rest)}?"
    if first == "you" and is_base_verb(second) and not _PAST.fullmatch(second):
        return f"Why do you {second} {' '.join(rest)}?"
    return f"Why is it that {clause}?"


def _conditions(sentence: str) -> Iterator[tuple[str, str]]:
    found = _CONDITION.match(sentence)
    if not found or _PAST.search(found["clause"]):
        return
    clause = _as_asked(found["clause"], shortest=5)
    if not clause:
        return
    then = found["then"].lower()
    if re.match(r"(?:then )?(?:i|we)\b", then) and not _PAST.search(then):
        yield "what_do_you_do", f"What do you do {clause}?"
    elif re.match(r"(?:then )?you\b", then) or re.match(r"(?:then )?(?:use|try|run|do)\b", then):
        yield "what_should_i_do", f"What should I do {_mine(clause)}?"
    else:
        yield "what_happens", f"What happens {clause}?"


def _mine(clause: str) -> str:
    """The reader's "I" for the author's general "you", where that is a subject."""
    clause = re.sub(r"^(if|when) you\b", r"\1 I", clause)
    clause = re.sub(r"\bI are\b|\bI['’]re\b", "I am", clause)
    return clause.replace("your ", "my ")


_AUXILIARIES = frozenset({"are", "were", "can", "could", "will", "would", "should", "must"})


def _advice(sentence: str) -> Iterator[tuple[str, str]]:
    """`You should …`, `Do not …`."""
    found = _ADVICE.match(sentence) or _WARNING.match(sentence)
    if not found or not is_base_verb(found["verb"]) or found["verb"].lower() == "be":
        return
    rest = _as_asked(f"{found['verb']} {found['rest']}")
    if rest:
        modal = (found.groupdict().get("modal") or "should").lower()
        modal = {"must": "do i have to", "may": "can i"}.get(modal, f"{modal} i")
        if modal == "do i have to" and found["no"]:
            modal = "can i"
        asked = f"{modal.replace(' i', ' I', 1)} {rest.replace('your ', 'my ')}?"
        yield "advice", asked[:1].upper() + asked[1:]


def _statements(sentence: str) -> Iterator[tuple[str, str]]:
    """`A joint of hide glue will open` → "Will a joint of hide glue open?": a subject that is not
    "the" one, and its verb turned round."""
    found = _STATEMENT.match(sentence)
    if not found:
        return
    words = found["subject"].split()
    if not 1 <= len(words) <= 7 or words[0].lower() in _NO_SUBJECT:
        return
    for word, after in pairwise([*words[1:], ""]):
        past = is_verb(word) and not is_base_verb(word) and not word.endswith("s")
        if past and after not in _AFTER_PARTICIPLE:
            return
    plural = words[0].endswith("s") or words[-1].endswith("s")
    if words[0].lower() not in {"a", "an"} and not (plural or len(words) == 1):
        return
    rest = found["rest"].split()
    subject = found["subject"] if _is_name(words[0]) else found["subject"].lower()
    whole = _as_asked(f"{subject} {' '.join(rest)}", shortest=5)
    if not whole or len(rest) < 3 or rest[0] in {"n't", "to"} or _BESIDE.search(found["rest"]):
        return
    yield "statement", f"{found['verb'].capitalize()} {whole}?"


_AFTER_PARTICIPLE = frozenset({"with", "of", "by", "in", "from", "for", "on", "at"})
_HABIT = re.compile(
    r"^I (?:always |often |usually |never |still |do not |don['’]t |now )?(?P<verb>[a-z]+) "
    r"(?P<rest>[^,;:]+?)(?:[,;:.]| and I\b| but\b| so\b| because\b|$)"
)
_NO_HABITS_TEXT = (
    "think know mean suppose believe guess hope say see want wish remember have need find feel "
    "realise realize understand mention expect imagine agree put cut read let set hit forget hear "
    "notice tell wonder doubt"
)
_NO_HABITS = frozenset(_NO_HABITS_TEXT.split())
_ADVICE = re.compile(
    r"^You (?P<modal>should|can|must|may|could) (?P<no>not |never )?(?:also |always |just )?"
    r"(?P<verb>[a-z]+) (?P<rest>[^,;:]+?)(?:[,;:.]| and\b| but\b|$)"
)
_WARNING = re.compile(
    r"^(?P<no>Do not |Don['’]t |Never )(?P<verb>[a-z]+) (?P<rest>[^,;:]+?)(?:[,;:.]|$)"
)
_STATEMENT = re.compile(
    r"^(?P<subject>[A-Za-z][\w'’-]*(?: (?!is |are |was |were |that |which |who |whenever |when |"
    r"if |and |or |but |as |while |until |has |have )[\w'’-]+){0,6}?) "
    r"(?P<verb>is|are|can|will|should|must|would) (?P<rest>[^,;:]+?)(?:[,;:.]| and\b| but\b|$)"
)
_BESIDE = re.compile(r"\b(?:as well|too|also|either|then|already|still|now|again)\b")
_NO_SUBJECT_TEXT = (
    "there it this that these those what which who he she they we i you here one all some most "
    "many few such each every both nothing nobody everything everyone no another if when where "
    "how why as in on at for with from by to of my our your his her their its the longer shorter "
    "larger smaller older newer later earlier two three four five six several others"
)
_NO_SUBJECT = frozenset(_NO_SUBJECT_TEXT.split())


def own_question(sentence: str) -> str:
    """A question that the author asks, put to the author; empty where it leans on the text."""
    bare = _bare(sentence)
    if not bare.endswith("?"):
        return ""
    bare = bare.rstrip("?")
    first = bare.split(" ", 1)[0].lower()
    asked = _as_asked(bare, shortest=4) if first in _ENGLISH.asks else ""
    return f"{asked[:1].upper()}{asked[1:]}?" if asked else ""


def _bare(sentence: str) -> str:
    """Without the words that tie it to the sentence before."""
    before, bare = "", " ".join(sentence.split())
    while before != bare:
        before, bare = bare, _CONNECTORS.sub("", bare)
    return bare


def _as_asked(clause: str, *, shortest: int = _SHORTEST) -> str:
    """A clause as a reader would say it to the author; empty where it can't stand by itself."""
    words = clause.replace("’", "'").strip(" .!?").split()
    if not shortest <= len(words) <= _LONGEST or _STRANGE.search(clause):
        return ""
    if not stands_alone(words) or len({"i", "you"} & {word.lower() for word in words}) == 2:
        return ""
    if not any(map(_tells, words)):
        return ""
    if words[-1].lower() in _DANGLING or _TWO_SENTENCES.search(clause):
        return ""
    said = yours(words)
    if said[:1].isupper() and not _is_name(words[0]):
        said = said[:1].lower() + said[1:]
    return said


def _tells(word: str) -> bool:
    """Whether a word says what a question is about."""
    return len(word) > 2 and (word[:1].isupper() or word.lower() not in stop_words_of("en"))


_TWO_SENTENCES = re.compile(r"\S (?:she|he|it|they|that|there)['’](?:s|re|d|ll)\b")
_DANGLING_TEXT = (
    "a an the of to in on at for with from by and or but is are was were be been that which who "
    "my your our i you we as than so very too not if when because just only simply even mostly "
    "partly also into about like will can would"
)
_DANGLING = frozenset(_DANGLING_TEXT.split())


def _is_name(word: str) -> bool:
    return word not in {"A", "An"} and not word[1:].islower()


def yours(words: list[str]) -> str:
    """The author's words about themselves, said to the author: `I am` → "you are"."""
    said: list[str] = []
    for place, word in enumerate(words):
        bare = word.lower().strip(",")
        beside = {other.lower() for other in words[max(0, place - 1) : place + 2]}
        if bare in _WITH_I and "i" in beside:
            said.append(_WITH_I[bare])
        else:
            said.append(word.replace(word.strip(","), _YOURS[bare]) if bare in _YOURS else word)
    return " ".join(said).replace("'", "’")


def stands_alone(words: list[str]) -> bool:
    """Whether nothing in a clause points at what was said before it.

    A pronoun may stand after four words: what it stands for is then mostly in the clause.
    """
    lowered = [word.lower().strip(",.;:") for word in words]
    for place, word in enumerate(lowered):
        if word not in _ENGLISH.unclear:
            continue
        conjunction = word == "that" and place >= 2
        there_is = word == "there" and lowered[place + 1 : place + 2] in (["is"], ["are"])
        late = place >= 4 and word in _LATE
        if not (conjunction or there_is or late):
            return False
    return True


_LATE = frozenset(["it", "its", "them", "their", "him", "his", "her"])
