"""How many requests may be under way by key and by server."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from twin_resources.access.refusals import Refused
from twin_resources.gateway.admission import Admission


def test_beyond_the_bound_of_a_key_it_is_429_and_other_keys_go_on() -> None:
    admission = Admission(most_by_key=2, most_by_server=9)
    with ExitStack() as under_way:
        for _ in range(2):
            under_way.enter_context(admission.of_key("ann"))
        with pytest.raises(Refused, match="this key") as refused, admission.of_key("ann"):
            pass
        assert (refused.value.status, refused.value.headers()) == (429, {"retry-after": "2"})
        under_way.enter_context(admission.of_key("bob"))
    with admission.of_key("ann"):
        pass


def test_a_place_is_free_again_after_an_error() -> None:
    admission = Admission(most_by_key=9, most_by_server=1)
    for _ in range(3):
        with pytest.raises(RuntimeError), admission.to_server("base"):
            raise RuntimeError("the server broke off")
    with (
        admission.to_server("base"),
        admission.to_server("ann/v1"),
        pytest.raises(Refused, match="'base'"),
        admission.to_server("base"),
    ):
        pass
