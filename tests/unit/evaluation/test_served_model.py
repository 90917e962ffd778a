"""Token ids as the two servers write them."""

from __future__ import annotations

import pytest

from twin_assets.evaluation.served_model import _token_id


@pytest.mark.parametrize(
    "entry", [{"id": 338, "token": " is"}, {"token": "token_id:338"}], ids=["llama.cpp", "vLLM"]
)
def test_both_ways_to_report_a_token_give_its_id(entry: dict[str, object]) -> None:
    assert _token_id(entry) == 338


def test_a_token_without_an_id_is_an_error_and_not_a_guess() -> None:
    with pytest.raises(ValueError, match="is"):
        _token_id({"token": " is"})
