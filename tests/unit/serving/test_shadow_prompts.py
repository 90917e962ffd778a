"""Test the random order of a trial's prompts."""

from __future__ import annotations

import itertools

from twin_assets.serving.shadow_prompts import ShadowPrompt, shuffle_by_trial
from twin_resources.quality.judges.pairs import RECORDED


def make_prompts(*, reader_count: int, prompts_per_reader: int) -> list[ShadowPrompt]:
    """Return prompts in the ledger's order: all prompts of a reader, then the next reader's."""
    return [
        ShadowPrompt(RECORDED, f"reader-{reader:02}/{number}", "What is a verge?", ())
        for reader in range(reader_count)
        for number in range(prompts_per_reader)
    ]


def get_reader(prompt: ShadowPrompt) -> str:
    return prompt.prompt_id.partition("/")[0]


def measure_equal_neighbors(prompts: list[ShadowPrompt]) -> float:
    pairs = list(itertools.pairwise(prompts))
    return sum(get_reader(left) == get_reader(right) for left, right in pairs) / len(pairs)


def test_neighbors_share_a_reader_only_by_chance() -> None:
    prompts = make_prompts(reader_count=20, prompts_per_reader=15)
    shuffled = shuffle_by_trial(prompts, "a trial")
    assert measure_equal_neighbors(prompts) > 0.9
    assert measure_equal_neighbors(shuffled) < 0.12  # the expected share is .047
    assert {prompt.prompt_id for prompt in shuffled} == {prompt.prompt_id for prompt in prompts}
    assert len(shuffled) == len(prompts)


def test_the_order_depends_only_on_the_trial() -> None:
    prompts = make_prompts(reader_count=6, prompts_per_reader=5)
    first_order = shuffle_by_trial(prompts[:20], "a trial")
    assert shuffle_by_trial(prompts[:20], "another") != first_order
    longer_order = shuffle_by_trial(prompts, "a trial")
    assert [prompt for prompt in longer_order if prompt in prompts[:20]] == first_order
