"""The job `forget`, the sensor that finishes requests, and `twin forget` without a stack."""

from __future__ import annotations

import io
import json
import re
import time
from datetime import UTC, datetime

import dagster as dg
import pytest
import sqlalchemy as sa
from rich.console import Console
from twin_cli.commands.answer_history import explanation_tree
from twin_cli.commands.posts import resolve_subject, run_forget
from twin_cli.running import app
from typer.testing import CliRunner

from tests.graph.erasure.conftest import AUTHOR, POST_ID, Lived
from tests.graph.erasure.planted import POST_WORD, QUESTION_WORD, files_with
from twin_resources.dagster_resources import SettingsResource, StateResource
from twin_resources.erasure import journal
from twin_resources.erasure.erasure_target import ErasureSubject
from twin_resources.erasure.plan import plan_erasure
from twin_resources.erasure.post_names import find_post, list_posts
from twin_resources.errors import TwinError
from twin_resources.models.embedder.embedder import Embedder
from twin_resources.models.retrieval.retrieval import Retriever
from twin_resources.quality.retraining import retrainings
from twin_resources.registry.explanation import Explanation, load_passages
from twin_sensors import erasure_runs

POST = ErasureSubject("post", AUTHOR, POST_ID)


def tick(instance: dg.DagsterInstance) -> dg.SensorResult | dg.SkipReason:
    resources = {"state": StateResource()}
    with dg.build_sensor_context(instance=instance, resources=resources) as context:
        result = erasure_runs.forgetting_unfinished(context)
    assert isinstance(result, dg.SensorResult | dg.SkipReason)
    return result


def launched(result: dg.SensorResult | dg.SkipReason) -> list[str | None]:
    """Keys of the runs that a tick asks for."""
    assert isinstance(result, dg.SensorResult)
    return [request.run_key for request in result.run_requests or []]


def test_the_sensor_launches_an_open_request_and_the_job_finishes_it(
    lived: Lived, embedder: Embedder
) -> None:
    instance = lived.instance
    retriever = Retriever(lived.settings.tables_base, embedder)  # open before, as the gateway's is
    before = retriever.retrieve(AUTHOR, f"What is by the {POST_WORD}?")
    assert any(POST_WORD in passage.text for passage in before.passages)
    number = journal.open_request(instance.state, POST, asked_by="test")
    with lived.dagster() as dagster:
        result = tick(dagster)
        assert isinstance(result, dg.SensorResult)
        [request] = result.run_requests or []
        assert json.dumps(request.run_config).count(str(number)) == 1
        assert AUTHOR not in json.dumps([request.run_config, request.tags])
        run = erasure_runs.forget.execute_in_process(
            run_config=request.run_config,
            tags=request.tags,
            instance=dagster,
            resources={"settings": SettingsResource()},
        )
        assert run.success
        [output] = [event for event in run.all_events if event.is_successful_output]
        metadata = output.step_output_data.metadata
        assert str(metadata["certificate"].value).startswith(str(lived.settings.home))
        assert metadata["erased in outbox"].value == 2
        assert isinstance(tick(dagster), dg.SkipReason)
    assert files_with(lived.settings.home, POST_WORD) == []
    with instance.state.read_transaction() as connection:
        [retraining] = retrainings.open_requests(connection)[AUTHOR]
    assert retraining.cause == "forget"
    after = retriever.retrieve(AUTHOR, f"What is by the {POST_WORD}?")
    assert after.passages, "the reader that was open goes on with the new version"
    assert not any(POST_WORD in passage.text for passage in after.passages)
    instance.state.close()


def test_the_sensor_gives_a_request_up_after_five_runs(lived: Lived) -> None:
    instance = lived.instance
    number = journal.open_request(instance.state, POST, asked_by="test")
    instance.state.close()
    with lived.dagster() as dagster:
        for _ in range(erasure_runs.MAX_RUNS):
            dagster.create_run_for_job(
                erasure_runs.forget,
                run_config=dict(erasure_runs.build_launch(number, attempt=0).config),
                tags={erasure_runs.REQUEST_TAG: str(number)},
                status=dg.DagsterRunStatus.FAILURE,
            )
        result = tick(dagster)
        assert isinstance(result, dg.SkipReason)
        assert "failed 5 times" in str(result.skip_message)
        time.sleep(0.01)
        journal.record_deletions(lived.instance.state, number, [journal.POSTPONED])
        assert launched(tick(dagster)) == [f"forget:{number}:5"], "its day's deletions were used up"
        with lived.instance.state.transaction() as connection:
            connection.execute(sa.delete(journal.deletions))
        author_request = journal.open_request(
            instance.state, ErasureSubject("author", AUTHOR, AUTHOR), asked_by="t"
        )
        assert launched(tick(dagster)) == [f"forget:{author_request}:0"], "the next has its turn"


def test_no_key_is_spent_twice_and_a_worker_that_died_is_dagsters(lived: Lived) -> None:
    """Dagster ignores a key that has a run already: the request would never be carried out."""
    number = journal.open_request(lived.instance.state, POST, asked_by="test")
    lived.instance.state.close()
    with lived.dagster() as dagster:

        def dies(**facts: str) -> str:
            result = tick(dagster)
            assert isinstance(result, dg.SensorResult)
            [request] = result.run_requests or []
            assert request.run_key is not None
            tags = {**request.tags, "dagster/run_key": request.run_key, **facts}
            run = dagster.create_run_for_job(
                erasure_runs.forget,
                run_config=request.run_config,
                tags=tags,
                status=dg.DagsterRunStatus.FAILURE,
            )
            runs[request.run_key] = run.run_id
            return request.run_key

        runs: dict[str, str] = {}
        first, second = dies(), dies()
        dagster.delete_run(runs[first])  # a person has tidied up
        third = dies(**{"dagster/will_retry": "true"})
        assert len({first, second, third}) == 3
        assert isinstance(tick(dagster), dg.SkipReason)
        author = ErasureSubject("author", AUTHOR, AUTHOR)
        author_request = journal.open_request(lived.instance.state, author, asked_by="test")
        assert launched(tick(dagster)) == [f"forget:{author_request}:0"], "the first is waited for"
        dagster.add_run_tags(runs[third], {"dagster/auto_retry_run_id": "another"})
        assert launched(tick(dagster)) == [f"forget:{number}:3", f"forget:{author_request}:0"]


def test_the_command_without_a_stack(lived: Lived, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DAGSTER_HOME", "TWIN_HOME"):  # a shell that has not sourced .twin/env
        monkeypatch.delenv(name, raising=False)
    output = io.StringIO()
    console = Console(file=output, width=200)

    def run(**named: object) -> int:
        options = {"post": "", "author": "", "reader": "", "dry_run": False, "as_json": True}
        return run_forget(lived.settings, **(options | named), console=console)  # type: ignore[arg-type]

    assert run(reader=lived.reader_key, dry_run=True) == 0
    plan = json.loads(output.getvalue())
    assert plan["traces"]
    assert plan["state"]
    assert files_with(lived.settings.home, QUESTION_WORD), "a dry run changes nothing"
    output.truncate(output.seek(0))
    assert run(reader=lived.reader_key) == 0
    document = json.loads(output.getvalue())
    assert document["kind"] == "reader"
    assert document["places"]["traces"] > 0
    assert files_with(lived.settings.home, QUESTION_WORD) == []


def test_both_names_that_explain_prints_name_the_post(lived: Lived) -> None:
    instance = lived.instance
    [post_names] = [post for post in list_posts(instance, AUTHOR) if post.source_id == POST_ID]
    where = f"document_id = '{post_names.document_id}'"
    chunks = instance.tables.read("document_chunks", AUTHOR, columns=["chunk_id"], where=where)
    passages = load_passages(instance.tables, AUTHOR, chunks["chunk_id"].to_list())
    trace = {"twin.author": AUTHOR}
    output = io.StringIO()
    Console(file=output, width=200).print(
        explanation_tree(Explanation("t", trace, "q", "a", {}, {}, passages))
    )
    [document, *_] = re.findall(r"document (\S+), characters", output.getvalue())
    [post, *_] = re.findall(r"post (\S+)", output.getvalue())
    for name in (document, post):
        assert resolve_subject(lived.settings, post=name, author="", reader="") == (POST, "")


def test_readmes_command_forgets_a_post_by_its_document_id(lived: Lived) -> None:
    [post_names] = [
        post for post in list_posts(lived.instance, AUTHOR) if post.source_id == POST_ID
    ]
    result = CliRunner().invoke(
        app, ["forget", "--post", post_names.document_id, "--home", str(lived.settings.home)]
    )
    assert result.exit_code == 0, result.output
    assert f"the post {POST_ID} of {AUTHOR}" in " ".join(result.output.split())
    assert files_with(lived.settings.home, POST_WORD) == []
    today = datetime.now(UTC).date().isoformat()
    for name in (post_names.document_id, POST_ID):
        command = ["forget", "--post", name, "--home", str(lived.settings.home)]
        repeated = CliRunner().invoke(app, command)
        assert repeated.exit_code == 0, repeated.output
        assert f"the post {name} was forgotten on {today}" in " ".join(repeated.output.split())
    as_json = CliRunner().invoke(app, [*command, "--json"])
    assert json.loads(as_json.stdout) == {"kind": "post", "forgotten_on": today}
    assert journal.list_unfinished_requests(lived.instance.state) == []


def test_a_post_that_nobody_has_is_refused_before_the_journal(lived: Lived) -> None:
    options = {"author": "", "reader": "", "dry_run": False, "as_json": True}
    with pytest.raises(TwinError, match=r"nearest: .*2020-01-02-clock\.md"):
        run_forget(  # type: ignore[arg-type]
            lived.settings, post="2020-01-02-clocks.md", **options, console=Console(quiet=True)
        )
    assert journal.list_unfinished_requests(lived.instance.state) == []


def test_an_interrupted_request_is_found_by_its_document_id(lived: Lived) -> None:
    """Its post may be erased from the tables already; the plan has its names."""
    instance = lived.instance
    [post_names] = [post for post in list_posts(instance, AUTHOR) if post.source_id == POST_ID]
    number = journal.open_request(instance.state, POST, asked_by="test")
    planned = plan_erasure(instance, POST)
    journal.write_plan(instance.state, number, planned.to_json())
    assert find_post(instance, post_names.document_id, [AUTHOR]) == POST
    instance.tables.forget("raw_posts", AUTHOR, [POST_ID])
    assert find_post(instance, post_names.document_id, [AUTHOR]) == POST


def test_what_the_options_name(lived: Lived) -> None:
    settings = lived.settings

    def named(**given: str) -> tuple[ErasureSubject, str]:
        return resolve_subject(settings, **({"post": "", "author": "", "reader": ""} | given))

    assert named(author=AUTHOR) == (ErasureSubject("author", AUTHOR, AUTHOR), "")
    subject, key_hash = named(reader=lived.reader_key)
    assert subject == ErasureSubject("reader", "", lived.reader)
    assert len(key_hash) == 64
    assert named(reader=lived.reader) == (ErasureSubject("reader", "", lived.reader), "")
    assert named(author=AUTHOR, post=POST_ID) == (POST, "")
    for wrong in (
        {},
        {"post": POST_ID, "reader": lived.reader},
        {"reader": lived.reader, "author": AUTHOR},
        {"reader": "somebody"},
    ):
        with pytest.raises(TwinError):
            named(**wrong)
