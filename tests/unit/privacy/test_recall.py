"""Test how much planted personal data is found, and how rarely other text is replaced."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path

import pytest

from tests.unit.privacy.lookalikes import Lookalike, generate_lookalikes
from tests.unit.privacy.planted_values import PlantedValue, generate_planted_values
from twin_resources.privacy import find_personal_data, redact

MIN_RECALL = 0.9
PLANTED_VALUES = generate_planted_values(20, count_per_group=60)
SENTENCES = (
    "So I wrote it down, {} and it works.",
    "{}",
    "Notes of the day:\n\n- clocks\n- {}\n- oil (12 drops, 3.5 ml, since 1998)\n",
    "> He answered: «{}».\n\n```c\nint a[3] = {{ 1, 2, 3 }};\n```\n",
)


def is_found(planted: PlantedValue, sentence: str) -> bool:
    """Return whether a span of its kind covers the value, and the value is replaced."""
    text = sentence.format(f"{planted.before}{planted.value}{planted.after}")
    start = text.index(planted.value)
    end = start + len(planted.value)
    spans = find_personal_data(text, region=planted.region)
    is_covered = any(
        span.kind == planted.kind and span.start <= start and span.end >= end for span in spans
    )
    return is_covered and planted.value not in redact(text, region=planted.region).text


GROUPS: defaultdict[str, list[PlantedValue]] = defaultdict(list)
for planted in PLANTED_VALUES:
    GROUPS[planted.group].append(planted)


@pytest.mark.parametrize("group", GROUPS)
def test_nine_of_ten_planted_values_are_found(group: str) -> None:
    is_found_by_plant = [
        is_found(planted, SENTENCES[number % len(SENTENCES)])
        for number, planted in enumerate(GROUPS[group])
    ]
    assert sum(is_found_by_plant) >= MIN_RECALL * len(is_found_by_plant)


def test_text_around_a_planted_value_is_not_changed() -> None:
    for planted in PLANTED_VALUES:
        text = redact(f"Oil it. {planted.before}{planted.value}{planted.after} Wind it.").text
        assert text.startswith("Oil it. ")
        assert text.endswith(" Wind it.")


def test_a_number_with_a_wrong_check_digit_is_not_found() -> None:
    for group in ("card", "iban"):
        for planted in GROUPS[group]:
            last = planted.value[-1]
            wrong_value = planted.value[:-1] + str((int(last) + 1) % 10)
            assert not any(
                span.kind == planted.kind for span in find_personal_data(f"see {wrong_value} here")
            )


LOOKALIKES: defaultdict[str, list[Lookalike]] = defaultdict(list)
for lookalike in generate_lookalikes(20, count_per_group=25):
    LOOKALIKES[lookalike.group].append(lookalike)


@pytest.mark.parametrize("group", LOOKALIKES)
def test_at_most_one_percent_of_the_lookalikes_is_found(group: str) -> None:
    changed = [
        lookalike.text
        for lookalike in LOOKALIKES[group]
        if find_personal_data(lookalike.text, region=lookalike.language)
    ]
    assert len(changed) <= 0.01 * len(LOOKALIKES[group]), changed


@pytest.mark.long
def test_at_most_five_percent_of_clean_posts_are_changed(shared_posts: Path) -> None:
    """The 2,332 posts about programming contain only addresses in quoted commits."""
    kinds: Counter[str] = Counter()
    changed = 0
    suffixes = (".md", ".markdown", ".html")
    files = [file for file in shared_posts.rglob("*") if file.suffix in suffixes]
    for file in files:
        counts = redact(file.read_text("utf-8", errors="replace")).counts
        kinds.update(counts)
        changed += bool(counts)
    assert len(files) > 2_000
    assert changed <= 0.05 * len(files)
    # Hashes, dumps, versions and constants must not be mistaken for these kinds.
    assert {"phone", "card", "iban", "ssn", "national id", "web token"}.isdisjoint(kinds)
