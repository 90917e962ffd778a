"""Test `twin doctor` with real services, with closed ports, and in broken homes."""

from __future__ import annotations

import json
import os
import shutil
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from importlib import metadata
from pathlib import Path
from typing import Any

import httpx
import pytest
from twin_cli.commands.console import make_console
from twin_cli.commands.doctor import machine_findings, stack_findings, stores
from twin_cli.commands.doctor.doctor_command import run_checks, run_doctor
from twin_cli.commands.doctor.findings import DoctorFinding, run_check

from tests.free_ports import free_port
from tests.graph.s3 import KEY, make_s3_client, set_s3_environment
from tests.http_server import Request, Response, http_server
from tests.json_examples import read_json_example, shape
from tests.postgresql_server import postgresql, postgresql_url
from tests.trace_store_process import start_trace_store
from tests.vllm_answers import BASE, read_answers
from twin_resources.access.account import SpendingAccount
from twin_resources.access.spending_limits import SpendingLimits
from twin_resources.atomic_writes import replace_file
from twin_resources.authors import Author, write_author
from twin_resources.erasure import journal
from twin_resources.erasure.erasure_target import ErasureSubject
from twin_resources.observability.langfuse.outbox import Outbox, QueuedScore, outbox_path
from twin_resources.processes import gpus
from twin_resources.settings import Settings, load_secrets, load_settings
from twin_resources.storage.state.home_state import open_home_state
from twin_resources.storage.state.state import State

__all__ = ["postgresql", "postgresql_url"]  # fixtures


@pytest.fixture
def closed_port() -> int:
    """Return a port on which no process listens."""
    return free_port()


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


def get_only(findings: Any) -> DoctorFinding:
    [finding] = list(findings)
    return finding


def get_verdict(findings: Any) -> str:
    return get_only(findings).verdict


# The whole command


def test_no_check_fails_in_a_fresh_home(home: Settings) -> None:
    findings = run_checks(home)
    assert [finding for finding in findings if finding.verdict == "fail"] == []
    names = {finding.name for finding in findings}
    assert {"packages", "GPU", "disk", "keys", "ports", "state", "tables", "outbox"} <= names
    assert all(finding.remedy for finding in findings if finding.verdict != "ok")
    assert not any(finding.remedy for finding in findings if finding.verdict == "ok")
    assert list(home.home.iterdir()) == [], "`twin doctor` changed files"


def test_the_json_is_as_documented_and_a_failure_is_exit_code_one(
    home: Settings, monkeypatch: pytest.MonkeyPatch, closed_port: int
) -> None:
    console = make_console()
    with console.capture() as captured:
        assert run_doctor(home, as_json=True, console=console) == 0
    document = json.loads(captured.get())
    assert shape(document) == shape(read_json_example("doctor"))
    assert document["ok"] is True
    monkeypatch.setenv("LANGFUSE_HOST", f"http://127.0.0.1:{closed_port}")
    monkeypatch.setenv("LANGFUSE_PUBLIC_KEY", "pk")
    with console.capture() as captured:
        assert run_doctor(load_settings(), as_json=True, console=console) == 1
    document = json.loads(captured.get())
    assert document["ok"] is False
    [failed] = [check for check in document["checks"] if check["verdict"] == "fail"]
    assert "LANGFUSE_SECRET_KEY" in failed["found"]
    assert "all three" in failed["remedy"]
    with console.capture() as captured:
        assert run_doctor(load_settings(), as_json=False, console=console) == 1
    assert "1 failed" in captured.get()


def test_a_check_that_raises_is_reported_as_failed() -> None:
    def raise_error() -> list[DoctorFinding]:
        raise ZeroDivisionError("a bug")

    finding = get_only(run_check("disk", raise_error))
    assert (finding.name, finding.verdict) == ("disk", "fail")
    assert "ZeroDivisionError" in finding.found


# The machine


def test_packages_are_compared_with_the_declared_versions(
    home: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert get_verdict(machine_findings.check_packages(home)) == "ok"
    real_version = metadata.version
    wrong_versions = {"dagster": "1.10.0", "polars": None}

    def version(name: str) -> str:
        if name in wrong_versions:
            installed = wrong_versions[name]
            if installed is None:
                raise metadata.PackageNotFoundError(name)
            return installed
        return real_version(name)

    monkeypatch.setattr(metadata, "version", version)
    finding = get_only(machine_findings.check_packages(home))
    assert finding.verdict == "fail"
    assert "dagster 1.10.0 instead of " in finding.found
    assert "polars is missing" in finding.found


def test_a_checkout_is_checked_against_its_own_requirements(tmp_path: Path) -> None:
    assert any(
        line.startswith("packaging") for line in machine_findings.read_project_requirements()
    )
    (tmp_path / "pyproject.toml").write_text(
        '[project]\nname = "llm-twin"\ndependencies = ["new-package>=1"]\n'
    )
    assert machine_findings.read_project_requirements(tmp_path) == ["new-package>=1"]
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "somebody-elses"\n')
    assert machine_findings.read_project_requirements(tmp_path) == metadata.requires("llm-twin")


def test_a_gpu_that_torch_cannot_use_is_reported(
    home: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def check() -> DoctorFinding:
        return get_only(run_check("GPU", lambda: machine_findings.check_gpu(home)))

    monkeypatch.setattr(gpus, "list_gpus", list)
    assert check().found.startswith("none: ")
    monkeypatch.setattr(gpus, "list_gpus", lambda: [("NVIDIA H200", 139.0)])
    for torch, expected in (("2.13.0+cpu", "fail"), ("2.13.0+cu129", "ok")):
        monkeypatch.setattr(metadata, "version", lambda _name, torch=torch: torch)
        assert check().verdict == expected
        assert "NVIDIA H200 (139 GB)" in check().found


def test_a_full_disk_is_reported(home: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    for free, expected in ((0.5e9, "fail"), (80e9, "ok")):
        usage = type("Usage", (), {"free": free})
        monkeypatch.setattr(shutil, "disk_usage", lambda _folder, usage=usage: usage)
        assert get_verdict(machine_findings.check_disk(home)) == expected


def test_exposed_and_missing_keys_are_reported(home: Settings) -> None:
    load_secrets(home)
    assert get_verdict(machine_findings.check_keys(home)) == "ok"
    secrets = home.home / "secrets.json"
    secrets.chmod(0o644)
    finding = get_only(machine_findings.check_keys(home))
    assert (finding.verdict, finding.remedy) == ("fail", f"chmod 600 {secrets}")
    secrets.chmod(stat.S_IRUSR | stat.S_IWUSR)
    judge_home = home.model_copy(update={"judge_model": "anthropic/some-model"})
    first, second = machine_findings.check_keys(judge_home, environ={"OPENAI_API_KEY": "sk"})
    assert (first.verdict, second.verdict) == ("ok", "warn")
    assert "ANTHROPIC_API_KEY" in second.remedy
    assert (
        get_verdict(machine_findings.check_keys(judge_home, environ={"ANTHROPIC_API_KEY": "sk"}))
        == "ok"
    )


def test_a_missing_reranker_is_reported(home: Settings, tmp_path: Path) -> None:
    def check_reranker(name: str) -> DoctorFinding:
        return get_only(machine_findings.check_reranker(home.model_copy(update={"reranker": name})))

    assert list(machine_findings.check_reranker(home)) == []
    missing = check_reranker(str(tmp_path / "none"))
    assert missing.verdict == "fail"
    assert "no such folder" in missing.found
    assert "TWIN_RERANKER" in missing.remedy
    assert "config.json" in check_reranker(str(tmp_path)).found
    (tmp_path / "config.json").write_text("{}")
    assert check_reranker(str(tmp_path)).verdict == "ok"
    assert check_reranker("owner/cross-encoder").verdict == "ok", "a model id was refused"


def test_a_judge_without_a_price_or_budget_is_reported(home: Settings) -> None:
    assert list(machine_findings.check_judge(home)) == []
    priced_home = home.model_copy(update={"judge_model": "openai/gpt-4o-mini"})
    finding = get_only(machine_findings.check_judge(priced_home, environ={}))
    assert (finding.verdict, "TWIN_JUDGE_BUDGET_PER_MONTH" in finding.remedy) == ("warn", True)
    unknown_home = home.model_copy(update={"judge_model": "anthropic/some-model"})
    assert "no price" in get_only(machine_findings.check_judge(unknown_home, environ={})).found
    free_home = home.model_copy(update={"judge_model": "ollama/llama3"})
    budget_home = priced_home.model_copy(update={"judge_budget_per_month": 2.0})
    assert get_verdict(machine_findings.check_judge(free_home, environ={})) == "ok"
    assert get_only(machine_findings.check_judge(budget_home, environ={})).found.endswith(
        "$2.00 a month"
    )


def test_broken_author_files_and_folders_are_reported(home: Settings, tmp_path: Path) -> None:
    assert get_verdict(machine_findings.check_authors(home)) == "warn"
    write_author(home, Author("ada", "Ada", sources=(str(tmp_path), "s3://bucket/posts")))
    assert get_verdict(machine_findings.check_authors(home)) == "ok"
    write_author(home, Author("bob", "Bob", sources=("/no/such/folder",)))
    finding = get_only(machine_findings.check_authors(home))
    assert (finding.verdict, "/no/such/folder (bob)" in finding.found) == ("warn", True)
    (home.authors_dir / "cleo.toml").write_text("name = [")
    assert {finding.verdict for finding in machine_findings.check_authors(home)} == {
        "fail",
        "warn",
    }


# The stores


def test_a_broken_sqlite_state_is_reported(home: Settings) -> None:
    open_home_state(home).close()
    assert "schema" in get_only(stores.check_state(home)).found
    broken_home = home.model_copy(update={"state_url": f"sqlite:///{home.home / 'broken.sqlite'}"})
    (home.home / "broken.sqlite").write_bytes(b"no database" * 500)
    assert get_verdict(stores.check_state(broken_home)) == "fail"


def test_an_account_ahead_of_the_clock_is_reported(home: Settings) -> None:
    with closing(open_home_state(home)) as state:
        for days, verdicts in ((0, ["ok"]), (3, ["ok", "warn"])):
            ahead = time.time() + days * 86_400
            account = SpendingAccount(state, SpendingLimits(), clock=lambda ahead=ahead: ahead)
            account.reserve(purpose="answer", author="ada", key="", max_usd=0.1)
            findings = list(stores.check_state(home))
            assert [finding.verdict for finding in findings] == verdicts
    assert "correct the clock" in findings[-1].remedy


def test_an_unreachable_postgresql_state_is_reported(
    home: Settings, postgresql_url: str, closed_port: int
) -> None:
    url = postgresql_url.replace("postgresql://", "postgresql+psycopg2://", 1)
    postgresql_home = home.model_copy(update={"state_url": url})
    empty_finding = get_only(stores.check_state(postgresql_home))
    assert (empty_finding.name, empty_finding.verdict) == ("PostgreSQL", "ok")
    assert "the first start creates its tables" in empty_finding.found
    State.open(url).close()
    assert "schema" in get_only(stores.check_state(postgresql_home)).found
    wrong_addresses = {
        "no such database": url.rsplit("/", 1)[0] + "/no_such_database",
        "nobody listens": f"postgresql+psycopg2://twin:secret@127.0.0.1:{closed_port}/twin",
        "another kind": "mysql+nothing://a@b/c",
        "no address": "postgres or so",
    }
    for address in wrong_addresses.values():
        finding = get_only(stores.check_state(home.model_copy(update={"state_url": address})))
        assert finding.verdict == "fail"
        assert "TWIN_STATE_URL" in finding.remedy
        assert "secret" not in finding.found


def test_tables_on_s3_are_checked(
    home: Settings, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch, closed_port: int
) -> None:
    set_s3_environment(monkeypatch, s3_endpoint)
    client = make_s3_client(s3_endpoint)
    client.create_bucket(Bucket="doctor")
    s3_home = home.model_copy(update={"tables_uri": "s3://doctor/tables"})
    finding = get_only(stores.check_tables(s3_home))
    assert (finding.name, finding.verdict) == ("S3", "ok")
    assert "s3://doctor/tables is empty" in finding.found
    client.put_object(Bucket="doctor", Key="tables/a", Body=b"x")
    finding = get_only(stores.check_tables(s3_home))
    assert ("has objects" in finding.found, "written, read and deleted" in finding.found) == (
        True,
    ) * 2
    assert [item["Key"] for item in client.list_objects_v2(Bucket="doctor")["Contents"]] == [
        "tables/a"
    ]

    monkeypatch.delenv("AWS_ALLOW_HTTP")
    finding = get_only(stores.check_tables(s3_home))
    assert (finding.verdict, finding.remedy) == ("fail", "export AWS_ALLOW_HTTP=true")
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", os.environ["AWS_ENDPOINT"])
    monkeypatch.delenv("AWS_ENDPOINT")
    assert get_verdict(stores.check_tables(s3_home)) == "ok"  # Lance reads that name as well

    def check_uri(uri: str) -> DoctorFinding:
        s3_uri_home = home.model_copy(update={"tables_uri": uri})
        return get_only(run_check("tables", lambda: stores.check_tables(s3_uri_home)))

    assert "NoSuchBucket" in check_uri("s3://no-such-bucket/tables").found
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{closed_port}")
    started_at = time.monotonic()
    finding = check_uri("s3://doctor/tables")
    assert (finding.verdict, "AWS_ENDPOINT" in finding.remedy) == ("fail", True)
    assert time.monotonic() - started_at < 60  # without minutes of retries
    assert KEY not in finding.found.split()


def test_the_trace_store_and_langfuse_are_checked(
    trace_store: Settings, closed_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    finding = get_only(stores.check_traces(trace_store, is_running=True))
    assert (finding.name, finding.verdict) == ("trace store", "ok")
    assert "version" in finding.found
    unreachable = trace_store.model_copy(update={"traces_port": closed_port})
    assert get_verdict(stores.check_traces(unreachable, is_running=False)) == "ok"
    finding = get_only(stores.check_traces(unreachable, is_running=True))
    assert (finding.verdict, finding.remedy) == ("fail", "see `twin logs traces`")

    secrets = load_secrets(trace_store)
    langfuse_settings = {
        "langfuse_host": f"http://127.0.0.1:{trace_store.traces_port}",
        "langfuse_public_key": secrets.traces_public_key,
        "langfuse_secret_key": secrets.traces_secret_key,
    }
    langfuse_home = trace_store.model_copy(update=langfuse_settings)
    answer, configs, bucket = stores.check_traces(langfuse_home, is_running=False)
    assert {finding.name for finding in (answer, configs, bucket)} == {"Langfuse"}
    assert [finding.verdict for finding in (answer, configs, bucket)] == ["ok", "warn", "warn"]
    assert "score configs cannot be read" in configs.found  # the embedded store has none
    assert "events/otel/" in bucket.found
    for changed, remedy in (
        ({"langfuse_secret_key": "sk-wrong"}, "LANGFUSE_SECRET_KEY"),
        ({"langfuse_host": f"http://127.0.0.1:{closed_port}"}, "LANGFUSE_HOST"),
    ):
        finding = get_only(
            stores.check_traces(langfuse_home.model_copy(update=changed), is_running=False)
        )
        assert finding.verdict == "fail"
        assert remedy in finding.remedy
        assert secrets.traces_secret_key not in finding.found


def test_the_contents_of_the_outbox_are_reported(
    home: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert get_verdict(stores.check_outbox(home, is_running=True)) == "ok"
    outbox = Outbox(outbox_path(home))
    assert "empty" in get_only(stores.check_outbox(home, is_running=True)).found
    outbox.put_scores([QueuedScore("a", "t" * 32, "thumbs", 1.0)])
    assert get_verdict(stores.check_outbox(home, is_running=True)) == "ok"
    assert get_verdict(stores.check_outbox(home, is_running=False)) == "warn"
    waiting = outbox.get_next_item()
    assert waiting is not None
    outbox.record_failure(waiting, "HTTP 503: away")
    later = time.time() + 600
    monkeypatch.setattr(stores.time, "time", lambda: later)
    finding = get_only(stores.check_outbox(home, is_running=True))
    assert (finding.verdict, "HTTP 503: away" in finding.found) == ("fail", True)
    assert "finding on" not in finding.remedy  # it once named another finding, which said "ok"
    outbox.mark_refused(waiting, "HTTP 400")
    verdicts = [finding.verdict for finding in stores.check_outbox(home, is_running=True)]
    assert verdicts == ["ok", "warn"]  # the queue is empty; one item was refused permanently
    outbox.close()


# The stack and external services in its place


def respond_as_model_server(request: Request) -> Response:
    """Respond like an OpenAI-compatible server and like a tracking server's health check."""
    bodies = {"/v1/models": b'{"data": [{"id": "my-model"}]}', "/health": b"OK"}
    body = bodies.get(request.path) if request.method == "GET" else None
    is_load = request.path == "/v1/load_lora_adapter" and request.headers.get("authorization")
    return Response(body or b"", 200 if body else 405 if is_load else 404)


def test_a_vllm_server_without_its_proxy_fails(home: Settings) -> None:
    """The server answers as vLLM 0.32.0 did; behind the proxy, only its guarded routes are left."""
    write_author(home, Author("ada", "Ada"))
    folder = home.checkpoints_dir / "ada" / "c1" / "adapter"
    answers, is_behind_proxy = read_answers(), True
    models = answers["models with an adapter"]["body"]
    models["data"][1]["root"] = str(folder)

    def respond(request: Request) -> Response:
        if "authorization" in request.headers:
            is_list = request.path == "/v1/models"
            answer = answers["models" if is_list else "load route asked with GET"]
            return Response(models if is_list else answer["body"], answer["status"])
        if request.path.startswith("/v1/"):
            return Response(**refused)
        if is_behind_proxy:
            return Response(status=404)
        answer = answers.get(f"open {request.path}", answers["no such route"])
        return Response(answer["body"], answer["status"])

    answer = answers["models without a key"]
    refused: dict[str, Any] = {"content": answer["body"], "status": answer["status"]}
    with http_server(respond) as url:
        settings = home.model_copy(
            update={
                "model_server_url": f"{url}/v1", "model_server_key": "sk", "base_model": BASE
            }
        )  # fmt: skip
        [_, gone] = stack_findings.check_model_servers(settings, None)
        assert (gone.verdict, str(folder) in gone.found) == ("fail", True)
        folder.mkdir(parents=True)
        assert get_verdict(stack_findings.check_model_servers(settings, None)) == "ok"
        is_behind_proxy = False
        [_, opened] = stack_findings.check_model_servers(settings, None)
        assert opened.verdict == "fail"
        assert "use /adapters, /invocations, /tokenize, /detokenize, /generative_" in opened.found
        is_behind_proxy, refused = True, {"status": 400}
        [_, keyless] = stack_findings.check_model_servers(settings, None)
        assert "/v1/chat/completions, /v1/load_lora_adapter, without a key" in keyless.found


@pytest.mark.parametrize(
    ("options", "expected"),
    [("--max-loras 8 --max-cpu-loras=3", 3), ("--max-loras 3", 3), ("", 1)],
)
def test_too_few_adapters_in_vllms_memory_are_reported(
    home: Settings, options: str, expected: int
) -> None:
    """The process stands for vLLM, whose options only its command line tells."""
    for slug in ("ada", "bob"):
        write_author(home, Author(slug, slug.title()))
    command = [sys.executable, "-c", "import sys; sys.stdin.read()", "vllm"]
    command += ["--served-model-name", "my-model", "--enable-lora"]
    with (
        subprocess.Popen([*command, *options.split()], stdin=subprocess.PIPE) as process,
        http_server(respond_as_model_server) as url,
    ):
        settings = home.model_copy(
            update={
                "model_server_url": f"{url}/v1", "model_server_key": "sk", "base_model": "my-model"
            }
        )  # fmt: skip
        findings = list(stack_findings.check_model_servers(settings, None))
        process.communicate()
    assert findings[-1].verdict == "warn"
    assert f"keeps {expected} adapters for 2 authors" in findings[-1].found
    assert "--max-cpu-loras 4" in findings[-1].remedy


@pytest.fixture
def models_url() -> Iterator[str]:
    with http_server(respond_as_model_server) as url:
        yield url


def test_an_external_model_server_is_checked(
    home: Settings, models_url: str, closed_port: int
) -> None:
    server = {"model_server_url": f"{models_url}/v1", "model_server_key": "sk-there"}
    external = home.model_copy(update=server | {"base_model": "my-model"})
    assert get_verdict(stack_findings.check_model_servers(external, None)) == "ok"
    other_model_home = external.model_copy(update={"base_model": "another"})
    assert (
        "--served-model-name another"
        in get_only(stack_findings.check_model_servers(other_model_home, None)).remedy
    )
    keyless_home = external.model_copy(update={"model_server_key": ""})
    [served, adapters] = stack_findings.check_model_servers(keyless_home, None)
    assert (served.verdict, adapters.verdict) == ("ok", "warn")
    assert "VLLM_ALLOW_RUNTIME_LORA_UPDATING=True" in adapters.remedy
    unreachable = external.model_copy(
        update={"model_server_url": f"http://127.0.0.1:{closed_port}/v1"}
    )
    finding = get_only(
        run_check("model server", lambda: stack_findings.check_model_servers(unreachable, None))
    )
    assert (finding.verdict, "TWIN_MODEL_SERVER_URL" in finding.remedy) == ("fail", True)


def test_an_occupied_port_is_reported(home: Settings) -> None:
    ports = {f"{name}_port": free_port() for name in ("gateway", "dagster", "traces", "chat")}
    home_with_ports = home.model_copy(update=ports)
    assert get_verdict(stack_findings.check_ports(home_with_ports, None, environ={})) == "ok"
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", ports["gateway_port"]))
        listener.listen(1)
        finding = next(iter(stack_findings.check_ports(home_with_ports, None, environ={})))
        assert (finding.verdict, str(ports["gateway_port"]) in finding.found) == ("warn", True)
        configured = {"TWIN_GATEWAY_PORT": str(ports["gateway_port"])}
        assert (
            next(
                iter(stack_findings.check_ports(home_with_ports, None, environ=configured))
            ).verdict
            == "fail"
        )


def test_a_crashed_stack_is_distinguished_from_a_stack_that_never_ran(home: Settings) -> None:
    assert get_verdict(stack_findings.check_stack(home, None)) == "warn"
    (home.home / "supervisor").mkdir()
    record = {"instance": "x", "supervisor": {"pid": 2**22, "started": 1.0}, "ports": {}}
    record |= {"base_model": "", "embedder": ""}
    replace_file(home.home / "supervisor" / "stack.json", json.dumps(record))
    finding = get_only(stack_findings.check_stack(home, None))
    assert (finding.verdict, finding.remedy) == ("fail", "run `twin up` to recover it")


# Erasures


def test_an_erasure_that_has_not_ended_is_said_first(home: Settings) -> None:
    subjects = [ErasureSubject("author", "ada", "ada"), ErasureSubject("reader", "", "0" * 16)]
    with closing(State.open(home.state_address)) as state:
        numbers = [journal.open_request(state, subject, asked_by="test") for subject in subjects]
        with state.lease(f"forget {numbers[1]}"):
            first, second, *_ = run_checks(home)
        assert (first.name, first.verdict, second.verdict) == ("forgetting", "fail", "warn")
        assert "'ada' has not ended" in first.found
        assert "`twin forget --author ada`" in first.remedy
        for number in numbers:
            journal.close_request(state, number, "certificate.json")
    assert "forgetting" not in {finding.name for finding in run_checks(home)}
