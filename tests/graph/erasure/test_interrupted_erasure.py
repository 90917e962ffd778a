"""Test that a request finishes when it runs again, whichever step was interrupted."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.graph.erasure.conftest import AUTHOR, POST_ID, UsedHome
from tests.graph.erasure.interrupted_erasure import (
    STEPS,
    Interrupted,
    interrupt_before,
    raise_interrupted,
)
from tests.graph.erasure.planted_words import POST_WORD, find_files_with
from twin_resources.erasure import journal
from twin_resources.erasure.certificate import certificate_path, read_certificate
from twin_resources.erasure.erasing import run_erasure
from twin_resources.erasure.erasure_target import ErasureSubject

POST = ErasureSubject("post", AUTHOR, POST_ID)


def assert_finished(used_home: UsedHome, number: int) -> None:
    installation = used_home.installation
    request = journal.find_request(installation.state, number)
    installation.state.close()
    assert request.done_at is not None
    assert (request.subject, request.plan) == (None, "")
    home = used_home.settings.home
    assert find_files_with(home, POST_WORD) == []
    assert find_files_with(home, "forgotten-walk") == []
    document = read_certificate(certificate_path(home, number))
    assert document["tainted"] == [used_home.checkpoint]
    assert set(document["places"]) == set(document["proved"])
    assert not list((home / "forgetting").glob("marks-*"))


@pytest.mark.long
def test_a_request_interrupted_before_every_step_finishes(used_home: UsedHome) -> None:
    installation = used_home.installation
    number = journal.open_request(installation.state, POST, asked_by="test")
    installation.state.close()
    interrupted_steps: list[str] = []
    for step in STEPS:
        reopened = used_home.installation
        with pytest.MonkeyPatch.context() as patch:
            interrupt_before(step, raise_interrupted, patch)
            try:
                run_erasure(reopened, number, dagster=used_home.records(reopened))
            except Interrupted:
                interrupted_steps.append(step)
        reopened.state.close()
    assert interrupted_steps == list(STEPS)
    installation = used_home.installation
    run_erasure(installation, number, dagster=used_home.records(installation))
    installation.state.close()
    assert_finished(used_home, number)


@pytest.mark.long
def test_a_request_killed_in_the_tables_and_before_closing_finishes(used_home: UsedHome) -> None:
    installation = used_home.installation
    number = journal.open_request(installation.state, POST, asked_by="test")
    installation.state.close()
    command = [sys.executable, "-m", "tests.graph.erasure.interrupted_erasure", str(number)]
    for step, status in (("forget embeddings", -9), ("close_request", -9), ("none", 0)):
        process = subprocess.run([*command, step], capture_output=True, text=True, check=False)
        assert process.returncode == status, process.stderr
    assert_finished(used_home, number)
