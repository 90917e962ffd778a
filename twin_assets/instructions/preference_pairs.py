"""Choose the pairs of answers that become preference pairs, and the pairs to leave out.

Scope: pairs from edits, votes and the model's own answers; a limit on each reader's share; no leak
into the held-out split. Out of scope: asking a model (`model_answers.py`), rendering and storing
(`preference_building.py`), claims about the result (`preference_claims.py`).

Only the author's own text or edits are ever chosen: a reader's score can at most make an answer the
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

from twin_assets.instructions.leakage import CONTAINED, SAME_PROMPT, SAME_QUESTION, runs_of
from twin_assets.instructions.similar_keys import shingles, similar_pairs, words_of
from twin_resources.statistics.poisoning import most_allowed

LOW_VOTE = 0.5  # an answer whose readers' mean vote is below it may be rejected
MAX_PERCENT = 5  # of all pairs, from one reader
ABOUT_THE_SAME = 0.5  # share of the question's content words that a passage must have
HOLDS_HELD_OUT = 0.2  # share of a chosen text's 5-word sequences that are in held-out answers
_MASKED = re.compile(r"\[(?:e-mail|key|card|ip address|phone)\]")
_ENDED = re.compile(r"[.!?…:。！？][\"'”’»)\]*_`]*$|```$")


@dataclass(frozen=True)
class Trace:
    """One recorded answer, with the feedback on it.

    Attributes:
        rejected_from: the checkpoint that answered, or its version if the trace names none.
        vote: the mean of its readers' votes in [0, 1], or None if nobody voted.
        voters: hashed readers.
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
    """A training sample's answer: the author's own text, `text[start:end]` of its document.

    Attributes:
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
    """One pair, before its prompt is rendered; the fields are those of `PreferenceDataset`."""

    source: str
    trace_id: str | None
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
        passage = self.passage.sample_id if self.passage else ""
        parts = [self.source, self.trace_id, passage, self.chosen, self.rejected]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def pairs_of_traces(
    traces: Iterable[Trace],
    passages: Collection[AuthorPassage],
    *,
    template: str,
    stop_words: Collection[str],
) -> tuple[list[PreferencePair], Counter[str]]:
    """Make at most one pair per trace: from the author's edit, else from a low vote and a passage.

    Args:
        traces: the traces, newest first; the first of several equal pairs is kept.
        passages: the author's passages in the training split.
        template: the hash of the prompt template for training; traces of other templates are left
            out.
        stop_words: the stop words of the author's language.

    Returns:
        The pairs in the order of `traces`, and why the other edited or low-scored traces make none:
        `other_template`, `masked_edit` (a person's data was removed from it), `no_passage`,
        `too_many_votes` (each of its readers votes far more than the others), `alike`.
    """
    rows = list(traces)
    excessive = excessive_voters(Counter(voter for trace in rows for voter in trace.voters))
    pairs: dict[str, PreferencePair] = {}
    left_out: Counter[str] = Counter()
    for trace in rows:
        edited = trace.edit_role == "author" and trace.edit.strip() not in {
            "",
            trace.answer.strip(),
        }
        low = trace.vote is not None and trace.vote < LOW_VOTE
        if not trace.answer.strip() or not (edited or low):
            continue
        if trace.template != template:
            left_out["other_template"] += 1
        elif edited and _MASKED.search(trace.edit):
            left_out["masked_edit"] += 1
        elif edited:
            _add(pairs, _edited(trace), left_out)
        elif excessive.issuperset(trace.voters):
            left_out["too_many_votes"] += 1
        else:
            passage = passage_for(
                trace.question, passages, shown=trace.chunk_ids, stop_words=stop_words
            )
            if passage is None or passage.answer.strip() == trace.answer.strip():
                left_out["no_passage"] += 1
            else:
                _add(pairs, _voted_down(trace, passage), left_out)
    return list(pairs.values()), left_out


def _add(pairs: dict[str, PreferencePair], pair: PreferencePair, left_out: Counter[str]) -> None:
    """Add one pair for equal question, chosen and rejected texts, even if traces repeat them."""
    alike = json.dumps([pair.question, pair.chosen, pair.rejected])
    if alike in pairs:
        left_out["alike"] += 1
    else:
        pairs[alike] = pair


def _edited(trace: Trace) -> PreferencePair:
    return PreferencePair(
        source="edit",
        trace_id=trace.trace_id,
        passage=None,
        question=trace.question,
        context_chunk_ids=trace.chunk_ids,
        template=trace.template,
        chosen=trace.edit.strip(),
        rejected=trace.answer.strip(),
        rejected_ended=_ends(trace.answer),
        rejected_from=trace.rejected_from,
    )


def _voted_down(trace: Trace, passage: AuthorPassage) -> PreferencePair:
    """Return a pair whose prompt omits the chosen text from its context, to prevent copying."""
    return PreferencePair(
        source="vote",
        trace_id=trace.trace_id,
        passage=passage,
        question=trace.question,
        context_chunk_ids=tuple(
            chunk for chunk in trace.chunk_ids if chunk not in passage.own_chunks
        ),
        template=trace.template,
        chosen=passage.answer.strip(),
        rejected=trace.answer.strip(),
        rejected_ended=_ends(trace.answer),
        rejected_from=trace.rejected_from,
        voters=tuple(sorted(set(trace.voters))),
    )


def _ends(answer: str) -> bool:
    """Return whether an answer looks finished; a trace does not record whether it was cut off."""
    return bool(_ENDED.search(answer.strip()))


def passage_for(
    question: str,
    passages: Iterable[AuthorPassage],
    *,
    shown: Sequence[str],
    stop_words: Collection[str],
) -> AuthorPassage | None:
    """Return the author's own answer to a reader's question, among the passages shown for it.

    The passage must contain half of the question's content words (those of its own question count).
    The passage with the most of them is used, then the one from the better chunk.
    """
    rank = {chunk: place for place, chunk in enumerate(shown)}
    question_words = set(words_of(question)) - set(stop_words)
    if not question_words:
        return None
    rated: list[tuple[float, int, str, AuthorPassage]] = []
    for passage in passages:
        places = [rank[chunk] for chunk in passage.own_chunks if chunk in rank]
        if places:
            passage_words = set(words_of(f"{passage.question} {passage.answer}"))
            share = len(question_words & passage_words) / len(question_words)
            rated.append((-share, min(places), passage.sample_id, passage))
    best = min(rated, default=None, key=lambda one: one[:3])
    return best[3] if best is not None and -best[0] >= ABOUT_THE_SAME else None


def excessive_voters(votes: Mapping[str, int]) -> frozenset[str]:
    """Return readers who cast far more votes than the others; their votes make no pair.

    The rule is the ledger's (`statistics/poisoning.py`): above 5 % if there are at least 20
    readers, and above twice an equal share if there are fewer.

    Args:
        votes: the number of votes by reader.
    """
    total, readers = sum(votes.values()), len(votes)
    if not total:
        return frozenset()
    most = most_allowed(total, readers=readers)
    return frozenset(reader for reader, count in votes.items() if count > most)


def within_share(
    owners: Sequence[Collection[str]], *, most_percent: int = MAX_PERCENT
) -> list[int]:
    """Return the places to keep so that no reader owns more than a given share of them.

    Args:
        owners: the readers of each pair, in the order of preference. A pair may have several
            readers; a pair without readers is kept.
        most_percent: the largest share of the kept pairs, 1 to 100.

    Returns:
        Places in order. For every reader, 100 × their pairs ≤ most_percent × all kept pairs.
    """
    left = list(range(len(owners)))
    while True:
        most = len(left) * most_percent // 100
        count: Counter[str] = Counter()
        stays: list[int] = []
        for place in left:
            if all(count[owner] < most for owner in owners[place]):
                count.update(set(owners[place]))
                stays.append(place)
        if len(stays) == len(left):
            return stays
        left = stays


@dataclass(frozen=True)
class HeldOut:
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


def leaking(pairs: Mapping[str, tuple[str, str, str]], held_out: HeldOut) -> dict[str, str]:
    """Return the pairs that would show the model its evaluation data.

    Args:
        pairs: question, user message and chosen text, by pair id.

    Returns:
        The reason by pair id: `held_out_question`, `held_out_prompt` or `held_out_text`.
    """
    leaking_ids: dict[str, str] = {}
    for place, threshold, width, theirs, reason in (
        (0, SAME_QUESTION, 1, held_out.questions, "held_out_question"),
        (1, SAME_PROMPT, 3, held_out.prompts, "held_out_prompt"),
    ):
        mine = {key: shingles(texts[place], width=width) for key, texts in pairs.items()}
        held = {key: shingles(text, width=width) for key, text in theirs.items()}
        for near in similar_pairs(mine, held, threshold=threshold):
            leaking_ids.setdefault(near.left, reason)
    held_text: set[int] = set()
    for answer in held_out.answers:
        held_text |= shingles(answer, width=5)
    for key, (_, _, chosen) in pairs.items():
        answer_runs = shingles(chosen, width=5)
        if len(answer_runs & held_text) > HOLDS_HELD_OUT * len(answer_runs):
            leaking_ids.setdefault(key, "held_out_text")
    whole = [runs_of(answer) for answer in held_out.answers]
    for key, (_, _, chosen) in pairs.items():
        answer_runs = runs_of(chosen)
        if any(len(answer_runs & runs) > CONTAINED * len(runs) for runs in whole):
            leaking_ids.setdefault(key, "held_out_text")
    return leaking_ids


def same_answer(chosen: str, rejected: str) -> bool:
    """Return whether two answers are equal, apart from white space and Unicode forms."""
    return _plain(chosen) == _plain(rejected)


def _plain(answer: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", answer).split())
