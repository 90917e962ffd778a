"""Negative probes: what each kind spoils and keeps, and that two runs make the same ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from twin_resources.errors import TwinError
from twin_resources.quality.judges.negative_probes import (
    AuthorAnswer,
    create_negative_probes,
    draw_probes,
)
from twin_resources.quality.judges.texts import (
    WriterSample,
    bundled_writers,
    split_for_probes,
    split_into_passages,
)

PROMPTS = [
    AuthorAnswer(
        f"s{n}",
        f"d{n // 2}",
        f"What of thing{n}?",
        f"Thing{n} weighs {n + 10} kilograms and stands beside the window of workshop{n}.",
        (f"passage {n}",),
    )
    for n in range(12)
]
TRAINING = [(f"t{n}", f"A training passage numbered {n}") for n in range(5)]


def test_every_prompt_gets_a_plant_of_each_kind_under_its_own_passages() -> None:
    plants = create_negative_probes(
        PROMPTS, training_passages=TRAINING, other_passages=["Somebody else wrote this."]
    )

    assert len(plants) == 4 * len(PROMPTS)
    for probe in plants:
        own, bad = probe.judged_pair()
        assert (own.question, own.passages) == (bad.question, bad.passages)
        assert own.answer != bad.answer
    answers = {own.answer: own.document_id for own in PROMPTS}
    for probe in plants:
        if probe.kind == "shuffled":
            assert answers[probe.answer] != probe.prompt.document_id
        if probe.kind == "off_topic":
            assert probe.answer.startswith("A training passage")
        if probe.kind == "unsupported":
            assert "window" in probe.answer, "the frame of the answer stays"
            assert str(int(probe.prompt.sample_id[1:]) + 10) not in probe.answer.split()


def test_without_others_there_are_no_foreign_plants() -> None:
    kinds = {
        probe.kind
        for probe in create_negative_probes(PROMPTS, training_passages=TRAINING, other_passages=[])
    }

    assert kinds == {"off_topic", "shuffled", "unsupported"}


def test_the_order_of_the_prompts_does_not_matter_and_batches_differ() -> None:
    def draw(prompts: list[AuthorAnswer], batch: str) -> list[tuple[str, str, str]]:
        plants = create_negative_probes(
            prompts, training_passages=TRAINING, other_passages=["Somebody else wrote this."]
        )
        drawn = draw_probes(plants, count=6, batch=batch)
        return [(probe.kind, probe.prompt.sample_id, probe.answer) for probe in drawn]

    assert draw(PROMPTS, "b1") == draw(PROMPTS[::-1], "b1")
    assert draw(PROMPTS, "b1") != draw(PROMPTS, "b2")


def test_no_plant_is_drawn_twice_in_a_trial() -> None:
    plants = create_negative_probes(
        PROMPTS, training_passages=TRAINING, other_passages=["Somebody else wrote this."]
    )
    planted: set[tuple[str, str]] = set()

    for batch in range(len(plants)):
        [probe] = draw_probes(plants, count=1, batch=f"b{batch}", used_probes=planted)
        assert (probe.prompt.sample_id, probe.kind) not in planted
        planted.add((probe.prompt.sample_id, probe.kind))

    assert len(planted) == len(plants)
    assert draw_probes(plants, count=1, batch="one more", used_probes=planted) == []


def test_one_document_alone_cannot_be_swapped() -> None:
    with pytest.raises(TwinError, match="fewer than two documents"):
        create_negative_probes(PROMPTS[:2], training_passages=TRAINING, other_passages=[])


def test_one_of_three_other_people_is_kept_for_plants_alone() -> None:
    hands = [WriterSample(name, ((f"{name}-1", "text"),)) for name in ("ann", "bob", "eve")]

    split = split_for_probes(hands)

    assert split.has_unseen_writers
    assert len(split.for_probes) == 1
    assert {hand.name for hand in split.training}.isdisjoint(hand.name for hand in split.for_probes)
    assert split_for_probes(hands[::-1]) == split


@pytest.mark.parametrize("names", [["ann"], ["ann", "bob"]])
def test_few_other_people_are_divided_by_documents_and_that_is_known(names: list[str]) -> None:
    hands = [
        WriterSample(name, tuple((f"{name}{n}", f"text {n}") for n in range(9))) for name in names
    ]

    split = split_for_probes(hands)

    assert not split.has_unseen_writers
    assert {hand.name for hand in split.training} == {hand.name for hand in split.for_probes}
    for trained, planted in zip(split.training, split.for_probes, strict=True):
        assert trained.name == planted.name
        assert (len(trained.passages), len(planted.passages)) == (6, 3)
        assert set(trained.passages).isdisjoint(planted.passages)


def test_bundled_authors_come_without_front_matter_and_without_the_author_asked_for() -> None:
    hands = bundled_writers(exclude=["mara-lindqvist"])

    assert [hand.name for hand in hands] == ["oona-petrie", "tomas-okafor"]
    for hand in hands:  # YAML before the posts of one, TOML before those of the other
        assert len(hand.passages) > 100
        for _, text in hand.passages:
            assert not text.startswith(("---", "+++"))
            assert "tags:" not in text
            assert "tags =" not in text


def test_where_no_samples_are_installed_there_are_none(tmp_path: Path) -> None:
    assert bundled_writers(exclude=[], folder=tmp_path) == []


def test_paragraphs_are_joined_until_they_say_enough() -> None:
    text = "\n\n".join(["word " * 30, "word " * 30, "word " * 200, "word " * 10])

    assert [len(passage.split()) for passage in split_into_passages(text)] == [60]
