"""Forget a post, an author or a reader: run the whole request, from the plan to the certificate.

Scope: the order of the steps, resuming after a crash, and the proof.
Out of scope: what a store does (one module each), who may ask, Dagster's job.

    plan → journal → remember the post → end runs → erase each store → decode each store
         → certificate → journal closed → marks deleted

Each step may be repeated, and a step recorded in the journal is still proved. To finish an
interrupted request, ask for it again. A store that still holds something after the others were
erased (an export was running, an answer arrived) is erased again.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from twin_resources.erasure import journal
from twin_resources.erasure.certificate import certificate_path, certify, write_certificate
from twin_resources.erasure.data_store import DataStore, Installation
from twin_resources.erasure.data_stores import list_stores
from twin_resources.erasure.erasure_target import ErasureSubject, ErasureTarget
from twin_resources.erasure.home_files import FOLDER
from twin_resources.erasure.journal import ErasureRequest
from twin_resources.erasure.manual_steps import ManualStep, list_manual_steps
from twin_resources.erasure.outbox_rows import OutboxRows
from twin_resources.erasure.plan import POSTS, plan_erasure
from twin_resources.erasure.state_store import StateStore
from twin_resources.erasure.text_fingerprints import TextFingerprints
from twin_resources.errors import TwinError
from twin_resources.longest_waits import MAX_WORKING_S

MAX_ROUNDS = 3  # data in flight during one round is erased in the next round


class ErasureIncompleteError(TwinError):
    """A store still holds something after all rounds; the request stays open."""


class RecordStore(DataStore, Protocol):
    """Dagster's records, which can also end active runs."""

    def end_active_runs(self, target: ErasureTarget) -> int:
        """End the runs that could write the target back."""
        ...


@dataclass(frozen=True)
class CompletedErasure:
    """A completed request.

    Attributes:
        places: store name → how much was erased there.
        certificate: the path of the certificate.
        tainted: checkpoints that are no longer served.
    """

    number: int
    kind: str
    places: dict[str, int]
    tainted: tuple[str, ...]
    elsewhere: tuple[ManualStep, ...]
    certificate: Path


def run_erasure(instance: Installation, number: int, *, dagster: RecordStore) -> CompletedErasure:
    """Carry out or finish a request from the journal (`journal.open_request`).

    Args:
        dagster: Dagster's records (`dagster_records.py`).

    Raises:
        TwinError: the request does not exist, a store cannot be reached, a run does not end, or
            `ErasureIncompleteError`. The request stays open; asking again continues it.
    """
    with instance.state.lease(f"forget {number}", wait_s=MAX_WORKING_S):
        request = journal.find_request(instance.state, number)
        if request.subject is None:
            _delete_fingerprints(instance, number)
            return _read_completed(instance, request)
        target = _load_or_make_plan(instance, request, request.subject)
        _remember_post(instance, target)
        dagster.end_active_runs(target)
        stores = list_stores(instance, dagster=dagster, request=number)
        remaining = _erase_and_prove(instance, number, stores, target)
        return _close_request(instance, request, target, stores, remaining)


def preview(
    instance: Installation, subject: ErasureSubject, *, dagster: RecordStore
) -> dict[str, list[str]]:
    """Return where a subject is now (store → locations), without writing anything."""
    target = plan_erasure(instance, subject)
    return {
        store.name: store.find_remaining(target) for store in list_stores(instance, dagster=dagster)
    }


def _load_or_make_plan(
    instance: Installation, request: ErasureRequest, subject: ErasureSubject
) -> ErasureTarget:
    """Return the journal's plan, or make one; its fingerprints are saved in a separate file."""
    path = _fingerprints_path(instance, request.number)
    if request.plan:
        return ErasureTarget.from_json(subject, request.plan, TextFingerprints.load(path))
    target = plan_erasure(instance, subject, key_hash=request.key_hash)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    target.fingerprints.save(path)  # first, because a plan without fingerprints could prove nothing
    journal.write_plan(instance.state, request.number, target.to_json())
    return target


def _remember_post(instance: Installation, target: ErasureTarget) -> None:
    """Record a post's hashes, so that an import that starts now leaves it out."""
    if target.subject.kind != "post":
        return
    texts: list[str] = []
    if instance.tables.exists(POSTS, target.author):
        rows = instance.tables.read(POSTS, target.author, columns=["source_id", "content_hash"])
        texts = [text for one, text in rows.iter_rows() if target.matches_identifier(str(one))]
        texts_left = {
            text for one, text in rows.iter_rows() if not target.matches_identifier(str(one))
        }
        # Keep text that is repeated in a post that nobody asked to forget.
        texts = [text for text in texts if text not in texts_left]
    journal.remember_posts(instance.state, target.author, [target.subject.name, *target.ids], texts)


def _erase_and_prove(
    instance: Installation, number: int, stores: Sequence[DataStore], target: ErasureTarget
) -> list[str]:
    """Erase until every decoded store is clean; return what a background store still holds.

    Raises:
        ErasureIncompleteError: something remains or returns after all rounds.
    """
    remaining_by_store: dict[str, list[str]] = {store.name: [] for store in stores}
    done = journal.read_completed_steps(instance.state, number)
    for turn in range(MAX_ROUNDS):
        for store in stores:
            if turn > 0 and not remaining_by_store[store.name]:
                continue
            if turn > 0 or store.name not in done:
                erased = store.erase(target)
                journal.record_step(instance.state, number, store.name, erased)
        remaining_by_store = {store.name: store.find_remaining(target) for store in stores}
        background = {store.name for store in stores if getattr(store, "is_background", False)}
        if not any(
            places_left
            for name, places_left in remaining_by_store.items()
            if name not in background
        ):
            return [one for name in sorted(background) for one in remaining_by_store[name]]
    places_left = "; ".join(
        f"{name}: {', '.join(left[:3])}" for name, left in remaining_by_store.items() if left
    )
    raise ErasureIncompleteError(
        f"forget (request {number})",
        found=f"data that remains or has returned after {MAX_ROUNDS} rounds: {places_left}",
        next_step="stop what writes there, then run `twin forget` again: the request stays open",
    )


def _close_request(
    instance: Installation,
    request: ErasureRequest,
    target: ErasureTarget,
    stores: Sequence[DataStore],
    remaining: list[str],
) -> CompletedErasure:
    number, state = request.number, instance.state
    accepted_deletions = journal.read_requested_deletions(state, number)
    accepted_deletions.pop(journal.POSTPONED, None)
    elsewhere = list_manual_steps(
        instance,
        target,
        asked_at=request.asked_at,
        remaining=remaining,
        accepted_at=accepted_deletions.values(),
    )
    with state.read_transaction() as connection:
        closed_at = state.now(connection)
    certificate = certify(
        target,
        number=number,
        places=journal.read_completed_steps(state, number),
        proved=[place.name for place in stores],
        elsewhere=elsewhere,
        asked_at=request.asked_at,
        done_at=closed_at,
    )
    path = write_certificate(certificate_path(instance.settings.home, number), certificate)
    OutboxRows(instance).lift_tombstones(target, until=closed_at)
    journal.close_request(state, number, str(path.name))
    store = StateStore(instance)
    store.rewrite()  # until now the journal named the subject
    if remaining_locations := store.find_remaining_in_file(target):
        raise ErasureIncompleteError(
            f"close the erasure request {number}",
            found=f"the state store still contains it in {', '.join(remaining_locations)}",
            next_step="run `twin forget` again: a new request finds and removes it",
        )
    _delete_fingerprints(instance, number)
    return CompletedErasure(
        number,
        target.subject.kind,
        dict(certificate.places),
        certificate.tainted,
        tuple(elsewhere),
        path,
    )


def _read_completed(instance: Installation, request: ErasureRequest) -> CompletedErasure:
    from twin_resources.erasure.certificate import read_certificate

    StateStore(instance).rewrite()  # a crash may have prevented this after closing
    path = certificate_path(instance.settings.home, request.number)
    certificate = read_certificate(path)
    return CompletedErasure(
        request.number,
        request.kind,
        certificate["places"],
        tuple(certificate["tainted"]),
        tuple(ManualStep(**one) for one in certificate["elsewhere"]),
        path,
    )


def _fingerprints_path(instance: Installation, number: int) -> Path:
    return instance.settings.home / FOLDER / f"marks-{number}.npz"


def _delete_fingerprints(instance: Installation, number: int) -> None:
    _fingerprints_path(instance, number).unlink(missing_ok=True)
