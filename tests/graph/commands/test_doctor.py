"""`twin doctor` on real services, on ports where nobody listens, and on homes that are broken."""

from __future__ import annotations

import json
import os
import socket
import stat
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
from twin_cli.commands.doctor.examination import run_checks, run_doctor
from twin_cli.commands.doctor.findings import Diagnostic, run_check

from tests.documented import documented, shape
from tests.free_ports import free_port
from tests.graph.s3 import KEY, client_of, name_in_environment
from tests.http_server import Request, Response, http_server
from tests.postgresql_server import postgresql, postgresql_url
from tests.trace_store_process import start_trace_store
from twin_resources.access.account import SpendingAccount
from twin_resources.access.spending_limits import SpendingLimits
from twin_resources.atomic_writes import replace_file
from twin_resources.authors import Author, write_author
from twin_resources.observability.langfuse.outbox import Outbox, QueuedScore, outbox_path
from twin_resources.settings import Settings, load_secrets, load_settings
from twin_resources.storage.state.state import State

__all__ = ["postgresql", "postgresql_url"]  # fixtures


@pytest.fixture
def closed() -> int:
    """A port where nobody listens."""
    return free_port()


@pytest.fixture
def trace_store(home: Settings, tmp_path: Path) -> Iterator[Settings]:
    """The embedded trace store of this home, as a process."""
    load_secrets(home)
    process, port = start_trace_store(home.home, tmp_path / "traces.sqlite", tmp_path / "port")
    url = f"http://127.0.0.1:{port}/api/public/health"
    assert httpx.get(url, timeout=60, trust_env=False).status_code == 200
    yield home.model_copy(update={"traces_port": port})
    process.terminate()
    process.wait(20)


def one(findings: Any) -> Diagnostic:
    [found] = list(findings)
    return found


def verdict(findings: Any) -> str:
    return one(findings).verdict


# The whole


def test_a_fresh_home_has_nothing_that_fails(home: Settings) -> None:
    findings = run_checks(home)
    assert [one for one in findings if one.verdict == "fail"] == []
    names = {finding.name for finding in findings}
    assert {"packages", "GPU", "disk", "keys", "ports", "state", "tables", "outbox"} <= names
    assert all(finding.remedy for finding in findings if finding.verdict != "ok")
    assert not any(finding.remedy for finding in findings if finding.verdict == "ok")
    assert list(home.home.iterdir()) == [], "a doctor changes nothing"


def test_the_json_is_as_documented_and_a_failure_is_exit_code_one(
    home: Settings, monkeypatch: pytest.MonkeyPatch, closed: int
) -> None:
    console = make_console()
    with console.capture() as printed:
        assert run_doctor(home, as_json=True, console=console) == 0
    said = json.loads(printed.get())
    assert shape(said) == shape(documented("doctor"))
    assert said["ok"] is True
    monkeypatch.setenv("LANGFUSE_HOST", f"http://127.0.0.1:{closed}")
    monkeypatch.setenv("LANGFUSE_PUBLIC_KEY", "pk")
    with console.capture() as printed:
        assert run_doctor(load_settings(), as_json=True, console=console) == 1
    said = json.loads(printed.get())
    assert said["ok"] is False
    [failed] = [check for check in said["checks"] if check["verdict"] == "fail"]
    assert "LANGFUSE_SECRET_KEY" in failed["found"]
    assert "all three" in failed["remedy"]
    with console.capture() as printed:
        assert run_doctor(load_settings(), as_json=False, console=console) == 1
    assert "1 failed" in printed.get()


def test_a_look_that_breaks_hides_no_other() -> None:
    def broken() -> list[Diagnostic]:
        raise ZeroDivisionError("a bug")

    found = one(run_check("disk", broken))
    assert (found.name, found.verdict) == ("disk", "fail")
    assert "ZeroDivisionError" in found.found


# The machine


def test_packages_are_compared_with_what_is_declared(
    home: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert verdict(machine_findings.check_packages(home)) == "ok"
    real = metadata.version
    wrong = {"dagster": "1.10.0", "polars": None}

    def version(name: str) -> str:
        if name in wrong:
            found = wrong[name]
            if found is None:
                raise metadata.PackageNotFoundError(name)
            return found
        return real(name)

    monkeypatch.setattr(metadata, "version", version)
    found = one(machine_findings.check_packages(home))
    assert found.verdict == "fail"
    assert "dagster 1.10.0, wanted " in found.found
    assert "polars is missing" in found.found


def test_a_checkout_is_held_to_its_own_list(tmp_path: Path) -> None:
    assert any(line.startswith("packaging") for line in machine_findings.project_requirements())
    (tmp_path / "pyproject.toml").write_text(
        '[project]\nname = "llm-twin"\ndependencies = ["new-package>=1"]\n'
    )
    assert machine_findings.project_requirements(tmp_path) == ["new-package>=1"]
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "somebody-elses"\n')
    assert machine_findings.project_requirements(tmp_path) == metadata.requires("llm-twin")


def test_a_card_that_torch_cannot_use_is_said(
    home: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine_findings, "list_gpus", list)
    assert one(machine_findings.check_gpu(home)).found.startswith("none: ")
    monkeypatch.setattr(machine_findings, "list_gpus", lambda: [("NVIDIA H200", 139.0)])
    for torch, wanted in (("2.13.0+cpu", "warn"), ("2.13.0+cu129", "ok")):
        monkeypatch.setattr(metadata, "version", lambda _name, torch=torch: torch)
        assert verdict(machine_findings.check_gpu(home)) == wanted


def test_a_disk_without_room_fails_before_a_training_does(
    home: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for free, wanted in ((0.5e9, "fail"), (3e9, "warn"), (80e9, "ok")):
        usage = type("Usage", (), {"free": free})
        monkeypatch.setattr(
            machine_findings.shutil, "disk_usage", lambda _folder, usage=usage: usage
        )
        assert verdict(machine_findings.check_disk(home)) == wanted


def test_keys_that_others_can_read_and_keys_that_are_missing(home: Settings) -> None:
    load_secrets(home)
    assert verdict(machine_findings.check_keys(home)) == "ok"
    secrets = home.home / "secrets.json"
    secrets.chmod(0o644)
    found = one(machine_findings.check_keys(home))
    assert (found.verdict, found.remedy) == ("fail", f"chmod 600 {secrets}")
    secrets.chmod(stat.S_IRUSR | stat.S_IWUSR)
    judged = home.model_copy(update={"judge_model": "anthropic/some-model"})
    first, second = machine_findings.check_keys(judged, environ={"OPENAI_API_KEY": "sk"})
    assert (first.verdict, second.verdict) == ("ok", "warn")
    assert "ANTHROPIC_API_KEY" in second.remedy
    assert verdict(machine_findings.check_keys(judged, environ={"ANTHROPIC_API_KEY": "sk"})) == "ok"


def test_a_reranker_that_is_not_there(home: Settings, tmp_path: Path) -> None:
    def told(name: str) -> Diagnostic:
        return one(machine_findings.check_reranker(home.model_copy(update={"reranker": name})))

    assert list(machine_findings.check_reranker(home)) == []
    missing = told(str(tmp_path / "none"))
    assert missing.verdict == "fail"
    assert "no such folder" in missing.found
    assert "TWIN_RERANKER" in missing.remedy
    assert "config.json" in told(str(tmp_path)).found
    (tmp_path / "config.json").write_text("{}")
    assert told(str(tmp_path)).verdict == "ok"
    assert told("owner/cross-encoder").verdict == "ok", "an id of the hub"


def test_a_judge_that_cannot_be_paid(home: Settings) -> None:
    assert list(machine_findings.check_judge(home)) == []
    priced = home.model_copy(update={"judge_model": "openai/gpt-4o-mini"})
    found = one(machine_findings.check_judge(priced, environ={}))
    assert (found.verdict, "TWIN_JUDGE_BUDGET_PER_MONTH" in found.remedy) == ("warn", True)
    unknown = home.model_copy(update={"judge_model": "anthropic/some-model"})
    assert "no price" in one(machine_findings.check_judge(unknown, environ={})).found
    own = home.model_copy(update={"judge_model": "ollama/llama3"})
    limited = priced.model_copy(update={"judge_budget_per_month": 2.0})
    assert verdict(machine_findings.check_judge(own, environ={})) == "ok"
    assert one(machine_findings.check_judge(limited, environ={})).found.endswith("$2.00 a month")


def test_authors_whose_file_or_folder_is_broken(home: Settings, tmp_path: Path) -> None:
    assert verdict(machine_findings.check_authors(home)) == "warn"
    write_author(home, Author("ada", "Ada", sources=(str(tmp_path), "s3://bucket/posts")))
    assert verdict(machine_findings.check_authors(home)) == "ok"
    write_author(home, Author("bob", "Bob", sources=("/no/such/folder",)))
    found = one(machine_findings.check_authors(home))
    assert (found.verdict, "/no/such/folder (of bob)" in found.found) == ("warn", True)
    (home.authors_dir / "cleo.toml").write_text("name = [")
    assert {finding.verdict for finding in machine_findings.check_authors(home)} == {
        "fail",
        "warn",
    }


# The stores


def test_the_state_in_sqlite(home: Settings) -> None:
    State.open(home.state_address).close()
    assert "schema" in one(stores.check_state(home)).found
    broken = home.model_copy(update={"state_url": f"sqlite:///{home.home / 'broken.sqlite'}"})
    (home.home / "broken.sqlite").write_bytes(b"no database" * 500)
    assert verdict(stores.check_state(broken)) == "fail"


def test_hosts_with_keys_of_their_own_are_warned_about(home: Settings) -> None:
    shared = home.model_copy(update={"store_uri": "s3://bucket/store"})
    warned = next(iter(stores.check_state(shared)))
    assert (warned.name, warned.verdict) == ("keys", "warn")
    with_secret = shared.model_copy(update={"home_secret": "s" * 40})
    assert "keys" not in [found.name for found in stores.check_state(with_secret)]


def test_an_account_that_is_ahead_of_the_clock(home: Settings) -> None:
    with closing(State.open(home.state_address)) as state:
        for days, verdicts in ((0, ["ok"]), (3, ["ok", "warn"])):
            ahead = time.time() + days * 86_400
            account = SpendingAccount(state, SpendingLimits(), clock=lambda ahead=ahead: ahead)
            account.reserve(purpose="answer", author="ada", key="", max_usd=0.1)
            found = list(stores.check_state(home))
            assert [one.verdict for one in found] == verdicts
    assert "correct the clock" in found[-1].remedy


def test_the_state_in_postgresql(home: Settings, postgresql_url: str, closed: int) -> None:
    url = postgresql_url.replace("postgresql://", "postgresql+psycopg2://", 1)
    there = home.model_copy(update={"state_url": url})
    empty = one(stores.check_state(there))
    assert (empty.name, empty.verdict) == ("PostgreSQL", "ok")
    assert "made at the first start" in empty.found
    State.open(url).close()
    assert "schema" in one(stores.check_state(there)).found
    wrong = {
        "no such database": url.rsplit("/", 1)[0] + "/no_such_database",
        "nobody listens": f"postgresql+psycopg2://twin:secret@127.0.0.1:{closed}/twin",
        "another kind": "mysql+nothing://a@b/c",
        "no address": "postgres or so",
    }
    for address in wrong.values():
        found = one(stores.check_state(home.model_copy(update={"state_url": address})))
        assert found.verdict == "fail"
        assert "TWIN_STATE_URL" in found.remedy
        assert "secret" not in found.found


def test_tables_on_s3(
    home: Settings, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch, closed: int
) -> None:
    name_in_environment(monkeypatch, s3_endpoint)
    client = client_of(s3_endpoint)
    client.create_bucket(Bucket="doctor")
    there = home.model_copy(update={"tables_uri": "s3://doctor/tables"})
    found = one(stores.check_tables(there))
    assert (found.name, found.verdict) == ("S3", "ok")
    assert "s3://doctor/tables is empty" in found.found
    client.put_object(Bucket="doctor", Key="tables/a", Body=b"x")
    found = one(stores.check_tables(there))
    assert ("has objects" in found.found, "written, read and deleted" in found.found) == (True,) * 2
    assert [item["Key"] for item in client.list_objects_v2(Bucket="doctor")["Contents"]] == [
        "tables/a"
    ]

    monkeypatch.delenv("AWS_ALLOW_HTTP")
    refused = one(stores.check_tables(there))
    assert (refused.verdict, refused.remedy) == ("fail", "export AWS_ALLOW_HTTP=true")
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", os.environ["AWS_ENDPOINT"])
    monkeypatch.delenv("AWS_ENDPOINT")
    assert verdict(stores.check_tables(there)) == "ok"  # Lance reads that name as well

    def looked_at(uri: str) -> Diagnostic:
        named = home.model_copy(update={"tables_uri": uri})
        return one(run_check("tables", lambda: stores.check_tables(named)))

    assert "NoSuchBucket" in looked_at("s3://no-such-bucket/tables").found
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{closed}")
    began = time.monotonic()
    away = looked_at("s3://doctor/tables")
    assert (away.verdict, "AWS_ENDPOINT" in away.remedy) == ("fail", True)
    assert time.monotonic() - began < 60  # and not through minutes of retries
    assert KEY not in away.found.split()


def test_the_trace_store_and_a_langfuse(
    trace_store: Settings, closed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = one(stores.check_traces(trace_store, is_running=True))
    assert (found.name, found.verdict) == ("trace store", "ok")
    assert "version" in found.found
    away = trace_store.model_copy(update={"traces_port": closed})
    assert verdict(stores.check_traces(away, is_running=False)) == "ok"
    gone = one(stores.check_traces(away, is_running=True))
    assert (gone.verdict, gone.remedy) == ("fail", "`twin logs traces`")

    secrets = load_secrets(trace_store)
    named = {
        "langfuse_host": f"http://127.0.0.1:{trace_store.traces_port}",
        "langfuse_public_key": secrets.traces_public_key,
        "langfuse_secret_key": secrets.traces_secret_key,
    }
    real = trace_store.model_copy(update=named)
    assert one(stores.check_traces(real, is_running=False)).name == "Langfuse"
    assert verdict(stores.check_traces(real, is_running=False)) == "ok"
    for changed, remedy in (
        ({"langfuse_secret_key": "sk-wrong"}, "LANGFUSE_SECRET_KEY"),
        ({"langfuse_host": f"http://127.0.0.1:{closed}"}, "LANGFUSE_HOST"),
    ):
        wrong = one(stores.check_traces(real.model_copy(update=changed), is_running=False))
        assert wrong.verdict == "fail"
        assert remedy in wrong.remedy
        assert secrets.traces_secret_key not in wrong.found


def test_what_waits_in_the_outbox(home: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    assert verdict(stores.check_outbox(home, is_running=True)) == "ok"
    outbox = Outbox(outbox_path(home))
    assert "empty" in one(stores.check_outbox(home, is_running=True)).found
    outbox.put_scores([QueuedScore("a", "t" * 32, "thumbs", 1.0)])
    assert verdict(stores.check_outbox(home, is_running=True)) == "ok"
    assert verdict(stores.check_outbox(home, is_running=False)) == "warn"
    waiting = outbox.get_next_item()
    assert waiting is not None
    outbox.record_failure(waiting, "HTTP 503: away")
    later = time.time() + 600
    monkeypatch.setattr(stores.time, "time", lambda: later)
    found = one(stores.check_outbox(home, is_running=True))
    assert (found.verdict, "HTTP 503: away" in found.found) == ("fail", True)
    outbox.refuse(waiting, "HTTP 400")
    verdicts = [finding.verdict for finding in stores.check_outbox(home, is_running=True)]
    assert verdicts == ["ok", "warn"]  # nothing waits, and one was refused for good
    outbox.close()


# The stack and what is named in its place


def models(request: Request) -> Response:
    """An OpenAI-compatible server's list of models, and a tracking server's health."""
    known = {"/v1/models": b'{"data": [{"id": "my-model"}]}', "/health": b"OK"}
    body = known.get(request.path) if request.method == "GET" else None
    loads = request.path == "/v1/load_lora_adapter" and request.headers.get("authorization")
    return Response(body or b"", 200 if body else 405 if loads else 404)


@pytest.fixture
def models_url() -> Iterator[str]:
    with http_server(models) as url:
        yield url


def test_a_model_server_of_somebody_elses(home: Settings, models_url: str, closed: int) -> None:
    named = home.model_copy(
        update={
            "model_server_url": f"{models_url}/v1",
            "model_server_key": "sk-there",
            "base_model": "my-model",
        }
    )
    assert verdict(stack_findings.check_model_servers(named, None)) == "ok"
    other = named.model_copy(update={"base_model": "another"})
    assert (
        "--served-model-name another" in one(stack_findings.check_model_servers(other, None)).remedy
    )
    fixed = named.model_copy(update={"model_server_key": ""})
    [serves, loads_none] = stack_findings.check_model_servers(fixed, None)
    assert (serves.verdict, loads_none.verdict) == ("ok", "warn")
    assert "VLLM_ALLOW_RUNTIME_LORA_UPDATING=True" in loads_none.remedy
    away = named.model_copy(update={"model_server_url": f"http://127.0.0.1:{closed}/v1"})
    found = one(run_check("model server", lambda: stack_findings.check_model_servers(away, None)))
    assert (found.verdict, "TWIN_MODEL_SERVER_URL" in found.remedy) == ("fail", True)


def test_ray_is_asked_where_it_is_named(home: Settings, models_url: str, closed: int) -> None:
    assert list(stores.check_trainer(home)) == []
    away = {"train_backend": "ray", "ray_address": f"http://127.0.0.1:{closed}"}
    ray = one(stores.check_trainer(home.model_copy(update=away)))
    assert (ray.name, ray.verdict) == ("Ray", "fail")
    other = home.model_copy(update={"train_backend": "ray", "ray_address": models_url})
    assert "HTTP 404" in one(stores.check_trainer(other)).found


def test_a_port_that_is_taken(home: Settings) -> None:
    ports = {f"{name}_port": free_port() for name in ("gateway", "dagster", "traces", "chat")}
    chosen = home.model_copy(update=ports)
    assert verdict(stack_findings.check_ports(chosen, None, environ={})) == "ok"
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", ports["gateway_port"]))
        taken.listen(1)
        gives_way = next(iter(stack_findings.check_ports(chosen, None, environ={})))
        assert (gives_way.verdict, str(ports["gateway_port"]) in gives_way.found) == ("warn", True)
        asked = {"TWIN_GATEWAY_PORT": str(ports["gateway_port"])}
        assert next(iter(stack_findings.check_ports(chosen, None, environ=asked))).verdict == "fail"


def test_a_stack_that_crashed_is_told_from_one_that_never_ran(home: Settings) -> None:
    assert verdict(stack_findings.check_stack(home, None)) == "warn"
    (home.home / "supervisor").mkdir()
    gone = {"pid": 2**22, "started": 1.0}
    record = {"instance": "x", "supervisor": gone, "ports": {}, "base_model": "", "embedder": ""}
    replace_file(home.home / "supervisor" / "stack.json", json.dumps(record))
    found = one(stack_findings.check_stack(home, None))
    assert (found.verdict, found.remedy) == ("fail", "`twin up` recovers it")
