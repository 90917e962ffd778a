"""Define model versions, verdicts, and the legal moves between states, as pure functions.

Scope: the dataclasses of the registry, the legal moves, `required_moves`.
Out of scope: storing versions (`registry.py`), measuring them (`twin_assets/evaluation`).
Method: architecture.md.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Literal

from twin_resources.authors.answer_forms import (
    NOT_MEASURED_REASON,
    VOICE,
    AnswerForm,
    ProseRelease,
    SentenceThreshold,
)

VersionState = Literal[
    "candidate", "shadow", "canary", "stable", "retired", "refused", "parked", "rolled_back"
]
Outcome = Literal["passed", "failed", "not_decided"]
ReleaseMode = Literal["gate", "shadow"]
Finding = Literal["promote", "roll_back", "undecided", "exhausted"]
VersionKind = Literal["tuned", "answer_model"]
"""`tuned` on the author's posts, or an `answer_model` that the author named to answer until a tuned
version beats it."""

# State → next states, one mapping per initiator: reconciliation, or a person. The former stable
# version's move (to retired or rolled_back) is never requested, because it results from its
# successor's move. The gate may release a version after its first part; if the version then fails a
# later part, it is refused although it is stable.
AUTOMATIC_MOVES: Mapping[VersionState, frozenset[VersionState]] = {
    "candidate": frozenset({"shadow", "stable", "refused", "parked", "rolled_back"}),
    "shadow": frozenset({"stable", "refused", "parked", "rolled_back"}),
    "canary": frozenset({"refused", "parked", "rolled_back"}),
    "stable": frozenset({"refused"}),
}
MANUAL_MOVES: Mapping[VersionState, frozenset[VersionState]] = {
    "retired": frozenset({"stable"}),
    "parked": frozenset({"candidate"}),
}
FORCED_MOVES: Mapping[VersionState, frozenset[VersionState]] = {
    "refused": frozenset({"canary", "stable"}),
    "parked": frozenset({"canary", "stable"}),
    "canary": frozenset({"stable"}),
}
# The gate evaluates weights that were trained here, so only a person can release an answer model.
# A person can also withdraw it without a successor.
FORCED_ANSWER_MODEL_MOVES: Mapping[VersionState, frozenset[VersionState]] = {
    "candidate": frozenset({"stable"}),
    "rolled_back": frozenset({"stable"}),
    "stable": frozenset({"retired"}),
}
MAX_RATIO_TO_INCUMBENT = 1.0
"""The maximum for the upper end of the confidence interval of the ratio of held-out perplexities,
candidate / incumbent.

It applies to a release without a trial. The error rate of the interval bounds the probability that
a worse candidate is released.
"""
# A version enters these states only with a PASSED verdict, because it then answers or competes.
STATES_NEEDING_PASS: frozenset[VersionState] = frozenset({"shadow", "canary", "stable"})
TAINTED_REASON = "it was trained on data that has since been forgotten"


@dataclass(frozen=True)
class GateClaim:
    """One check of the gate.

    Attributes:
        passed: whether the claim is met; None if undecided.
        value, threshold: the measured number and its limit, in the unit given in `detail`; None if
            the claim has no number.
        blocks: `voice` if an unmet claim blocks only answers with prose; empty if it blocks the
            whole release.
        high: the upper end of the interval of `value`, or None.
        beside: the version (`v3`) with which `value` compares the candidate; empty without a stable
            version.
        cut: the limit by which serving judges each sentence of prose again; None for no limit.
    """

    name: str
    passed: bool | None
    value: float | None
    threshold: float | None
    detail: str
    blocks: AnswerForm | Literal[""] = ""
    high: float | None = None
    beside: str = ""
    cut: SentenceThreshold | None = None


@dataclass(frozen=True)
class Verdict:
    """The gate's result for one checkpoint.

    Attributes:
        gate_version: the version of the gate's code. A new version requires a new verdict.
        created_at: ISO 8601, UTC.
    """

    author: str
    checkpoint: str
    gate_version: str
    outcome: Outcome
    claims: tuple[GateClaim, ...]
    created_at: str

    @property
    def prose_release(self) -> ProseRelease:
        """Whether a released checkpoint's prose may be shown."""
        return prose_release(self.claims)


@dataclass(frozen=True)
class ModelVersion:
    """One version of an author's model.

    Attributes:
        checkpoint: the hash of the weights, base revision and template.
        tainted: trained on text that was later forgotten. A tainted version is never served.
        forced: a person released it despite the gate.
        folder: the checkpoint folder.
        adapter_gguf: the adapter in llama.cpp's format, or None.
        base, base_gguf: the folder of the prepared base model, and its GGUF file.
        template: the hash of the prompt template used in training.
        dataset_version: the data version of the instruction dataset.
        created_at: ISO 8601, UTC.
        kind: an answer model has no folder, adapter or dataset. Its `base` is the name that the
            author gave (folder, GGUF file, hub id, or `https://…/v1#id`). Its `base_gguf` is empty
            if another server answers.
    """

    author: str
    version: int
    checkpoint: str
    state: VersionState
    tainted: bool
    forced: bool
    folder: str
    adapter_gguf: str | None
    base: str
    base_gguf: str
    template: str
    dataset_version: str
    created_at: str
    kind: VersionKind = "tuned"

    @property
    def is_answer_model(self) -> bool:
        """Whether the author named this model; only a version that wins a trial may replace it."""
        return self.kind == "answer_model"


@dataclass(frozen=True)
class Move:
    """One entry of the history; `number` orders all moves of a registry."""

    number: int
    author: str
    version: int
    from_state: VersionState
    to_state: VersionState
    actor: str
    reason: str
    forced: bool
    moved_at: str


@dataclass(frozen=True)
class TrialResult:
    """The current result of a version's test against the stable one (architecture.md).

    Attributes:
        incumbent: the stable version in that test, for which the finding is valid; None if unknown.
    """

    finding: Finding
    reason: str
    incumbent: int | None = None


@dataclass(frozen=True)
class RequiredMove:
    """A move that the rules require now.

    Attributes:
        incumbent: the stable version with which the evidence compares; None for any.
    """

    version: int
    to_state: VersionState
    reason: str
    incumbent: int | None = None


def prose_release(claims: Sequence[GateClaim]) -> ProseRelease:
    """Return whether these claims release prose.

    They release prose if at least one claim concerns prose and every such claim is met. Otherwise,
    they release only quotations.
    """
    prose_claims = [claim for claim in claims if claim.blocks == VOICE]
    unmet_claim = next((claim for claim in prose_claims if not claim.passed), None)
    if unmet_claim is not None:
        return ProseRelease(_describe_withheld_prose(unmet_claim))
    if not prose_claims:
        return ProseRelease()
    return ProseRelease("", next((claim.cut for claim in prose_claims if claim.cut), None))


def _describe_withheld_prose(unmet_claim: GateClaim) -> str:
    if unmet_claim.value is None or unmet_claim.threshold is None:
        return NOT_MEASURED_REASON
    share, limit = (f"{100 * value:.0f} %" for value in (unmet_claim.value, unmet_claim.threshold))
    if unmet_claim.passed is False:
        return f"{share} of sentences unsupported, limit {limit}"
    return f"{share} of sentences unsupported, not shown to be within the limit of {limit}"


def required_moves(
    versions: Sequence[ModelVersion],
    verdicts: Mapping[str, Verdict],
    evidence: Mapping[int, TrialResult],
    *,
    gate_version: str,
    mode: ReleaseMode,
) -> list[RequiredMove]:
    """Return the moves that the rules require for one author's versions; may be empty.

    Args:
        versions: all versions of the author.
        verdicts: checkpoint hash → its newest verdict. A verdict of another gate version is
            ignored.
        evidence: version number → the result of its shadow pairs.
        gate_version: the gate's current version.
        mode: the author's release mode; against an answer model, `gate` means `shadow`.

    In mode `gate`, only the gate compares a candidate with the stable version. A candidate that is
    not shown to be no worse (`compare_with_incumbent`) is parked. The first version, and one that
    follows a tainted version (which is not served), need only the gate's claims.

    Each move concerns a different version, so the moves can be applied in order. Call the function
    again afterwards.
    """
    passed_versions = _passed_versions(versions, verdicts, gate_version)
    incumbent = next((version for version in versions if version.state == "stable"), None)
    stable_number = None if incumbent is None else incumbent.version
    moves = [
        move
        for version in versions
        if (
            move := _move_from_evidence(
                version, evidence.get(version.version), passed_versions, stable_number
            )
        )
        is not None
    ]
    if incumbent is not None and incumbent.is_answer_model and mode == "gate":
        mode = "shadow"
    candidates = [version for version in versions if version.state == "candidate"]
    for version in candidates:
        verdict = verdicts.get(version.checkpoint)
        if reason := _refusal_reason(version, verdict, passed_versions, gate_version):
            moves.append(RequiredMove(version.version, "refused", reason))
    passed_candidates = [
        version
        for version in candidates
        if version.version in passed_versions and not version.tainted
    ]
    if not passed_candidates:
        return moves
    newest_candidate = max(passed_candidates, key=lambda version: version.version)
    moves += [
        RequiredMove(version.version, "parked", f"superseded by v{newest_candidate.version}")
        for version in passed_candidates
        if version is not newest_candidate
    ]
    move = _move_after_gate(
        newest_candidate, verdicts[newest_candidate.checkpoint], incumbent, mode=mode
    )
    if move.to_state != mode:
        return [*moves, move]
    decided_versions = {required.version for required in moves}
    return moves + _trial_moves(newest_candidate, versions, decided_versions, move)


def _move_after_gate(
    candidate: ModelVersion, verdict: Verdict, incumbent: ModelVersion | None, *, mode: ReleaseMode
) -> RequiredMove:
    """Return the move of a candidate that passed the gate: release, park, or begin a trial."""
    if incumbent is None:
        return RequiredMove(
            candidate.version, "stable", "passed the gate as the author's first model"
        )
    if mode == "gate" and incumbent.tainted:
        reason = f"passed the gate, and v{incumbent.version} is tainted"
        return RequiredMove(candidate.version, "stable", reason)
    if mode == "gate":
        is_no_worse, reason = compare_with_incumbent(verdict, incumbent)
        to_state: VersionState = "stable" if is_no_worse else "parked"
        return RequiredMove(
            candidate.version, to_state, f"passed the gate, {reason}", incumbent.version
        )
    opponent = f" against v{incumbent.version}, which answers until it is beaten"
    reason = f"passed the gate, on trial as {mode}{opponent if incumbent.is_answer_model else ''}"
    return RequiredMove(candidate.version, mode, reason)


def _passed_versions(
    versions: Sequence[ModelVersion], verdicts: Mapping[str, Verdict], gate_version: str
) -> set[int]:
    """Return the numbers of the versions that passed the gate's current version."""
    return {
        version.version
        for version in versions
        if (verdict := verdicts.get(version.checkpoint)) is not None
        and verdict.gate_version == gate_version
        and verdict.outcome == "passed"
    }


def _refusal_reason(
    version: ModelVersion, verdict: Verdict | None, passed_versions: Set[int], gate_version: str
) -> str:
    """Return why a candidate is refused; empty if it passed or waits for this gate's verdict."""
    if version.tainted:
        return TAINTED_REASON
    has_passed = version.version in passed_versions
    if has_passed or verdict is None or verdict.gate_version != gate_version:
        return ""
    return describe_refusal(verdict)


def _trial_moves(
    newest: ModelVersion,
    versions: Sequence[ModelVersion],
    decided_versions: Set[int],
    first_move: RequiredMove,
) -> list[RequiredMove]:
    """Return the move that starts a trial, or the moves that first end older trials.

    Args:
        decided_versions: the versions that already move because their trial has ended.
    """
    trial_versions = [version for version in versions if version.state == "shadow"]
    # The newest version was trained on more data than older versions on trial.
    if older_versions := [other for other in trial_versions if other.version < newest.version]:
        reason = f"undecided, and superseded by v{newest.version}"
        return [
            RequiredMove(older.version, "parked", reason)
            for older in older_versions
            if older.version not in decided_versions
        ]
    return [] if trial_versions else [first_move]


def compare_with_incumbent(verdict: Verdict, incumbent: ModelVersion) -> tuple[bool, str]:
    """Return whether a verdict shows a candidate to be no worse than the stable version, and why.

    The upper end of the interval of their ratio must be at most `MAX_RATIO_TO_INCUMBENT`.
    """
    name = f"v{incumbent.version}"
    comparisons = [claim for claim in verdict.claims if claim.beside]
    claim = next((claim for claim in comparisons if claim.beside == name), None)
    if claim is None:
        target = comparisons[0].beside if comparisons else "no stable version"
        return False, f"not shown to be no worse than {name}: its verdict compares it with {target}"
    if claim.value is None or claim.high is None:
        return False, f"not shown to be no worse than {name}: {claim.detail}"
    is_no_worse = claim.high <= MAX_RATIO_TO_INCUMBENT
    prefix = "shown" if is_no_worse else "not shown"
    return is_no_worse, (
        f"{prefix} to be no worse than {name}: perplexity ratio {claim.value:.4f}, upper end of "
        f"the interval {claim.high:.4f}; a release without a trial needs at most "
        f"{MAX_RATIO_TO_INCUMBENT:g}"
    )


def describe_refusal(verdict: Verdict) -> str:
    """Return why the gate refused: the unmet claims with their numbers."""
    unmet_claims = [
        claim for claim in verdict.claims if claim.passed is not True and not claim.blocks
    ]
    message = "; ".join(f"{claim.name}: {claim.detail}" for claim in unmet_claims)
    outcome = "the gate refused" if verdict.outcome == "failed" else "the gate could not decide"
    return f"{outcome}: {message}" if message else outcome


def _move_from_evidence(
    version: ModelVersion, result: TrialResult | None, passed_versions: set[int], stable: int | None
) -> RequiredMove | None:
    if version.state not in {"shadow", "canary"}:
        return None
    if version.tainted:
        return RequiredMove(version.version, "refused", TAINTED_REASON)
    if version.state == "canary":  # an operator's ramp; only errors take it back
        return None
    if result is None or result.finding == "undecided" or result.incumbent not in {None, stable}:
        return None
    if result.finding == "promote" and version.version not in passed_versions:
        return None  # the gate has changed; the version must pass the new one first
    next_states: Mapping[str, VersionState] = {
        "promote": "stable",
        "roll_back": "rolled_back",
        "exhausted": "parked",
    }
    return RequiredMove(
        version.version, next_states[result.finding], result.reason, incumbent=result.incumbent
    )
