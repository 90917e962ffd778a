"""Model versions, verdicts, and which moves between states are legal: values and pure functions.

Scope: the dataclasses of the registry, the table of legal moves, `legal_moves`.
Out of scope: storing them (`registry.py`), measuring them (`twin_assets/evaluation`).
Method: architecture.md.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Literal

from twin_resources.authors.answer_forms import (
    NOT_MEASURED,
    VOICE,
    AnswerForm,
    ProseRelease,
    SentenceCut,
)

VersionState = Literal[
    "candidate", "shadow", "canary", "stable", "retired", "refused", "parked", "rolled_back"
]
Outcome = Literal["passed", "failed", "not_decided"]
Mode = Literal["gate", "shadow", "canary"]
Finding = Literal["promote", "roll_back", "undecided", "exhausted"]
VersionKind = Literal["tuned", "answer_model"]
"""Trained on the author's posts, or a model that the author named to answer until such a one has
beaten it."""

# From → to by whom: a reconciliation, or a person. The former stable's own move (to retired, to
# rolled_back) is never asked for: it follows from its successor's. A stable version is refused when
# the gate, which released it by its first part, has completed and did not pass it.
BY_ITSELF: Mapping[VersionState, frozenset[VersionState]] = {
    "candidate": frozenset({"shadow", "canary", "stable", "refused", "parked", "rolled_back"}),
    "shadow": frozenset({"canary", "stable", "refused", "parked", "rolled_back"}),
    "canary": frozenset({"stable", "refused", "parked", "rolled_back"}),
    "stable": frozenset({"refused"}),
}
BY_HAND: Mapping[VersionState, frozenset[VersionState]] = {
    "retired": frozenset({"stable"}),
    "parked": frozenset({"candidate"}),
}
BY_FORCE: Mapping[VersionState, frozenset[VersionState]] = {
    "refused": frozenset({"stable"}),
    "parked": frozenset({"stable"}),
}
# The gate is about weights that were trained here, so a person's word is all that an answer model
# has; and by a person's word it goes, with nobody in its place.
ANSWER_MODEL_BY_FORCE: Mapping[VersionState, frozenset[VersionState]] = {
    "candidate": frozenset({"stable"}),
    "rolled_back": frozenset({"stable"}),
    "stable": frozenset({"retired"}),
}
MAX_RATIO_TO_INCUMBENT = 1.0
"""Where no trial decides, the upper end of the interval of candidate / incumbent (held-out
perplexity) is at most this: a worse candidate is released at most as often as the interval errs."""
# A version enters these only with a PASSED verdict, since it then answers (or competes to).
NEEDS_PASS: frozenset[VersionState] = frozenset({"shadow", "canary", "stable"})


@dataclass(frozen=True)
class GateClaim:
    """One check of the gate.

    Attributes:
        passed: None: could not be decided.
        value, threshold: in the unit that `detail` names; None when there is no number.
        blocks: `voice`: where the claim is not met, no form of answers with prose is released;
            empty: it blocks the release as a whole.
        high: upper end of the interval of `value`; None: it has none.
        beside: the version (`v3`) that `value` compares with; empty: no stable one.
        cut: by what each sentence of prose is judged again while it is served; None: by nothing.
    """

    name: str
    passed: bool | None
    value: float | None
    threshold: float | None
    detail: str
    blocks: AnswerForm | Literal[""] = ""
    high: float | None = None
    beside: str = ""
    cut: SentenceCut | None = None


@dataclass(frozen=True)
class Verdict:
    """What the gate found for one checkpoint.

    Attributes:
        gate_version: of the gate's code; a new one asks for a new verdict.
        created_at: ISO 8601, UTC.
    """

    author: str
    checkpoint: str
    gate_version: str
    outcome: Outcome
    claims: tuple[GateClaim, ...]
    created_at: str

    @property
    def prose(self) -> ProseRelease:
        """Whether the checkpoint's prose may be shown, if it is released at all."""
        return prose_release(self.claims)


@dataclass(frozen=True)
class ModelVersion:
    """One version of an author's model.

    Attributes:
        checkpoint: hash of weights, base revision and template.
        tainted: trained on something since forgotten; never served.
        forced: a person released it against the gate.
        folder: checkpoint folder; `adapter_gguf`: the adapter as llama.cpp loads it, if it is one.
        base, base_gguf: folder of the prepared base model, and its GGUF file.
        template: hash of the prompt template that it was trained with.
        dataset_version: data version of the instruction dataset.
        created_at: ISO 8601, UTC.
        kind: an answer model has no folder, adapter and dataset; its `base` is what the author
            named (folder, GGUF file, hub id, or `https://…/v1#id`), and `base_gguf` is empty where
            another server answers.
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
        """Whether it was named, not trained: nothing but a won trial may replace it."""
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
class Evidence:
    """What the test of a version against the stable one says so far (architecture.md).

    Attributes:
        incumbent: the version that was stable in that test; None: not looked at. Against another
            stable version the finding says nothing.
    """

    finding: Finding
    reason: str
    incumbent: int | None = None


@dataclass(frozen=True)
class LegalMove:
    """A move that the rules call for now.

    Attributes:
        against: the stable version that its evidence is about; None: any.
    """

    version: int
    to: VersionState
    reason: str
    against: int | None = None


def prose_release(claims: Sequence[GateClaim]) -> ProseRelease:
    """Whether these claims release prose: only where one about it is met. A verdict without one
    releases quotations."""
    about_prose = [claim for claim in claims if claim.blocks == VOICE]
    unmet = next((claim for claim in about_prose if not claim.passed), None)
    if unmet is not None:
        return ProseRelease(_why_no_prose(unmet))
    if not about_prose:
        return ProseRelease()
    return ProseRelease("", next((claim.cut for claim in about_prose if claim.cut), None))


def _why_no_prose(unmet: GateClaim) -> str:
    if unmet.value is None or unmet.threshold is None:
        return NOT_MEASURED
    share, limit = (f"{100 * value:.0f} %" for value in (unmet.value, unmet.threshold))
    if unmet.passed is False:
        return f"{share} of sentences unsupported, limit {limit}"
    return f"not shown to keep the limit of {limit} of sentences unsupported, {share} measured"


def legal_moves(
    versions: Sequence[ModelVersion],
    verdicts: Mapping[str, Verdict],
    evidence: Mapping[int, Evidence],
    *,
    gate_version: str,
    mode: Mode,
) -> list[LegalMove]:
    """The moves that one author's versions call for; empty when nothing moves.

    Args:
        versions: all of the author's.
        verdicts: checkpoint hash to its newest verdict; one of another gate version does not count.
        evidence: version number to what its shadow pairs or canary say.
        gate_version: the gate's version now.
        mode: the author's release mode; against an answer model `gate` is read as `shadow`.

    In mode `gate` nothing but the gate compares a candidate with the stable version, so it must
    show there that it is no worse (`shown_no_worse`), or it is parked. The first version, and one
    that follows a tainted version (which answers nobody), need the gate's claims alone.

    The moves are about different versions and may be applied in order; then ask again.
    """
    has_passed = {
        item.version
        for item in versions
        if (verdict := verdicts.get(item.checkpoint)) is not None
        and verdict.gate_version == gate_version
        and verdict.outcome == "passed"
    }
    incumbent = next((item for item in versions if item.state == "stable"), None)
    stable = None if incumbent is None else incumbent.version
    moves = [
        move
        for item in versions
        if (move := _by_evidence(item, evidence.get(item.version), has_passed, stable)) is not None
    ]
    must_win = incumbent is not None and incumbent.is_answer_model
    if must_win and mode == "gate":
        mode = "shadow"
    for item in versions:
        if item.state == "candidate" and (
            why := _why_refused(item, verdicts.get(item.checkpoint), has_passed, gate_version)
        ):
            moves.append(LegalMove(item.version, "refused", why))
    passed = [
        item
        for item in versions
        if item.state == "candidate" and item.version in has_passed and not item.tainted
    ]
    if not passed:
        return moves
    newest = max(passed, key=lambda item: item.version)
    moves += [
        LegalMove(item.version, "parked", f"superseded by v{newest.version}")
        for item in passed
        if item is not newest
    ]
    if incumbent is None or (mode == "gate" and incumbent.tainted):
        first = "first model of the author" if incumbent is None else f"v{stable} is tainted"
        moves.append(LegalMove(newest.version, "stable", f"passed the gate, {first}"))
    elif mode == "gate":
        shown, why = shown_no_worse(verdicts[newest.checkpoint], incumbent)
        to: VersionState = "stable" if shown else "parked"
        moves.append(LegalMove(newest.version, to, f"passed the gate, {why}", incumbent.version))
    else:
        against = f" against v{stable}, which answers until it is beaten" if must_win else ""
        decided = {move.version for move in moves}
        moves += _to_trial(
            newest,
            versions,
            decided,
            LegalMove(newest.version, mode, f"passed the gate, on trial as {mode}{against}"),
        )
    return moves


def _why_refused(
    item: ModelVersion, verdict: Verdict | None, has_passed: Set[int], gate_version: str
) -> str:
    """Why a candidate is refused; empty where it passed, or waits for this gate's verdict."""
    if item.tainted:
        return "trained on something since forgotten"
    if verdict is None or verdict.gate_version != gate_version or item.version in has_passed:
        return ""
    return refusal(verdict)


def _to_trial(
    newest: ModelVersion, versions: Sequence[ModelVersion], decided: Set[int], begin: LegalMove
) -> list[LegalMove]:
    """The move that begins a trial, or those that end older ones first.

    Args:
        decided: versions that move already: one whose trial has decided is moved by that, first.
    """
    on_trial = [item for item in versions if item.state in {"shadow", "canary"}]
    # The newest was trained on more.
    if older := [item for item in on_trial if item.version < newest.version]:
        return [
            LegalMove(item.version, "parked", f"undecided, and superseded by v{newest.version}")
            for item in older
            if item.version not in decided
        ]
    return [] if on_trial else [begin]


def shown_no_worse(verdict: Verdict, incumbent: ModelVersion) -> tuple[bool, str]:
    """Whether a verdict shows a candidate to be no worse than the stable version, and in words why:
    the upper end of the interval of their ratio is at most `MAX_RATIO_TO_INCUMBENT`."""
    name = f"v{incumbent.version}"
    beside = [claim for claim in verdict.claims if claim.beside]
    found = next((claim for claim in beside if claim.beside == name), None)
    if found is None:
        other = beside[0].beside if beside else "no stable version"
        return False, f"not shown to be no worse than {name}: its verdict compares it with {other}"
    if found.value is None or found.high is None:
        return False, f"not shown to be no worse than {name}: {found.detail}"
    shown = found.high <= MAX_RATIO_TO_INCUMBENT
    word = "shown" if shown else "not shown"
    return shown, (
        f"{word} to be no worse than {name}: perplexity {found.value:.4f} of its, the upper end of "
        f"the interval {found.high:.4f}, at most {MAX_RATIO_TO_INCUMBENT:g} releases "
        "without a trial"
    )


def refusal(verdict: Verdict) -> str:
    """Why the gate refused: its unmet claims, with their numbers."""
    unmet = [one for one in verdict.claims if one.passed is not True and not one.blocks]
    message = "; ".join(f"{claim.name}: {claim.detail}" for claim in unmet)
    outcome = "the gate refused" if verdict.outcome == "failed" else "the gate could not decide"
    return f"{outcome}: {message}" if message else outcome


def _by_evidence(
    item: ModelVersion, evidence: Evidence | None, has_passed: set[int], stable: int | None
) -> LegalMove | None:
    if item.state not in {"shadow", "canary"}:
        return None
    if item.tainted:
        return LegalMove(item.version, "refused", "trained on something since forgotten")
    if (
        evidence is None
        or evidence.finding == "undecided"
        or evidence.incumbent not in {None, stable}
    ):
        return None
    if evidence.finding == "promote" and item.version not in has_passed:
        return None  # the gate has changed since: it must pass that one first
    to: Mapping[str, VersionState] = {
        "promote": "stable",
        "roll_back": "rolled_back",
        "exhausted": "parked",
    }
    return LegalMove(
        item.version, to[evidence.finding], evidence.reason, against=evidence.incumbent
    )
