"""What is told of an encoder's cosines: the place between other people and the author."""

from __future__ import annotations

import pytest

from twin_assets.evaluation.style.encoded_style import EncodedStyle, compare_encoded, lines


def compared(candidate: float, *, others: list[float] | None = None) -> EncodedStyle:
    near = [0.80, 0.82, 0.78, 0.81, 0.79, 0.80, 0.83, 0.77]
    return compare_encoded(
        "style by x",
        candidate=[candidate + one - 0.8 for one in near],
        base=[0.5] * 8,
        author=near,
        others=[0.4, 0.42, 0.38, 0.78, 0.41, 0.39, 0.4] if others is None else others,
        documents=[f"d{number // 2}" for number in range(8)],
        others_documents=[f"o{number}" for number in range(7)],
    )


def test_a_candidate_stands_between_other_people_and_the_authors_unseen_posts() -> None:
    found = compared(0.7)

    assert found.others is not None
    assert found.position == pytest.approx((0.7 - found.others.value) / (0.8 - found.others.value))
    assert found.over_base.value == pytest.approx(0.2)
    assert found.over_base.low > 0
    # 56 pairs: the one text of others that is near is nearer than .77 alone, and not .78's equal
    assert found.auc == pytest.approx((48 + 6.5) / 56)
    told = "\n".join(lines(found))
    for word in ("floor: other people", "ceiling", "AUC 0.97", "it decides nothing"):
        assert word in told


def test_an_encoder_that_hears_nothing_gives_no_place() -> None:
    same = [0.80, 0.82, 0.78, 0.81, 0.79, 0.80, 0.80]

    assert compared(0.7, others=same).position is None
    assert "of the way" not in "\n".join(lines(compared(0.7, others=same)))


def test_without_other_people_there_is_no_floor() -> None:
    found = compared(0.7, others=[])

    assert (found.others, found.auc, found.position) == (None, None, None)
    assert "floor" not in "\n".join(lines(found))
