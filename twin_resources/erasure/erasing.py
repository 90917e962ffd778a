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
from twin_resources.erasure.data_stores import places_of
from twin_resources.erasure.erasure_target import ErasureSubject, ErasureTarget
from twin_resources.erasure.home_files import FOLDER
from twin_resources.erasure.journal import ErasureRequest
from twin_resources.erasure.manual_steps import ManualStep, lies_elsewhere
from twin_resources.erasure.outbox_rows import WaitingInOutbox
from twin_resources.erasure.plan import POSTS, plan
from twin_resources.erasure.state_store import StateStore
from twin_resources.erasure.text_fingerprints import TextFingerprints
from twin_resources.errors import TwinError
from twin_resources.longest_waits import MAX_WORKING_S

ROUNDS = 3  # data in flight during one round is erased in the next round


class ErasureIncomplete(TwinError):
    """A store still holds something after all rounds; the request stays open."""


class RecordStore(DataStore, Protocol):
    """Dagster's records, which can also end active runs."""

    def end_runs(self, gone: ErasureTarget) -> int:
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


def forget(instance: Installation, number: int, *, dagster: RecordStore) -> CompletedErasure:
    """Carry out or finish a request from the journal (`journal.ask`).

    Args:
        dagster: Dagster's records (`dagster_records.py`).

    Raises:
        TwinError: the request does not exist, a store cannot be reached, a run does not end, or
            `ErasureIncomplete`. The request stays open; asking again continues it.
    """
    with instance.state.lease(f"forget {number}", wait_s=MAX_WORKING_S):
        request = journal.find(instance.state, number)
        if request.subject is None:
            _drop_marks(instance, number)
            return _done_before(instance, request)
        gone = _planned(instance, request, request.subject)
        _remember(instance, gone)
        dagster.end_runs(gone)
        places = places_of(instance, dagster=dagster, request=number)
        still_there = _erase_and_prove(instance, number, places, gone)
        return _close(instance, request, gone, places, still_there)


def preview(
    instance: Installation, subject: ErasureSubject, *, dagster: RecordStore
) -> dict[str, list[str]]:
    """Return where a subject is now (store → locations), without writing anything."""
    gone = plan(instance, subject)
    return {place.name: place.holds(gone) for place in places_of(instance, dagster=dagster)}


def _planned(
    instance: Installation, request: ErasureRequest, subject: ErasureSubject
) -> ErasureTarget:
    """Return the journal's plan, or make one; its many fingerprints go into a file of their own."""
    path = _marks_path(instance, request.number)
    if request.plan:
        return ErasureTarget.from_json(subject, request.plan, TextFingerprints.load(path))
    gone = plan(instance, subject, key_hash=request.key_hash)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    gone.marks.save(path)  # first, because a plan without fingerprints could prove nothing
    journal.write_plan(instance.state, request.number, gone.to_json())
    return gone


def _remember(instance: Installation, gone: ErasureTarget) -> None:
    """Record a post's hashes, so that an import that starts now leaves it out."""
    if gone.subject.kind != "post":
        return
    texts: list[str] = []
    if instance.tables.exists(POSTS, gone.author):
        rows = instance.tables.read(POSTS, gone.author, columns=["source_id", "content_hash"])
        texts = [text for one, text in rows.iter_rows() if gone.is_value(str(one))]
        texts_left = {text for one, text in rows.iter_rows() if not gone.is_value(str(one))}
        # keep text that another post, which nobody asked to forget, repeats
        texts = [text for text in texts if text not in texts_left]
    journal.remember(instance.state, gone.author, [gone.subject.name, *gone.ids], texts)


def _erase_and_prove(
    instance: Installation, number: int, places: Sequence[DataStore], gone: ErasureTarget
) -> list[str]:
    """Erase until every decoded store is clean; return what a background store still holds.

    Raises:
        ErasureIncomplete: something remains or returns after all rounds.
    """
    left: dict[str, list[str]] = {place.name: [] for place in places}
    done = journal.steps_done(instance.state, number)
    for turn in range(ROUNDS):
        for place in places:
            if turn > 0 and not left[place.name]:
                continue
            if turn > 0 or place.name not in done:
                erased = place.erase(gone)
                journal.step_done(instance.state, number, place.name, erased)
        left = {place.name: place.holds(gone) for place in places}
        background = {place.name for place in places if getattr(place, "is_background", False)}
        if not any(places_left for name, places_left in left.items() if name not in background):
            return [one for name in sorted(background) for one in left[name]]
    places_left = "; ".join(
        f"{name}: {', '.join(where[:3])}" for name, where in left.items() if where
    )
    raise ErasureIncomplete(
        f"forget (request {number})",
        found=f"after {ROUNDS} rounds it is still there, or there again: {places_left}",
        next_step="see what writes there, then forget again: the request is open",
    )


def _close(
    instance: Installation,
    request: ErasureRequest,
    gone: ErasureTarget,
    places: Sequence[DataStore],
    still_there: list[str],
) -> CompletedErasure:
    number, state = request.number, instance.state
    taken = journal.deletions_of(state, number)
    taken.pop(journal.PUT_OFF, None)
    elsewhere = lies_elsewhere(
        instance, gone, asked_at=request.asked_at, still_there=still_there, taken=taken.values()
    )
    with state.reading() as connection:
        at = state.now(connection)
    certificate = certify(
        gone,
        number=number,
        places=journal.steps_done(state, number),
        proved=[place.name for place in places],
        elsewhere=elsewhere,
        asked_at=request.asked_at,
        done_at=at,
    )
    path = write_certificate(certificate_path(instance.settings.home, number), certificate)
    WaitingInOutbox(instance).take_again(gone, until=at)
    journal.close(state, number, str(path.name))
    store = StateStore(instance)
    store.rewrite()  # until now the journal named the subject
    if left := store.holds_at_all(gone):
        raise ErasureIncomplete(
            f"close the request {number} to forget",
            found=f"the state store still holds it in {', '.join(left)}",
            next_step="ask again: a new request finds and removes it",
        )
    _drop_marks(instance, number)
    return CompletedErasure(
        number,
        gone.subject.kind,
        dict(certificate.places),
        certificate.tainted,
        tuple(elsewhere),
        path,
    )


def _done_before(instance: Installation, request: ErasureRequest) -> CompletedErasure:
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


def _marks_path(instance: Installation, number: int) -> Path:
    return instance.settings.home / FOLDER / f"marks-{number}.npz"


def _drop_marks(instance: Installation, number: int) -> None:
    _marks_path(instance, number).unlink(missing_ok=True)
