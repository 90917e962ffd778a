"""Test that `twin forget` removes a post from all answers and files of a running stack."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.graph.erasure.planted_words import find_files_with
from tests.live.whole.conftest import POST_FILE, WORD, FinishedStack
from twin_resources.erasure.erasure_target import ErasureSubject
from twin_resources.statistics.retraining_limits import PRIORITY

pytestmark = [pytest.mark.live, pytest.mark.timeout(3000)]
AUTHOR = "jose-nunez"


@pytest.fixture
def stack(finished_stack: FinishedStack, process_logs: Path) -> FinishedStack:
    finished_stack.copy_logs(process_logs)
    assert finished_stack.run.returncode == 0, finished_stack.output[-4000:]
    return finished_stack


def test_no_answer_contains_the_post(stack: FinishedStack) -> None:
    assert WORD in (stack.work / "answer_before.log").read_text(), "the post was not found before"
    for name in ("answer_after.log", "base_answer_after.log"):
        answer = (stack.work / name).read_text()
        assert WORD not in answer.lower(), name
        assert "trace" in answer, "the question was not answered"


def test_the_word_is_in_no_file_of_the_home(stack: FinishedStack) -> None:
    """The files are searched while the stack runs and after it stops.

    Dagster's event log never contains the word, because runs log numbers and ids but no post text.
    """
    files_before = (stack.work / "files_before.txt").read_text().split()
    for prefix in ("tables/", "traces.sqlite"):
        assert any(name.startswith(prefix) for name in files_before), files_before
    assert not [name for name in files_before if name.startswith("dagster/")]
    assert (stack.work / "files_after.txt").read_text().split() == []
    home = stack.settings.home
    assert find_files_with(home, WORD) == []
    assert list((home / "dagster" / "history" / "runs").glob("*.db")), "no runs are recorded"


def test_the_certificate_names_the_post_and_a_retraining_starts(stack: FinishedStack) -> None:
    certificate = json.loads((stack.work / "forgotten.json").read_text())
    assert certificate["subject"] == ErasureSubject("post", AUTHOR, POST_FILE).digest
    assert set(certificate["places"]) == set(certificate["proved"])
    assert len(certificate["tainted"]) == 2
    [tags] = json.loads((stack.work / "retraining.json").read_text())
    refused = (stack.work / "refused.log").read_text()
    assert re.search(r"run \w{8} is \w+|one is pending \(forget\)", refused), refused
    assert tags["dagster/partition"] == AUTHOR
    assert int(tags["dagster/priority"]) == PRIORITY["forget"]
    assert PRIORITY["forget"] > PRIORITY["quality"] > PRIORITY["new_posts"]
