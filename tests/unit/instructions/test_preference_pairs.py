"""Test preference pairs: chosen and rejected answers, limits on readers, held-out texts."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twin_assets.instructions.preference_claims import check_held_out_exposure
from twin_assets.instructions.preference_pairs import (
    AuthorPassage,
    HeldOutTexts,
    Trace,
    build_trace_pairs,
    find_excessive_voters,
    find_leaks,
    find_passage,
    is_same_answer,
    select_indexes_within_share,
)

TEMPLATE = "template"
STOP_WORDS = {"how", "do", "you", "the", "a", "what", "is"}
OWN = "Copper kettles want tin inside, because the acid of the fruit would eat the metal away."


def trace(number: int = 1, **changes: object) -> Trace:
    default = Trace(
        trace_id=f"trace-{number}",
        rejected_from="checkpoint",
        question=f"How do you tin a copper kettle number {number}?",
        answer=f"A kettle is a kettle, {number} times.",
        chunk_ids=("chunk-a", "chunk-b"),
        template=TEMPLATE,
    )
    return replace(default, **changes)  # type: ignore[arg-type]


PASSAGE = AuthorPassage(
    sample_id="sample",
    document_id="document",
    chunk_id="chunk-b",
    own_chunks=frozenset({"chunk-b", "chunk-c"}),
    start=10,
    end=10 + len(OWN),
    question="Why tin a copper kettle?",
    answer=OWN,
)


def build_pairs(*traces: Trace, passages: tuple[AuthorPassage, ...] = (PASSAGE,)):
    return build_trace_pairs(
        traces, passages, named_passages={}, template=TEMPLATE, stop_words=STOP_WORDS
    )


def test_an_authors_edit_is_chosen_over_the_answer_it_corrects() -> None:
    (pair,), left_out = build_pairs(trace(edit=" Tin it. \n", edit_role="author"))
    assert (pair.source, pair.chosen) == ("edit", "Tin it.")
    assert pair.rejected == "A kettle is a kettle, 1 times."
    assert (pair.trace_id, pair.context_chunk_ids) == ("trace-1", ("chunk-a", "chunk-b"))
    assert pair.voters == ()
    assert not left_out


@pytest.mark.parametrize("role", ["reader", "admin", "", "Author"])
def test_edits_by_other_roles_are_not_chosen(role: str) -> None:
    pairs, _ = build_pairs(trace(edit="Buy my kettles.", edit_role=role))
    assert pairs == []
    pairs, _ = build_pairs(trace(edit="Buy my kettles.", edit_role=role, vote=0.0, voters=("r",)))
    assert [pair.chosen for pair in pairs] == [OWN]


@pytest.mark.parametrize(
    ("rejected", "same"),
    [
        ("Tin it.\n\nThen wait.", True),
        (" Tin it.  Then wait. ", True),
        ("Tin it! Then wait.", False),
    ],
)
def test_answers_that_differ_in_white_space_are_equal(rejected: str, same: bool) -> None:
    chosen = "Tin it. Then wait."
    assert is_same_answer(chosen, rejected) == same


def test_a_chosen_text_with_a_held_out_answer_leaks() -> None:
    """The text contains the whole answer, although only as a small share."""
    answer = "The tide comes in at noon and takes the lantern."
    chosen = " ".join([*(f"before{n}" for n in range(70)), answer, *(f"x{n}" for n in range(70))])
    held_out = HeldOutTexts(questions={}, prompts={}, answers=[answer], chunks=frozenset())
    assert find_leaks({"p": ("Who?", "Who?", chosen)}, held_out) == {"p": "held_out_text"}
    unrelated = chosen.replace("noon", "dawn")
    assert find_leaks({"p": ("Who?", "Who?", unrelated)}, held_out) == {}


def test_an_unchanged_edit_gives_no_pair() -> None:
    same = trace().answer
    assert build_pairs(trace(edit=f" {same}\n", edit_role="author"))[0] == []


def test_a_low_vote_rejects_the_answer_for_the_authors_own_passage() -> None:
    (pair,), _ = build_pairs(trace(vote=0.25, voters=("r2", "r1", "r2")))
    assert (pair.source, pair.chosen, pair.voters) == ("vote", OWN, ("r1", "r2"))
    # A prompt with the chosen text would teach copying.
    assert pair.context_chunk_ids == ("chunk-a",)
    assert pair.passage == PASSAGE


def test_a_good_vote_gives_no_pair() -> None:
    for vote in (0.5, 1.0, None):
        assert build_pairs(trace(vote=vote, voters=("r",)))[0] == []


def test_an_edit_takes_precedence_over_votes() -> None:
    (pair,), _ = build_pairs(trace(edit="Tin it.", edit_role="author", vote=0.0, voters=("r",)))
    assert (pair.source, pair.voters) == ("edit", ())


def test_traces_without_a_pair_are_counted_by_reason() -> None:
    pairs, left_out = build_pairs(
        trace(1, edit="Tin it.", edit_role="author", template="older"),
        trace(2, edit="Write to [e-mail].", edit_role="author"),
        trace(3, vote=0.0, voters=("r3",), question="What is a violin?"),
        trace(4, vote=0.0, voters=("r4",), chunk_ids=("chunk-a",)),
        trace(5, edit="Same.", edit_role="author", question="Why?", answer="No."),
        trace(6, edit="Same.", edit_role="author", question="Why?", answer="No."),
    )
    assert [pair.trace_id for pair in pairs] == ["trace-5"]
    assert left_out == {"other_template": 1, "masked_edit": 1, "no_passage": 2, "alike": 1}


def test_unfinished_answers_are_recognized() -> None:
    is_complete_by_answer = {
        "It holds.": True,
        "It holds": False,
        "“It holds.”": True,
        "```\nrun()\n```": True,
        "so that the": False,
        "本当です。": True,
    }
    for answer, is_complete in is_complete_by_answer.items():
        (pair,), _ = build_pairs(trace(answer=answer, edit="Tin it.", edit_role="author"))
        assert pair.rejected_ended is is_complete, answer


def test_a_passage_must_be_shown_and_match_the_question() -> None:
    better = replace(PASSAGE, sample_id="better", chunk_id="chunk-a", own_chunks=frozenset("a"))
    elsewhere = replace(PASSAGE, sample_id="elsewhere", own_chunks=frozenset({"unseen"}))

    def find_sample(question: str, shown: tuple[str, ...]) -> str | None:
        passage = find_passage(
            question, [elsewhere, PASSAGE, better], shown_chunks=shown, stop_words=STOP_WORDS
        )
        return passage.sample_id if passage else None

    assert find_sample("How do you tin copper?", ("chunk-b",)) == "sample"
    assert find_sample("How do you tin copper?", ("a", "chunk-b")) == "better"
    assert find_sample("How do you tin copper?", ("other",)) is None
    assert find_sample("What is a violin string?", ("chunk-b",)) is None
    assert find_sample("How do you?", ("chunk-b",)) is None


def test_votes_of_excessive_voters_give_no_pairs() -> None:
    # Three of fifty readers cast a hundred votes each; one casts a thousand.
    votes = {f"reader-{number}": 3 for number in range(50)}
    attackers = {f"reader-{number}": 100 for number in range(3)}
    assert find_excessive_voters(votes | attackers) == set(attackers)
    assert find_excessive_voters(votes | {"one": 1000}) == {"one"}
    assert find_excessive_voters(votes) == set()
    assert find_excessive_voters({"alone": 40}) == set()
    assert find_excessive_voters({}) == set()


def test_an_attack_of_many_votes_leaves_no_pair() -> None:
    honest = [trace(number, vote=0.0, voters=(f"reader-{number % 40}",)) for number in range(80)]
    attack = [trace(1000 + number, vote=0.0, voters=("attacker",)) for number in range(1000)]
    pairs, left_out = build_pairs(*attack, *honest)
    assert {voter for pair in pairs for voter in pair.voters} == {
        f"reader-{number}" for number in range(40)
    }
    assert left_out["too_many_votes"] == 1000


@given(
    st.lists(st.frozensets(st.sampled_from("abcdefg"), max_size=3), max_size=300),
    st.integers(1, 100),
)
def test_no_reader_has_more_than_the_maximum_share(
    pair_readers: list[frozenset[str]], percent: int
) -> None:
    indexes = select_indexes_within_share(pair_readers, max_percent=percent)
    assert indexes == sorted(set(indexes))
    pair_counts = Counter(reader for index in indexes for reader in pair_readers[index])
    assert all(100 * pair_count <= percent * len(indexes) for pair_count in pair_counts.values())
    # Pairs without a reader are always kept.
    assert {index for index, names in enumerate(pair_readers) if not names} <= set(indexes)
    assert select_indexes_within_share(
        [pair_readers[index] for index in indexes], max_percent=percent
    ) == list(range(len(indexes)))


def test_the_newest_pairs_of_a_reader_are_kept() -> None:
    pair_readers = [{"busy"}] * 10 + [set[str]()] * 95
    assert select_indexes_within_share(pair_readers) == [0, 1, 2, 3, 4, *range(10, 105)]


def test_a_reader_may_have_five_in_a_hundred() -> None:
    assert len(select_indexes_within_share([{"r"}] * 5 + [set[str]()] * 95)) == 100
    assert len(select_indexes_within_share([{"r"}] * 5 + [set[str]()] * 94)) == 98


HELD_OUT = HeldOutTexts(
    questions={"h": "How do you forge an anchor for a ship?"},
    prompts={"h": "From my posts: one two three four five six seven eight nine. Question: anchor?"},
    answers=["The anchor is forged in one heat and cooled in sand for three whole days and nights"],
    chunks=frozenset({"of the anchor"}),
)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, None),
        ({"question": "How do you forge the anchor for a ship?"}, "held_out_question"),
        ({"messages": [{"content": HELD_OUT.prompts["h"]}]}, "held_out_prompt"),
        (
            {"chosen": "It is forged in one heat and cooled in sand for three whole days."},
            "held_out_text",
        ),
        ({"context_chunk_ids": ["of a kettle", "of the anchor"]}, "held_out_passage"),
    ],
)
def test_stored_pairs_with_held_out_text_are_counted(
    changes: dict[str, object], reason: str | None
) -> None:
    row = {
        "pair_id": "p",
        "question": "Why is the kettle tinned?",
        "context_chunk_ids": ["of a kettle"],
        "messages": [{"content": "Question: Why is the kettle tinned?"}],
        "chosen": OWN,
    }
    exposure = check_held_out_exposure(pl.DataFrame([row | changes]), HELD_OUT)
    fields = {name for name, value in vars(exposure).items() if value and name != "rows"}
    assert fields == ({reason} if reason else set())
    assert exposure.holds == (reason is None)
