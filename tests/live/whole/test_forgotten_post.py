"""`twin forget` through the running stack: no answer knows the post, and no file of the home."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.graph.erasure.planted import files_with
from tests.live.whole.conftest import TOLD, WORD, Lived
from twin_resources.erasure.erasure_target import ErasureSubject
from twin_resources.statistics.retraining_limits import PRIORITY

pytestmark = [pytest.mark.live, pytest.mark.timeout(3000)]
AUTHOR = "jose-nunez"


@pytest.fixture
def lived(lived_whole: Lived, process_logs: Path) -> Lived:
    lived_whole.keep_logs(process_logs)
    assert lived_whole.run.returncode == 0, lived_whole.said[-4000:]
    return lived_whole


def test_no_answer_knows_it(lived: Lived) -> None:
    assert WORD in (lived.work / "told.log").read_text(), "it was found before"
    for after in ("not_told.log", "not_told_base.log"):
        answer = (lived.work / after).read_text()
        assert WORD not in answer.lower(), after
        assert "trace" in answer, "it was answered"


def test_the_word_is_in_no_file_of_the_home(lived: Lived) -> None:
    """While the stack still runs, and after it was stopped. Dagster's event log is read too, and
    held it at no time: runs tell numbers and ids, never text of a post."""
    before = (lived.work / "held.before").read_text().split()
    for where in ("tables/", "traces.sqlite"):
        assert any(name.startswith(where) for name in before), before
    assert not [name for name in before if name.startswith("dagster/")]
    assert (lived.work / "held.after").read_text().split() == []
    home = lived.settings.home
    assert files_with(home, WORD) == []
    assert list((home / "dagster" / "history" / "runs").glob("*.db")), "runs are still recorded"


def test_the_certificate_and_the_retraining(lived: Lived) -> None:
    said = json.loads((lived.work / "forgotten.json").read_text())
    assert said["subject"] == ErasureSubject("post", AUTHOR, TOLD).digest
    assert set(said["places"]) == set(said["proved"])
    assert len(said["tainted"]) == 1
    [tags] = json.loads((lived.work / "retraining.json").read_text())
    refused = (lived.work / "refused.log").read_text()
    assert re.search(r"run \w{8} is \w+|one was requested \(forget\)", refused), refused
    assert tags["dagster/partition"] == AUTHOR
    assert int(tags["dagster/priority"]) == PRIORITY["forget"]
    assert PRIORITY["forget"] > PRIORITY["quality"] > PRIORITY["new_posts"]
