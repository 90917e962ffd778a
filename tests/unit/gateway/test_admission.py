"""How many requests may be under way by key and by server."""

from __future__ import annotations

import multiprocessing
import os
from contextlib import ExitStack
from pathlib import Path

import pytest

from twin_resources.access.refusals import Refused
from twin_resources.gateway.api.admission import Admission
from twin_resources.gateway.costs.cost import Throughput
from twin_resources.gateway.costs.home_counts import HomeCounts, new_counts


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


def _ask_often(path: Path, times: int) -> None:
    """One process of a gateway: admits and measures requests, and leaves one of them under way."""
    counts = HomeCounts(path)
    admission = Admission(most_by_key=10_000, most_by_server=10_000, counts=counts)
    meter = Throughput(name="base", counts=counts)
    for _ in range(times):
        with admission.of_key("ann"), admission.to_server("base"):
            meter.begin()
            meter.end(7)
    left = ExitStack()
    left.enter_context(admission.of_key("ann"))
    os._exit(0)  # as one that is killed: nothing is given back


def test_four_processes_count_together(tmp_path: Path) -> None:
    path = new_counts(tmp_path)
    fork = multiprocessing.get_context("fork")
    processes = [fork.Process(target=_ask_often, args=(path, 100)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    meter = Throughput(name="base", counts=HomeCounts(path))
    meter.read()
    assert (meter.tokens, meter.requests) == (2800, 400)
    admission = Admission(most_by_key=4, most_by_server=9, counts=HomeCounts(path))
    with pytest.raises(Refused, match="4 requests of this key"), admission.of_key("ann"):
        pass
    fresh = HomeCounts(new_counts(tmp_path))
    with Admission(1, 1, fresh).of_key("ann"):
        pass


def test_a_busy_second_of_two_processes_is_one(tmp_path: Path) -> None:
    now = 100.0
    path = new_counts(tmp_path)
    first, second = (
        Throughput(name="base", counts=HomeCounts(path), clock=lambda: now) for _ in range(2)
    )
    first.begin()
    now += 1
    second.begin()
    now += 1
    first.end(100)
    second.end(100)
    assert (second.busy_seconds, second.tokens, second.tokens_per_second) == (2.0, 200, 100.0)
