"""A request finishes when it runs again, whichever step was interrupted."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.graph.erasure.conftest import AUTHOR, POST_ID, UsedHome
from tests.graph.erasure.forgetting_killed import (
    STEPS,
    Interrupted,
    interrupt_before,
    raise_interrupted,
)
from tests.graph.erasure.planted import POST_WORD, find_files_with
from twin_resources.erasure import journal
from twin_resources.erasure.certificate import certificate_path, read_certificate
from twin_resources.erasure.erasing import run_erasure
from twin_resources.erasure.erasure_target import ErasureSubject

POST = ErasureSubject("post", AUTHOR, POST_ID)


def assert_finished(used_home: UsedHome, number: int) -> None:
    instance = used_home.instance
    request = journal.find_request(instance.state, number)
    instance.state.close()
    assert request.done_at is not None
    assert (request.subject, request.plan) == (None, "")
    home = used_home.settings.home
    assert find_files_with(home, POST_WORD) == []
    assert find_files_with(home, "forgotten-walk") == []
    document = read_certificate(certificate_path(home, number))
    assert document["tainted"] == [used_home.checkpoint]
    assert set(document["places"]) == set(document["proved"])
    assert not list((home / "forgetting").glob("marks-*"))


@pytest.mark.drawn(2, of="kills in the graph")
def test_a_request_interrupted_before_every_step_finishes(used_home: UsedHome) -> None:
    instance = used_home.instance
    number = journal.open_request(instance.state, POST, asked_by="test")
    instance.state.close()
    interrupted_steps: list[str] = []
    for step in STEPS:
        reopened = used_home.instance
        with pytest.MonkeyPatch.context() as patch:
            interrupt_before(step, raise_interrupted, patch)
            try:
                run_erasure(reopened, number, dagster=used_home.records(reopened))
            except Interrupted:
                interrupted_steps.append(step)
        reopened.state.close()
    assert interrupted_steps == list(STEPS)
    instance = used_home.instance
    run_erasure(instance, number, dagster=used_home.records(instance))
    instance.state.close()
    assert_finished(used_home, number)


@pytest.mark.drawn(2, of="kills in the graph")
def test_a_request_killed_in_the_tables_and_before_closing_finishes(used_home: UsedHome) -> None:
    instance = used_home.instance
    number = journal.open_request(instance.state, POST, asked_by="test")
    instance.state.close()
    command = [sys.executable, "-m", "tests.graph.erasure.forgetting_killed", str(number)]
    for step, status in (("forget embeddings", -9), ("close_request", -9), ("none", 0)):
        process = subprocess.run([*command, step], capture_output=True, text=True, check=False)
        assert process.returncode == status, process.stderr
    assert_finished(used_home, number)
