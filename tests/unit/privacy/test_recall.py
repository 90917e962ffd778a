"""Test how much planted personal data is found, and how rarely other text is replaced."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path

import pytest

from tests.unit.privacy.lookalikes import Lookalike, generate_lookalikes
from tests.unit.privacy.plants import Plant, generate_plants
from twin_resources.privacy import find_personal_data, redact

MIN_RECALL = 0.9
PLANTS = generate_plants(20, count_per_group=60)
SENTENCES = (
    "So I wrote it down, {} and it works.",
    "{}",
    "Notes of the day:\n\n- clocks\n- {}\n- oil (12 drops, 3.5 ml, since 1998)\n",
    "> He answered: «{}».\n\n```c\nint a[3] = {{ 1, 2, 3 }};\n```\n",
)


def is_found(plant: Plant, sentence: str) -> bool:
    """Return whether a span of the plant's kind covers the value, and the value is replaced."""
    text = sentence.format(f"{plant.before}{plant.value}{plant.after}")
    start = text.index(plant.value)
    end = start + len(plant.value)
    spans = find_personal_data(text, region=plant.region)
    is_covered = any(
        span.kind == plant.kind and span.start <= start and span.end >= end for span in spans
    )
    return is_covered and plant.value not in redact(text, region=plant.region).text


GROUPS: defaultdict[str, list[Plant]] = defaultdict(list)
for plant in PLANTS:
    GROUPS[plant.group].append(plant)


@pytest.mark.parametrize("group", GROUPS)
def test_nine_of_ten_plants_are_found(group: str) -> None:
    is_found_by_plant = [
        is_found(plant, SENTENCES[number % len(SENTENCES)])
        for number, plant in enumerate(GROUPS[group])
    ]
    assert sum(is_found_by_plant) >= MIN_RECALL * len(is_found_by_plant)


def test_text_around_a_plant_is_not_changed() -> None:
    for plant in PLANTS:
        text = redact(f"Oil it. {plant.before}{plant.value}{plant.after} Wind it.").text
        assert text.startswith("Oil it. ")
        assert text.endswith(" Wind it.")


def test_a_number_with_a_wrong_check_digit_is_not_found() -> None:
    for group in ("card", "iban"):
        for plant in GROUPS[group]:
            last = plant.value[-1]
            wrong_value = plant.value[:-1] + str((int(last) + 1) % 10)
            assert not any(
                span.kind == plant.kind for span in find_personal_data(f"see {wrong_value} here")
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
