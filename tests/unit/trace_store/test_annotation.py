"""Test the lines that Langfuse's score configs propose, and the queue of uncertain answers."""

from __future__ import annotations

import tomllib
from datetime import UTC, datetime
from typing import Any

from tests.http_server import Request, Response, http_server
from tests.langfuse_answers import LANGFUSE_ANSWERS
from twin_resources.authors.score_settings import read_scores
from twin_resources.observability.langfuse.annotation import (
    ANSWERS_A_WEEK,
    MAX_NEW_ITEMS,
    fill_annotation_queue,
    propose_score_lines,
    read_score_configs,
)
from twin_resources.observability.langfuse.client import LangfuseClient

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
# As Langfuse 4.16.0 returns them.
CONFIG = {"id": "c1", "name": "style", "isArchived": False, "dataType": "NUMERIC", "minValue": 0,
          "maxValue": 1, "categories": None}  # fmt: skip
MOOD = [
    {"label": "angry", "value": 0},
    {"label": "so so", "value": 1},
    {"label": "happy", "value": 2},
]


def config(**fields: Any) -> dict[str, Any]:
    return CONFIG | fields


def test_each_config_proposes_a_line_that_an_authors_file_takes() -> None:
    lines = propose_score_lines(
        [
            config(),
            config(name="stars", minValue=1, maxValue=5),
            config(name="is it true", dataType="BOOLEAN"),
            config(name="mood", dataType="CATEGORICAL", categories=MOOD),
            config(name="open", maxValue=None),
            config(name="remark", dataType="TEXT"),
            config(name="thumbs", dataType="BOOLEAN"),
        ]
    )
    assert lines == [
        'style = { by = "annotator" }',
        'stars = { by = "annotator", range = [1, 5] }',
        '"is it true" = { by = "annotator" }',
        'mood = { by = "annotator", values = { angry = 0, "so so" = 0.5, happy = 1 } }',
    ]
    for line in lines[:2] + lines[3:]:
        assert len(read_scores(tomllib.loads(line)).scores) == 1


class Queues:
    """Langfuse's score configs and annotation queues, made of what it answered."""

    def __init__(self) -> None:
        self.queues: list[dict[str, Any]] = []
        self.items: list[dict[str, Any]] = []

    def respond(self, request: Request) -> Response:
        path = request.path.partition("?")[0].removeprefix("/api/public/")
        if request.method == "GET":
            rows = {"score-configs": [config()], "annotation-queues": self.queues}
            return Response({"data": rows.get(path, self.items), "meta": {"totalPages": 1}})
        if path == "annotation-queues":
            queue = LANGFUSE_ANSWERS["annotation-queue 3"]["response"]
            self.queues.append(queue | request.document)
            return Response(self.queues[-1])
        item = LANGFUSE_ANSWERS["annotation-queue 5"]["response"]
        assert path == f"annotation-queues/{item['queueId']}/items"
        self.items.append(item | request.document)
        return Response(self.items[-1])


def test_the_least_certain_answers_of_the_week_are_queued_once() -> None:
    langfuse = Queues()
    counted = read_scores({"style": {"by": "annotator"}})
    judged = {f"{number:032x}": number / 100 for number in range(101)}
    with (
        http_server(langfuse.respond) as host,
        LangfuseClient(host, public_key="pk", secret_key="sk") as client,
    ):
        nothing_to_score_with = read_scores({"style": "style"})
        assert fill_annotation_queue(client, "ann", nothing_to_score_with, judged, now=NOW) == 0
        counts = [fill_annotation_queue(client, "ann", counted, judged, now=NOW) for _ in range(6)]
    assert counts == [MAX_NEW_ITEMS] * (ANSWERS_A_WEEK // MAX_NEW_ITEMS) + [0, 0]
    assert [queue["scoreConfigIds"] for queue in langfuse.queues] == [["c1"]]
    queued = [judged[item["objectId"]] for item in langfuse.items]
    assert len(set(queued)) == ANSWERS_A_WEEK
    assert max(abs(value - 0.5) for value in queued) <= 0.1
    assert {item["objectType"] for item in langfuse.items} == {"TRACE"}


def test_recorded_configs_are_read() -> None:
    answer = LANGFUSE_ANSWERS["score-configs"]["response"]
    with (
        http_server(lambda _request: Response(answer)) as host,
        LangfuseClient(host, public_key="pk", secret_key="sk") as client,
    ):
        configs = read_score_configs(client)
    assert propose_score_lines(configs) == [
        '"is it true" = { by = "annotator" }',
        'mood = { by = "annotator", values = { angry = 0, happy = 1 } }',
        'style = { by = "annotator", range = [1, 5] }',
    ]
