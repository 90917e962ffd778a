"""Choose the pairs of answers that become preference pairs, and the pairs to leave out.

Scope: pairs from edits, named passages and votes; a limit on each reader's share; no leak into the
held-out split.
Out of scope: rendering and storing (`preference_building.py`), claims about the result
(`preference_claims.py`).

Only the author's own text or edits are ever chosen. A reader's score can only make an answer the
rejected one.
"""
# pyright: strict

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from twin_assets.corpus.shingles import shingles, split_words
from twin_assets.instructions.leakage import (
    MAX_CONTAINED_SHARE,
    PROMPT_SIMILARITY_THRESHOLD,
    QUESTION_SIMILARITY_THRESHOLD,
    word_ngrams,
)
from twin_assets.instructions.set_similarity import find_similar_pairs
from twin_resources.statistics.vote_limits import max_values_per_reader

LOW_VOTE_THRESHOLD = 0.5  # an answer whose readers' mean vote is below it may be rejected
MAX_READER_PERCENT = 5  # share of all pairs from one reader
MIN_SHARED_WORDS = 0.5  # share of the question's content words that a passage must have
MAX_HELD_OUT_SHARE = 0.2  # share of a chosen text's 5-word sequences that are in held-out answers
_REDACTED_MARK = re.compile(r"\[(?:e-mail|key|card|ip address|phone)\]")
_COMPLETE_ENDING = re.compile(r"[.!?…:。！？][\"'”’»)\]*_`]*$|```$")


@dataclass(frozen=True)
class Trace:
    """One recorded answer, with the feedback on it.

    Attributes:
        rejected_from: the checkpoint that answered, or its version if the trace has no checkpoint.
        vote: the mean of the readers' votes in [0, 1], or None without votes.
        voters: hashes of the readers.
        edit: the newest edited text, or empty if there is none. `edit_role` is the role of the key
            that sent it.
    """

    trace_id: str
    rejected_from: str
    question: str
    answer: str
    chunk_ids: tuple[str, ...]
    template: str
    vote: float | None = None
    voters: tuple[str, ...] = ()
    edit: str = ""
    edit_role: str = ""


@dataclass(frozen=True)
class AuthorPassage:
    """The author's own text, `text[start:end]` of its document.

    Attributes:
        sample_id: the training sample whose answer it is; empty for a passage that was named.
        own_chunks: every chunk that contains a part of the answer; `chunk_id` contains the largest.
    """

    sample_id: str
    document_id: str
    chunk_id: str
    own_chunks: frozenset[str]
    start: int
    end: int
    question: str
    answer: str


@dataclass(frozen=True)
class PreferencePair:
    """One pair before its prompt is rendered, with the fields of `PreferenceDataset`."""

    source: str
    trace_id: str
    passage: AuthorPassage | None
    question: str
    context_chunk_ids: tuple[str, ...]
    template: str
    chosen: str
    rejected: str
    rejected_ended: bool
    rejected_from: str
    voters: tuple[str, ...] = ()

    @property
    def pair_id(self) -> str:
        passage = (self.passage.sample_id or self.passage.chunk_id) if self.passage else ""
        parts = [self.source, self.trace_id, passage, self.chosen, self.rejected]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def build_trace_pairs(
    traces: Iterable[Trace],
    passages: Collection[AuthorPassage],
    *,
    named_passages: Mapping[str, AuthorPassage],
    template: str,
    stop_words: Collection[str],
) -> tuple[list[PreferencePair], Counter[str]]:
    """Make at most one pair per trace.

    It is from the author's edit, else from the passage that the author named, else from a low vote
    and a passage.

    Args:
        traces: the traces, newest first; the first of several equal pairs is kept.
        passages: the author's passages in the training split.
        named_passages: the passages that the author named for questions, by trace.
        template: the hash of the prompt template for training; traces of other templates are left
            out.
        stop_words: the stop words of the author's language.

    Returns:
        The pairs in the order of `traces`, and the reasons why the other traces with feedback yield
        no pair: `other_template`, `masked_edit` (personal data was removed from it),
        `no_passage`, `too_many_votes` (each of its readers votes far more than the others), `alike`
        (equal to a kept pair).
    """
    trace_list = list(traces)
    excluded_voters = find_excessive_voters(
        Counter(voter for trace in trace_list for voter in trace.voters)
    )
    pairs: dict[str, PreferencePair] = {}
    left_out_counts: Counter[str] = Counter()
    for trace in trace_list:
        is_edited = trace.edit_role == "author" and trace.edit.strip() not in {
            "",
            trace.answer.strip(),
        }
        is_low = trace.vote is not None and trace.vote < LOW_VOTE_THRESHOLD
        named_passage = named_passages.get(trace.trace_id)
        if not trace.answer.strip() or not (is_edited or named_passage or is_low):
            continue
        if trace.template != template:
            left_out_counts["other_template"] += 1
        elif is_edited and _REDACTED_MARK.search(trace.edit):
            left_out_counts["masked_edit"] += 1
        elif is_edited:
            _add_pair(pairs, _build_pair(trace, "edit"), left_out_counts)
        elif named_passage is not None:
            _add_pair(pairs, _build_pair(trace, "quote", named_passage), left_out_counts)
        elif excluded_voters.issuperset(trace.voters):
            left_out_counts["too_many_votes"] += 1
        else:
            passage = find_passage(
                trace.question, passages, shown_chunks=trace.chunk_ids, stop_words=stop_words
            )
            if passage is None or passage.answer.strip() == trace.answer.strip():
                left_out_counts["no_passage"] += 1
            else:
                _add_pair(pairs, _build_pair(trace, "vote", passage), left_out_counts)
    return list(pairs.values()), left_out_counts


def _add_pair(
    pairs: dict[str, PreferencePair], pair: PreferencePair, left_out_counts: Counter[str]
) -> None:
    """Add a pair, unless a pair with equal question, chosen and rejected texts exists."""
    pair_key = json.dumps([pair.question, pair.chosen, pair.rejected])
    if pair_key in pairs:
        left_out_counts["alike"] += 1
    else:
        pairs[pair_key] = pair


def _build_pair(trace: Trace, source: str, passage: AuthorPassage | None = None) -> PreferencePair:
    """Return a pair whose chosen answer is the passage, or the edit if `passage` is None.

    The context omits the passage's own chunks.
    """
    own_chunks = passage.own_chunks if passage else ()
    return PreferencePair(
        source=source,
        trace_id=trace.trace_id,
        passage=passage,
        question=trace.question,
        context_chunk_ids=tuple(chunk for chunk in trace.chunk_ids if chunk not in own_chunks),
        template=trace.template,
        chosen=(passage.answer if passage else trace.edit).strip(),
        rejected=trace.answer.strip(),
        # A trace does not record whether its answer was cut off.
        rejected_ended=bool(_COMPLETE_ENDING.search(trace.answer.strip())),
        rejected_from=trace.rejected_from,
        voters=tuple(sorted(set(trace.voters))) if source == "vote" else (),
    )


def find_passage(
    question: str,
    passages: Iterable[AuthorPassage],
    *,
    shown_chunks: Sequence[str],
    stop_words: Collection[str],
) -> AuthorPassage | None:
    """Return the author's own answer to a reader's question, among the passages shown for it.

    The passage and its own question must contain half of the reader's content words. The passage
    with the most of these words is used; in a tie, the one from the better-ranked chunk.
    """
    rank_by_chunk = {chunk: rank for rank, chunk in enumerate(shown_chunks)}
    question_words = set(split_words(question)) - set(stop_words)
    if not question_words:
        return None
    scored_passages: list[tuple[float, int, str, AuthorPassage]] = []
    for passage in passages:
        chunk_ranks = [
            rank_by_chunk[chunk] for chunk in passage.own_chunks if chunk in rank_by_chunk
        ]
        if chunk_ranks:
            passage_words = set(split_words(f"{passage.question} {passage.answer}"))
            share = len(question_words & passage_words) / len(question_words)
            scored_passages.append((-share, min(chunk_ranks), passage.sample_id, passage))
    best = min(scored_passages, default=None, key=lambda scored: scored[:3])
    return best[3] if best is not None and -best[0] >= MIN_SHARED_WORDS else None


def find_excessive_voters(votes: Mapping[str, int]) -> frozenset[str]:
    """Return readers who cast far more votes than the others; their votes make no pair.

    The rule is the ledger's (`statistics/vote_limits.py`): more than 5 % if there are at least 20
    readers, and more than twice an equal share if there are fewer.

    Args:
        votes: the number of votes by reader.
    """
    vote_count = sum(votes.values())
    if not vote_count:
        return frozenset()
    max_votes = max_values_per_reader(vote_count, reader_count=len(votes))
    return frozenset(reader for reader, count in votes.items() if count > max_votes)


def select_indexes_within_share(
    pair_readers: Sequence[Collection[str]], *, max_percent: int = MAX_READER_PERCENT
) -> list[int]:
    """Return the indexes to keep so that no reader has more than a given share of the pairs.

    Args:
        pair_readers: the readers of each pair, in the order of preference. A pair may have several
            readers; a pair without readers is kept.
        max_percent: the largest share of the kept pairs, 1 to 100.

    Returns:
        The indexes in order. For every reader, 100 × their pairs ≤ max_percent × all kept pairs.
    """
    remaining_indexes = list(range(len(pair_readers)))
    while True:
        max_pairs = len(remaining_indexes) * max_percent // 100
        pair_counts: Counter[str] = Counter()
        kept_indexes: list[int] = []
        for index in remaining_indexes:
            if all(pair_counts[reader] < max_pairs for reader in pair_readers[index]):
                pair_counts.update(set(pair_readers[index]))
                kept_indexes.append(index)
        if len(kept_indexes) == len(remaining_indexes):
            return kept_indexes
        remaining_indexes = kept_indexes


@dataclass(frozen=True)
class HeldOutTexts:
    """The parts of the held-out samples that must not be used for training.

    Attributes:
        questions, prompts: texts by sample id; a prompt is the whole user message.
        answers: the texts of the answers.
        chunks: the ids of all chunks of their documents.
    """

    questions: Mapping[str, str]
    prompts: Mapping[str, str]
    answers: Sequence[str]
    chunks: frozenset[str]


def find_leaks(pairs: Mapping[str, tuple[str, str, str]], held_out: HeldOutTexts) -> dict[str, str]:
    """Return the pairs that would show the model its evaluation data.

    Args:
        pairs: question, user message and chosen text, by pair id.

    Returns:
        The reason by pair id: `held_out_question`, `held_out_prompt` or `held_out_text`.
    """
    leaking_ids: dict[str, str] = {}
    for text_index, threshold, width, held_out_texts, reason in (
        (0, QUESTION_SIMILARITY_THRESHOLD, 1, held_out.questions, "held_out_question"),
        (1, PROMPT_SIMILARITY_THRESHOLD, 3, held_out.prompts, "held_out_prompt"),
    ):
        pair_shingles = {
            key: shingles(texts[text_index], width=width) for key, texts in pairs.items()
        }
        held_out_shingles = {
            key: shingles(text, width=width) for key, text in held_out_texts.items()
        }
        for key, _ in find_similar_pairs(pair_shingles, held_out_shingles, threshold=threshold):
            leaking_ids.setdefault(key, reason)
    held_out_sequences = frozenset[int]().union(
        *(shingles(answer, width=5) for answer in held_out.answers)
    )
    held_out_ngrams = [word_ngrams(answer) for answer in held_out.answers]
    for key, (_, _, chosen) in pairs.items():
        sequences, chosen_ngrams = shingles(chosen, width=5), word_ngrams(chosen)
        if len(sequences & held_out_sequences) > MAX_HELD_OUT_SHARE * len(sequences) or any(
            len(chosen_ngrams & ngrams) > MAX_CONTAINED_SHARE * len(ngrams)
            for ngrams in held_out_ngrams
        ):
            leaking_ids.setdefault(key, "held_out_text")
    return leaking_ids


def is_same_answer(chosen: str, rejected: str) -> bool:
    """Return whether two answers are equal, ignoring white space and Unicode normalization."""
    return _normalize(chosen) == _normalize(rejected)


def _normalize(answer: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", answer).split())
