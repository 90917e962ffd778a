"""Test which texts count as other people's, and merging the samples of one writer."""

from __future__ import annotations

from twin_resources.quality.judges.texts import (
    WriterSample,
    bundled_writers,
    exclude_copies_of_author,
    merge_by_writer,
    split_for_probes,
)


def test_a_sample_author_imported_under_another_name_is_excluded() -> None:
    writers = bundled_writers(exclude=[])
    [tomas] = [writer for writer in writers if writer.name == "tomas-okafor"]
    assert len(writers) >= 2
    # An import may change boundaries and case, and contain only half of the posts.
    own_texts = [text.upper() for _, text in tomas.passages[::2]]

    remaining_writers = exclude_copies_of_author(writers, own_texts)

    assert tomas not in remaining_writers
    assert len(remaining_writers) == len(writers) - 1


def test_a_common_quotation_does_not_exclude_another_author() -> None:
    quotation = "it was the best of times it was the worst of times it was the age of wisdom"
    passages = tuple(
        (f"d{n}", f"Something of my own, number {n}, and more of it.") for n in range(9)
    )
    writer = WriterSample("bob", (*passages, ("d9", quotation)))

    assert exclude_copies_of_author([writer], [f"She says: {quotation}"]) == [writer]
    assert exclude_copies_of_author([writer], [text for _, text in writer.passages] * 2) == [
        writer
    ], "too little common text to exclude an author"
    assert exclude_copies_of_author([WriterSample("bob", (("d9", quotation),))], [quotation]) == []


def test_the_two_samples_of_a_divided_writer_are_merged() -> None:
    [writer, *_] = bundled_writers(exclude=[])
    parts = split_for_probes([writer])
    assert [part.name for part in (*parts.training, *parts.for_probes)] == [writer.name] * 2

    [merged] = merge_by_writer([*parts.training, *parts.for_probes])

    assert sorted(merged.passages) == sorted(writer.passages)
