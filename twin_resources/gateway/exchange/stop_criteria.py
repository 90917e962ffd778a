"""End the prose of an answer at a whole sentence and before a loop.

Scope: finding loops and sentence ends in a growing text, and choosing the part that may be shown.
Out of scope: which answers are truncated (`answer_ending.py`).

A small model repeats itself until its token limit (Holtzman et al. 2020,
https://arxiv.org/abs/1904.09751), and the limit cuts off a sentence. A loop is a run of words, each
equal to the word one period earlier. All periods are searched, so that a repeated word, phrase or
paragraph is found. Shown text cannot be withdrawn. A stream therefore withholds text that may
become a repetition and, near its limit, any sentence that may stay unfinished.
"""
# pyright: strict

from __future__ import annotations

import re
from collections import Counter

MAX_PERIOD = 80  # in words; the length of a long paragraph
# Near the limit, only whole sentences are shown; a long sentence has 40 to 60 tokens. For a small
# limit only the last third counts as near; otherwise nothing would be streamed.
TOKENS_BEFORE_LIMIT = 64
# An incomplete word is withheld up to this length, because some scripts have no spaces.
_MAX_PARTIAL_WORD = 40
CHARACTERS_PER_TOKEN = 4  # used where a stream's chunk contains several tokens
ELLIPSIS = "…"
_MAX_SAME_SENTENCES = 2
_MIN_SENTENCE_WORDS = 5

_IDEOGRAPH = "\u3040-\u30ff\u3400-\u9fff"
_WORD = re.compile(rf"[{_IDEOGRAPH}]|(?:(?![{_IDEOGRAPH}])\w)+")
_FENCE = re.compile(r"^ {0,3}(?:```|~~~)", re.MULTILINE)
_SENTENCE_MARK = r"[.!?…]"
_SENTENCE_BREAK = re.compile(rf"{_SENTENCE_MARK}|[。！？]|\n")
_CLOSING = r"[\"'”’»)\]*_]*"
_SENTENCE_END = re.compile(
    rf"{_SENTENCE_MARK}+{_CLOSING}(?=\s|$)|[。！？]+[」』”’）]*|(?<=\S)(?=\n)"
)
_LIST_ITEM = re.compile(r"\s*(?:[-*+•]|\d{1,3}[.)])\s")
# A full stop after one of these, after a single letter or after a number that begins a line does
# not end a sentence.
_ABBREVIATIONS = frozenset(
    {
        *("al", "approx", "bzw", "ca", "cf", "co", "dr", "e.g", "eg", "etc", "fig", "i.e", "ie"),
        *("inc", "jr", "ltd", "mr", "mrs", "ms", "nr", "prof", "sr", "st", "usw", "vs", "z.b"),
    }
)
_WORD_BEFORE_PERIOD = re.compile(r"(\S+)\.$")


class ProseTruncator:
    """A filter for the part of a growing answer that may be shown.

    The results of `feed` and `finish` together are the whole text if it neither loops nor is cut
    off. Otherwise they are a prefix that ends with a sentence. If a part of the dropped sentence
    was shown, the prefix ends with "…", and an open code block is closed.

    Args:
        limit: token limit. In its last third, at most `TOKENS_BEFORE_LIMIT` tokens, only whole
            sentences are shown.

    Attributes:
        is_looping: whether the text repeated itself; nothing more is shown then.
    """

    def __init__(self, *, limit: int) -> None:
        self.is_looping = False
        self._whole_sentences_from = limit - min(TOKENS_BEFORE_LIMIT, limit // 3)
        self._text = ""
        self._shown_end = 0
        self._chunk_count = 0
        self._words: list[str] = []
        self._word_spans: list[tuple[int, int]] = []  # start and end of each word
        self._repeat_lengths = [0] * (MAX_PERIOD + 1)  # repeated words at the end, by period
        self._sentence_start = 0  # index of the first word of the newest sentence
        self._sentences: Counter[tuple[str, ...]] = Counter()
        self._loop_start = 0
        self._is_in_code = False

    def feed(self, text: str) -> str:
        """Add text and return the part that can be shown now."""
        if self.is_looping or not text:
            return ""
        self._text += text
        self._chunk_count += 1
        self._read_words(is_final=False)
        if self.is_looping:
            return self._finish_before(self._loop_start)
        return self._show_until(self._safe_end())

    def finish(self, *, cut_off: bool) -> str:
        """End the text and return the remaining text to show.

        Args:
            cut_off: whether the token limit stopped the model (finish reason `length`).
        """
        if self.is_looping:
            return ""
        self._read_words(is_final=True)
        if self.is_looping:
            return self._finish_before(self._loop_start)
        return (
            self._finish_before(len(self._text)) if cut_off else self._show_until(len(self._text))
        )

    def _read_words(self, *, is_final: bool) -> None:
        """Read the complete words, up to the first loop."""
        position = self._word_spans[-1][1] if self._word_spans else 0
        for match in _WORD.finditer(self._text, position):
            if match.end() == len(self._text) and not is_final:
                return  # the next chunk may continue this word
            index = len(self._words)
            previous_end = self._word_spans[-1][1] if self._word_spans else 0
            if _SENTENCE_BREAK.search(self._text, previous_end, match.start()):
                self._end_sentence(index)
            fences = _FENCE.findall(self._text, previous_end, match.start())
            self._is_in_code ^= len(fences) % 2 == 1
            # Repetition is normal in code, so each word there gets a unique value.
            self._words.append(f"\0{index}" if self._is_in_code else match.group().casefold())
            self._word_spans.append(match.span())
            self._find_loop(index)
            if self.is_looping:
                return
        if is_final:
            self._end_sentence(len(self._words))

    def _find_loop(self, index: int) -> None:
        for period in range(1, min(MAX_PERIOD, index) + 1):
            is_repeated = self._words[index] == self._words[index - period]
            self._repeat_lengths[period] = self._repeat_lengths[period] + 1 if is_repeated else 0
            if self._repeat_lengths[period] >= _min_loop_words(period):
                self._mark_loop(index - self._repeat_lengths[period] + 1)
                return

    def _end_sentence(self, end: int) -> None:
        sentence = tuple(self._words[self._sentence_start : end])
        if len(sentence) >= _MIN_SENTENCE_WORDS:
            self._sentences[sentence] += 1
            if self._sentences[sentence] > _MAX_SAME_SENTENCES:
                self._mark_loop(self._sentence_start)
        self._sentence_start = end

    def _mark_loop(self, index: int) -> None:
        self.is_looping, self._loop_start = True, self._word_spans[index][0]

    def _safe_end(self) -> int:
        """Return the end of the text that may be shown, before repetitions and partial words."""
        repeat_length = max(self._repeat_lengths)
        if repeat_length:
            first_repeat = len(self._words) - repeat_length
            end = self._word_spans[first_repeat - 1][1] if first_repeat else 0
        else:
            end = self._word_spans[-1][1] if self._word_spans else 0
            end = end if len(self._text) - end <= _MAX_PARTIAL_WORD else len(self._text)
        token_estimate = max(self._chunk_count, len(self._text) // CHARACTERS_PER_TOKEN)
        if token_estimate <= self._whole_sentences_from:
            return end
        return last_sentence_end(self._text, end, minimum=self._shown_end)

    def _show_until(self, end: int) -> str:
        text = self._text[self._shown_end : end]
        self._shown_end = max(self._shown_end, end)
        return text

    def _finish_before(self, maximum: int) -> str:
        """End the shown text with a sentence, at `maximum` at the latest."""
        end = last_sentence_end(self._text, maximum)
        if end >= len(self._text[: self._shown_end].rstrip()) and end > 0:
            return self._show_until(end)
        if self._shown_end == 0:
            # No sentence is complete, so the words are shown.
            text = self._show_until(maximum).rstrip()
            return f"{text}{_closing_text(text)}" if text else ""
        return _closing_text(self._text[: self._shown_end])


def last_sentence_end(text: str, maximum: int | None = None, *, minimum: int = 0) -> int:
    """Return the end of the last sentence, paragraph or list item of `text[:maximum]`, or 0.

    Ends before `minimum` are ignored. Headings, lines that end with a colon, and code blocks
    do not count.
    """
    maximum = len(text) if maximum is None else maximum
    for match in reversed(list(_SENTENCE_END.finditer(text, minimum, maximum))):
        end = match.end()
        line = text[text.rfind("\n", 0, max(match.start(), 0)) + 1 : end]
        if _is_in_code(text[:end]) or _FENCE.match(line):
            continue
        if match.group():
            word = _WORD_BEFORE_PERIOD.search(line)
            if word and _is_abbreviation(word[1], line):
                continue
            return end
        # The line ends without a full stop.
        is_item = _LIST_ITEM.match(line) and _LIST_ITEM.match(text[end:].lstrip("\n") or "")
        is_paragraph = re.match(r"\n[ \t]*\n", text[end:maximum]) is not None
        can_end_sentence = not line.lstrip().startswith("#") and not line.rstrip().endswith(":")
        if (is_item or is_paragraph) and can_end_sentence and line.strip():
            return end
    return 0


def _min_loop_words(period: int) -> int:
    """Return the number of repeated words that count as a loop of this period.

    It corresponds to four copies of a phrase or two copies of a paragraph.
    """
    if period == 1:
        return 5
    return max(2 * period, 8) if period < 10 else max(period, 16)


def _is_abbreviation(word: str, line: str) -> bool:
    folded_word = word.lstrip("(\"'“‘[*_").casefold()
    is_whole_line = line.strip() == f"{word}."
    return (
        folded_word in _ABBREVIATIONS
        or (len(folded_word) == 1 and folded_word.isalpha() and folded_word not in {"i", "a"})
        or (folded_word.isdigit() and is_whole_line)
    )


def _is_in_code(text: str) -> bool:
    return len(_FENCE.findall(text)) % 2 == 1


def _closing_text(text: str) -> str:
    if _is_in_code(text):
        return "\n```"
    return "" if last_sentence_end(text) == len(text.rstrip()) else ELLIPSIS
