"""Test the kinds of negative probes, their repeatability, and the texts of other writers."""

from __future__ import annotations

from pathlib import Path

import pytest

from twin_resources.errors import TwinError
from twin_resources.quality.judges.negative_probes import (
    AuthorAnswer,
    NegativeProbe,
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
PASSAGES = [(f"t{n}", f"A training passage numbered {n}") for n in range(5)]


def create_probes(prompts: list[AuthorAnswer]) -> list[NegativeProbe]:
    """Create probes of all four kinds."""
    return create_negative_probes(
        prompts, training_passages=PASSAGES, other_passages=["Somebody else wrote this."]
    )


def test_every_prompt_gets_a_probe_of_each_kind_with_its_own_passages() -> None:
    probes = create_probes(PROMPTS)

    assert len(probes) == 4 * len(PROMPTS)
    for probe in probes:
        own, probe_answer = probe.judged_pair()
        assert (own.question, own.passages) == (probe_answer.question, probe_answer.passages)
        assert own.answer != probe_answer.answer
    document_by_answer = {prompt.answer: prompt.document_id for prompt in PROMPTS}
    for probe in probes:
        if probe.kind == "shuffled":
            assert document_by_answer[probe.answer] != probe.prompt.document_id
        if probe.kind == "off_topic":
            assert probe.answer.startswith("A training passage")
        if probe.kind == "unsupported":
            assert "window" in probe.answer, "the rest of the answer was changed"
            assert str(int(probe.prompt.sample_id[1:]) + 10) not in probe.answer.split()


def test_without_other_authors_there_are_no_probes_by_another_author() -> None:
    kinds = {
        probe.kind
        for probe in create_negative_probes(PROMPTS, training_passages=PASSAGES, other_passages=[])
    }

    assert kinds == {"off_topic", "shuffled", "unsupported"}


def test_probes_do_not_depend_on_the_order_of_prompts_but_on_the_batch() -> None:
    def draw(prompts: list[AuthorAnswer], batch: str) -> list[tuple[str, str, str]]:
        drawn_probes = draw_probes(create_probes(prompts), count=6, batch=batch)
        return [(probe.kind, probe.prompt.sample_id, probe.answer) for probe in drawn_probes]

    assert draw(PROMPTS, "b1") == draw(PROMPTS[::-1], "b1")
    assert draw(PROMPTS, "b1") != draw(PROMPTS, "b2")


def test_no_probe_is_drawn_twice_in_a_trial() -> None:
    probes = create_probes(PROMPTS)
    drawn_probes: set[tuple[str, str]] = set()

    for batch in range(len(probes)):
        [probe] = draw_probes(probes, count=1, batch=f"b{batch}", used_probes=drawn_probes)
        assert (probe.prompt.sample_id, probe.kind) not in drawn_probes
        drawn_probes.add((probe.prompt.sample_id, probe.kind))

    assert len(drawn_probes) == len(probes)
    assert draw_probes(probes, count=1, batch="one more", used_probes=drawn_probes) == []


def test_prompts_of_a_single_document_are_refused() -> None:
    with pytest.raises(TwinError, match="fewer than two documents"):
        create_negative_probes(PROMPTS[:2], training_passages=PASSAGES, other_passages=[])


def test_one_of_three_other_writers_is_reserved_for_probes() -> None:
    writers = [WriterSample(name, ((f"{name}-1", "text"),)) for name in ("ann", "bob", "eve")]

    split = split_for_probes(writers)

    assert split.has_unseen_writers
    assert len(split.for_probes) == 1
    assert {writer.name for writer in split.training}.isdisjoint(
        writer.name for writer in split.for_probes
    )
    assert split_for_probes(writers[::-1]) == split


@pytest.mark.parametrize("names", [["ann"], ["ann", "bob"]])
def test_documents_of_few_other_writers_are_divided(names: list[str]) -> None:
    writers = [
        WriterSample(name, tuple((f"{name}{n}", f"text {n}") for n in range(9))) for name in names
    ]

    split = split_for_probes(writers)

    assert not split.has_unseen_writers
    assert {writer.name for writer in split.training} == {
        writer.name for writer in split.for_probes
    }
    for training, reserved in zip(split.training, split.for_probes, strict=True):
        assert training.name == reserved.name
        assert (len(training.passages), len(reserved.passages)) == (6, 3)
        assert set(training.passages).isdisjoint(reserved.passages)


def test_bundled_authors_have_no_front_matter_and_exclude_the_author() -> None:
    writers = bundled_writers(exclude=["mara-lindqvist"])

    assert [writer.name for writer in writers] == ["oona-petrie", "tomas-okafor"]
    # One writer's posts have YAML front matter, and the other's have TOML.
    for writer in writers:
        assert len(writer.passages) > 100
        for _, text in writer.passages:
            assert not text.startswith(("---", "+++"))
            assert "tags:" not in text
            assert "tags =" not in text


def test_missing_samples_give_no_writers(tmp_path: Path) -> None:
    assert bundled_writers(exclude=[], folder=tmp_path) == []


def test_paragraphs_are_joined_until_they_reach_the_minimum_length() -> None:
    text = "\n\n".join(["word " * 30, "word " * 30, "word " * 200, "word " * 10])

    assert [len(passage.split()) for passage in split_into_passages(text)] == [60]
