"""The texts that a voice is compared with: never the author's own under another name."""

from __future__ import annotations

from twin_resources.quality.judges.texts import (
    WriterSample,
    bundled_writers,
    exclude_copies_of_author,
    merge_by_writer,
    split_for_probes,
)


def test_a_sample_author_who_was_imported_under_another_name_is_no_other() -> None:
    hands = bundled_writers(exclude=[])
    [tomas] = [hand for hand in hands if hand.name == "tomas-okafor"]
    assert len(hands) >= 2
    # as an import cuts them: other borders, another case, half of the posts
    own = [text.upper() for _, text in tomas.passages[::2]]

    others = exclude_copies_of_author(hands, own)

    assert tomas not in others
    assert len(others) == len(hands) - 1


def test_a_quotation_in_common_does_not_make_two_authors_one() -> None:
    quoted = "it was the best of times it was the worst of times it was the age of wisdom"
    passages = tuple(
        (f"d{n}", f"Something of my own, number {n}, and more of it.") for n in range(9)
    )
    hand = WriterSample("bob", (*passages, ("d9", quoted)))

    assert exclude_copies_of_author([hand], [f"She says: {quoted}"]) == [hand]
    assert exclude_copies_of_author([hand], [text for _, text in hand.passages] * 2) == [hand], (
        "too short to know"
    )
    assert exclude_copies_of_author([WriterSample("bob", (("d9", quoted),))], [quoted]) == []


def test_an_author_in_two_parts_is_one_hand_again() -> None:
    [hand, *_] = bundled_writers(exclude=[])
    parts = split_for_probes([hand])
    assert [part.name for part in (*parts.training, *parts.for_probes)] == [hand.name] * 2

    [merged] = merge_by_writer([*parts.training, *parts.for_probes])

    assert sorted(merged.passages) == sorted(hand.passages)
