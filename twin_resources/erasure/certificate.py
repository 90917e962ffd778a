"""Write and read erasure certificates, which describe erased data and the proof by hashes.

Scope: the certificate's fields, file and hash. Out of scope: the proof (`erasing.py`).

    <home>/forgetting/certificate-<number>.json

`subject` and `ids` are SHA-256 hashes of the subject and of the erased identifiers, so that the
requester can check them. `sha256` covers the document without that field, with sorted keys and no
white space.
"""
# pyright: strict

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from twin_resources.atomic_writes import replace_file
from twin_resources.erasure.erasure_target import ErasureTarget, hash_parts
from twin_resources.erasure.manual_steps import ManualStep
from twin_resources.errors import TwinError

SCHEMA_VERSION = 1


def certificate_path(home: Path, number: int) -> Path:
    """Return the path of a request's certificate."""
    return home / "forgetting" / f"certificate-{number}.json"


def write_certificate(
    home: Path,
    target: ErasureTarget,
    *,
    number: int,
    erased_counts: dict[str, int],
    proved_stores: list[str],
    manual_steps: list[ManualStep],
    asked_at: float,
    done_at: float,
) -> Path:
    """Write the certificate of a proved erasure atomically; return its path.

    Its field `ids` contains the sorted hashes of all erased identifiers. `runs` contains the number
    of 8-word runs that no decoded file contains any longer, and their hash.

    Args:
        erased_counts: store name → number of erased rows, files or traces.
        proved_stores: names of the stores whose remaining content was decoded without a match.
        manual_steps: the steps that a person must take.
        asked_at, done_at: times of the request and of its end, in seconds since the epoch.
    """
    runs = target.fingerprints.runs
    document: dict[str, Any] = {
        "schema": SCHEMA_VERSION,
        "number": number,
        "kind": target.subject.kind,
        "subject": target.subject.digest,
        "ids": sorted(hash_parts(identifier) for identifier in target.ids),
        "runs": [int(runs.size), hashlib.sha256(runs.tobytes()).hexdigest()],
        "places": erased_counts,
        "proved": proved_stores,
        # Checkpoint hashes identify weights, not people; an erased author's are all deleted.
        "tainted": [] if target.is_whole_author else sorted(target.checkpoints),
        "elsewhere": [asdict(step) for step in manual_steps],
        "asked_at": _format_timestamp(asked_at),
        "done_at": _format_timestamp(done_at),
    }
    text = json.dumps(document | {"sha256": _hash_document(document)}, indent=2, sort_keys=True)
    return replace_file(certificate_path(home, number), text + "\n")


def read_certificate(path: Path) -> dict[str, Any]:
    """Read a certificate and check its hash.

    Raises:
        TwinError: the file is missing, or was changed after it was written.
    """
    try:
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TwinError(
            f"read the certificate {path}",
            found=type(error).__name__,
            next_step="look for it in the folder `forgetting` of the home",
        ) from error
    digest = document.pop("sha256", "")
    if digest != _hash_document(document):
        raise TwinError(
            f"check the certificate {path}",
            found="its content does not match its hash",
            next_step="restore the original file",
        )
    return document


def _hash_document(document: dict[str, Any]) -> str:
    text = json.dumps(document, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _format_timestamp(timestamp: float) -> str:
    return datetime.fromtimestamp(timestamp, UTC).isoformat(timespec="seconds")
