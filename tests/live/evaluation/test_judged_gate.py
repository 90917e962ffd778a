"""A whole gate with `TWIN_JUDGE_MODEL`: the judge is a served base model, held to a JSON schema.

What it is asked goes through a relay that keeps it, so that "blind" is read off the requests.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any

import dagster as dg
import httpx
import pytest

from tests.live.evaluation.conftest import GOOD, Workplace
from tests.live.evaluation.judged_in_dagster import Ran
from tests.prepared_base import base_gguf
from twin_assets.evaluation.judged.blind_judge import MOST_UNREADABLE, NAMES, RUBRIC
from twin_resources.models.serving.model_server import ModelServers
from twin_resources.models.serving.running_server import RunningServer

pytestmark = pytest.mark.live

MODEL = "openai/base"
QUESTIONS = 30
WRITERS = ("candidate", "base", "author")


class _Passing(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        relay = self.server
        assert isinstance(relay, Relay)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        relay.asked.append(json.loads(body))
        answer = httpx.post(
            f"{relay.behind.url}/chat/completions",
            content=body,
            headers={
                "Authorization": self.headers["Authorization"],
                "Content-Type": "application/json",
            },
            timeout=600,
            trust_env=False,
        )
        self.send_response(answer.status_code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer.content)))
        self.end_headers()
        self.wfile.write(answer.content)

    def log_message(self, *_: object) -> None:
        """Nothing on the test's output."""


class Relay(ThreadingHTTPServer):
    """Hands requests on to a model server, and keeps them in the order in which they came."""

    def __init__(self, behind: RunningServer) -> None:
        super().__init__(("127.0.0.1", 0), _Passing)
        self.behind = behind
        self.asked: list[dict[str, Any]] = []


@contextmanager
def judge(base: Path, workplace: Workplace, monkeypatch: pytest.MonkeyPatch) -> Iterator[Relay]:
    """Serve a base model, and make it the judge of every gate."""
    with ModelServers(workplace.settings).serve(base, alias="judge") as server:
        relay = Relay(server)
        threading.Thread(target=relay.serve_forever, daemon=True).start()
        monkeypatch.setenv("TWIN_JUDGE_MODEL", MODEL)
        monkeypatch.setenv("OPENAI_API_BASE", f"http://127.0.0.1:{relay.server_port}/v1")
        monkeypatch.setenv("OPENAI_API_KEY", server.key)
        try:
            yield relay
        finally:
            relay.shutdown()
            relay.server_close()


@pytest.fixture(scope="session")
def smollm2() -> Path:
    return base_gguf()


@pytest.mark.parametrize("who", ["tiny", pytest.param("smollm2", marks=pytest.mark.long)])
def test_a_served_model_rates_blind_in_a_gate_that_it_does_not_decide(
    measured: Workplace,
    instance: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
    who: str,
) -> None:
    workplace = measured
    base = workplace.base.with_suffix(".gguf")
    if who == "smollm2":
        base = request.getfixturevalue("smollm2")
    workplace.dataset("ada", held_out=QUESTIONS)
    workplace.candidate("ada", steps=GOOD)

    with judge(base, workplace, monkeypatch) as relay:
        ran = Ran(instance, "ada")

    # it states and decides nothing: this candidate passes without it as well
    assert ran.failed_checks() == []
    assert ran.released()
    report = Path(ran.metadata("evaluation_report")["report_file"])
    text = report.read_text(encoding="utf-8")
    _check_the_record(report.with_suffix(".json"), text)
    own = _own_answers(workplace)
    assert not [one for one in own if one[10:60] in text]
    _check_the_requests(relay.asked, own)


def _check_the_record(path: Path, report: str) -> None:
    blind = json.loads(path.read_text(encoding="utf-8"))["measured"]["blind"]
    assert blind["model"] == MODEL
    assert blind["rubric"] == RUBRIC
    assert blind["usd"] == 0.0  # nobody has a price for it
    assert tuple(one["writer"] for one in blind["writers"]) == WRITERS
    assert 0 <= blind["unreadable"] <= MOST_UNREADABLE * QUESTIONS * len(WRITERS)
    for one in blind["writers"]:
        assert QUESTIONS - blind["unreadable"] <= one["answers"] <= QUESTIONS
        for name in NAMES:
            assert 0.0 <= one[name]["low"] <= one[name]["value"] <= one[name]["high"] <= 1.0
    assert f"| blind judge {MODEL} | answers | accuracy | style |" in report
    for writer in WRITERS:
        assert re.search(rf"^\| {writer} \| \d+ \| \+?[01]\.\d\d", report, re.MULTILINE), report
    for line in RUBRIC.splitlines():
        assert f"  - {line}" in report
    assert f"revision `{blind['revision']}`" in report
    assert "not told who wrote it" in report


def _own_answers(workplace: Workplace) -> set[str]:
    rows = workplace.tables.read("instruction_dataset", "ada", where="split = 'held_out'")
    return set(rows["answer"])


def _check_the_requests(asked: list[dict[str, Any]], own: set[str]) -> None:
    frames: dict[str, set[str]] = {}
    of_the_author: list[bool] = []
    for body in asked:
        assert body["response_format"]["type"] == "json_schema"
        properties = body["response_format"]["json_schema"]["schema"]["properties"]
        assert tuple(properties) == NAMES
        [message] = body["messages"]
        before, answer, after = re.split("<answer>\n|\n</answer>", message["content"])
        assert RUBRIC in before
        question = before.partition("<question>")[2].partition("</question>")[0].strip()
        frames.setdefault(question, set()).add(before + after)
        of_the_author.append(answer in own)
    assert len(frames) == QUESTIONS
    # whoever wrote an answer, all else that the judge was told of a question is the same
    assert {len(found) for found in frames.values()} == {1}
    assert sum(of_the_author) >= QUESTIONS
    # one writer after the other would be two changes at most; by lot every other one or so
    changes = sum(one != other for one, other in pairwise(of_the_author))
    assert changes > QUESTIONS / 2
