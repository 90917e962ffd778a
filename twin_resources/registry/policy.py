"""Define the policy object: each author's served versions, and their shares of the requests.

Scope: its dataclasses, its file (written and read as a whole), building it from the registry.
Out of scope: choosing an arm for a request (`gateway/routing/`), the legal moves
(`registry/moves.py`). The gateway imports this module, so its own imports are light.
Method: every move rewrites the policy from registry and routing table (architecture.md).
"""
# pyright: strict

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twin_resources.atomic_writes import replace_file
from twin_resources.authors.answer_forms import ProseRelease, SentenceThreshold
from twin_resources.errors import TwinError, check_schema
from twin_resources.storage.weights.answer_model import is_remote, split_stored_name

if TYPE_CHECKING:
    from twin_resources.registry.moves import ModelVersion, VersionKind
    from twin_resources.registry.registry import Registry

SCHEMA_VERSION = 1
SHARE = "canary_share"  # entry of the routing table: a ramp's share of the requests


class PolicyMissingError(TwinError):
    """No policy has been written yet."""


@dataclass(frozen=True)
class ServedVersion:
    """The fields of a version that the gateway and the fleet need.

    Attributes:
        version: the number of the version; its server is `<author>/v<version>`.
        checkpoint, template: hashes.
        folder: the checkpoint folder.
        adapter_gguf: the path of the adapter; None if the base file contains the merged weights.
        base, base_gguf: the folder of the base model, and the file that llama.cpp loads.
        prose: whether the version's prose may be shown.
        kind: `answer_model` for a model that the author named in `base` (`ModelVersion`).
    """

    version: int
    checkpoint: str
    template: str
    folder: str
    adapter_gguf: str | None
    base: str
    base_gguf: str
    prose: ProseRelease = field(default_factory=ProseRelease)
    kind: VersionKind = "tuned"

    @property
    def is_elsewhere(self) -> bool:
        """Whether a server at the author's address answers instead of a server of this home."""
        return self.kind == "answer_model" and bool(split_stored_name(self.base)[0])

    @property
    def provider(self) -> str:
        """The server's address if prompts leave this machine, otherwise an empty string."""
        url = split_stored_name(self.base)[0] if self.is_elsewhere else ""
        return url if is_remote(url) else ""


@dataclass(frozen=True)
class AuthorPolicy:
    """One author's served versions, their weights, and the routing table.

    Attributes:
        stable: the stable version; None if the base model with retrieval answers.
        canary: the version on a ramp, or None.
        weights: arm ("stable", "canary") → share of requests. The shares sum to 1; the mapping is
            empty without a stable version.
        routing: the routing table from the asset `routing_policy` and the loop.
    """

    stable: ServedVersion | None = None
    canary: ServedVersion | None = None
    weights: Mapping[str, float] = field(default_factory=dict[str, float])
    routing: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True)
class Policy:
    """The whole policy. The base model with retrieval answers for an author without an entry.

    Attributes:
        written_at: ISO 8601, UTC.
        gate_version: the gate version of the newest verdict; empty without a verdict.
    """

    written_at: str = ""
    gate_version: str = ""
    authors: Mapping[str, AuthorPolicy] = field(default_factory=dict[str, AuthorPolicy])


def build_policy(registry: Registry, routing: Mapping[str, Mapping[str, Any]]) -> Policy:
    """Build the policy from the current registry and routing table.

    A tainted version is not served. The base model with retrieval then answers for its author.
    """
    served: dict[str, dict[str, ServedVersion]] = {
        slug: {} for slug in sorted({*registry.authors(), *routing})
    }
    versions = registry.served_versions()
    for version, prose in zip(versions, registry.prose_releases(versions), strict=True):
        served[version.author][version.state] = _build_served_version(version, prose)
    authors = {
        slug: _build_author_policy(served_by_state, routing.get(slug, {}))
        for slug, served_by_state in served.items()
    }
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    return Policy(written_at=now, gate_version=registry.gate_version(), authors=authors)


def _build_author_policy(
    served_by_state: Mapping[str, ServedVersion], routing: Mapping[str, Any]
) -> AuthorPolicy:
    stable = served_by_state.get("stable")
    canary = served_by_state.get("canary") if stable else None
    weights: dict[str, float] = {"stable": 1.0} if stable else {}
    if canary:
        share = min(max(float(routing.get(SHARE, 0.0)), 0.0), 1.0)
        weights = {"stable": 1.0 - share, "canary": share}
    return AuthorPolicy(stable, canary, weights=weights, routing=dict(routing))


def _build_served_version(version: ModelVersion, prose: ProseRelease) -> ServedVersion:
    return ServedVersion(
        version=version.version,
        checkpoint=version.checkpoint,
        template=version.template,
        folder=version.folder,
        adapter_gguf=version.adapter_gguf,
        base=version.base,
        base_gguf=version.base_gguf,
        prose=prose,
        kind=version.kind,
    )


def _parse_served_version(entry: Mapping[str, Any]) -> ServedVersion:
    prose = dict(entry["prose"])
    if prose.get("cut"):
        prose["cut"] = SentenceThreshold(**prose["cut"])
    fields = {name: entry[name] for name in entry if name != "prose"}
    return ServedVersion(**fields, prose=ProseRelease(**prose))


def write_policy(path: Path, policy: Policy) -> None:
    """Replace the file atomically, so a reader never sees a partial file."""
    document = {"schema": SCHEMA_VERSION, **asdict(policy)}
    replace_file(path, json.dumps(document, indent=1, sort_keys=True))


def read_policy(path: Path) -> Policy:
    """Read the file.

    Raises:
        PolicyMissingError: the file does not exist yet.
        TwinError: the file is not a policy, or its schema version is newer than this code's.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        check_schema(f"read the policy {path}", int(document["schema"]), SCHEMA_VERSION)
        authors = {slug: _parse_author_policy(entry) for slug, entry in document["authors"].items()}
        return Policy(document["written_at"], document["gate_version"], authors)
    except FileNotFoundError as error:
        raise PolicyMissingError(
            f"read the policy {path}",
            found="no such file",
            next_step="materialize `released_model`, or run `twin up`",
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise TwinError(
            f"read the policy {path}",
            found=f"{type(error).__name__}: {error}",
            next_step="materialize `released_model`: it writes the file again from the registry",
        ) from error


def policy_file_matches(path: Path, policy: Policy) -> bool:
    """Return whether the file contains this policy, ignoring its date; False if unreadable."""
    try:
        return replace(read_policy(path), written_at=policy.written_at) == policy
    except TwinError:
        return False


def _parse_author_policy(entry: Mapping[str, Any]) -> AuthorPolicy:
    stable, canary = (
        _parse_served_version(entry[arm]) if entry[arm] else None for arm in ("stable", "canary")
    )
    return AuthorPolicy(stable, canary, weights=entry["weights"], routing=entry["routing"])
