"""Run an erasure request for a post, an author or a reader, from the plan to the certificate.

Scope: the order of the steps, resuming after a crash, and the proof.
Out of scope: individual stores (one module each), permission to ask, Dagster's job.

    plan → journal → record the post → end runs → erase each store → decode each store
         → write the certificate → close the journal → delete the fingerprints

Each step may be repeated, and the proof also covers the steps recorded in the journal. To finish an
interrupted request, repeat it. If a store still contains the target after a round, for example
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
from twin_resources.erasure.home_files import FOLDER
from twin_resources.erasure.journal import ErasureRequest
from twin_resources.erasure.manual_steps import list_manual_steps
from twin_resources.erasure.outbox_rows import OutboxRows
from twin_resources.erasure.plan import POSTS, plan_erasure
from twin_resources.erasure.state_store import StateStore
from twin_resources.erasure.text_fingerprints import TextFingerprints
from twin_resources.errors import TwinError
from twin_resources.wait_limits import MAX_WORKING_S

MAX_ROUNDS = 3  # data in flight during one round is erased in the next round


class ErasureIncompleteError(TwinError):
    """Raised if a store still contains the target after all rounds; the request stays open."""


class RecordStore(DataStore, Protocol):
    """Dagster's records, which can also end active runs."""

    def end_active_runs(self, target: ErasureTarget) -> int:
        """End the runs that could restore the target."""
        ...


def run_erasure(instance: Installation, number: int, *, dagster: RecordStore) -> Path:
    """Run or finish a request of the journal (`journal.open_request`); return its certificate.

    Args:
        dagster: Dagster's records (`dagster_records.py`).

    Raises:
        TwinError: the request does not exist, a store cannot be reached, a run does not end, or
            `ErasureIncompleteError`. The request stays open, and a new call continues it.
    """
    with instance.state.lease(f"forget {number}", wait_s=MAX_WORKING_S):
        request = journal.find_request(instance.state, number)
        if request.subject is None:
            _delete_fingerprints(instance, number)
            StateStore(instance).rewrite()  # a crash after closing may have prevented this step
            return certificate_path(instance.settings.home, number)
        target = _load_or_make_plan(instance, request, request.subject)
        _record_forgotten_post(instance, target)
        dagster.end_active_runs(target)
        stores = list_stores(instance, dagster=dagster, request=number)
        remaining_locations = _erase_and_prove(instance, number, stores, target)
        return _close_request(instance, request, target, stores, remaining_locations)


def preview_erasure(
    instance: Installation, subject: ErasureSubject, *, dagster: RecordStore
) -> dict[str, list[str]]:
    """Return a subject's current locations by store, without writing anything."""
    target = plan_erasure(instance, subject)
    return {
        store.name: store.find_remaining(target) for store in list_stores(instance, dagster=dagster)
    }


def _load_or_make_plan(
    instance: Installation, request: ErasureRequest, subject: ErasureSubject
) -> ErasureTarget:
    """Return the journal's plan, or make one; a separate file stores its fingerprints."""
    path = _fingerprints_path(instance, request.number)
    if request.plan:
        return ErasureTarget.from_json(subject, request.plan, TextFingerprints.load(path))
    target = plan_erasure(instance, subject, key_hash=request.key_hash)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    target.fingerprints.save(path)  # before the plan, because a plan needs its fingerprints
    journal.write_plan(instance.state, request.number, target.to_json())
    return target


def _record_forgotten_post(instance: Installation, target: ErasureTarget) -> None:
    """Record a post's hashes, so that imports from now on omit it."""
    if target.subject.kind != "post":
        return
    texts, remaining_texts = set[str](), set[str]()
    if instance.tables.exists(POSTS, target.author):
        rows = instance.tables.read(POSTS, target.author, columns=["source_id", "content_hash"])
        for source_id, text in rows.iter_rows():
            is_forgotten = target.matches_identifier(str(source_id))
            (texts if is_forgotten else remaining_texts).add(text)
    # Texts that remaining posts repeat are not recorded, so that imports keep those posts.
    journal.record_forgotten_posts(
        instance.state,
        target.author,
        [target.subject.name, *target.ids],
        texts - remaining_texts,
    )


def _erase_and_prove(
    instance: Installation, number: int, stores: Sequence[DataStore], target: ErasureTarget
) -> list[str]:
    """Erase until every decoded store is clean; return the remaining items of background stores.

    Raises:
        ErasureIncompleteError: data remains or has returned after all rounds.
    """
    remaining_by_store: dict[str, list[str]] = {store.name: [] for store in stores}
    background_names = [store.name for store in stores if getattr(store, "is_background", False)]
    finished_steps = journal.read_completed_steps(instance.state, number)
    for round_index in range(MAX_ROUNDS):
        for store in stores:
            if round_index > 0 and not remaining_by_store[store.name]:
                continue
            if round_index > 0 or store.name not in finished_steps:
                erased_count = store.erase(target)
                journal.record_step(instance.state, number, store.name, erased_count)
        remaining_by_store = {store.name: store.find_remaining(target) for store in stores}
        unclean_names = {name for name, locations in remaining_by_store.items() if locations}
        if unclean_names <= set(background_names):
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
    instance: Installation,
    request: ErasureRequest,
    target: ErasureTarget,
    stores: Sequence[DataStore],
    remaining_locations: list[str],
) -> Path:
    number, state = request.number, instance.state
    accepted_deletions = journal.read_requested_deletions(state, number)
    accepted_deletions.pop(journal.POSTPONED, None)
    manual_steps = list_manual_steps(
        instance,
        target,
        asked_at=request.asked_at,
        remaining_locations=remaining_locations,
        accepted_at=accepted_deletions.values(),
    )
    with state.read_transaction() as connection:
        closed_at = state.now(connection)
    path = write_certificate(
        instance.settings.home,
        target,
        number=number,
        erased_counts=journal.read_completed_steps(state, number),
        proved_stores=[data_store.name for data_store in stores],
        manual_steps=manual_steps,
        asked_at=request.asked_at,
        done_at=closed_at,
    )
    OutboxRows(instance).lift_tombstones(target, until=closed_at)
    journal.close_request(state, number, path.name)
    store = StateStore(instance)
    store.rewrite()  # the journal contained the subject until it was closed
    if remaining_locations := store.find_remaining_in_file(target):
        raise ErasureIncompleteError(
            f"close the erasure request {number}",
            found=f"the state store still contains the target in {', '.join(remaining_locations)}",
            next_step="run `twin forget` again: a new request finds and removes it",
        )
    _delete_fingerprints(instance, number)
    return path


def _fingerprints_path(instance: Installation, number: int) -> Path:
    return instance.settings.home / FOLDER / f"marks-{number}.npz"


def _delete_fingerprints(instance: Installation, number: int) -> None:
    _fingerprints_path(instance, number).unlink(missing_ok=True)
