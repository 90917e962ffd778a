"""How many requests may be under way by key and by server."""

from __future__ import annotations

import multiprocessing
import os
from contextlib import ExitStack
from pathlib import Path

import pytest

from twin_resources.access.refusals import RefusedError
from twin_resources.gateway.api.admission import Admission
from twin_resources.gateway.costs.cost import Throughput
from twin_resources.gateway.costs.home_counts import HomeCounts, create_counts_file


def test_beyond_the_bound_of_a_key_it_is_429_and_other_keys_go_on() -> None:
    admission = Admission(max_per_key=2, max_per_server=9)
    with ExitStack() as under_way:
        for _ in range(2):
            under_way.enter_context(admission.admit_for_key("ann"))
        with (
            pytest.raises(RefusedError, match="this key") as refused,
            admission.admit_for_key("ann"),
        ):
            pass
        assert (refused.value.status, refused.value.headers()) == (429, {"retry-after": "2"})
        under_way.enter_context(admission.admit_for_key("bob"))
    with admission.admit_for_key("ann"):
        pass


def test_a_place_is_free_again_after_an_error() -> None:
    admission = Admission(max_per_key=9, max_per_server=1)
    for _ in range(3):
        with pytest.raises(RuntimeError), admission.admit_to_server("base"):
            raise RuntimeError("the server broke off")
    with (
        admission.admit_to_server("base"),
        admission.admit_to_server("ann/v1"),
        pytest.raises(RefusedError, match="'base'"),
        admission.admit_to_server("base"),
    ):
        pass


def _ask_often(path: Path, times: int) -> None:
    """One process of a gateway: admits and measures requests, and leaves one of them under way."""
    counts = HomeCounts(path)
    admission = Admission(max_per_key=10_000, max_per_server=10_000, counts=counts)
    meter = Throughput(name="base", counts=counts)
    for _ in range(times):
        with admission.admit_for_key("ann"), admission.admit_to_server("base"):
            meter.begin()
            meter.end(7)
    left = ExitStack()
    left.enter_context(admission.admit_for_key("ann"))
    os._exit(0)  # as one that is killed: nothing is given back


def test_four_processes_count_together(tmp_path: Path) -> None:
    path = create_counts_file(tmp_path)
    fork = multiprocessing.get_context("fork")
    processes = [fork.Process(target=_ask_often, args=(path, 100)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    meter = Throughput(name="base", counts=HomeCounts(path))
    meter.refresh()
    assert (meter.tokens, meter.requests) == (2800, 400)
    admission = Admission(max_per_key=4, max_per_server=9, counts=HomeCounts(path))
    with (
        pytest.raises(RefusedError, match="4 requests with this key"),
        admission.admit_for_key("ann"),
    ):
        pass
    fresh = HomeCounts(create_counts_file(tmp_path))
    with Admission(1, 1, fresh).admit_for_key("ann"):
        pass


def test_a_busy_second_of_two_processes_is_one(tmp_path: Path) -> None:
    now = 100.0
    path = create_counts_file(tmp_path)
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
