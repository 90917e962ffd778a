"""Find the words by which a sentence departs from the passages that it should repeat.

A model that is told to repeat its passages changes few words, so the rules compare words and need
no model: which content words, numbers and names no passage has, which words stand under a negation
or against an opposite in one of the texts alone, and a "yes" or "no" that the rest of its sentence
does not bear out. What they miss and what they flag wrongly is measured on planted sentences
(`tests/bench/planted_prose`). The endings and opposites are English; negations are those of six
languages.
"""
# pyright: strict

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import lru_cache

REPEATED_WORDS_VERSION = "repeated-words-2"
# Largest share of a sentence's content words that no passage has. Of the tuned answers, true ones
# have at most .11 and invented ones at least .60. A lie by "yes" takes its words from the question.
MAX_NEW_WORDS, MAX_NEW_WORDS_AFTER_YES = 0.35, 0.17
MAX_SCOPE_WORDS = 4  # content words after a negation that it can negate
MIN_COPIED_WORDS, MIN_COPIED_SHARE = 5, 0.85  # of a sentence that is copied almost word for word
CONTEXT_WORDS = 6  # content words on each side that tell two occurrences of a word apart


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_TOKEN = re.compile(r"[^\W_]+(?:['’.][^\W_]+)*|[.!?;:,()—–]|-(?=\s)")
_SENTENCE_END = re.compile(r"(?<=[.!?])[\"”')\]]*\s+|\n{2,}")
_NUMBER_WORDS = {
    "two": "2", "three": "3", "four": "4", "five": "5", "six": "6", "seven": "7", "eight": "8",
    "nine": "9", "ten": "10", "eleven": "11", "twelve": "12", "fifteen": "15", "twenty": "20",
    "thirty": "30", "forty": "40", "fifty": "50", "sixty": "60", "seventy": "70", "eighty": "80",
    "ninety": "90", "hundred": "100", "thousand": "1000",
}  # fmt: skip
_NUMBER = re.compile(
    rf"(?<![\w.,])\d+(?:[.,]\d+)*|\b(?:{'|'.join(_NUMBER_WORDS)})\b", re.IGNORECASE
)
_NAME = re.compile(r"(?<=[a-z,;] )[A-Z][a-z]{3,}\b")
_YES_NO = re.compile(r"(?i)^\W*(yes|yeah|yep|no|nope)\b(?:[,:;.!—–-]+|\s+-|\s*$)\s*")
_MAIN_CLAUSE_END = re.compile(r"[,;:]|\bbut\b|\bbecause\b")
_NEGATIONS = _words(
    "not never cannot no nothing nobody none neither nor without hardly barely nowhere unable"
    " nicht kein keine keinen keinem keiner nie niemals nichts ohne pas jamais rien aucun aucune"
    " sans nunca nada ningún ninguna sin mai niente nessun nessuno nessuna senza não nenhum"
    " nenhuma sem"
)
_PREPOSITIONS = _words("without ohne sans sin senza sem of than")  # they negate one word
_CHOSEN_AGAINST = {"of": "instead", "than": "rather"}  # "a plane instead of sandpaper"
_OBJECTS = _words("nothing nobody none nowhere nichts rien nada niente")
_OPINIONS = _words("think believ expect want seem recomend suggest say mean")
_NOT_NEGATED_BY = _words("only just even matter doubt")  # "not only", "no doubt"
_ENDS_SCOPE = frozenset(".!?;:,()—–-") | {"but", "because", "which", "so", "although", "though"}
_FUNCTION_WORDS = _words(
    "a an the this that these those it its he she they them their his her him i me my mine we us"
    " our you your yours one ones who whom whose which what when where why how there here is are"
    " was were be been being am do does did doing done have has had having can could may might must"
    " shall should will would need let lets to of in on at by for from with into onto out up down"
    " over under off about as and or but so if then than because since while although though until"
    " unless before after also too very just even still only quite rather such own same other"
    " another any some all both each every much many more most less least few little lot lots well"
    " now ever always often again really simply mostly actually yes no author's author thing things"
    " way ways first make makes made get gets got go goes going went say says said it's that's"
    " i'd i'm i've there's you're they're we're he's she's d s t ll ve re m per via"
)
_OPPOSITES = [
    pair.split("/")
    for pair in _words(
        "more/less more/fewer most/least better/worse best/worst higher/lower high/low"
        " higher/smaller bigger/smaller larger/smaller greater/smaller longer/shorter"
        " faster/slower fast/slow quicker/slower before/after above/below always/never all/none"
        " everyone/nobody everybody/nobody everything/nothing anything/nothing something/nothing"
        " someone/nobody somebody/nobody easy/hard easier/harder easy/difficult easier/difficult"
        " easy/confusing good/bad good/shit right/wrong true/false possible/impossible"
        " safe/unsafe safe/dangerous cheap/expensive cheaper/dearer cheaper/expensive start/stop"
        " open/shut open/closed hot/cold hotter/colder warm/cold warmer/colder early/late"
        " earlier/later first/last much/little many/few lot/little like/dislike love/hate"
        " agree/disagree able/unable important/unimportant useful/useless allow/forbid"
        " accept/refuse increase/decrease rise/fall rises/falls increases/decreases with/without"
        " inside/outside strong/weak stronger/weaker loud/quiet louder/quieter hard/soft"
        " harder/softer heavy/light heavier/lighter thick/thin thicker/thinner near/far"
        " nearer/farther often/rarely often/seldom rarely/always usually/rarely likely/unlikely"
        " happy/unhappy common/rare trust/distrust legal/illegal some/no some/none both/neither"
        " either/neither anyone/nobody sometimes/never ever/never worth/worthless"
    )
]
_OPPOSITE_PREFIXES = ("un", "in", "im", "ir", "il", "dis", "non", "mis")
_OPPOSITES_OF: dict[str, set[str]] = {}
for _first, _second in _OPPOSITES:
    _OPPOSITES_OF.setdefault(_first, set()).add(_second)
    _OPPOSITES_OF.setdefault(_second, set()).add(_first)
_ENDINGS = (
    *("ically", "ingly", "edly", "ations", "ation", "ings", "ness", "ing", "ies", "ied", "ers"),
    *("ely", "ly", "ed", "es", "er", "al", "s", "e", "y"),
)
_IRREGULAR = {
    form: stem
    for stem, forms in {
        "writ": "wrot writt", "tak": "took", "giv": "gav", "know": "knew known",
        "think": "thought", "buy": "bought", "keep": "kept", "tell": "told", "see": "saw seen",
        "find": "found", "run": "ran", "lie": "lay", "teach": "taught", "learn": "learnt",
        "hold": "held", "los": "lost", "leav": "left", "bring": "brought", "begin": "began begun",
        "break": "brok", "choos": "chos", "com": "cam", "mean": "meant", "feel": "felt",
        "driv": "drov", "fall": "fell", "hear": "heard", "spend": "spent", "stand": "stood",
    }.items()
    for form in forms.split()
}  # fmt: skip


@dataclass(frozen=True)
class _Word:
    """A word; `negation_count` counts the negations that it stands under.

    `is_head` marks the first content word under a negation.
    """

    text: str
    stem: str
    is_content: bool
    negation_count: int
    is_head: bool

    @property
    def is_negated(self) -> bool:
        return self.negation_count % 2 == 1


@dataclass(frozen=True)
class _Sentence:
    words: tuple[_Word, ...]
    negation_count: int

    @property
    def content(self) -> list[_Word]:
        return [word for word in self.words if word.is_content]

    @property
    def stems(self) -> frozenset[str]:
        return frozenset(word.stem for word in self.content)


def is_reply(sentence: str) -> bool:
    """Return whether a sentence is a "yes" or "no" without anything after it."""
    match = _YES_NO.match(sentence)
    return match is not None and not sentence[match.end() :].strip()


def find_departure(sentence: str, passages: Sequence[str]) -> str:
    """Return what a sentence says that its passages do not say, or "" if it repeats them.

    Args:
        sentence: one sentence of an answer.
        passages: the passages in the prompt of the answer.

    Returns:
        One clause, such as `new: dew, thursday`, `turned: oil` or `reply: yes`.
    """
    text = " ".join(passages)
    numbers = _numbers(text)
    new_terms = [term for term in _NUMBER.findall(sentence) if not _numbers(term) <= numbers]
    new_terms += [
        name for name in _NAME.findall(sentence) if name.casefold() not in text.casefold()
    ]
    if new_terms:
        return f"new: {', '.join(new_terms)}"
    reply = _YES_NO.match(sentence)
    claim = sentence[reply.end() :] if reply else sentence
    if reply and (is_reply(sentence) or _has_negated_main_clause(claim, reply[1])):
        return f"reply: {reply[1].casefold()}"
    sources = [part for text in passages for part in _parse(text) if part.content]
    parts = [part for part in _parse(claim) if part.content]
    if not sources or not parts:
        return "" if sources else "new: everything"
    known = {word.stem for source in sources for word in source.words}
    content = [word for part in parts for word in part.content]
    new_words = [word.text for word in content if word.stem not in known]
    if len(new_words) > (MAX_NEW_WORDS_AFTER_YES if reply else MAX_NEW_WORDS) * len(content):
        return f"new: {', '.join(new_words)}"
    turned = next((word for part in parts if (word := _find_turned_word(part, sources))), "")
    if not turned and reply and reply[1][0] in "yY" and _is_near_negation(parts, sources):
        return f"reply: {reply[1].casefold()}"
    return f"turned: {turned}" if turned else ""


def _numbers(text: str) -> frozenset[str]:
    """Return the numbers of a text in digits."""
    words = [match[0].casefold() for match in _NUMBER.finditer(text)]
    return frozenset(_NUMBER_WORDS.get(word, word) for word in words)


def _has_negated_main_clause(claim: str, reply: str) -> bool:
    """Return whether the clause after a "yes" is negated, as in "Yes, I would not"."""
    if reply.casefold().startswith("n"):
        return False
    main = [part for part in _parse(_MAIN_CLAUSE_END.split(claim)[0]) if part.content]
    return bool(main) and main[0].negation_count % 2 == 1


def _is_near_negation(parts: Sequence[_Sentence], sources: Sequence[_Sentence]) -> bool:
    """Return whether an affirmative claim is nearest to a sentence with a negation.

    A lie by "yes" repeats the question, whose words the passage has too; the sentence that answers
    it says no, or what holds elsewhere. A "no" before an affirmative claim limits it ("only if").
    """
    return not any(part.negation_count for part in parts) and any(
        source.negation_count for part in parts for source in _nearest(part, sources)
    )


def _find_turned_word(answer: _Sentence, sources: Sequence[_Sentence]) -> str:
    """Return a word that is negated in the answer or in its source alone, or an opposite, or ""."""
    content = answer.content
    source_content = [word for source in sources for word in source.content]
    near = _nearest(answer, sources)
    for position, word in enumerate(content):
        counterparts = _find_counterparts(content, position, source_content)
        if counterparts:
            is_head = word.is_head or any(other.is_head for other in counterparts)
            if is_head and all(other.is_negated != word.is_negated for other in counterparts):
                return word.text
        elif word.is_head and not any(source.negation_count for source in near):
            return word.text
    source_texts = {word.text for word in near[0].words}
    own_texts = {word.text for word in answer.words}
    for word in answer.words:
        opposites = _opposites(word.text) & source_texts
        is_shared = word.text in source_texts or bool(opposites & own_texts)
        if opposites and not is_shared and not word.is_negated:
            return word.text
    return next((word for source in near if (word := _find_changed_negation(answer, source))), "")


def _find_changed_negation(answer: _Sentence, source: _Sentence) -> str:
    """Return a word beside a negation that only one of a sentence and its near copy has, or "".

    This finds negations of function words, as in "he should not have" and "they are not".
    """
    own_words, own_negations = _separate_negations(answer)
    source_words, source_negations = _separate_negations(source)
    blocks = SequenceMatcher(None, own_words, source_words, autojunk=False).get_matching_blocks()
    copied_count = sum(block.size for block in blocks)
    start, end = blocks[0].b, blocks[-2].b + blocks[-2].size if len(blocks) > 1 else 0
    longest = max(len(own_words), end - start)
    if copied_count < max(MIN_COPIED_WORDS, MIN_COPIED_SHARE * longest):
        return ""
    copied_negations = [position for position in source_negations if start <= position <= end]
    if len(own_negations) == len(copied_negations):
        return ""
    words, positions = own_words, own_negations
    if len(copied_negations) > len(own_negations):
        words, positions = source_words, copied_negations
    return words[min(positions[-1], len(words) - 1)]


def _separate_negations(sentence: _Sentence) -> tuple[list[str], list[int]]:
    """Return the words without negations, and where among them each negation stood."""
    words, positions = list[str](), list[int]()
    for index, word in enumerate(sentence.words):
        if word.text.endswith("n't"):  # "do" and "not"
            words.append(word.text.removesuffix("n't"))
        if word.text in _NEGATIONS or word.text.endswith("n't"):
            following = sentence.words[index + 1].text if index + 1 < len(sentence.words) else ""
            if following != "even":  # "no tool, not even a file"
                positions.append(len(words))
        elif word.text[0].isalnum():
            words.append(word.text)
    return words, positions


def _opposites(text: str) -> set[str]:
    """Return the listed opposites of a word, and the word with and without a negative prefix."""
    opposites = set(_OPPOSITES_OF.get(text, ()))
    if len(text) >= 4:
        opposites |= {f"{prefix}{text}" for prefix in _OPPOSITE_PREFIXES}
    opposites |= {
        text.removeprefix(prefix)
        for prefix in _OPPOSITE_PREFIXES
        if text.startswith(prefix) and len(text) - len(prefix) >= 4
    }
    return opposites


def _find_counterparts(
    content: Sequence[_Word], position: int, source_content: Sequence[_Word]
) -> list[_Word]:
    """Return the occurrences of a word in the sources whose neighbours are most like its own.

    Neighbours in the sentences before and after count: an answer joins short sentences.
    """
    own_context = _context(content, position)
    best_score, counterparts = -1.0, list[_Word]()
    for index, word in enumerate(source_content):
        if word.stem != content[position].stem:
            continue
        context = _context(source_content, index)
        shared = own_context.keys() & context.keys()
        score = sum(1.0 / (own_context[stem] * context[stem]) for stem in shared)
        if score > best_score + 1e-9:
            best_score, counterparts = score, [word]
        elif score > best_score - 1e-9:
            counterparts.append(word)
    return counterparts


def _context(words: Sequence[_Word], position: int) -> dict[str, int]:
    """Return the stems near a content word, with their distance from it in content words."""
    first = max(0, position - CONTEXT_WORDS)
    context: dict[str, int] = {}
    for index, word in enumerate(words[first : position + CONTEXT_WORDS + 1], start=first):
        distance = abs(index - position)
        if distance:
            context[word.stem] = min(distance, context.get(word.stem, distance))
    return context


def _nearest(answer: _Sentence, sources: Sequence[_Sentence]) -> list[_Sentence]:
    """Return the sources that share most rare words with a sentence, nearest first."""
    counts: dict[str, int] = {}
    for source in sources:
        for stem in source.stems:
            counts[stem] = counts.get(stem, 0) + 1
    overlaps = [sum(1 / counts[s] for s in part.stems & answer.stems) for part in sources]
    order = sorted(range(len(sources)), key=lambda index: -overlaps[index])
    return [sources[index] for index in order if overlaps[index] >= 0.5 * overlaps[order[0]]]


@lru_cache(maxsize=512)
def _parse(text: str) -> tuple[_Sentence, ...]:
    return tuple(_parse_sentence(part) for part in _SENTENCE_END.split(text) if part.strip())


def _parse_sentence(text: str) -> _Sentence:
    plain_text = text.replace("*", " ").replace("NOR", "nor_gate")
    tokens = [token.casefold().replace("’", "'") for token in _TOKEN.findall(plain_text)]
    is_content = [_is_content(tokens, index) for index in range(len(tokens))]
    counts, heads, negation_count = [0] * len(tokens), set[int](), 0
    for index, token in enumerate(tokens):
        if not _is_negation(tokens, index):
            continue
        negation_count += 1
        limit = 1 if token in _PREPOSITIONS else MAX_SCOPE_WORDS
        scope: list[int] = []
        for after in range(index + 1, len(tokens)):
            if tokens[after] in _ENDS_SCOPE or len(scope) == limit:
                break
            if is_content[after]:
                scope.append(after)
        if token in _OBJECTS:  # "buy nothing"
            before = [i for i in range(max(0, index - 2), index) if is_content[i]]
            scope = before[-1:] + scope
        for position in scope:
            counts[position] += 1
        heads.update(scope[:1])
        if scope and _stem(tokens[scope[0]]) in _OPINIONS:  # "I do not think that it works"
            heads.update(scope[1:2])
    words = tuple(
        _Word(token, _stem(token), is_content[index], counts[index], index in heads)
        for index, token in enumerate(tokens)
    )
    return _Sentence(words, negation_count)


def _is_content(tokens: Sequence[str], index: int) -> bool:
    token = tokens[index]
    is_no_longer = token == "longer" and index > 0 and tokens[index - 1] in {"no", "not"}
    is_negation = token in _NEGATIONS or token.endswith("n't")
    return bool(re.match(r"\w", token)) and not (
        token in _FUNCTION_WORDS or is_negation or is_no_longer
    )


def _is_negation(tokens: Sequence[str], index: int) -> bool:
    token, following = tokens[index], tokens[index + 1] if index + 1 < len(tokens) else ""
    if token in _CHOSEN_AGAINST:
        return index > 0 and tokens[index - 1] == _CHOSEN_AGAINST[token]
    if following in _NOT_NEGATED_BY or (token == "no" and following == ","):
        return False
    return token in _NEGATIONS or token.endswith("n't")


def _stem(word: str) -> str:
    """Return a word without its most frequent English endings."""
    stem = re.sub(r"'s?$", "", word)
    for ending in _ENDINGS if len(stem) > 3 else ():
        if stem.endswith(ending) and len(stem) - len(ending) >= 3:
            stem = stem[: -len(ending)]
            break
    if len(stem) > 3 and stem[-1] == stem[-2] and stem[-1] not in "aeiou":
        stem = stem[:-1]
    if len(stem) > 3 and stem.endswith("i"):
        stem = stem[:-1]
    return _IRREGULAR.get(stem, stem)
