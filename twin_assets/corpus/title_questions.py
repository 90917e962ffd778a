"""Turn the titles of an author's typical posts into questions that a reader would ask.

Scope: choosing posts and wording a question. Out of scope: questions for training
(`twin_assets/instructions`), which need many wordings and are checked for leaks.

The form of a title determines its question (How to …, Why …, an -ing form, a command). Any other
title is quoted, because it could become an ungrammatical sentence.
"""
# pyright: strict

from __future__ import annotations

import re
from collections import Counter
from importlib import resources

import polars as pl

_SUBTITLE = re.compile(r"\s+[–—|]\s+|[:;]\s+")
_TITLE_FORMS = (
    (re.compile(r"How to\s+", re.IGNORECASE), "How do I {rest}?"),
    (re.compile(r"How I\s+", re.IGNORECASE), "Can you tell me how you {rest}?"),
    (re.compile(r"Why I\s+", re.IGNORECASE), "Can you tell me why you {rest}?"),
    (
        re.compile(r"(?:(?:An? )?Introduction to|Introducing)\s+", re.IGNORECASE),
        "Can you introduce me to {rest}?",
    ),
    (
        # The object of an action has an article or a preposition; `Winding day` and `Falling stars`
        # are things.
        re.compile(
            r"(?=(?!\w*thing)[a-z]{3,}ing\s"
            r"(?:(?:an?|the|my|your|our|out|up|down|to|in|on|with|for|what|how)\s|"
            r"[^,]*\s(?:an?|the|with|in|on|to|from|without|by|for|into)\s))",
            re.IGNORECASE,
        ),
        "What is your advice on {rest}?",
    ),
    # A dependent clause, such as `What the signalman told me`. With a verb after the first
    # word (`What is a signal`), the title is a question.
    (
        re.compile(
            r"(?!how \S+ (?:is|are)\s)(?!.*\b(?:I|we)\b)(?=(?:what|why|how|where) "
            r"(?!(?:to|is|are|was|were|do|does|did|can|could|should|would|will|not)\s)\S+ \S)",
            re.IGNORECASE,
        ),
        "Can you explain {rest}?",
    ),
    (
        re.compile(
            r"(?=(?:what|why|how(?: \S+)?|where|who|whose|which) "
            r"(?:is|are|was|were|do|does|did|can|could|should|would|will)\s)",
            re.IGNORECASE,
        ),
        "{Rest}?",
    ),
)
_SECOND_PERSON = {"my": "your", "our": "your", "me": "you", "us": "you"}
_FIRST_PERSON = re.compile(r"\b(?:my|our|me|us)\b", re.IGNORECASE)
# Common verbs that begin notes such as "Do this with that". A verb that the post uses as a noun
# does not count.
_VERBS_FILE = resources.files("twin_assets.corpus") / "title_verbs.txt"
_VERBS = frozenset(_VERBS_FILE.read_text(encoding="utf-8").split())
_ADVERBS = frozenset(
    {"quickly", "manually", "easily", "automatically", "safely", "always", "never"}
)
_MAX_WORD_SHARE = 0.4
"""A word in a larger share of an author's posts does not characterize any of them."""

# In other languages, the title is quoted, because this module does not know their grammar.
_GENERIC_QUESTIONS = {
    "en": "Can you tell me more about “{title}”?",
    "de": "Was schreibst du über „{title}“?",
    "es": "¿Qué has escrito sobre «{title}»?",
    "fr": "Qu'avez-vous écrit sur « {title} » ?",
    "it": "Che cosa hai scritto su «{title}»?",
    "ja": "「{title}」について何を書きましたか？",
    "nl": "Wat schrijf je over “{title}”?",
    "pt": "O que você escreveu sobre “{title}”?",
    "zh": "你怎么看“{title}”？",
}


def generate_title_questions(posts: pl.DataFrame) -> list[str]:
    """Return one question about each post, in its language if it is one of nine, or in English.

    Args:
        posts: rows of `select_typical_posts`.
    """
    return [
        question_from_title(title, text=text, language=language)
        for title, text, language in posts.select("title", "text", "language").iter_rows()
    ]


def score_titles(documents: pl.DataFrame) -> pl.DataFrame:
    """Return the first post of each title, with columns that say how well the title describes it.

    The first words of a post without a title (LinkedIn, X) serve as its title.

    Args:
        documents: kept rows of `cleaned_documents`: `title`, `text`, `words`, `language`,
            `published_at`, `source_id`.
    """
    first_words = (
        pl.col("text")
        .str.slice(0, 400)
        .str.extract(r"^\W*((?:\S+\s+){0,6}\S+)")
        .fill_null("")
        .str.replace_all(r"\s+", " ")
        .str.strip_chars_end(".,;:!?")
    )
    titled_posts = documents.with_columns(
        pl.when(pl.col("title") == "")
        .then(first_words + " …")
        .otherwise(pl.col("title"))
        .alias("title")
    )
    return titled_posts.with_columns(
        pl.col("title").str.split(" ").list.len().alias("title_words"),
        pl.Series(
            "has_form",
            map(_has_question_form, titled_posts["title"], titled_posts["text"]),
            dtype=pl.Boolean,
        ),
        _count_topic_words(titled_posts).alias("topic_words"),
        (pl.col("words") - pl.col("words").median()).abs().alias("distance_to_median"),
    ).unique("title", keep="first", maintain_order=True)


def select_typical_posts(scored_posts: pl.DataFrame, *, count: int = 3) -> pl.DataFrame:
    """Return posts of typical length with descriptive titles, spread over the author's years.

    The earliest post is first.

    Args:
        scored_posts: the result of `score_titles`.
        count: the number of posts; fewer are returned if there are fewer titles.
    """
    candidates = scored_posts
    for preference in (
        pl.col("has_form"),
        pl.col("topic_words") >= 1,
        pl.col("title_words").is_between(3, 9),
        pl.col("topic_words") >= 2,
    ):
        candidates = (
            candidates.filter(preference)
            if candidates.filter(preference).height >= count
            else candidates
        )
    sort_keys = [pl.col("has_form").not_(), pl.col("distance_to_median"), pl.col("source_id")]
    typical_rows = candidates.sort(sort_keys).head(max(count, -(-candidates.height // 2)))
    dated_rows = typical_rows.sort("published_at", "source_id", nulls_last=True)
    part_count = min(count, dated_rows.height)
    part_size = dated_rows.height // max(part_count, 1)
    return pl.concat(
        [
            dated_rows.slice(index * part_size, part_size).sort(sort_keys).head(1)
            for index in range(part_count)
        ]
        or [dated_rows]
    )


def question_from_title(title: str, *, text: str = "", language: str = "en") -> str:
    """Return one question about a post.

    Args:
        title: the post's title.
        text: the post's text, which shows whether a capitalized word in its title is a name.
        language: the ISO 639-1 code of the language.
    """
    title = title.strip()
    if title.endswith(("?", "？")):
        return title
    if language in {"en", "und"}:
        subject = _extract_subject(title)
        for pattern, wording in _TITLE_FORMS:
            if match := pattern.match(subject):
                remainder = to_sentence_case(subject[match.end() :], text=text)
                remainder = _FIRST_PERSON.sub(
                    lambda match: _SECOND_PERSON[match.group().lower()], remainder
                )
                return wording.format(rest=remainder, Rest=remainder[:1].upper() + remainder[1:])
        if _is_command(subject, text):
            return f"How do I {to_sentence_case(subject, text=text)}?"
    return _GENERIC_QUESTIONS.get(language, _GENERIC_QUESTIONS["en"]).format(title=title)


def extract_quoted_title(question: str) -> str:
    """Return the title that a question from `question_from_title` quotes, or an empty string."""
    for wording in _GENERIC_QUESTIONS.values():
        prefix, suffix = wording.split("{title}")
        if question.startswith(prefix) and question.endswith(suffix):
            return question[len(prefix) : -len(suffix)]
    return ""


def to_sentence_case(title: str, *, text: str = "") -> str:
    """Return a title for use in a sentence: names as in the text, other words in lower case.

    `Find Files With Emacs` → `find files with Emacs`, if the text has "Emacs" and "files".
    """
    return " ".join(_word_to_sentence_case(word, text) for word in title.split())


def _word_to_sentence_case(word: str, text: str) -> str:
    if not re.fullmatch(r"\W*(?:A|[A-Z][a-z]['’a-z]*)(?:-[A-Z]?[a-z]+)*\W*", word):
        return word  # a name: it contains capitals, digits or code, or is one letter
    word_pattern = re.escape(word.strip(".,;:!?()[]\"'“”’"))
    # A capitalized word after a lower-case word does not begin a sentence, so it is a name.
    name_count = len(re.findall(rf"[a-z,] {word_pattern}\b", text))
    return (
        word if name_count > len(re.findall(rf"\b{word_pattern.lower()}\b", text)) else word.lower()
    )


def _count_topic_words(documents: pl.DataFrame) -> pl.Series:
    """Return how many words of each title occur in its post's text and in few other posts.

    `Where are we?` has none, and `How to carry a clock` has two.
    """

    def list_words(text: str) -> set[str]:
        return set(re.findall(r"[^\W_]{3,}", text.lower()))

    first_texts = documents["text"].head(500).to_list()
    frequency = Counter(word for text in first_texts for word in list_words(text))
    common_count = max(2, _MAX_WORD_SHARE * len(first_texts))
    counts: list[int] = []
    for title, text in documents.select("title", "text").iter_rows():
        words = list_words(text)
        counts.append(
            sum(
                word in words and frequency[word] < common_count
                for word in re.findall(r"\w+", title.lower())
            )
        )
    return pl.Series(counts, dtype=pl.Int64)


def _extract_subject(title: str) -> str:
    return _SUBTITLE.split(title)[0].strip().rstrip(".!…") or title


def _has_question_form(title: str, text: str) -> bool:
    subject = _extract_subject(title)
    return (
        title.endswith("?")
        or any(pattern.match(subject) for pattern, _ in _TITLE_FORMS)
        or _is_command(subject, text)
    )


def _is_command(subject: str, text: str) -> bool:
    """Return whether a title begins with a common verb that the post never uses as a noun."""
    words = subject.lower().split()
    verb, *following_words = words[words[0] in _ADVERBS :] or [""]
    if len(words) < 3 or verb not in _VERBS or following_words[0] in {"of", "and", "is", "for"}:
        return False
    return not re.search(rf"(?i)\b(?:a|an|the|this|my|your|of|in) {re.escape(verb)}\b", text)
