"""Test the random order of a trial's prompts."""

from __future__ import annotations

import itertools

from twin_assets.serving.shadow_prompts import ShadowPrompt, shuffle_by_trial
from twin_resources.quality.judges.pairs import RECORDED


def make_prompts(*, readers: int, each: int) -> list[ShadowPrompt]:
    """Return prompts in the ledger's order, one reader's visit after another's."""
    return [
        ShadowPrompt(RECORDED, f"reader-{reader:02}/{number}", "What is a verge?", ())
        for reader in range(readers)
        for number in range(each)
    ]


def reader_of(prompt: ShadowPrompt) -> str:
    return prompt.prompt_id.partition("/")[0]


def count_neighbours_of_one_reader(prompts: list[ShadowPrompt]) -> float:
    pairs = list(itertools.pairwise(prompts))
    return sum(reader_of(one) == reader_of(other) for one, other in pairs) / len(pairs)


def test_neighbours_share_a_reader_only_by_chance() -> None:
    prompts = make_prompts(readers=20, each=15)
    drawn = shuffle_by_trial(prompts, "a trial")
    assert count_neighbours_of_one_reader(prompts) > 0.9
    assert count_neighbours_of_one_reader(drawn) < 0.12  # by chance .047
    assert sorted(prompt.prompt_id for prompt in drawn) == sorted(p.prompt_id for p in prompts)


def test_the_order_depends_only_on_the_trial() -> None:
    prompts = make_prompts(readers=6, each=5)
    drawn = shuffle_by_trial(prompts[:20], "a trial")
    assert shuffle_by_trial(prompts[:20], "another") != drawn
    later = shuffle_by_trial(prompts, "a trial")
    assert [prompt for prompt in later if prompt in prompts[:20]] == drawn
