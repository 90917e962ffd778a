"""Check the stores for `twin doctor`: unfinished erasures, state, tables, traces and the outbox.

Scope: one short request to each store, which changes no data in the home.
Out of scope: the stores, and the wording of their errors, which are printed unchanged.
"""
# pyright: strict

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twin_cli.commands.doctor.findings import TIMEOUT_S, DoctorFinding, fail, ok, warn
from twin_resources.authors import list_author_slugs
from twin_resources.errors import TwinError
from twin_resources.home_marker import MARKER_NAME
from twin_resources.processes.wording import format_count
from twin_resources.settings import Secrets, Settings, load_secrets
from twin_resources.storage.storage_faults import (
    DamagedError,
    DiskFullError,
    ReadOnlyError,
    StorageError,
    UnreachableError,
    translate_storage_errors,
)

if TYPE_CHECKING:
    from twin_resources.observability.langfuse.client import LangfuseClient

S3_SCHEME = "s3://"
MAX_OUTBOX_WAIT_S = 120.0  # the relay sends within a second, so two minutes indicate a fault


def check_erasures(settings: Settings) -> Iterator[DoctorFinding]:
    """Name every `twin forget` that has not ended: its subject is erased in part."""
    import sqlalchemy as sa

    from twin_resources.erasure import journal
    from twin_resources.storage.state.lease import is_leased
    from twin_resources.storage.state.state import State

    url = sa.make_url(settings.state_address)
    if url.get_backend_name() == "sqlite" and not Path(url.database or "").exists():
        return
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with translate_storage_errors("read the erasure journal", settings.home):
        if not sa.inspect(engine).has_table(journal.requests.name):
            return
        state = State(engine)
        unfinished_requests = journal.list_unfinished_requests(state)
    for request in unfinished_requests:
        subject = request.subject
        assert subject is not None  # only a finished request has none
        asked_on = datetime.fromtimestamp(request.asked_at, UTC).date().isoformat()
        message = f"request {request.number} of {asked_on} to forget the {request.kind} "
        message += f"{subject.name!r} has not ended: some of the data is erased and some remains"
        if is_leased(state, f"forget {request.number}"):
            yield warn("forgetting", f"{message}; it is running", "check again in a minute")
            continue
        arguments = {
            "author": f"--author {subject.author}",
            "post": f"--author {subject.author} --post {subject.name!r}",
            "reader": f"--reader {subject.name}",
        }[request.kind]
        remedy = f"run `twin forget {arguments}`, which continues and names what remains"
        yield fail("forgetting", message, remedy)


def check_state(settings: Settings) -> Iterator[DoctorFinding]:
    """Check the state store, SQLite or PostgreSQL."""
    import sqlalchemy as sa
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError

    from twin_resources.access.account_rows import newest_day, spending
    from twin_resources.storage.state.home_state import check_home_state
    from twin_resources.storage.state.state import State
    from twin_resources.storage.state.state_tables import SCHEMA_VERSION, schema_versions

    remedy = "set TWIN_STATE_URL to postgresql+psycopg2://user:password@host/database, or unset it"
    try:
        url = sa.make_url(settings.state_address)
        backend = url.get_backend_name()
        name = "PostgreSQL" if backend == "postgresql" else "state"
        display_url = url.render_as_string(hide_password=True)
        if backend == "sqlite" and not Path(url.database or "").exists():
            check_home_state(settings, None)
            yield ok(name, f"no database yet; the first start creates {url.database}")
            return
        timeout_options = (
            {"connect_timeout": int(TIMEOUT_S)} if backend == "postgresql" else {"timeout": 3}
        )
        engine = sa.create_engine(url, connect_args=timeout_options, poolclass=sa.NullPool)
    except (ArgumentError, NoSuchModuleError) as error:
        yield fail("state", " ".join(str(error).split()), remedy)
        return
    except ModuleNotFoundError as error:
        yield fail("state", f"its driver is missing ({error})", "pip install 'llm-twin[aws]'")
        return
    try:
        with (
            translate_storage_errors("open the state store", display_url),
            engine.connect() as connection,
        ):
            check_home_state(settings, State(engine))
            if not sa.inspect(connection).has_table(schema_versions.name):
                yield ok(name, f"{display_url} responds; the first start creates its tables")
                return
            query = sa.select(schema_versions.c.number).where(schema_versions.c.store == "state")
            schema = connection.execute(query).scalar() or 0
            has_spending = sa.inspect(connection).has_table(spending.name)
            last_day = newest_day(connection) if has_spending else ""
    except TwinError as error:
        yield fail(name, error.found, error.next_step)
        return
    if schema > SCHEMA_VERSION:
        message = f"{display_url}: schema version {schema}; this code reads up to {SCHEMA_VERSION}"
        yield fail(name, message, "run the newer version of llm-twin that wrote it")
    else:
        yield ok(name, f"{display_url}, schema {schema}")
    today = datetime.now(UTC).date().isoformat()
    if last_day > today:
        message = f"the account has entries dated {last_day}, but the system clock shows {today}"
        remedy = f"correct the clock; until {last_day}, all spending is recorded under that date"
        yield warn("account", message, remedy)


def check_tables(settings: Settings) -> Iterator[DoctorFinding]:
    """Check the storage of the Lance tables, a folder or S3."""
    folder = Path(settings.tables_base)
    if settings.tables_base.startswith(S3_SCHEME):
        yield from _check_bucket(settings)
    elif not folder.exists() and not _list_written_tables(settings):
        yield ok("tables", f"none yet in {folder}")
    elif not folder.exists() or os.access(folder, os.W_OK | os.X_OK):
        intact_count, damaged_tables = _open_all_tables(settings)
        yield from damaged_tables
        yield ok("tables", f"{format_count(intact_count, 'table')} in {folder}, opened and intact")
    else:
        fault = ReadOnlyError.for_place(folder, "write the tables")
        yield fail("tables", fault.found, fault.next_step)


def _check_bucket(settings: Settings) -> Iterator[DoctorFinding]:
    """List the bucket with boto3, and write and read a table with Lance's client."""
    from twin_resources.storage.object_store import endpoint_from_environment, probe_prefix

    listing = probe_prefix(settings.tables_base, timeout_s=TIMEOUT_S)
    endpoint = endpoint_from_environment(os.environ)
    endpoint_suffix = f" at {endpoint}" if endpoint else ""
    try:
        _write_probe_table(settings.tables_base)
    except TwinError as error:
        refuses_http = endpoint.startswith("http://") and not os.environ.get("AWS_ALLOW_HTTP")
        remedy = "export AWS_ALLOW_HTTP=true" if refuses_http else error.next_step
        yield fail("S3", f"{listing}{endpoint_suffix}; {error.found}", remedy)
        return
    intact_count, damaged_tables = _open_all_tables(settings)
    yield from damaged_tables
    tables_text = f"{format_count(intact_count, 'table')} opened and intact"
    yield ok(
        "S3",
        f"{listing}{endpoint_suffix}, a test table was written, read and deleted, {tables_text}",
    )


def _write_probe_table(base: str) -> None:
    """Write a one-row table to the bucket, read it, and delete it with all its versions.

    Raises:
        TwinError: one of these steps failed; the error names the cause.
    """
    from twin_resources.erasure.object_versions import open_storage

    lance: Any = import_module("lance")
    arrow: Any = import_module("pyarrow")
    name = f"_doctor-{secrets.token_hex(8)}"
    uri, row = f"{base}/{name}/row.lance", arrow.table({"number": [1]})
    # Retries do not fix a wrong address.
    options = {"client_max_retries": "0", "connect_timeout": f"{TIMEOUT_S:.0f}s"}
    action = "write, read and delete a small table"
    try:
        with translate_storage_errors(action, uri, default=UnreachableError):
            lance.write_dataset(row, uri, storage_options=options)
            read_row = lance.dataset(uri, storage_options=options).to_table()
    finally:
        with translate_storage_errors(action, uri, default=UnreachableError):
            open_storage(base).remove(f"{name}/")
    if read_row != row:
        raise TwinError(
            action,
            found=f"{read_row.to_pylist()} in {uri} after writing {row.to_pylist()}",
            next_step="use another S3 server; this one does not return the data that was written",
        )


def _open_all_tables(settings: Settings) -> tuple[int, list[DoctorFinding]]:
    """Return the number of intact tables, and a finding for each damaged table."""
    from twin_resources.storage.tables.store import (
        list_authors_with_tables,
        list_tables,
        open_table,
    )
    from twin_resources.storage.tables.table_integrity import check_table, find_damaged_indexes

    base, intact_count = settings.tables_base, 0
    damaged_tables: list[DoctorFinding] = []
    slugs = set(list_author_slugs(settings))
    written_tables = {
        (author, asset)
        for author, asset in _list_written_tables(settings)
        if author in slugs or author.startswith("_")
    }
    stored_tables = {
        (author, asset)
        for author in sorted({*slugs, *list_authors_with_tables(base)})
        for asset in list_tables(f"{base}/{author}")
    }
    for author, asset in sorted(written_tables | stored_tables):
        try:
            table = open_table(f"{base}/{author}/{asset}.lance")
            if table is None and (author, asset) in written_tables:
                remedy = (
                    f"`twin import --author {author}` computes what follows from the posts "
                    "again, `twin retrain` a dataset; all else comes from `twin restore`"
                )
                message = f"{asset} of {author}: it was written here, and is missing now"
                damaged_tables.append(fail("tables", message, remedy))
            if table is not None:
                check_table(table)
                if indexes := find_damaged_indexes(table):
                    detail = f"its indexes {', '.join(indexes)}"
                    raise DamagedError.for_place(table.uri, "open its indexes", detail)
                intact_count += 1
        except TwinError as error:
            damaged_tables.append(
                fail("tables", f"{asset} of {author}: {error.found}", error.next_step)
            )
    return intact_count, damaged_tables


def _list_written_tables(settings: Settings) -> set[tuple[str, str]]:
    """Return the tables in the state store's memory; `check_state` says if it cannot be read."""
    import sqlalchemy as sa
    from sqlalchemy.exc import SQLAlchemyError

    from twin_resources.storage.state.state import State
    from twin_resources.storage.tables.newest_versions import list_written_tables

    try:
        url = sa.make_url(settings.state_address)
        if url.get_backend_name() == "sqlite" and not Path(url.database or "").is_file():
            return set()
        return list_written_tables(
            State(sa.create_engine(url, poolclass=sa.NullPool)), settings.tables_base
        )
    except (SQLAlchemyError, TwinError):
        return set()


def check_databases(settings: Settings) -> Iterator[DoctorFinding]:
    """Check every SQLite file of the home: traces, outbox, state, Dagster's records."""
    from twin_resources.storage.state.database_files import check_database, find_databases
    from twin_resources.storage.state.known_databases import (
        DATABASE_CONTENTS,
        LostDatabase,
        find_lost_databases,
    )

    excluded_folders = {settings.weights_dir, settings.work_dir, Path(settings.tables_base)}
    intact_count = 0
    faults_by_type: dict[type[StorageError], list[StorageError]] = {}
    paths = list(find_databases(settings.home, excluded=excluded_folders))
    lost_databases = {lost.path: lost for lost in find_lost_databases(settings)}
    names = {path: path.relative_to(settings.home).as_posix() for path in paths}
    names |= {settings.home / name: name for name in _list_expected_databases(settings)}
    for path, name in names.items():
        state = "missing" if not path.exists() else "" if path.stat().st_size else "empty"
        if state and path not in lost_databases:
            contents = DATABASE_CONTENTS.get(name, "its rows")
            lost_databases[path] = LostDatabase(path, contents, state)
    for lost_database in lost_databases.values():
        yield fail(
            "databases",
            str(lost_database),
            "restore the last backup (`twin restore FILE --home NEW`); to go on without them, "
            f"delete {settings.home / MARKER_NAME}, which is written again",
        )
    for path in paths:
        if path in lost_databases:
            continue
        try:
            check_database(path)
            intact_count += 1
        except StorageError as fault:
            faults_by_type.setdefault(type(fault), []).append(fault)
    for fault_type, (first_fault, *other_faults) in faults_by_type.items():
        if fault_type in {DiskFullError, ReadOnlyError, UnreachableError} and other_faults:
            count = format_count(len(other_faults), "other database")
            found = f"{first_fault.found}, and {count} there"  # one remedy for all
            yield fail("databases", found, first_fault.next_step)
        else:
            for fault in (first_fault, *other_faults):
                yield fail("databases", fault.found, fault.next_step)
    yield ok(
        "databases", f"{format_count(intact_count, 'SQLite file')} in the home, opened and intact"
    )


def _list_expected_databases(settings: Settings) -> list[str]:
    """Return the SQLite files of programs with a log; each creates its own when it starts."""
    names = {"relay": "host/outbox.sqlite", "traces": "traces.sqlite"}
    return [name for log, name in names.items() if (settings.logs_dir / f"{log}.log").exists()]


def check_traces(settings: Settings, *, is_running: bool) -> Iterator[DoctorFinding]:
    """Check that Langfuse or the embedded trace store responds and accepts the keys.

    Args:
        is_running: whether the stack is running; the embedded store is one of its programs.
    """
    from twin_resources.erasure.manual_steps import RAW_UPLOADS
    from twin_resources.observability.langfuse.client import LangfuseClient, TraceStoreError
    from twin_resources.observability.langfuse.connection import find_trace_store

    is_real_langfuse = settings.has_real_langfuse
    name = "Langfuse" if is_real_langfuse else "trace store"
    if not is_real_langfuse and not is_running:
        find_trace_store(settings, Secrets("", "", "", ""))  # refuses incomplete settings
        yield ok(name, "the embedded store; it starts with the stack")
        return
    store = find_trace_store(settings, load_secrets(settings))
    client = LangfuseClient(
        store.host, public_key=store.public_key, secret_key=store.secret_key, timeout_s=TIMEOUT_S
    )
    with client:
        try:
            health = client.health()
            projects = client.projects()
            store_name = client.identify()
        except TraceStoreError as error:
            if error.status in {401, 403}:
                remedy = (
                    "check that LANGFUSE_PUBLIC_KEY and LANGFUSE_SECRET_KEY "
                    "belong to the same project"
                )
            elif is_real_langfuse:
                remedy = (
                    "check that LANGFUSE_HOST is an address without a path that this machine can "
                    "reach"
                )
            else:
                remedy = "see `twin logs traces`"
            yield fail(name, f"{store.host}: {error.found}", remedy)
            return
        score_findings = list(_propose_scores(settings, client)) if is_real_langfuse else []
    project_names = ", ".join(str(project.get("name", "")) for project in projects)
    yield ok(
        name, f"{store.host}, version {health.get('version', 'unknown')}, project {project_names}"
    )
    yield from _check_earlier_stores(settings, name, store_name)
    if is_real_langfuse:
        yield from score_findings
        yield warn(
            name,
            f"its event bucket keeps each raw upload below {RAW_UPLOADS}, even after `twin forget` "
            "has deleted the trace",
            "give that prefix a lifecycle rule (docs: privacy.md, Forget); doctor cannot look "
            "into the bucket",
        )
    if unreadable_rows := health.get("unreadableRows"):
        count = format_count(len(unreadable_rows), "row")
        message = f"{count} cannot be read and were left out, such as {unreadable_rows[0]}"
        yield warn(name, message, "see `twin logs traces`; a backup may have them (`twin restore`)")


def _propose_scores(settings: Settings, client: LangfuseClient) -> Iterator[DoctorFinding]:
    """Name Langfuse's score configs that no author's file counts, with the lines to add."""
    from twin_resources.authors import list_readable_authors
    from twin_resources.observability.langfuse.annotation import (
        propose_score_lines,
        read_score_configs,
    )
    from twin_resources.observability.langfuse.client import TraceStoreError

    try:
        configs = read_score_configs(client)
    except TraceStoreError as error:
        yield warn("Langfuse", f"its score configs cannot be read: {error.found}", error.next_step)
        return
    authors, _ = list_readable_authors(settings)
    counted = {score.name for author in authors for score in author.scores.scores}
    uncounted = [config for config in configs if config["name"] not in counted]
    if lines := propose_score_lines(uncounted):
        yield ok(
            "Langfuse",
            f"{format_count(len(configs), 'score config')}; to count a person's scores, add to "
            f"[scores] of an author's file: {'; '.join(lines)}",
        )


def _check_earlier_stores(
    settings: Settings, name: str, store_name: str
) -> Iterator[DoctorFinding]:
    """Say that the ledger has read other trace stores, or will read another one."""
    import sqlalchemy as sa

    from twin_resources.quality.ledger.known_stores import describe_stores, read_known_stores
    from twin_resources.quality.ledger.ledger_tables import scores
    from twin_resources.storage.state.home_state import open_home_state

    if not settings.state_url and not (settings.home / "state.sqlite").exists():
        return
    with closing(open_home_state(settings)) as state, state.read_transaction() as connection:
        if not sa.inspect(connection).has_table(scores.name):
            return
        stores, lines = read_known_stores(connection), describe_stores(connection)
    if stores and stores[-1].name != store_name:
        yield warn(
            name,
            f"the ledger has read {stores[-1].name} until now; it will read {store_name} from its "
            "beginning and keep what it knows",
            "set the LANGFUSE_ variables as before if the change was not meant",
        )
    elif lines:
        yield ok(name, "; ".join(lines))


def check_outbox(settings: Settings, *, is_running: bool) -> Iterator[DoctorFinding]:
    """Check the items that wait for the trace store and those that it rejected."""
    from twin_resources.observability.langfuse.outbox import Outbox, outbox_path

    path = outbox_path(settings)
    if not path.exists():
        yield ok("outbox", "nothing has been sent yet")
        return
    with closing(Outbox(path)) as outbox:
        counts = outbox.counts()
    problem_suffix = f" ({counts.problem})" if counts.problem else ""
    waiting_text = (
        f"{counts.scores:,} scores and {counts.traces:,} traces are waiting{problem_suffix}"
    )
    waited_s = 0.0 if counts.oldest_at is None else max(0.0, time.time() - counts.oldest_at)
    if not (counts.scores or counts.traces):
        sent_text = f"{counts.sent_scores:,} scores and {counts.sent_traces:,} traces sent"
        yield ok("outbox", f"empty; {sent_text}")
    elif not is_running:
        yield warn("outbox", waiting_text, "run `twin up`; they are sent while the stack runs")
    elif waited_s > MAX_OUTBOX_WAIT_S:
        remedy = (
            "the relay repeats what failed until the trace store takes it, so nothing is lost; "
            "`twin logs relay` has the answers that it got"
            if counts.problem
            else "the relay has sent nothing and reported nothing: see `twin logs relay`, then "
            "`twin stop` and `twin up`"
        )
        yield fail("outbox", f"{waiting_text}, the oldest for {waited_s:,.0f} s", remedy)
    else:
        yield ok("outbox", f"{waiting_text} and being sent")
    if counts.dropped_traces:
        message = f"{counts.dropped_traces:,} of the oldest traces were dropped from a full outbox"
        yield warn("outbox", message, "find out why the trace store was unavailable for so long")
    if counts.refused:
        count = format_count(counts.refused, "item")
        message = f"the trace store rejected {count}, kept in the outbox"
        yield warn("outbox", message, "see `twin logs relay` for the error")
