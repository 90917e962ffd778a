"""Run `twin doctor`: one table of checks, and what each finds wrong with a home and its stack."""
# pyright: strict

from __future__ import annotations

import json
import os
import stat
import time
import tomllib
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Literal

import sqlalchemy as sa
from packaging.requirements import Requirement
from rich.text import Text

import twin_resources
from twin_cli import preflight
from twin_cli.commands.operating import run_repair
from twin_resources.access.account import newest_day, paid_requests
from twin_resources.access.configured_model import classify_cost
from twin_resources.access.spending_limits import format_dollars
from twin_resources.authors import list_author_slugs, list_readable_authors
from twin_resources.errors import TwinError, check_schema
from twin_resources.home_marker import MARKER_NAME, read_marker
from twin_resources.processes.child_environment import list_external_models, list_provider_prefixes
from twin_resources.processes.endpoints import READY, read_endpoint_state, urls
from twin_resources.processes.gpus import describe_gpus, list_usable_gpus
from twin_resources.processes.programs import NOT_AUTOSTARTED, ON_DEMAND
from twin_resources.processes.stack import Stack, find_stack, read_record
from twin_resources.processes.supervisor import read_tail
from twin_resources.processes.wording import format_count
from twin_resources.settings import Secrets, Settings, load_secrets, secrets_path
from twin_resources.storage.state.database_files import check_database, find_databases
from twin_resources.storage.state.home_state import read_home_state
from twin_resources.storage.state.known_databases import find_lost_databases
from twin_resources.storage.state.lease import is_leased
from twin_resources.storage.state.state import State
from twin_resources.storage.state.state_tables import SCHEMA_VERSION, schema_versions
from twin_resources.storage.storage_faults import (
    DamagedError,
    ReadOnlyError,
    StorageError,
    UnreachableError,
)
from twin_resources.wait_limits import MAX_IDLE_S

if TYPE_CHECKING:
    from rich.console import Console

    from twin_resources.observability.langfuse.client import LangfuseClient

TIMEOUT_S = 10.0  # per request to a service, because training may slow it down
MAX_OUTBOX_WAIT_S = 120.0  # the relay sends within a second, so two minutes indicate a fault
PRIVATE_FILES = ("secrets.json", "endpoints.json", "env", "host/servers.json")
STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}

Verdict = Literal["ok", "warn", "fail"]
# A verdict, what was found, and the next step, which is empty if all is well. `warn`: something
# works, or will work, and needs attention. `fail`: something that was requested does not work.
Result = tuple[Verdict, str, str]


@dataclass(frozen=True)
class DoctorFinding:
    """One line of `twin doctor`: the name of a check, and one of its results."""

    name: str
    verdict: Verdict
    found: str
    remedy: str = ""


@dataclass(frozen=True)
class Home:
    """What the checks look at.

    Attributes:
        settings: those of the running stack, if there is one.
        state: the opened state store; None in a new home, or if it cannot be opened.
        state_error: why the state store cannot be opened.
    """

    settings: Settings
    stack: Stack | None = None
    state: State | None = None
    state_error: TwinError | None = None


def run_doctor(
    settings: Settings,
    *,
    repairs: bool = False,
    is_confirmed: bool = False,
    as_json: bool,
    console: Console,
) -> int:
    """Run all checks and print them, or repair; return 1 if a check fails or damage remains."""
    if repairs:
        return run_repair(settings, is_confirmed=is_confirmed, as_json=as_json, console=console)
    findings = run_checks(settings)
    counts = {verdict: sum(row.verdict == verdict for row in findings) for verdict in STYLES}
    if as_json:
        rows = [asdict(finding) for finding in findings]
        document = {"home": str(settings.home), "ok": not counts["fail"], "checks": rows}
        console.print_json(data=document)  # its keys are stable (deploy/docs/json.md)
        return int(counts["fail"] > 0)
    for finding in findings:
        line = Text(f"{finding.verdict:<4} ", STYLES[finding.verdict])
        console.print(line.append(f"{finding.name:<13} {finding.found}", "default not bold"))
        if finding.remedy:
            console.print(f"{'':<18} → {finding.remedy}")
    warnings = format_count(counts["warn"], "warning")
    summary = f"{counts['fail']} failed, {warnings}, {counts['ok']} passed"
    is_well = counts["ok"] == len(findings)
    console.print(f"all {len(findings)} checks passed" if is_well else summary, style="bold")
    return int(counts["fail"] > 0)


def run_checks(settings: Settings) -> list[DoctorFinding]:
    """Return the findings of every check of `CHECKS`, in its order."""
    home = open_home(settings)
    try:
        return [finding for name in CHECKS for finding in run_check(name, home)]
    finally:
        if home.state is not None:
            home.state.close()


def open_home(settings: Settings) -> Home:
    """Find the stack and open the state store, both as they are; nothing is created."""
    stack = find_stack(settings)
    effective_settings = settings if stack is None else stack.settings
    try:
        return Home(effective_settings, stack, read_home_state(effective_settings))
    except TwinError as error:
        return Home(effective_settings, stack, state_error=error)


def run_check(name: str, home: Home) -> list[DoctorFinding]:
    """Return the findings of one check; an error becomes a finding, so that other checks still run.

    Args:
        name: a key of `CHECKS`.
    """
    findings: list[DoctorFinding] = []
    try:
        findings.extend(DoctorFinding(name, *result) for result in CHECKS[name](home))
    except TwinError as error:
        findings.append(DoctorFinding(name, "fail", error.found, error.next_step))
    except Exception as error:  # noqa: BLE001 - the user also needs the other findings
        message = f"the check itself failed: {type(error).__name__}: {error}"
        remedy = "report this with the output of `twin --version`"
        findings.append(DoctorFinding(name, "fail", message, remedy))
    return findings


def check_forgetting(home: Home) -> Iterator[Result]:
    """Name every `twin forget` that has not ended: its subject is erased in part."""
    from twin_resources.erasure import journal

    if home.state is None:
        return
    with home.state.read_transaction() as connection:
        if not sa.inspect(connection).has_table(journal.requests.name):
            return
    for request in journal.list_unfinished_requests(home.state):
        subject = request.subject
        assert subject is not None  # only a finished request has none
        asked_on = datetime.fromtimestamp(request.asked_at, UTC).date().isoformat()
        message = f"request {request.number} of {asked_on} to forget the {request.kind} "
        message += f"{subject.name!r} has not ended: some of the data is erased and some remains"
        if is_leased(home.state, f"forget {request.number}"):
            yield "warn", f"{message}; it is running", "check again in a minute"
            continue
        arguments = {
            "author": f"--author {subject.author}",
            "post": f"--author {subject.author} --post {subject.name!r}",
            "reader": f"--reader {subject.name}",
        }[request.kind]
        remedy = f"run `twin forget {arguments}`, which continues and names what remains"
        yield "fail", message, remedy


def check_system(_home: Home) -> Iterator[Result]:
    """Check the system, Python and the compiler, as the preflight does."""
    checks = (preflight.check_system, preflight.check_python, preflight.check_compiler)
    yield from _convert_preflight_findings(finding for check in checks for finding in check())


def check_disk(home: Home) -> Iterator[Result]:
    """Check free space and permissions of the home folder, as the preflight does."""
    folder = home.settings.home
    yield from _convert_preflight_findings(
        preflight.check_disk(folder, folder, project_gb=0.0, home_gb=preflight.HOME_GB)
    )


def _convert_preflight_findings(findings: Iterable[preflight.Finding]) -> Iterator[Result]:
    for finding in findings:
        verdict: Verdict = "ok" if finding["verdict"] == "ok" else "fail"
        yield verdict, finding["found"], finding["next_step"]


def check_packages(_home: Home) -> Iterator[Result]:
    """Check that the project's requirements are installed in compatible versions."""
    lines = metadata.requires("llm-twin") or []
    project = Path(twin_resources.__file__).parents[1] / "pyproject.toml"
    if project.is_file():  # a checkout, whose metadata lacks what a `git pull` added
        lines = tomllib.loads(project.read_text(encoding="utf-8"))["project"]["dependencies"]
    requirements = [Requirement(line) for line in lines]
    needed = [row for row in requirements if not row.marker or row.marker.evaluate({"extra": ""})]
    problems: list[str] = []
    for requirement in needed:
        try:
            version = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            problems.append(f"{requirement.name} is missing")
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            problems.append(f"{requirement.name} {version} instead of {requirement.specifier}")
    if problems:
        remedy = "reinstall: `bash deploy/up.sh`, or `pip install -e . -c deploy/constraints.txt`"
        yield "fail", "; ".join(problems), remedy
    else:
        version = metadata.version("llm-twin")
        yield "ok", f"llm-twin {version}, all {len(needed)} requirements are met", ""


def check_gpu(_home: Home) -> Iterator[Result]:
    """List the GPUs, and check whether the installed torch can use them."""
    gpus = list_usable_gpus()  # the error about a torch without CUDA is a finding too
    cores = preflight.count_usable_cores()
    found = describe_gpus(gpus) if gpus else f"none: {cores} cores train and answer"
    yield "ok", f"{found}, torch {metadata.version('torch')}", ""


def check_keys(home: Home) -> Iterator[Result]:
    """Check the files that contain keys, and the provider keys that configured models need."""
    settings = home.settings
    if not secrets_path(settings).exists() and read_marker(settings.home).has_secrets:
        load_secrets(settings)  # its error says what is missing
    files = [settings.home / name for name in PRIVATE_FILES if (settings.home / name).exists()]
    exposed = [str(path) for path in files if stat.S_IMODE(path.stat().st_mode) & 0o077]
    if exposed:
        yield "fail", f"other users can read {' '.join(exposed)}", f"chmod 600 {' '.join(exposed)}"
    elif files:
        names = ", ".join(path.name for path in files)
        yield "ok", f"{names}: readable by their owner only", ""
    else:
        yield "ok", "none yet; the first start creates them", ""
    for model in list_external_models(settings):
        prefixes = list_provider_prefixes([model])
        if prefixes and not any(
            value and n.startswith(prefixes) for n, value in os.environ.items()
        ):
            message = f"{model} is configured, but no environment variable begins with "
            remedy = f"export {prefixes[0].rstrip('_')}_API_KEY=… before `twin up`, if it needs one"
            yield "warn", message + " or ".join(prefixes), remedy


def check_judge(home: Home) -> Iterator[Result]:
    """Check whether the judge has a price and a budget; if none is configured, yield nothing."""
    model, budget = home.settings.judge_model, home.settings.judge_budget_per_month
    cost = classify_cost(model, os.environ) if model else ""
    if cost == "unknown":
        message = f"no price for {model} in LiteLLM's price map, so it is not used"
        remedy = "set TWIN_JUDGE_MODEL to a model with a known price, or to one on your own server"
        yield "warn", message, remedy
    elif cost == "priced" and budget is None:
        message = f"{model} costs money and has no budget, so it is not used"
        remedy = "set TWIN_JUDGE_BUDGET_PER_MONTH (US dollars), or unset TWIN_JUDGE_MODEL"
        yield "warn", message, remedy
    elif cost:
        price = "costs nothing" if cost == "free" else f"may cost {format_dollars(budget or 0)}"
        yield "ok", f"{model} {price}", ""


def check_authors(home: Home) -> Iterator[Result]:
    """Check the authors' files, and whether the folders of their posts exist."""
    folder = home.settings.authors_dir
    slugs = list_author_slugs(home.settings)
    if not slugs:
        yield "warn", f"none in {home.settings.home}", "run `twin up PATH --author NAME`"
        return
    authors, problems = list_readable_authors(home.settings)
    unknown_settings = [text for author in authors for text in author.describe_unknown_settings()]
    missing_sources = [
        f"{source} ({author.slug})"
        for author in authors
        for source in author.sources
        if "://" not in source and not Path(source).expanduser().exists()
    ]
    for problem in problems:
        yield "fail", problem, f"correct the file in {folder}"
    for sentence in unknown_settings:
        yield "warn", sentence, f"correct or delete it in {folder}"
    if missing_sources:
        remedy = (
            "restore it, or remove it from `sources` in the author's file; an import with an empty "
            "source is refused"
        )
        yield "warn", f"missing: {', '.join(missing_sources)}", remedy
    if not (problems or unknown_settings or missing_sources):
        yield "ok", ", ".join(slugs), ""


def check_stack(home: Home) -> Iterator[Result]:
    """Check whether the stack and all programs of its supervisor are running."""
    stack = home.stack
    if stack is None:
        record = read_record(home.settings)
        if record is not None and record.supervisor is not None:
            remedy = "run `twin up` to recover it"
            yield "fail", "the stack ended without `twin stop`", remedy
        elif home.settings.gateway_url:
            yield "ok", "none on this host, which uses another host's gateway", ""
        else:
            yield "warn", f"no stack is running in {home.settings.home}", "run `twin up`"
        return
    running: list[str] = []
    for name, state in stack.supervisor.states().items():
        if state.state == "RUNNING":
            running.append(name)
        elif state.state == "STARTING" and not state.stopped_at:
            yield "warn", f"{name} is starting", "check again in a few seconds"
        elif state.state == "STOPPED" and name in NOT_AUTOSTARTED:
            if name not in ON_DEMAND:
                yield "warn", f"{name} has not started", "wait for `twin up`, or run it again"
        else:
            message = f"{name}: {state.state}"
            if last_exit := stack.supervisor.last_exit(name):
                message += f" again after {last_exit}"
            if last_log_line := read_tail(state.log, lines=1):
                message += f"; last log line: {last_log_line}"
            remedy = f"see `twin logs {name}`, correct the cause, then `twin stop` and `twin up`"
            yield "fail", message, remedy
    yield "ok", f"{', '.join(running) or 'none'} running, supervisor pid {stack.identity.pid}", ""


def check_state(home: Home) -> Iterator[Result]:
    """Check the state store, SQLite or PostgreSQL."""
    if home.state_error is not None:
        raise home.state_error
    if home.state is None:
        yield "ok", "none yet; the first start creates it", ""
        return
    address = home.state.engine.url.render_as_string(hide_password=True)
    number, last_day = SCHEMA_VERSION, ""
    with home.state.read_transaction() as connection:
        tables = sa.inspect(connection).get_table_names()
        if schema_versions.name in tables:
            query = sa.select(schema_versions.c.number).where(schema_versions.c.store == "state")
            number = connection.execute(query).scalar() or 0
        if paid_requests.name in tables:
            last_day = newest_day(connection)
    check_schema(f"read the state store {address}", number, SCHEMA_VERSION)
    yield "ok", f"{address}, {format_count(len(tables), 'table')}", ""
    today = datetime.now(UTC).date().isoformat()
    if last_day > today:
        message = f"the account has entries dated {last_day}, but the system clock shows {today}"
        remedy = f"correct the clock; until {last_day}, all spending is recorded under that date"
        yield "warn", message, remedy


def check_databases(home: Home) -> Iterator[Result]:
    """Check every SQLite file of the home: traces, outbox, state, Dagster's records."""
    settings, intact_count = home.settings, 0
    lost_databases = {lost.path: lost for lost in find_lost_databases(settings)}
    for lost_database in lost_databases.values():
        remedy = (
            "restore the last backup (`twin restore FILE --home NEW`); to go on without them, "
            f"delete {settings.home / MARKER_NAME}, which is written again"
        )
        yield "fail", str(lost_database), remedy
    excluded = {settings.weights_dir, settings.work_dir, Path(settings.tables_base)}
    for path in find_databases(settings.home, excluded=excluded):
        if path in lost_databases:
            continue
        try:
            check_database(path)
            intact_count += 1
        except StorageError as fault:
            yield "fail", fault.found, fault.next_step
    yield "ok", f"{format_count(intact_count, 'SQLite file')} in the home, opened and intact", ""


def check_tables(home: Home) -> Iterator[Result]:
    """Open every Lance table, in a folder or in S3; name those that were written and are gone."""
    from twin_resources.storage.object_store import (
        endpoint_from_environment,
        is_object_address,
        probe_prefix,
    )
    from twin_resources.storage.tables.newest_versions import list_written_tables
    from twin_resources.storage.tables.store import (
        list_authors_with_tables,
        list_tables,
        open_table,
    )
    from twin_resources.storage.tables.table_integrity import check_table, find_damaged_indexes

    base, intact_count = home.settings.tables_base, 0
    if is_object_address(base):
        probe_prefix(base, timeout_s=TIMEOUT_S)
        try:
            open_table(f"{base}/doctor.lance")  # there is none, but Lance must reach the bucket too
        except UnreachableError as error:
            is_http = endpoint_from_environment(os.environ).startswith("http://")
            is_refused = is_http and not os.environ.get("AWS_ALLOW_HTTP")
            remedy = "export AWS_ALLOW_HTTP=true" if is_refused else error.next_step
            yield "fail", error.found, remedy
            return
    elif Path(base).exists() and not os.access(base, os.W_OK | os.X_OK):
        raise ReadOnlyError.for_place(base, "write the tables")
    slugs = list_author_slugs(home.settings)
    written: set[tuple[str, str]] = set()
    if home.state is not None:
        written = list_written_tables(home.state, base)
    expected = {row for row in written if row[0] in slugs or row[0].startswith("_")}
    stored = {
        (author, asset)
        for author in {*slugs, *list_authors_with_tables(base)}
        for asset in list_tables(f"{base}/{author}")
    }
    for author, asset in sorted(expected | stored):
        try:
            table = open_table(f"{base}/{author}/{asset}.lance")
            if table is None and (author, asset) in expected:
                remedy = (
                    f"`twin import --author {author}` computes what follows from the posts "
                    "again, `twin retrain` a dataset; all else comes from `twin restore`"
                )
                yield (
                    "fail",
                    f"{asset} of {author}: it was written here, and is missing now",
                    remedy,
                )
            if table is not None:
                check_table(table)
                if indexes := find_damaged_indexes(table):
                    detail = f"its indexes {', '.join(indexes)}"
                    raise DamagedError.for_place(table.uri, "open its indexes", detail)
                intact_count += 1
        except TwinError as error:
            yield "fail", f"{asset} of {author}: {error.found}", error.next_step
    yield "ok", f"{format_count(intact_count, 'table')} in {base}, opened and intact", ""


def check_traces(home: Home) -> Iterator[Result]:
    """Check that Langfuse or the embedded trace store responds and accepts the keys."""
    from twin_resources.erasure.manual_steps import RAW_UPLOADS
    from twin_resources.observability.langfuse.client import LangfuseClient, TraceStoreError
    from twin_resources.observability.langfuse.connection import find_trace_store

    settings = home.settings
    is_langfuse = settings.has_real_langfuse
    if not is_langfuse and home.stack is None:
        find_trace_store(settings, Secrets("", "", "", ""))  # refuses incomplete settings
        yield "ok", "the embedded store; it starts with the stack", ""
        return
    store = find_trace_store(settings, load_secrets(settings))
    client = LangfuseClient(
        store.host, public_key=store.public_key, secret_key=store.secret_key, timeout_s=TIMEOUT_S
    )
    with client:
        try:
            health, projects, store_name = client.health(), client.projects(), client.identify()
        except TraceStoreError as error:
            remedy = "see `twin logs traces`"
            if error.status in {401, 403}:
                remedy = "check that LANGFUSE_PUBLIC_KEY and LANGFUSE_SECRET_KEY belong together"
            elif is_langfuse:
                remedy = (
                    "check that LANGFUSE_HOST is an address without a path, reachable from here"
                )
            yield "fail", f"{store.host}: {error.found}", remedy
            return
        names = ", ".join(str(project.get("name", "")) for project in projects)
        version = health.get("version", "unknown")
        yield "ok", f"{store.host}, version {version}, project {names}", ""
        yield from _check_earlier_stores(home, store_name)
        if is_langfuse:
            yield from _propose_scores(settings, client)
            yield (
                "warn",
                f"its event bucket keeps each raw upload below {RAW_UPLOADS}, even after "
                "`twin forget` has deleted the trace",
                "give that prefix a lifecycle rule (docs: privacy.md, Forget); doctor cannot look "
                "into the bucket",
            )
    if unreadable_rows := health.get("unreadableRows"):
        count = format_count(len(unreadable_rows), "row")
        message = f"{count} cannot be read and were left out, such as {unreadable_rows[0]}"
        yield "warn", message, "see `twin logs traces`; a backup may have them (`twin restore`)"


def _propose_scores(settings: Settings, client: LangfuseClient) -> Iterator[Result]:
    """Name Langfuse's score configs that no author's file counts, with the lines to add."""
    from twin_resources.observability.langfuse.annotation import (
        propose_score_lines,
        read_score_configs,
    )
    from twin_resources.observability.langfuse.client import TraceStoreError

    try:
        configs = read_score_configs(client)
    except TraceStoreError as error:
        yield "warn", f"its score configs cannot be read: {error.found}", error.next_step
        return
    authors, _ = list_readable_authors(settings)
    counted = {score.name for author in authors for score in author.scores.scores}
    if lines := propose_score_lines([row for row in configs if row["name"] not in counted]):
        message = f"{format_count(len(configs), 'score config')}; to count a person's scores, add "
        yield "ok", f"{message}to [scores] of an author's file: {'; '.join(lines)}", ""


def _check_earlier_stores(home: Home, store_name: str) -> Iterator[Result]:
    """Say that the ledger has read other trace stores, or will read another one."""
    from twin_resources.quality.ledger.known_stores import describe_stores, read_known_stores
    from twin_resources.quality.ledger.ledger_tables import scores

    if home.state is None:
        return
    with home.state.read_transaction() as connection:
        if not sa.inspect(connection).has_table(scores.name):
            return
        stores, lines = read_known_stores(connection), describe_stores(connection)
    if stores and stores[-1].name != store_name:
        message = f"the ledger has read {stores[-1].name} until now; it will read {store_name} "
        remedy = "set the LANGFUSE_ variables as before if the change was not meant"
        yield "warn", f"{message}from its beginning and keep what it knows", remedy
    elif lines:
        yield "ok", "; ".join(lines), ""


def check_outbox(home: Home) -> Iterator[Result]:
    """Check the items that wait for the trace store and those that it rejected."""
    from twin_resources.observability.langfuse.outbox import Outbox, outbox_path

    path = outbox_path(home.settings)
    if not path.exists():
        yield "ok", "nothing has been sent yet", ""
        return
    with closing(Outbox(path)) as outbox:
        counts = outbox.counts()
    problem_suffix = f" ({counts.problem})" if counts.problem else ""
    waiting = f"{counts.scores:,} scores and {counts.traces:,} traces are waiting{problem_suffix}"
    waited_s = 0.0 if counts.oldest_at is None else time.time() - counts.oldest_at
    if not (counts.scores or counts.traces):
        sent = f"{counts.sent_scores:,} scores and {counts.sent_traces:,} traces sent"
        yield "ok", f"empty; {sent}", ""
    elif home.stack is None:
        yield "warn", waiting, "run `twin up`; they are sent while the stack runs"
    elif waited_s > MAX_OUTBOX_WAIT_S:
        remedy = (
            "the relay repeats what failed until the trace store takes it, so nothing is lost; "
            "`twin logs relay` has the answers that it got"
            if counts.problem
            else "the relay has sent nothing and reported nothing: see `twin logs relay`, then "
            "`twin stop` and `twin up`"
        )
        yield "fail", f"{waiting}, the oldest for {waited_s:,.0f} s", remedy
    else:
        yield "ok", f"{waiting} and being sent", ""
    if counts.dropped_traces:
        message = f"{counts.dropped_traces:,} of the oldest traces were dropped from a full outbox"
        yield "warn", message, "find out why the trace store was unavailable for so long"
    if counts.refused:
        message = f"the trace store rejected {format_count(counts.refused, 'item')}, kept here"
        yield "warn", message, "see `twin logs relay` for the error"


def check_model_servers(home: Home) -> Iterator[Result]:
    """Check the stack's model servers, or the server in TWIN_MODEL_SERVER_URL."""
    if home.settings.model_server_url:
        yield from _check_named_server(home.settings)
        return
    if home.stack is None:
        return
    try:
        document = json.loads(home.settings.servers_path.read_text(encoding="utf-8"))
        servers: dict[str, dict[str, Any]] = dict(document.get("servers", {}))
        problems: dict[str, str] = dict(document.get("problems", {}))
    except FileNotFoundError:
        yield "warn", "none has started yet", "see `twin logs models`"
        return
    except (ValueError, TypeError, AttributeError):
        message = f"{home.settings.servers_path} cannot be read; the fleet writes it again"
        yield "warn", message, "check again in a minute; see `twin logs models`"
        return
    for name, problem in problems.items():
        yield "fail", f"{name}: {problem}", "see `twin logs models`"
    for name, server in servers.items():
        if not server.get("ready"):
            yield "warn", f"{name} is starting", "check again in a minute"
        elif _ask(f"{str(server['url']).removesuffix('/v1')}/health")[0] == 200:
            yield "ok", name, ""
        else:
            message = f"{name} does not answer at {server['url']}"
            yield "fail", message, "see `twin logs models`"


def _check_named_server(settings: Settings) -> Iterator[Result]:
    from twin_resources.models.serving.adapter_routes import (
        ENABLE_ADAPTERS_STEP,
        can_load_adapters,
        find_open_routes,
        list_models,
    )

    url, base_model = settings.model_server_url.rstrip("/"), settings.base_model
    offered = list_models(url, settings.model_server_key, timeout_s=TIMEOUT_S)
    names = ", ".join(sorted(offered)) or "no model"
    if base_model in offered:
        yield "ok", f"{url} offers {names}", ""
    else:
        remedy = f"serve the model under this name (vLLM: --served-model-name {base_model})"
        yield "fail", f"{url} offers {names}, not {base_model}", remedy
    if not can_load_adapters(url, settings.model_server_key, timeout_s=TIMEOUT_S):
        remedy = f"{ENABLE_ADAPTERS_STEP}, or load each version there manually"
        yield "warn", f"{url} does not load adapters on request", remedy
    if open_routes := find_open_routes(url, timeout_s=TIMEOUT_S):
        remedy = "give it a key and put the proxy of deploy/docs/deployment.md before it"
        message = f"{url} lets anybody use {', '.join(open_routes)}, without a key"
        yield "fail", message, remedy
    # A base model and its operator's adapters lie elsewhere.
    server_home = PurePosixPath(settings.model_server_home or str(settings.home))
    own_folders = server_home / settings.checkpoints_dir.name
    missing_folders = [
        f"{model.name} ({model.root})"
        for model in offered.values()
        if PurePosixPath(model.root).is_relative_to(own_folders)
        and not (settings.home / PurePosixPath(model.root).relative_to(server_home)).is_dir()
    ]
    if missing_folders:
        message = f"{url} holds adapters whose folders are gone: {', '.join(missing_folders)}"
        remedy = "restart that server, because reading such a folder again ends it"
        yield "fail", message, remedy


def check_gateway(home: Home) -> Iterator[Result]:
    """Check that the stack's or the deployment's gateway responds and accepts this home's key."""
    settings = home.settings
    is_ours = home.stack is not None
    address = urls(settings)["gateway"] if is_ours else settings.gateway_url.rstrip("/")
    if not address:
        return
    state = "" if is_ours else read_endpoint_state(settings)
    if state not in {"", READY}:
        remedy = "check TWIN_GATEWAY_URL, and run `twin doctor` on the gateway's host"
        yield "fail", f"{address}: {state}", remedy
        return
    status, answer = _ask(f"{address}/models", key=load_secrets(settings).gateway_key)
    if status == 200:
        models = json.loads(answer)["data"]
        yield "ok", f"{address}, {len(models)} models for this key", ""
    elif status == 401:
        remedy = "its keys differ from secrets.json; start it again with this home"
        yield "fail", f"{address} refuses this home's key", remedy
    else:
        message = f"{address}: {f'HTTP {status}' if status else answer}"
        yield "fail", message, "see `twin logs gateway`; a gateway takes 15 s to start"


def check_dagster(home: Home) -> Iterator[Result]:
    """Check Dagster's webserver and code location; without a stack, yield nothing."""
    from twin_resources.processes.dagster_http import DagsterHTTP

    if home.stack is None:
        return
    address = urls(home.settings)["dagster"]
    with closing(DagsterHTTP.for_home(home.settings, timeout_s=MAX_IDLE_S)) as dagster:
        if not dagster.is_up(within_s=MAX_IDLE_S):
            yield "fail", f"{address} does not answer", "see `twin logs dagster-webserver`"
        elif not dagster.is_location_loaded():
            yield "warn", "Dagster's code is still loading", "check again in a few seconds"
        else:
            yield "ok", f"{address}, code loaded", ""


def _ask(url: str, *, key: str = "") -> tuple[int, str]:
    """Return the status and body of a GET request, or 0 and the error's name without a response."""
    import httpx

    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        response = httpx.get(url, headers=headers, timeout=MAX_IDLE_S, trust_env=False)
    except httpx.TransportError as error:
        return 0, type(error).__name__
    return response.status_code, response.text


# Ordered so that a cause precedes what follows from it; a forgetting that could not end is first.
CHECKS: dict[str, Callable[[Home], Iterable[Result]]] = {
    "forgetting": check_forgetting,
    "system": check_system,
    "packages": check_packages,
    "GPU": check_gpu,
    "disk": check_disk,
    "keys": check_keys,
    "judge": check_judge,
    "authors": check_authors,
    "stack": check_stack,
    "state": check_state,
    "databases": check_databases,
    "tables": check_tables,
    "traces": check_traces,
    "outbox": check_outbox,
    "model server": check_model_servers,
    "gateway": check_gateway,
    "Dagster": check_dagster,
}
