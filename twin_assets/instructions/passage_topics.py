"""What a passage is about: the noun phrases that it turns on.

Belongs here: cutting noun phrases out of sentences, and choosing among them. Does not belong here:
wordings (`question_wordings.py`).

A phrase begins with an article or after a closed-class word and ends before one, as in RAKE (Rose
et al. 2010, https://doi.org/10.1002/9780470689646.ch1); its last word must be seen as a noun
elsewhere in the text or by its form. Phrases count for more where the passage keeps to them and
the rest of the post does not (tf·idf over the passages of one post).
"""
# pyright: strict

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import dropwhile, pairwise, takewhile

from twin_assets.instructions.english_verbs import is_verb
from twin_assets.instructions.question_wordings import wordings_of
from twin_assets.instructions.stop_words import stop_words_of

_TOKEN = re.compile(r"[^\W_](?:[\w+#'’-]*[\w+#])?|[^\w\s]|\n")
_LONGEST = 3
FEWEST_MENTIONS = 2  # of a phrase's last word in the passage, unless a sentence begins with it


@dataclass(frozen=True)
class Topic:
    """A noun phrase as the passage writes it.

    Attributes:
        article: before it; empty for none. In lower case.
        phrase: one to three words.
        score: the higher, the more the passage is about it.
    """

    article: str
    phrase: str
    score: float

    @property
    def head(self) -> str:
        return lemma(head_of(self.phrase))


def head_of(phrase: str) -> str:
    """The noun of a phrase: its last word before "of"."""
    return _OF_IN_PHRASE.split(phrase, maxsplit=1)[0].split()[-1]


_OF_IN_PHRASE = re.compile(r" (?:of|de|d['’]|di|van) ")


def plural(word: str) -> str:
    """An English noun's plural, by its ending."""
    if re.search(r"(?:s|x|z|ch|sh)$", word):
        return f"{word}es"
    return f"{word[:-1]}ies" if re.search(r"[^aeiou]y$", word) else f"{word}s"


def lemma(word: str) -> str:
    """A word in small letters, its plural's s or e away: for counting, not for showing."""
    word = word.lower().removesuffix("'s").removesuffix("’s")
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word


@dataclass(frozen=True)
class PostWords:
    """What the whole post says of its words.

    Attributes:
        passages: for each passage, how often each lemma stands in it.
        nouns: how often a lemma ends a phrase that begins with an article.
    """

    passages: tuple[Counter[str], ...]
    nouns: Counter[str]


def post_words(passages: Sequence[str], *, language: str) -> PostWords:
    """Count the words of a post.

    Args:
        passages: plain texts.
        language: ISO 639-1.
    """
    counts: list[Counter[str]] = []
    nouns: Counter[str] = Counter()
    for plain in passages:
        counts.append(Counter(lemma(word) for word in _TOKEN.findall(plain) if len(word) > 1))
        for article, phrase, _, _ in _phrases(plain, language):
            if article:
                nouns[lemma(head_of(phrase))] += 1
    return PostWords(tuple(counts), nouns)


def topics_of(
    plain: str, place: int, words: PostWords, *, title: str, language: str
) -> list[Topic]:
    """The noun phrases that a passage is about, the best first, none twice.

    Args:
        plain: the passage without markup.
        place: of the passage in its post.
        words: of the post.
        title: of the post.
        language: ISO 639-1; one without wordings has no topics.
    """
    here = words.passages[place]
    title_words = {lemma(word) for word in _TOKEN.findall(title)}
    best: dict[str, Topic] = {}
    for article, phrase, begins, opens in _phrases(plain, language):
        head = lemma(head_of(phrase))
        if not _is_noun(phrase, words.nouns, language=language):
            continue
        bare = not article and language != "de"
        if bare and not (language in _ENGLISH and _stands_bare(phrase)):
            continue
        if article in {"a", "an"} and head_of(phrase).endswith("s"):
            continue  # "a chick pecks"
        count = max(1, here[head])
        if count < FEWEST_MENTIONS and not (begins and opens and article):
            continue
        holding = sum(1 for other in words.passages if other[head])
        score = min(count, 4) * (1 + math.log((1 + len(words.passages)) / max(1, holding)))
        score *= (1.0, 1.7, 1.6)[min(3, len(phrase.split())) - 1]
        score *= 1.5 if begins else 1.0
        score *= 1.3 if any(lemma(word) in title_words for word in phrase.split()) else 1.0
        if head not in best or best[head].score < score:
            best[head] = Topic(article, phrase, score)
    return sorted(best.values(), key=lambda topic: -topic.score)


def _stands_bare(phrase: str) -> bool:
    """Whether an English phrase needs no article: a plural, a name, what can't be counted."""
    noun = head_of(phrase)
    first, _, rest = phrase.partition(" ")
    if rest and is_verb(first):
        return False  # "stopped filing"
    if first.endswith(("'s", "’s")):
        return noun[:1].isupper() or phrase[:1].isupper()
    plural_form = noun.endswith("s") and not noun.endswith(("ss", "us", "is"))
    uncounted = bool(_UNCOUNTED.search(noun)) and " of " not in phrase
    return plural_form or noun[:1].isupper() or uncounted


_UNCOUNTED = re.compile(r"(?:ing|tion|ness|ware|ity|ism|ology|graphy|ance|ence|age)$")


def _phrases(plain: str, language: str) -> Iterator[tuple[str, str, bool, bool]]:
    """(article, phrase, whether it begins a sentence, whether in the first one) of each candidate.

    A name keeps its capital: a word that stands in capitals within sentences.
    """
    wordings = wordings_of(language)
    if not wordings.articles:
        return
    stop = _closed_class(language)
    tokens = [*_TOKEN.findall(plain), "."]
    names = {
        word
        for before, word in pairwise(tokens)
        if word[:1].isupper() and before not in '.!?\n:“"' and before[-1:] not in ".!?"
    }
    place, starts, opens = 0, True, True
    while place < len(tokens):
        token = tokens[place]
        article = token.lower() if token.lower() in wordings.articles else ""
        first = place + bool(article)
        if language in _ENGLISH and token.lower() in _POINTING:
            article, first = "the", place + 1
        last = _run_end(tokens, first, stop)
        if article and language not in {*_ENGLISH, "de"}:
            last = min(last, first + _LONGEST)
        if not 1 <= last - first <= _LONGEST:
            starts = tokens[max(place, last - 1)] in ".!?\n" if last > first else token in ".!?\n"
            opens = opens and not any(one in ".!?\n" for one in tokens[place:last] or [token])
            place = max(place + 1, last)
            continue
        run = tokens[first:last]
        # "the pot of glue", "el pan de centeno": what it is of belongs to it
        if tokens[last].lower() in _OF.get(language or "en", ()):
            of = last + 1 + (tokens[last + 1].lower() in wordings.articles)
            end = _run_end(tokens, of, stop)
            if 1 <= end - of <= 2 and end < len(tokens):
                run, last = tokens[first:end], end
        if language == "de":  # "der alte Ofen steht": without article no adjective either
            nouns = takewhile(_is_capital, dropwhile(lambda word: not _is_capital(word), run))
            run = list(nouns)[:2] or run[-1:]
        if language in _ENGLISH and not article and starts and not _is_name(run, names):
            run = [run[0].lower(), *run[1:]]
        if not (language in _ENGLISH and any(_VERB_LIKE.search(word) for word in run)):
            yield article, " ".join(run), starts, opens
            if article and language not in {*_ENGLISH, "de"}:
                # A verb or an adjective may follow the noun: the one that comes back is the noun.
                for cut in range(1, len(run)):
                    yield article, " ".join(run[:cut]), starts, opens
        starts, place = False, last


def _is_capital(word: str) -> bool:
    return word[:1].isupper()


def _is_name(run: Sequence[str], names: Collection[str]) -> bool:
    """Whether a phrase that begins a sentence keeps its capital."""
    if run[0] in names or not run[0][1:].islower() or run[0].endswith(("'s", "’s")):
        return True
    return len(run) > 1 and run[1][:1].isupper()


_POINTING = frozenset({"this", "that", "these", "those"})


def _run_end(tokens: Sequence[str], first: int, stop: frozenset[str]) -> int:
    """Where the words from `first` on that a noun phrase may hold end."""
    place = first
    while place < len(tokens):
        word = tokens[place].lower()
        if word in stop or len(word) < 3 or not any(one.isalpha() for one in word):
            break
        place += 1
    return place


_OF = {
    "en": {"of"},
    "fr": {"de", "d'", "d’"},
    "es": {"de"},
    "pt": {"de"},
    "it": {"di"},
    "nl": {"van"},
}
_ENGLISH = frozenset({"en", "und", ""})
_VERB_LIKE = re.compile(r"(?:ly|n't|n’t|'ve|'re|'ll|'d|'m|’ve|’re|’ll|’d|’m)$", re.IGNORECASE)
_NOUN_ENDING = re.compile(
    r"(?:tion|sion|ment|ness|ity|ism|ship|ance|ence|ture|age|ology|graphy|ware|heit|keit|ung|"
    r"schaft|dad|ción|zione|ção|teit|ing|ist|or)s?$"
)
_NO_NOUN = re.compile(r"(?:ous|ful|able|ible|less|est|ical|ive|ed)$")


def _is_noun(phrase: str, nouns: Counter[str], *, language: str) -> bool:
    """Whether a phrase's last word is one: said so by the post, or by its form."""
    last = head_of(phrase)
    if language == "de":
        return last[:1].isupper() and len(last) > 3
    if language in _ENGLISH:
        first = phrase.split(maxsplit=1)[0].lower()
        if last.endswith(("'s", "’s")) or first in _VAGUE or (first in _COMPARED):
            return False
        if _NO_NOUN.search(last.lower()) or lemma(last) in _VAGUE or last.lower() in _QUALITIES:
            return False
        if any(is_verb(word) and not word.endswith("ed") for word in phrase.split()[:-1]):
            return False
        if last[:1].isupper():
            return True
        verb = is_verb(last)
        seen = nouns[lemma(last)]
        return seen >= (3 if verb else 1) or (not verb and bool(_NOUN_ENDING.search(last.lower())))
    return nouns[lemma(last)] >= 2 or bool(_NOUN_ENDING.search(last.lower()))


@cache
def _closed_class(language: str) -> frozenset[str]:
    """Words that no noun phrase holds."""
    stop = set(stop_words_of(language))
    if language in _ENGLISH:
        stop -= _NOUNS_IN_LIST
        stop |= set(_ADJECTIVES.split())
    return frozenset(stop)


_NOUNS_IN_LIST_TEXT = (
    "age air album area army band book building church city club college community company "
    "council country county court east film game government group history house island king "
    "language law league line music north party people person player population power president "
    "program public river road school science season series service side song south state station "
    "street student system team term town university village war water west woman word"
)
_NOUNS_IN_LIST = frozenset(_NOUNS_IN_LIST_TEXT.split())
_ADJECTIVES = "old new own last next few real sure true much such away off back down along apart"
_QUALITIES_TEXT = (
    "dark cold warm hot deep right left whole open wide loose high low big small large long short "
    "young early late poor rich same other good bad best worst better worse heavy light soft hard "
    "dry wet full empty free clean dirty strong weak thin thick fast slow new old black white red "
    "green blue grey gray brown yellow local remote main single double entire current previous "
    "following next perfect different similar simple complex common rare original actual exact "
    "upper lower inner outer latest older newer larger smaller longer shorter more most fewer"
)
_QUALITIES = frozenset(_QUALITIES_TEXT.split())
_COMPARED = frozenset({word for word in _QUALITIES if word.endswith("er")} | {"other", "same"})
_VAGUE_TEXT = (
    "eleven twelve twenty thirty forty fifty sixty final thanks "
    "ton couple handful variety bunch majority amount set series list "
    "man woman people person child boy girl day night morning evening week month year hour minute "
    "second moment time end top bottom side front middle edge part piece bit lot number pair half "
    "rest kind sort way thing reason point case matter idea word name line hand head face eye "
    "foot place room corner inch yard mile foot degree dollar pound percent dozen hundred "
    "thousand million example result problem question answer change difference use need look turn "
    "place others one two three four five six seven eight nine ten somebody nobody anybody "
    "everybody today tomorrow yesterday monday tuesday wednesday thursday friday saturday sunday "
    "january february march april may june july august september october november december"
)
_VAGUE = frozenset(_VAGUE_TEXT.split())
