"""Run an erasure request for a post, an author or a reader, from the plan to the certificate.

Scope: the order of the steps, resuming after a crash, and the proof.
Out of scope: individual stores (one module each), permission to erase, Dagster's job.

    plan → journal → record the post → end runs → erase each store → decode each store
         → write the certificate → close the journal → delete the fingerprints

Each step may be repeated, and the proof also covers the steps recorded in the journal. Repeating
an interrupted request finishes it. If a store still contains the target after a round, for example
because an export was running or an answer arrived, it is erased again.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from twin_resources.erasure import journal
from twin_resources.erasure.certificate import certificate_path, write_certificate
from twin_resources.erasure.data_store import DataStore, Installation
from twin_resources.erasure.data_stores import list_stores
from twin_resources.erasure.erasure_target import ErasureSubject, ErasureTarget
from twin_resources.erasure.home_files import FORGETTING_FOLDER
from twin_resources.erasure.journal import ErasureRequest
from twin_resources.erasure.manual_steps import list_manual_steps
from twin_resources.erasure.outbox_rows import OutboxRows
from twin_resources.erasure.plan import POSTS, plan_erasure
from twin_resources.erasure.state_store import StateStore
from twin_resources.erasure.text_fingerprints import TextFingerprints
from twin_resources.errors import TwinError
from twin_resources.storage.state.home_state import remember_state
from twin_resources.wait_limits import MAX_WORKING_S

MAX_ROUNDS = 3  # data in flight during one round is erased in the next round


class ErasureIncompleteError(TwinError):
    """A store still contains the target after all rounds; the request stays open."""


class DagsterStore(DataStore, Protocol):
    """A store of Dagster's records that can also end active runs."""

    def end_active_runs(self, target: ErasureTarget) -> int:
        """End the runs that could restore the target."""
        ...


def run_erasure(installation: Installation, number: int, *, dagster: DagsterStore) -> Path:
    """Run or finish the journal's request with this number; return the path of its certificate.

    Args:
        dagster: Dagster's records (`dagster_records.py`).

    Raises:
        TwinError: the request does not exist, a store cannot be reached, a run does not end, or
            `ErasureIncompleteError`. The request stays open, and a new call continues it.
    """
    with installation.state.lease(f"forget {number}", wait_s=MAX_WORKING_S):
        request = journal.find_request(installation.state, number)
        remember_state(installation.settings, installation.state)
        if request.subject is None:
            _delete_fingerprints(installation, number)
            StateStore(installation).rewrite()  # a crash after closing may have prevented this step
            return certificate_path(installation.settings.home, number)
        target = _load_or_make_plan(installation, request, request.subject)
        _record_forgotten_post(installation, target)
        dagster.end_active_runs(target)
        stores = list_stores(installation, dagster=dagster, request=number)
        remaining_locations = _erase_and_prove(installation, number, stores, target)
        return _close_request(installation, request, target, stores, remaining_locations)


def preview_erasure(
    installation: Installation, subject: ErasureSubject, *, dagster: DagsterStore
) -> dict[str, list[str]]:
    """Return a subject's current locations by store, without writing anything."""
    target = plan_erasure(installation, subject)
    stores = list_stores(installation, dagster=dagster)
    return {store.name: store.find_remaining(target) for store in stores}


def _load_or_make_plan(
    installation: Installation, request: ErasureRequest, subject: ErasureSubject
) -> ErasureTarget:
    """Load the journal's plan, or make and store one; its fingerprints are in a separate file."""
    path = _fingerprints_path(installation, request.number)
    if request.plan:
        return ErasureTarget.from_json(subject, request.plan, TextFingerprints.load(path))
    target = plan_erasure(installation, subject, key_hash=request.key_hash)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    target.fingerprints.save(path)  # before the plan, because a plan needs its fingerprints
    journal.write_plan(installation.state, request.number, target.to_json())
    return target


def _record_forgotten_post(installation: Installation, target: ErasureTarget) -> None:
    """Record a post's hashes, so that imports from now on omit it."""
    if target.subject.kind != "post":
        return
    forgotten_texts, remaining_texts = set[str](), set[str]()
    if installation.tables.exists(POSTS, target.author):
        rows = installation.tables.read(POSTS, target.author, columns=["source_id", "content_hash"])
        for source_id, text in rows.iter_rows():
            is_forgotten = target.matches_identifier(str(source_id))
            (forgotten_texts if is_forgotten else remaining_texts).add(text)
    # Texts that remaining posts repeat are not recorded, so that imports keep those posts.
    journal.record_forgotten_posts(
        installation.state,
        target.author,
        [target.subject.name, *target.ids],
        forgotten_texts - remaining_texts,
    )


def _erase_and_prove(
    installation: Installation, number: int, stores: Sequence[DataStore], target: ErasureTarget
) -> list[str]:
    """Erase until no decoded store contains the target.

    Returns:
        The remaining locations in stores that delete in the background.

    Raises:
        ErasureIncompleteError: data remains or has returned after all rounds.
    """
    remaining_by_store: dict[str, list[str]] = {store.name: [] for store in stores}
    background_names = [store.name for store in stores if getattr(store, "is_background", False)]
    finished_steps = journal.read_completed_steps(installation.state, number)
    for round_index in range(MAX_ROUNDS):
        for store in stores:
            if round_index > 0 and not remaining_by_store[store.name]:
                continue
            if round_index > 0 or store.name not in finished_steps:
                erased_count = store.erase(target)
                journal.record_step(installation.state, number, store.name, erased_count)
        remaining_by_store = {store.name: store.find_remaining(target) for store in stores}
        remaining_names = {name for name, locations in remaining_by_store.items() if locations}
        if remaining_names <= set(background_names):
            return [location for name in background_names for location in remaining_by_store[name]]
    remaining_locations = "; ".join(
        f"{name}: {', '.join(locations[:3])}"
        for name, locations in remaining_by_store.items()
        if locations
    )
    raise ErasureIncompleteError(
        f"finish the erasure request {number}",
        found=f"data that remains or has returned after {MAX_ROUNDS} rounds: {remaining_locations}",
        next_step="stop the programs that write there, then run `twin forget` again: the request "
        "stays open",
    )


def _close_request(
    installation: Installation,
    request: ErasureRequest,
    target: ErasureTarget,
    stores: Sequence[DataStore],
    remaining_locations: list[str],
) -> Path:
    number, state = request.number, installation.state
    accepted_deletions = journal.read_requested_deletions(state, number)
    accepted_deletions.pop(journal.POSTPONED, None)
    manual_steps = list_manual_steps(
        installation,
        target,
        asked_at=request.asked_at,
        remaining_locations=remaining_locations,
        accepted_at=accepted_deletions.values(),
    )
    with state.read_transaction() as connection:
        closed_at = state.now(connection)
    path = write_certificate(
        installation.settings.home,
        target,
        number=number,
        erased_counts=journal.read_completed_steps(state, number),
        proved_stores=[data_store.name for data_store in stores],
        manual_steps=manual_steps,
        asked_at=request.asked_at,
        done_at=closed_at,
    )
    OutboxRows(installation).limit_tombstones(target, until=closed_at)
    journal.close_request(state, number, path.name)
    store = StateStore(installation)
    store.rewrite()  # the journal contained the subject until it was closed
    if remaining_locations := store.find_remaining_in_file(target):
        raise ErasureIncompleteError(
            f"close the erasure request {number}",
            found=f"the state store still contains the target in {', '.join(remaining_locations)}",
            next_step="run `twin forget` again: a new request finds and removes it",
        )
    _delete_fingerprints(installation, number)
    return path


def _fingerprints_path(installation: Installation, number: int) -> Path:
    return installation.settings.home / FORGETTING_FOLDER / f"marks-{number}.npz"


def _delete_fingerprints(installation: Installation, number: int) -> None:
    _fingerprints_path(installation, number).unlink(missing_ok=True)
