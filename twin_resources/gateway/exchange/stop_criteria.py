"""Where the prose of an answer ends: at a whole sentence, and before it goes in loops.

Scope: finding loops and the ends of sentences in a text that grows, and what of it may be
shown already. Out of scope: which answers this is done to, and LiteLLM's chunks
(`plugin.py`).

A small model repeats itself until its tokens are spent, and the token limit falls into a sentence
(Holtzman et al. 2020, https://arxiv.org/abs/1904.09751, on the first). A loop is a run of words
that each are the word one period before; its period is searched, so that a word, a phrase and a
paragraph are found alike. What is shown cannot be taken back, so a stream shows nothing that may
turn out a repetition, and near its limit nothing of a sentence that may stay unfinished.
"""
# pyright: strict

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

MAX_PERIOD = 80  # words: a long paragraph
# Near the limit text is shown by whole sentences: a long one has 40 to 60 tokens. Of a small limit
# the last third, or nothing would be shown as it comes.
TOKENS_BEFORE_LIMIT = 64
# A word that is not over yet waits, but not for ever: some scripts have no spaces.
_MAX_WAIT = 40
CHARACTERS_PER_TOKEN = 4  # where a stream's chunk holds more than one
MARK = "…"
_MAX_SAME_SENTENCES = 2
_MIN_WORDS_OF_SENTENCE = 5

_IDEOGRAPH = "\u3040-\u30ff\u3400-\u9fff"
_WORD = re.compile(rf"[{_IDEOGRAPH}]|(?:(?![{_IDEOGRAPH}])\w)+")
_FENCE = re.compile(r"^ {0,3}(?:```|~~~)", re.MULTILINE)
_STOP = r"[.!?…]"
_SENTENCE_BREAK = re.compile(rf"{_STOP}|[。！？]|\n")
_CLOSING = r"[\"'”’»)\]*_]*"
_SENTENCE_END = re.compile(rf"{_STOP}+{_CLOSING}(?=\s|$)|[。！？]+[」』”’）]*|(?<=\S)(?=\n)")
_ITEM = re.compile(r"\s*(?:[-*+•]|\d{1,3}[.)])\s")
# A point behind one of these, behind a single letter or behind a number that begins a line ends no
# sentence.
_ABBREVIATIONS = frozenset(
    {
        *("al", "approx", "bzw", "ca", "cf", "co", "dr", "e.g", "eg", "etc", "fig", "i.e", "ie"),
        *("inc", "jr", "ltd", "mr", "mrs", "ms", "nr", "prof", "sr", "st", "usw", "vs", "z.b"),
    }
)
_BEFORE_POINT = re.compile(r"(\S+)\.$")


@dataclass(frozen=True)
class WholeAnswer:
    """An answer that came in one piece, as it is shown.

    Attributes:
        looped: it was ended because it repeated itself.
    """

    text: str
    looped: bool


def whole_answer(text: str, *, cut_off: bool) -> WholeAnswer:
    """End an answer before a loop and, where the token limit cut it off, at a sentence.

    Args:
        cut_off: the model was stopped by its token limit (finish reason `length`).
    """
    ending = ProseEnd(limit=0)
    shown = ending.feed(text)
    return WholeAnswer(shown + ending.finish(cut_off=cut_off), ending.looped)


class ProseEnd:
    """The text of one answer while it grows: what may be shown of it.

    What `feed` and `finish` return, put together, is the text itself where it neither loops nor was
    cut off. Otherwise it is a beginning of it that ends with a sentence; where the sentence that is
    dropped was begun to be shown, it ends with "…", and an open block of code is closed.

    Args:
        limit: of tokens; its last third, at most `TOKENS_BEFORE_LIMIT`, shows whole sentences only.

    Attributes:
        looped: the text repeated itself; nothing more is shown.
    """

    def __init__(self, *, limit: int) -> None:
        self.looped = False
        self._by_sentence_from = limit - min(TOKENS_BEFORE_LIMIT, limit // 3)
        self._text = ""
        self._shown = 0
        self._chunks = 0
        self._words: list[str] = []
        self._places: list[tuple[int, int]] = []  # start and end of each word
        self._runs = [0] * (MAX_PERIOD + 1)  # by period: words at the end that repeat
        self._sentence = 0  # number of the word that begins the newest sentence
        self._sentences: Counter[tuple[str, ...]] = Counter()
        self._loop_at = 0
        self._in_code = False

    def feed(self, text: str) -> str:
        """More text; returns what can be shown now."""
        if self.looped or not text:
            return ""
        self._text += text
        self._chunks += 1
        self._read(ended=False)
        if self.looped:
            return self._end_at(self._loop_at)
        return self._show_to(self._safe_end())

    def finish(self, *, cut_off: bool) -> str:
        """The text is over; returns what else is shown.

        Args:
            cut_off: it was stopped by the token limit.
        """
        if self.looped:
            return ""
        self._read(ended=True)
        if self.looped:
            return self._end_at(self._loop_at)
        return self._end_at(len(self._text)) if cut_off else self._show_to(len(self._text))

    def _read(self, *, ended: bool) -> None:
        """Take in the words that are complete; stops at a loop."""
        position = self._places[-1][1] if self._places else 0
        for match in _WORD.finditer(self._text, position):
            if match.end() == len(self._text) and not ended:
                return  # the next chunk may go on with it
            number = len(self._words)
            before = self._places[-1][1] if self._places else 0
            if _SENTENCE_BREAK.search(self._text, before, match.start()):
                self._end_sentence(number)
            self._in_code ^= len(_FENCE.findall(self._text, before, match.start())) % 2 == 1
            # Code repeats itself for good reasons: there no word is like another.
            self._words.append(f"\0{number}" if self._in_code else match.group().casefold())
            self._places.append(match.span())
            self._find_run(number)
            if self.looped:
                return
        if ended:
            self._end_sentence(len(self._words))

    def _find_run(self, number: int) -> None:
        for period in range(1, min(MAX_PERIOD, number) + 1):
            alike = self._words[number] == self._words[number - period]
            self._runs[period] = self._runs[period] + 1 if alike else 0
            if self._runs[period] >= _longest_run(period):
                self._loop(number - self._runs[period] + 1)
                return

    def _end_sentence(self, number: int) -> None:
        sentence = tuple(self._words[self._sentence : number])
        if len(sentence) >= _MIN_WORDS_OF_SENTENCE:
            self._sentences[sentence] += 1
            if self._sentences[sentence] > _MAX_SAME_SENTENCES:
                self._loop(self._sentence)
        self._sentence = number

    def _loop(self, word: int) -> None:
        self.looped, self._loop_at = True, self._places[word][0]

    def _safe_end(self) -> int:
        """How far the text may be shown: not into what repeats, nor into an unfinished word."""
        repeated = max(self._runs)
        if repeated:
            first = len(self._words) - repeated
            end = self._places[first - 1][1] if first else 0
        else:
            end = self._places[-1][1] if self._places else 0
            end = end if len(self._text) - end <= _MAX_WAIT else len(self._text)
        tokens = max(self._chunks, len(self._text) // CHARACTERS_PER_TOKEN)
        if tokens <= self._by_sentence_from:
            return end
        return last_sentence_end(self._text, end, least=self._shown)

    def _show_to(self, end: int) -> str:
        shown = self._text[self._shown : end]
        self._shown = max(self._shown, end)
        return shown

    def _end_at(self, most: int) -> str:
        """End the shown text with a sentence, at `most` at the latest."""
        end = last_sentence_end(self._text, most)
        if end >= len(self._text[: self._shown].rstrip()) and end > 0:
            return self._show_to(end)
        if self._shown == 0:
            # No sentence at all: its words are better than nothing.
            text = self._show_to(most).rstrip()
            return f"{text}{_closing(text)}" if text else ""
        return _closing(self._text[: self._shown])


def last_sentence_end(text: str, most: int | None = None, *, least: int = 0) -> int:
    """Where the last whole sentence, paragraph or list item of `text[:most]` ends; 0: none does.

    Ends before `least` are not looked for.

    A heading, a line that announces the next (ends with a colon) and the inside of a block of code
    are no such end.
    """
    most = len(text) if most is None else most
    for match in reversed(list(_SENTENCE_END.finditer(text, least, most))):
        end = match.end()
        line = text[text.rfind("\n", 0, max(match.start(), 0)) + 1 : end]
        if _in_code(text[:end]) or _FENCE.match(line):
            continue
        if match.group():
            word = _BEFORE_POINT.search(line)
            if word and _is_no_end(word[1], line):
                continue
            return end
        # The end of a line without a full stop.
        is_item = _ITEM.match(line) and _ITEM.match(text[end:].lstrip("\n") or "")
        is_paragraph = re.match(r"\n[ \t]*\n", text[end:most]) is not None
        ends_well = not line.lstrip().startswith("#") and not line.rstrip().endswith(":")
        if (is_item or is_paragraph) and ends_well and line.strip():
            return end
    return 0


def _longest_run(period: int) -> int:
    """So many repeated words of a period are a loop: four phrases, or a paragraph once more."""
    if period == 1:
        return 5
    return max(2 * period, 8) if period < 10 else max(period, 16)


def _is_no_end(word: str, line: str) -> bool:
    bare = word.lstrip("(\"'“‘[*_").casefold()
    starts_line = line.strip() == f"{word}."
    return (
        bare in _ABBREVIATIONS
        or (len(bare) == 1 and bare.isalpha() and bare not in {"i", "a"})
        or (bare.isdigit() and starts_line)
    )


def _in_code(text: str) -> bool:
    return len(_FENCE.findall(text)) % 2 == 1


def _closing(text: str) -> str:
    if _in_code(text):
        return "\n```"
    return "" if last_sentence_end(text) == len(text.rstrip()) else MARK
