"""Which two answers make a preference pair, and which pairs are left out.

Scope: pairs from edits, votes and the model's own answers; no reader's too large share; no
leak into the held-out split. Out of scope: asking a model (`model_answers.py`), rendering
and storing (`preference_building.py`), what must hold for the result (`preference_claims.py`).

Only the author's own text or edits are ever chosen: whoever scores an answer can at most make it
the rejected one.
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

LOW_VOTE = 0.5  # below it an answer may be rejected; the mean of its readers' votes
MAX_PERCENT = 5  # of all pairs by one reader
ABOUT_THE_SAME = 0.5  # share of the question's content words that a passage must have
HOLDS_HELD_OUT = 0.2  # share of a chosen text's 5-word sequences that stand in held-out answers
_MASKED = re.compile(r"\[(?:e-mail|key|card|ip address|phone)\]")
_ENDED = re.compile(r"[.!?…:。！？][\"'”’»)\]*_`]*$|```$")


@dataclass(frozen=True)
class Trace:
    """One answer that was given, and what was said of it.

    Attributes:
        rejected_from: checkpoint that answered; where the trace names none, its version.
        vote: mean of its readers' votes in [0, 1]; None: nobody voted.
        voters: hashed readers.
        edit: the newest edited text; empty: none. `edit_role`: of the key that sent it.
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
        own_chunks: every chunk that holds a part of it; `chunk_id` the one with most.
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
    """At most one pair a trace: the author's edit, else a low vote with a passage of the author's.

    Args:
        traces: newest first; of pairs that are alike the first stays.
        passages: of the training split.
        template: hash of the prompt template that is trained on; traces of another are left out.
        stop_words: of the author's language.

    Returns:
        The pairs in the order of `traces`, and why the other edited or low-scored traces make
        none: `other_template`, `masked_edit` (a person's data was cut out of it), `no_passage`,
        `too_many_votes` (all of its readers vote far more than the others), `alike`.
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
    """One pair for equal question, chosen and rejected text, however often a trace repeats it."""
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
    """The prompt shows the recorded context without the chosen text: it is not to be copied."""
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
    """Whether an answer looks finished; a trace doesn't say whether it was cut off."""
    return bool(_ENDED.search(answer.strip()))


def passage_for(
    question: str,
    passages: Iterable[AuthorPassage],
    *,
    shown: Sequence[str],
    stop_words: Collection[str],
) -> AuthorPassage | None:
    """The author's own answer to a reader's question, among the passages that were shown for it.

    It must have half of the question's content words (its own question counts); of several that
    with most, then that of the better chunk.
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
    """Readers who give far more of all votes than the others; their votes make no pair.

    The rule is the ledger's (`statistics/poisoning.py`): above 5 % once there are 20 readers, above
    twice an equal share while there are fewer.

    Args:
        votes: by reader.
    """
    total, readers = sum(votes.values()), len(votes)
    if not total:
        return frozenset()
    most = most_allowed(total, readers=readers)
    return frozenset(reader for reader, count in votes.items() if count > most)


def within_share(
    owners: Sequence[Collection[str]], *, most_percent: int = MAX_PERCENT
) -> list[int]:
    """The places that stay so that nobody owns more than a share of what stays.

    Args:
        owners: for each pair its readers (one pair may have several; none: it stays), in the order
            of preference.
        most_percent: of the pairs that stay, 1 to 100.

    Returns:
        Places in order. For every reader, 100 × their pairs ≤ most_percent × all that stay.
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
    """What of the held-out samples must not be trained on.

    Attributes:
        questions, prompts: by sample id; a prompt is the whole user message.
        answers: texts.
        chunks: ids of all chunks of their documents.
    """

    questions: Mapping[str, str]
    prompts: Mapping[str, str]
    answers: Sequence[str]
    chunks: frozenset[str]


def leaking(pairs: Mapping[str, tuple[str, str, str]], held_out: HeldOut) -> dict[str, str]:
    """Pairs that would show the model what it is measured on.

    Args:
        pairs: by id: question, user message, chosen text.

    Returns:
        Id → `held_out_question`, `held_out_prompt` or `held_out_text`.
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
    """Whether two answers say the same, white space and forms of a character aside."""
    return _plain(chosen) == _plain(rejected)


def _plain(answer: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", answer).split())
