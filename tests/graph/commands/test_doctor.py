"""Test what `twin doctor` says of broken homes, closed ports and real services."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from twin_cli.commands import doctor
from twin_cli.commands.console import make_console
from twin_cli.commands.doctor import DoctorFinding, open_home, run_check, run_checks, run_doctor

from tests.free_ports import free_port
from tests.graph.s3 import KEY, make_s3_client, set_s3_environment
from tests.http_server import Request, Response, http_server
from tests.json_examples import read_json_example, shape
from tests.postgresql_server import postgresql, postgresql_url
from tests.trace_store_process import start_trace_store
from tests.vllm_answers import BASE, read_answers
from twin_resources.access.account import SpendingAccount
from twin_resources.access.spending_limits import SpendingLimits
from twin_resources.authors import Author, write_author
from twin_resources.erasure import journal
from twin_resources.erasure.erasure_target import ErasureSubject
from twin_resources.observability.langfuse.outbox import Outbox, QueuedScore, outbox_path
from twin_resources.processes import gpus
from twin_resources.processes.stack import Stack
from twin_resources.settings import Settings, load_secrets, load_settings
from twin_resources.storage.state.home_state import open_home_state
from twin_resources.storage.state.state import State

__all__ = ["postgresql", "postgresql_url"]  # fixtures
CLOSED = f"127.0.0.1:{free_port()}"  # nothing listens there


def examine(check: str, settings: Settings | None = None, *, is_running: bool = False) -> Any:
    """Return the findings of one check, by default of the home that the environment names.

    Args:
        is_running: whether the check is told that a stack runs.
    """
    home = open_home(settings or load_settings())
    if is_running:
        home = replace(home, stack=cast("Stack", object()))
    return run_check(check, home)


# Faults in a home; each changes files below it, or returns variables of the environment.


def write_broken_author(home: Settings) -> None:
    write_author(home, Author("ada", "Ada"))
    (home.authors_dir / "bob.toml").write_text("name = [")


def write_misspelled_setting(home: Settings) -> None:
    with write_author(home, Author("ada", "Ada")).open("a") as stream:
        stream.write("temperatures = 1\n")


def expose_keys(home: Settings) -> None:
    load_secrets(home)
    (home.home / "secrets.json").chmod(0o644)


def damage_state(home: Settings) -> None:
    (home.home / "state.sqlite").write_bytes(b"no database" * 500)


def crash_stack(home: Settings) -> None:
    (home.home / "supervisor").mkdir()
    record = {"instance": "x", "supervisor": {"pid": 2**22, "started": 1.0}, "ports": {}}
    record |= {"base_model": "", "embedder": ""}
    (home.home / "supervisor" / "stack.json").write_text(json.dumps(record))


def spend_in_three_days(home: Settings) -> None:
    with closing(open_home_state(home)) as state:
        later = time.time() + 3 * 86_400
        account = SpendingAccount(state, SpendingLimits(), clock=lambda: later)
        account.reserve(purpose="answer", author="ada", key="", max_usd=0.1)


def queue_score(home: Settings) -> None:
    with closing(Outbox(outbox_path(home))) as outbox:
        outbox.put_scores([QueuedScore("a", "t" * 32, "thumbs", 1.0)])


def langfuse(**variables: str) -> dict[str, str]:
    return {f"LANGFUSE_{name.upper()}": value for name, value in variables.items()}


JUDGE = {"TWIN_JUDGE_MODEL": "openai/gpt-4o-mini"}
Fault = Callable[[Settings], object] | dict[str, str]
# (fault, check, verdict, part of what is found, part of the remedy)
FAULTS: dict[str, tuple[Fault, str, str, str, str]] = {
    "no author": ({}, "authors", "warn", "none in", "twin up PATH"),
    "author file": (write_broken_author, "authors", "fail", "bob", "correct the file in"),
    "misspelled": (write_misspelled_setting, "authors", "warn", "'temperature'", "correct or"),
    "missing folder": (
        lambda home: write_author(home, Author("bob", "Bob", sources=("/none", "s3://a/b"))),
        "authors", "warn", "missing: /none (bob)", "`sources`",
    ),
    "exposed keys": (expose_keys, "keys", "fail", "secrets.json", "chmod 600"),
    "no provider key": (JUDGE, "keys", "warn", "openai/gpt-4o-mini", "OPENAI_API_KEY"),
    "no budget": (JUDGE, "judge", "warn", "costs money", "TWIN_JUDGE_BUDGET_PER_MONTH"),
    "no price": (
        {"TWIN_JUDGE_MODEL": "anthropic/some"}, "judge", "warn", "no price", "TWIN_JUDGE_MODEL",
    ),
    "never started": ({}, "stack", "warn", "no stack is running", "run `twin up`"),
    "crashed stack": (crash_stack, "stack", "fail", "without `twin stop`", "to recover it"),
    "damaged state": (damage_state, "state", "fail", "is damaged", "`twin restore`"),
    "PostgreSQL away": (
        {"TWIN_STATE_URL": f"postgresql+psycopg2://twin:secret@{CLOSED}/twin"},
        "state", "fail", "cannot be reached", "TWIN_STATE_URL",
    ),
    "another database": (
        {"TWIN_STATE_URL": "mysql+nothing://a@b/c"}, "state", "fail", "mysql", "use SQLite or",
    ),
    "no address": (
        {"TWIN_STATE_URL": "postgres or so"}, "state", "fail", "TWIN_STATE_URL", "postgresql+",
    ),
    "wrong clock": (spend_in_three_days, "state", "warn", "system clock", "correct the clock"),
    "half a Langfuse": (
        langfuse(host=f"http://{CLOSED}", public_key="pk"),
        "traces", "fail", "LANGFUSE_SECRET_KEY", "all three",
    ),
    "Langfuse away": (
        langfuse(host=f"http://{CLOSED}", public_key="pk", secret_key="sk"),
        "traces", "fail", "does not answer", "LANGFUSE_HOST",
    ),
    "waiting scores": (queue_score, "outbox", "warn", "1 scores", "`twin up`"),
    "model server away": (
        {"TWIN_MODEL_SERVER_URL": f"http://{CLOSED}/v1"},
        "model server", "fail", "refused", "TWIN_MODEL_SERVER_URL",
    ),
    "gateway away": (
        {"TWIN_GATEWAY_URL": f"http://{CLOSED}/v1"},
        "gateway", "fail", CLOSED, "twin doctor",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_said_with_its_remedy(
    home: Settings, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    fault, check, verdict, found, remedy = FAULTS[name]
    if isinstance(fault, dict):
        for variable, value in fault.items():
            monkeypatch.setenv(variable, value)
    elif isinstance(variables := fault(home), dict):
        for variable, value in variables.items():
            monkeypatch.setenv(variable, value)
    [finding] = [row for row in examine(check) if row.verdict != "ok"]
    assert (finding.name, finding.verdict) == (check, verdict)
    assert found in finding.found
    assert remedy in finding.remedy
    assert "secret@" not in finding.found
    assert all(row.verdict != "fail" for row in examine("forgetting")), "said twice"


# (change of the environment or the home, check, part of what is found)
HEALTHY: dict[str, tuple[Fault, str, str]] = {
    "state": (lambda home: open_home_state(home).close(), "state", "state.sqlite"),
    "free judge": ({"TWIN_JUDGE_MODEL": "ollama/llama3"}, "judge", "costs nothing"),
    "judge": (JUDGE | {"TWIN_JUDGE_BUDGET_PER_MONTH": "2"}, "judge", "$2.00"),
    "keys": (load_secrets, "keys", "their owner only"),
    "author": (lambda home: write_author(home, Author("ada", "Ada")), "authors", "ada"),
    "outbox": (lambda home: Outbox(outbox_path(home)).close(), "outbox", "empty"),
}


@pytest.mark.parametrize("name", HEALTHY)
def test_what_works_is_ok(home: Settings, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    change, check, found = HEALTHY[name]
    for variable, value in change.items() if isinstance(change, dict) else ():
        monkeypatch.setenv(variable, value)
    if callable(change):
        change(home)
    [finding] = examine(check)
    assert (finding.verdict, found in finding.found, finding.remedy) == ("ok", True, "")


def test_a_fresh_home_fails_no_check_and_stays_empty(home: Settings) -> None:
    findings = run_checks(home)
    assert [finding for finding in findings if finding.verdict == "fail"] == []
    names = {finding.name for finding in findings}
    assert {"packages", "GPU", "disk", "keys", "stack", "state", "tables", "outbox"} <= names
    assert all(bool(finding.remedy) == (finding.verdict != "ok") for finding in findings)
    assert list(home.home.iterdir()) == [], "`twin doctor` changed files"


def test_the_json_is_as_documented_and_a_failure_is_exit_code_one(
    home: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(*, as_json: bool) -> tuple[int, str]:
        with console.capture() as captured:
            code = run_doctor(home, as_json=as_json, console=console)
        return code, captured.get()

    console = make_console()
    code, output = run(as_json=True)
    assert (code, shape(json.loads(output))) == (0, shape(read_json_example("doctor")))
    assert json.loads(output)["ok"] is True
    damage_state(home)
    code, output = run(as_json=True)
    assert (code, json.loads(output)["ok"]) == (1, False)

    def raise_error(_home: doctor.Home) -> list[doctor.Result]:
        raise ZeroDivisionError("a bug")

    monkeypatch.setitem(doctor.CHECKS, "disk", raise_error)
    code, output = run(as_json=False)
    assert (code, "ZeroDivisionError" in output, "3 failed" in output) == (1, True, True)


def test_a_forgetting_that_has_not_ended_is_said_first(home: Settings) -> None:
    subjects = [ErasureSubject("author", "ada", "ada"), ErasureSubject("reader", "", "0" * 16)]
    with closing(open_home_state(home)) as state:
        numbers = [journal.open_request(state, subject, asked_by="test") for subject in subjects]
        with state.lease(f"forget {numbers[1]}"):
            first, second, *_ = run_checks(home)
        assert (first.name, first.verdict, second.verdict) == ("forgetting", "fail", "warn")
        assert "'ada' has not ended" in first.found
        assert "`twin forget --author ada`" in first.remedy
        for number in numbers:
            journal.close_request(state, number, "certificate.json")
    assert examine("forgetting") == []


# The machine


def test_packages_are_compared_with_the_declared_versions(
    home: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert [row.verdict for row in examine("packages")] == ["ok"]
    real_version = metadata.version

    def version(name: str) -> str:
        if name == "polars":
            raise metadata.PackageNotFoundError(name)
        return "1.10.0" if name == "dagster" else real_version(name)

    monkeypatch.setattr(metadata, "version", version)
    [finding] = examine("packages")
    assert finding.verdict == "fail"
    assert "dagster 1.10.0 instead of " in finding.found
    assert "polars is missing" in finding.found


def test_a_gpu_that_torch_cannot_use_and_a_small_disk_are_reported(
    home: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpus, "list_gpus", list)
    assert examine("GPU")[0].found.startswith("none: ")
    monkeypatch.setattr(gpus, "list_gpus", lambda: [("NVIDIA H200", 139.0)])
    for torch, expected in (("2.13.0+cpu", "fail"), ("2.13.0+cu129", "ok")):
        monkeypatch.setattr(metadata, "version", lambda _name, torch=torch: torch)
        [finding] = examine("GPU")
        assert (finding.verdict, "NVIDIA H200 (139 GB)" in finding.found) == (expected, True)
    for free, expected in ((0.5e9, "fail"), (80e9, "ok")):
        usage = type("Usage", (), {"free": free})
        monkeypatch.setattr(shutil, "disk_usage", lambda _folder, usage=usage: usage)
        assert [row.verdict for row in examine("disk")] == [expected]


# The stores


def test_postgresql_is_checked_and_left_as_it_is(home: Settings, postgresql_url: str) -> None:
    url = postgresql_url.replace("postgresql://", "postgresql+psycopg2://", 1)
    shared = home.model_copy(update={"state_url": url})
    for _ in range(2):
        [finding] = examine("state", shared)
        assert (finding.verdict, ", 0 tables" in finding.found) == ("ok", True)
    State.open(url).close()
    [finding] = examine("state", shared)
    assert (finding.verdict, ", 0 tables" in finding.found) == ("ok", False)
    missing = shared.model_copy(update={"state_url": url.rsplit("/", 1)[0] + "/none"})
    [finding] = examine("state", missing)
    assert (finding.verdict, "TWIN_STATE_URL" in finding.remedy) == ("fail", True)


def test_tables_on_s3_are_checked(
    home: Settings, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_s3_environment(monkeypatch, s3_endpoint)
    client = make_s3_client(s3_endpoint)
    client.create_bucket(Bucket="doctor")

    def check(uri: str = "s3://doctor/tables") -> DoctorFinding:
        [finding] = examine("tables", home.model_copy(update={"tables_uri": uri}))
        return finding

    assert (check().verdict, "s3://doctor/tables" in check().found) == ("ok", True)
    assert "Contents" not in client.list_objects_v2(Bucket="doctor"), "the check wrote an object"
    assert "NoSuchBucket" in check("s3://no-such-bucket/tables").found
    monkeypatch.delenv("AWS_ALLOW_HTTP")  # boto3 does without it, Lance does not
    assert (check().verdict, check().remedy) == ("fail", "export AWS_ALLOW_HTTP=true")
    monkeypatch.setenv("AWS_ENDPOINT", f"http://{CLOSED}")
    finding = check()
    assert (finding.verdict, "AWS_ENDPOINT" in finding.remedy) == ("fail", True)
    assert KEY not in finding.found.split()


@pytest.fixture
def trace_store(home: Settings, tmp_path: Path) -> Iterator[Settings]:
    """Start the embedded trace store of this home; yield settings with its port."""
    load_secrets(home)
    process, port = start_trace_store(home.home, tmp_path / "traces.sqlite", tmp_path / "port")
    url = f"http://127.0.0.1:{port}/api/public/health"
    assert httpx.get(url, timeout=60, trust_env=False).status_code == 200
    yield home.model_copy(update={"traces_port": port})
    process.terminate()
    process.wait(20)


def test_a_trace_store_that_answers_is_checked(trace_store: Settings) -> None:
    [finding] = examine("traces", trace_store, is_running=True)
    assert (finding.verdict, "version" in finding.found) == ("ok", True)
    away = trace_store.model_copy(update={"traces_port": free_port()})
    assert [row.verdict for row in examine("traces", away)] == ["ok"]
    [finding] = examine("traces", away, is_running=True)
    assert (finding.verdict, finding.remedy) == ("fail", "see `twin logs traces`")

    secrets = load_secrets(trace_store)
    variables = {
        "langfuse_host": f"http://127.0.0.1:{trace_store.traces_port}",
        "langfuse_public_key": secrets.traces_public_key,
        "langfuse_secret_key": secrets.traces_secret_key,
    }
    answer, configs, bucket = examine("traces", trace_store.model_copy(update=variables))
    assert [row.verdict for row in (answer, configs, bucket)] == ["ok", "warn", "warn"]
    assert "score configs cannot be read" in configs.found  # the embedded store has none
    assert "events/otel/" in bucket.found
    variables["langfuse_secret_key"] = "sk-wrong"
    [finding] = examine("traces", trace_store.model_copy(update=variables))
    assert (finding.verdict, "LANGFUSE_SECRET_KEY" in finding.remedy) == ("fail", True)


def test_scores_that_the_relay_does_not_send_fail(
    home: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue_score(home)
    assert [row.verdict for row in examine("outbox", is_running=True)] == ["ok"]
    with closing(Outbox(outbox_path(home))) as outbox:
        waiting = outbox.get_next_item()
        assert waiting is not None
        outbox.record_failure(waiting, "HTTP 503: away")
        later = time.time() + 600
        monkeypatch.setattr(doctor.time, "time", lambda: later)
        [finding] = examine("outbox", is_running=True)
        assert (finding.verdict, "HTTP 503: away" in finding.found) == ("fail", True)
        outbox.mark_refused(waiting, "HTTP 400")
    verdicts = [row.verdict for row in examine("outbox", is_running=True)]
    assert verdicts == ["ok", "warn"]  # the queue is empty; one item was refused permanently


# A model server in place of the stack's


def test_a_vllm_server_without_its_proxy_fails(home: Settings) -> None:
    """The server answers as vLLM 0.32.0 did; behind the proxy, only its guarded routes are left."""
    folder = home.checkpoints_dir / "ada" / "c1" / "adapter"
    answers, is_behind_proxy, is_keyless = read_answers(), True, False
    models = answers["models with an adapter"]["body"]
    models["data"][1]["root"] = str(folder)

    def respond(request: Request) -> Response:
        if "authorization" in request.headers:
            is_list = request.path == "/v1/models"
            answer = answers["models" if is_list else "load route asked with GET"]
            return Response(models if is_list else answer["body"], answer["status"])
        if request.path.startswith("/v1/"):
            refusal = answers["models without a key"]
            return Response(status=400) if is_keyless else Response(refusal["body"], 401)
        if is_behind_proxy:
            return Response(status=404)
        answer = answers.get(f"open {request.path}", answers["no such route"])
        return Response(answer["body"], answer["status"])

    with http_server(respond) as url:
        server = {"model_server_url": f"{url}/v1", "model_server_key": "sk", "base_model": BASE}
        settings = home.model_copy(update=server)
        [_, gone] = examine("model server", settings)
        assert (gone.verdict, str(folder) in gone.found) == ("fail", True)
        folder.mkdir(parents=True)
        assert [row.verdict for row in examine("model server", settings)] == ["ok"]
        is_behind_proxy = False
        [_, opened] = examine("model server", settings)
        assert opened.verdict == "fail"
        assert "use /adapters, /invocations, /tokenize, /detokenize, /generative_" in opened.found
        is_behind_proxy = is_keyless = True
        [_, keyless] = examine("model server", settings)
        assert "/v1/chat/completions, /v1/load_lora_adapter, without a key" in keyless.found


def test_a_server_without_the_model_or_without_adapters_is_reported(home: Settings) -> None:
    def respond(request: Request) -> Response:
        if request.path == "/v1/models":
            return Response(b'{"data": [{"id": "my-model"}]}', 200)
        is_load = request.path == "/v1/load_lora_adapter" and request.headers.get("authorization")
        return Response(b"", 405 if is_load else 404)

    with http_server(respond) as url:
        server = {"model_server_url": f"{url}/v1", "model_server_key": "sk"}
        settings = home.model_copy(update=server | {"base_model": "another"})
        [finding] = examine("model server", settings)
        assert "--served-model-name another" in finding.remedy
        served = {"base_model": "my-model", "model_server_key": ""}
        [_, adapters] = examine("model server", settings.model_copy(update=served))
        assert "VLLM_ALLOW_RUNTIME_LORA_UPDATING=True" in adapters.remedy
