"""Test the limits on concurrent requests per key and per server."""

from __future__ import annotations

import multiprocessing
import os
from contextlib import ExitStack
from pathlib import Path

import pytest

from twin_resources.access.refusals import RefusedError
from twin_resources.gateway.api.admission import AdmissionControl
from twin_resources.gateway.costs.cost import Throughput, ThroughputMeter, read_throughputs
from twin_resources.gateway.costs.home_counts import HomeCounts, create_counts_file


def _admit_requests(path: Path, count: int) -> None:
    """Admit and measure requests in one process, and leave one of them unfinished."""
    counts = HomeCounts(path)
    admission = AdmissionControl(max_per_key=10_000, max_per_server=10_000, counts=counts)
    meter = ThroughputMeter(name="base", counts=counts)
    for _ in range(count):
        with admission.admit_for_key("ann"), admission.admit_to_server("base"):
            meter.begin()
            meter.end(7)
    unfinished = ExitStack()
    unfinished.enter_context(admission.admit_for_key("ann"))
    os._exit(0)  # like a killed process, which releases nothing


def test_processes_share_their_counts(tmp_path: Path) -> None:
    path = create_counts_file(tmp_path)
    fork = multiprocessing.get_context("fork")
    processes = [fork.Process(target=_admit_requests, args=(path, 100)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    measured = read_throughputs(HomeCounts(path))["base"]
    assert (measured.tokens, measured.requests) == (2800, 400)
    admission = AdmissionControl(max_per_key=4, max_per_server=1, counts=HomeCounts(path))
    with (
        pytest.raises(RefusedError, match="4 requests with this key"),
        admission.admit_for_key("ann"),
    ):
        pass
    with (
        admission.admit_for_key("bob"),
        admission.admit_to_server("base"),
        admission.admit_to_server("ann/v1"),
        pytest.raises(RefusedError, match="'base'"),
        admission.admit_to_server("base"),
    ):
        pass
    new_counts = HomeCounts(create_counts_file(tmp_path))
    with AdmissionControl(1, 1, new_counts).admit_for_key("ann"):
        pass


def test_concurrent_busy_time_counts_once(tmp_path: Path) -> None:
    now = 100.0
    path = create_counts_file(tmp_path)
    first, second = (
        ThroughputMeter(name="base", counts=HomeCounts(path), clock=lambda: now) for _ in range(2)
    )
    first.begin()
    now += 1
    second.begin()
    now += 1
    first.end(100)
    assert second.end(100) == Throughput(200, 2, 2.0)
