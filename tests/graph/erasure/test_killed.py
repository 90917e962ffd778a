"""A request that was interrupted before any of its steps is finished when it is run again."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.graph.erasure.conftest import AUTHOR, POST_ID, Lived
from tests.graph.erasure.forgetting_killed import STEPS, Died, die_in_front_of, raise_died
from tests.graph.erasure.planted import POST_WORD, files_with
from twin_resources.erasure import journal
from twin_resources.erasure.certificate import certificate_path, read_certificate
from twin_resources.erasure.erasing import run_erasure
from twin_resources.erasure.erasure_target import ErasureSubject

POST = ErasureSubject("post", AUTHOR, POST_ID)


def assert_done(lived: Lived, number: int) -> None:
    instance = lived.instance
    request = journal.find_request(instance.state, number)
    instance.state.close()
    assert request.done_at is not None
    assert (request.subject, request.plan) == (None, "")
    home = lived.settings.home
    assert files_with(home, POST_WORD) == []
    assert files_with(home, "forgotten-walk") == []
    document = read_certificate(certificate_path(home, number))
    assert document["tainted"] == [lived.checkpoint]
    assert set(document["places"]) == set(document["proved"])
    assert not list((home / "forgetting").glob("marks-*"))


@pytest.mark.drawn(2, of="kills in the graph")
def test_cut_off_in_front_of_every_step_it_ends_all_the_same(lived: Lived) -> None:
    instance = lived.instance
    number = journal.open_request(instance.state, POST, asked_by="test")
    instance.state.close()
    died: list[str] = []
    for step in STEPS:
        reopened = lived.instance
        with pytest.MonkeyPatch.context() as patch:
            die_in_front_of(step, raise_died, patch)
            try:
                run_erasure(reopened, number, dagster=lived.records(reopened))
            except Died:
                died.append(step)
        reopened.state.close()
    assert died == list(STEPS)
    last = lived.instance
    run_erasure(last, number, dagster=lived.records(last))
    last.state.close()
    assert_done(lived, number)


@pytest.mark.drawn(2, of="kills in the graph")
def test_killed_in_the_middle_of_the_tables_and_before_closing(lived: Lived) -> None:
    instance = lived.instance
    number = journal.open_request(instance.state, POST, asked_by="test")
    instance.state.close()
    command = [sys.executable, "-m", "tests.graph.erasure.forgetting_killed", str(number)]
    for step, status in (("forget embeddings", -9), ("close_request", -9), ("none", 0)):
        process = subprocess.run([*command, step], capture_output=True, text=True, check=False)
        assert process.returncode == status, process.stderr
    assert_done(lived, number)
