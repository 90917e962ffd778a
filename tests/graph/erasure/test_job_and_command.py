"""Test the job `forget`, the sensor that finishes requests, and `twin forget` without a stack."""

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
from twin_cli.commands.answer_history import build_explanation_tree
from twin_cli.commands.import_and_forget import resolve_subject, run_forget
from twin_cli.running import app
from typer.testing import CliRunner

from tests.graph.erasure.conftest import AUTHOR, POST_ID, UsedHome
from tests.graph.erasure.planted_words import POST_WORD, QUESTION_WORD, find_files_with
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


def run_sensor(instance: dg.DagsterInstance) -> dg.SensorResult | dg.SkipReason:
    resources = {"state": StateResource()}
    with dg.build_sensor_context(instance=instance, resources=resources) as context:
        result = erasure_runs.forgetting_unfinished(context)
    assert isinstance(result, dg.SensorResult | dg.SkipReason)
    return result


def get_run_keys(instance: dg.DagsterInstance) -> list[str | None]:
    """Run the sensor, and return the keys of the runs that it requests."""
    result = run_sensor(instance)
    assert isinstance(result, dg.SensorResult)
    return [request.run_key for request in result.run_requests or []]


@pytest.mark.long
def test_the_sensor_launches_an_open_request_and_the_job_finishes_it(
    used_home: UsedHome, embedder: Embedder
) -> None:
    installation = used_home.installation
    retriever = Retriever(used_home.settings.tables_base, embedder)  # open before the erasure
    before = retriever.retrieve(AUTHOR, f"What is by the {POST_WORD}?")
    assert any(POST_WORD in passage.text for passage in before.passages)
    number = journal.open_request(installation.state, POST, asked_by="test")
    with used_home.dagster() as dagster:
        result = run_sensor(dagster)
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
        assert str(metadata["certificate"].value).startswith(str(used_home.settings.home))
        assert metadata["erased in outbox"].value == 2
        assert isinstance(run_sensor(dagster), dg.SkipReason)
    assert find_files_with(used_home.settings.home, POST_WORD) == []
    with installation.state.read_transaction() as connection:
        [retraining] = retrainings.open_requests(connection)[AUTHOR]
    assert retraining.cause == "forget"
    after = retriever.retrieve(AUTHOR, f"What is by the {POST_WORD}?")
    assert after.passages, "the open retriever does not read the new version"
    assert not any(POST_WORD in passage.text for passage in after.passages)
    installation.state.close()


@pytest.mark.long
def test_the_sensor_abandons_a_request_after_five_runs(used_home: UsedHome) -> None:
    installation = used_home.installation
    number = journal.open_request(installation.state, POST, asked_by="test")
    installation.state.close()
    with used_home.dagster() as dagster:
        for _ in range(erasure_runs.MAX_RUNS):
            dagster.create_run_for_job(
                erasure_runs.forget,
                run_config=dict(erasure_runs.build_launch(number, attempt=0).config),
                tags={erasure_runs.REQUEST_TAG: str(number)},
                status=dg.DagsterRunStatus.FAILURE,
            )
        result = run_sensor(dagster)
        assert isinstance(result, dg.SkipReason)
        assert "failed 5 times" in str(result.skip_message)
        time.sleep(0.01)
        journal.record_deletions(used_home.installation.state, number, [journal.POSTPONED])
        assert get_run_keys(dagster) == [f"forget:{number}:5"], "the postponed request"
        with used_home.installation.state.transaction() as connection:
            connection.execute(sa.delete(journal.deletions))
        author_request = journal.open_request(
            installation.state, ErasureSubject("author", AUTHOR, AUTHOR), asked_by="t"
        )
        assert get_run_keys(dagster) == [f"forget:{author_request}:0"], "the next request"


def test_run_keys_are_unique_and_dagster_retries_crashed_workers(used_home: UsedHome) -> None:
    """Dagster ignores a key that already has a run, so the request would never run."""
    number = journal.open_request(used_home.installation.state, POST, asked_by="test")
    used_home.installation.state.close()
    with used_home.dagster() as dagster:

        def fail_run(**extra_tags: str) -> str:
            result = run_sensor(dagster)
            assert isinstance(result, dg.SensorResult)
            [request] = result.run_requests or []
            assert request.run_key is not None
            tags = {**request.tags, "dagster/run_key": request.run_key, **extra_tags}
            run = dagster.create_run_for_job(
                erasure_runs.forget,
                run_config=request.run_config,
                tags=tags,
                status=dg.DagsterRunStatus.FAILURE,
            )
            runs[request.run_key] = run.run_id
            return request.run_key

        runs: dict[str, str] = {}
        first, second = fail_run(), fail_run()
        dagster.delete_run(runs[first])  # as a person may do in Dagster's page
        third = fail_run(**{"dagster/will_retry": "true"})
        assert len({first, second, third}) == 3
        assert isinstance(run_sensor(dagster), dg.SkipReason)
        author = ErasureSubject("author", AUTHOR, AUTHOR)
        author_request = journal.open_request(used_home.installation.state, author, asked_by="test")
        assert get_run_keys(dagster) == [f"forget:{author_request}:0"], "a retry was due"
        dagster.add_run_tags(runs[third], {"dagster/auto_retry_run_id": "another"})
        assert get_run_keys(dagster) == [f"forget:{number}:3", f"forget:{author_request}:0"]


@pytest.mark.long
def test_the_command_works_without_a_stack(
    used_home: UsedHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DAGSTER_HOME", "TWIN_HOME"):  # a shell that has not sourced .twin/env
        monkeypatch.delenv(name, raising=False)
    output = io.StringIO()
    console = Console(file=output, width=200)

    def run(**arguments: object) -> int:
        options = {"post": "", "author": "", "reader": "", "dry_run": False, "as_json": True}
        return run_forget(used_home.settings, **(options | arguments), console=console)  # type: ignore[arg-type]

    assert run(reader=used_home.reader_key, dry_run=True) == 0
    plan = json.loads(output.getvalue())
    assert plan["traces"]
    assert plan["state"]
    assert find_files_with(used_home.settings.home, QUESTION_WORD), "the dry run erased the data"
    output.truncate(output.seek(0))
    assert run(reader=used_home.reader_key) == 0
    document = json.loads(output.getvalue())
    assert document["kind"] == "reader"
    assert document["places"]["traces"] > 0
    assert find_files_with(used_home.settings.home, QUESTION_WORD) == []


def test_both_ids_printed_by_explain_identify_the_post(used_home: UsedHome) -> None:
    installation = used_home.installation
    [post_names] = [post for post in list_posts(installation, AUTHOR) if post.source_id == POST_ID]
    row_filter = f"document_id = '{post_names.document_id}'"
    chunks = installation.tables.read("embeddings", AUTHOR, columns=["chunk_id"], where=row_filter)
    passages = load_passages(installation.tables, AUTHOR, chunks["chunk_id"].to_list())
    trace = {"twin.author": AUTHOR}
    output = io.StringIO()
    Console(file=output, width=200).print(
        build_explanation_tree(Explanation("t", trace, "q", "a", {}, {}, passages))
    )
    [document, *_] = re.findall(r"document (\S+), characters", output.getvalue())
    [post, *_] = re.findall(r"post (\S+)", output.getvalue())
    for name in (document, post):
        assert resolve_subject(used_home.settings, post=name, author="", reader="") == (POST, "")


@pytest.mark.long
def test_the_readmes_command_forgets_a_post_by_its_document_id(used_home: UsedHome) -> None:
    [post_names] = [
        post for post in list_posts(used_home.installation, AUTHOR) if post.source_id == POST_ID
    ]
    result = CliRunner().invoke(
        app, ["forget", "--post", post_names.document_id, "--home", str(used_home.settings.home)]
    )
    assert result.exit_code == 0, result.output
    assert f"the post {POST_ID} of {AUTHOR}" in " ".join(result.output.split())
    assert find_files_with(used_home.settings.home, POST_WORD) == []
    today = datetime.now(UTC).date().isoformat()
    for name in (post_names.document_id, POST_ID):
        command = ["forget", "--post", name, "--home", str(used_home.settings.home)]
        repeated = CliRunner().invoke(app, command)
        assert repeated.exit_code == 0, repeated.output
        assert f"the post {name} was forgotten on {today}" in " ".join(repeated.output.split())
    json_result = CliRunner().invoke(app, [*command, "--json"])
    assert json.loads(json_result.stdout) == {"kind": "post", "forgotten_on": today}
    assert journal.list_unfinished_requests(used_home.installation.state) == []


def test_an_unknown_post_is_refused_without_a_request(used_home: UsedHome) -> None:
    options = {"author": "", "reader": "", "dry_run": False, "as_json": True}
    with pytest.raises(TwinError, match=r"nearest: .*2020-01-02-clock\.md"):
        run_forget(  # type: ignore[arg-type]
            used_home.settings, post="2020-01-02-clocks.md", **options, console=Console(quiet=True)
        )
    assert journal.list_unfinished_requests(used_home.installation.state) == []


def test_an_interrupted_request_is_found_by_its_document_id(used_home: UsedHome) -> None:
    """The post may already be erased from the tables; the plan contains its names."""
    installation = used_home.installation
    [post_names] = [post for post in list_posts(installation, AUTHOR) if post.source_id == POST_ID]
    number = journal.open_request(installation.state, POST, asked_by="test")
    planned = plan_erasure(installation, POST)
    journal.write_plan(installation.state, number, planned.to_json())
    assert find_post(installation, post_names.document_id, [AUTHOR]) == POST
    installation.tables.forget("raw_posts", AUTHOR, [POST_ID])
    assert find_post(installation, post_names.document_id, [AUTHOR]) == POST


def test_the_options_select_the_subject(used_home: UsedHome) -> None:
    settings = used_home.settings

    def resolve(**options: str) -> tuple[ErasureSubject, str]:
        return resolve_subject(settings, **({"post": "", "author": "", "reader": ""} | options))

    assert resolve(author=AUTHOR) == (ErasureSubject("author", AUTHOR, AUTHOR), "")
    subject, key_hash = resolve(reader=used_home.reader_key)
    assert subject == ErasureSubject("reader", "", used_home.reader)
    assert len(key_hash) == 64
    assert resolve(reader=used_home.reader) == (ErasureSubject("reader", "", used_home.reader), "")
    assert resolve(author=AUTHOR, post=POST_ID) == (POST, "")
    for invalid_options in (
        {},
        {"post": POST_ID, "reader": used_home.reader},
        {"reader": used_home.reader, "author": AUTHOR},
        {"reader": "somebody"},
    ):
        with pytest.raises(TwinError):
            resolve(**invalid_options)
