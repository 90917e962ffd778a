"""Assemble and certify an author's judges, including those that may decide a release.

Scope: the list of judges, assembling them (also for the gate), certifying each judge on the probes
of its own claim.
Out of scope: the measures, creating probes, the statistics of a certificate
(`statistics/judge_certification.py`), reading the author's tables
(`twin_assets/evaluation/judging/judge_material.py`).
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

from twin_resources.quality.judges import stored_results
from twin_resources.quality.judges.judge import Judge, JudgedAnswer, digest, judge_id
from twin_resources.quality.judges.judge_kind import (
    JudgeDependencies,
    JudgeKind,
    JudgeMaterial,
    JudgeRole,
    JudgeT,
    JudgeUnavailableError,
)
from twin_resources.quality.judges.language_model import (
    GENERAL,
    JudgeUsage,
    LanguageModelJudge,
)
from twin_resources.quality.judges.negative_probes import NegativeProbe, create_negative_probes
from twin_resources.quality.judges.support import SUPPORT
from twin_resources.quality.judges.topic import TOPIC
from twin_resources.quality.judges.voice import VOICE
from twin_resources.statistics import judge_certification
from twin_resources.statistics.judge_certification import JudgeCertificate
from twin_resources.statistics.promotion import NON_INFERIORITY_MARGIN

if TYPE_CHECKING:
    from twin_resources.storage.tables.tables import Tables

PANEL_VERSION = "panel-1"
MAX_PROMPTS = 120  # held-out prompts per certificate; 80 suffice for a gap of .3 with ε = .1
# To add a judge, add its file and list it here.
JUDGES: tuple[JudgeKind[Any], ...] = (TOPIC, VOICE, SUPPORT, GENERAL)


@dataclass(frozen=True)
class AssembledJudges:
    """An author's judges, and why any others are missing.

    Attributes:
        judges: claim → judge.
        missing: claim → reason. A judge that is not configured is in neither mapping.
    """

    judges: Mapping[str, Judge]
    missing: Mapping[str, JudgeUnavailableError]

    def get(self, kind: JudgeKind[JudgeT]) -> JudgeT | None:
        """Return the judge of a kind, or None if there is none."""
        return cast("JudgeT | None", self.judges.get(kind.claim))

    def missing_reason(self, kind: JudgeKind[Any]) -> str:
        """Return why a kind is missing and the next step, or "" if it is not missing."""
        error = self.missing.get(kind.claim)
        return f"{error.found}: {error.next_step}" if error else ""


def assemble_judges(
    material: JudgeMaterial,
    dependencies: JudgeDependencies,
    *,
    kinds: Sequence[JudgeKind[Any]] | None = None,
) -> AssembledJudges:
    """Assemble an author's judges for the gate or a trial, reusing stored calibrations.

    Args:
        kinds: the kinds of judges, or None for all.

    Raises:
        TwinError: a stored calibration does not match this code.
    """
    judge_by_claim: dict[str, Judge] = {}
    error_by_claim: dict[str, JudgeUnavailableError] = {}
    for kind in JUDGES if kinds is None else kinds:
        try:
            judge = kind.create(material, dependencies)
        except JudgeUnavailableError as error:
            error_by_claim[kind.claim] = error
        else:
            if judge is not None:
                judge_by_claim[kind.claim] = judge
    return AssembledJudges(judge_by_claim, error_by_claim)


@dataclass(frozen=True)
class PanelJudge:
    """A judge with its certificate.

    Attributes:
        probes: the probes of its claim, with which later batches check the judge again.
    """

    judge: Judge
    certificate: JudgeCertificate
    probes: tuple[NegativeProbe, ...] = field(repr=False)

    @property
    def is_certified(self) -> bool:
        return self.certificate.certified


@dataclass(frozen=True)
class Panel:
    """All of an author's judges, certified or not.

    Attributes:
        notes: notes for the operator, one sentence each.
    """

    members: tuple[PanelJudge, ...]
    notes: tuple[str, ...]

    @property
    def claims(self) -> tuple[str, ...]:
        """All the claims that a candidate must win to be promoted; empty if no judge may decide."""
        return select_deciding_claims(
            [member.judge.claim for member in self.members if member.is_certified]
        )

    @property
    def vetoes(self) -> tuple[str, ...]:
        """The claims of certified judges that may only roll back."""
        certified_claims = (member.judge.claim for member in self.members if member.is_certified)
        return tuple(claim for claim in certified_claims if claim in vetoing_claims())

    @cached_property
    def probes(self) -> Mapping[tuple[str, str], NegativeProbe]:
        """The probes of the certified judges, by sample id and kind."""
        return {
            (probe.prompt.sample_id, probe.kind): probe
            for member in self.members
            if member.is_certified
            for probe in member.probes
        }

    def estimate_cost_usd(self, answers: Sequence[JudgedAnswer]) -> tuple[float, float | None]:
        """Return the maximum cost of scoring and the account's balance, in US dollars.

        The balance is None if the account has no limit.
        """
        paid_judges = [
            member.judge
            for member in self.members
            if member.is_certified and isinstance(member.judge, LanguageModelJudge)
        ]
        balances = [
            balance for judge in paid_judges if (balance := judge.remaining_usd) is not None
        ]
        return sum(judge.max_cost_usd(answers) for judge in paid_judges), min(
            balances, default=None
        )

    def total_usage(self) -> JudgeUsage:
        """Return the total usage of the language models among the judges."""
        usages = [
            member.judge.usage
            for member in self.members
            if isinstance(member.judge, LanguageModelJudge)
        ]
        return JudgeUsage(
            sum(usage.calls for usage in usages),
            sum(usage.usd for usage in usages),
        )


def select_deciding_claims(certified_claims: Sequence[str]) -> tuple[str, ...]:
    """Return the certified claims that together decide a release; empty if none may decide.

    The topic judge alone would promote any model that stays on topic, including the base model.
    """
    for claim in _claims_with_role("decides alone"):
        if claim in certified_claims:
            return (claim,)
    joint_claims = _claims_with_role("decides with others")
    return joint_claims if set(joint_claims) <= set(certified_claims) else ()


def vetoing_claims() -> tuple[str, ...]:
    """Return the claims of judges that may only roll back."""
    return _claims_with_role("vetoes")


def _claims_with_role(role: JudgeRole) -> tuple[str, ...]:
    return tuple(kind.claim for kind in JUDGES if kind.role == role)


def assemble_panel(
    material: JudgeMaterial,
    dependencies: JudgeDependencies,
    *,
    margin: float = NON_INFERIORITY_MARGIN,
) -> Panel:
    """Assemble and certify an author's judges for a trial, reusing stored results.

    Args:
        margin: ε, by which a judge must separate probes from the author's own answers. The demo
            uses .2 and says so in its output.

    Raises:
        OverLimitError: the account has too low a balance to certify the general judge.
        TwinError: a judge that decides with others is missing, or a judge's model fails.
    """
    panel_judges = assemble_judges(material, dependencies)
    for claim in _claims_with_role("decides with others"):
        if claim in panel_judges.missing:
            raise panel_judges.missing[claim]  # the other judges cannot decide without it
    notes: list[str] = []
    if not material.other_texts.has_unseen_writers and material.other_texts.for_probes:
        notes.append(
            "voice is certified on other documents by the same authors as in its calibration, "
            "because there are only one or two other authors: texts by an unknown author may pass"
        )
    notes += [
        f"no {claim} judge: {error.found}; {error.next_step}"
        for claim, error in panel_judges.missing.items()
    ]
    probes = create_negative_probes(
        list(material.prompts[:MAX_PROMPTS]),
        training_passages=[(pair.document_id, pair.answer) for pair in material.pairs],
        other_passages=[
            text for texts in material.other_texts.for_probes for _, text in texts.passages
        ],
    )
    members = _certify_judges(
        dependencies.tables, material.author, panel_judges.judges, probes, margin
    )
    return Panel(members, tuple(notes))


def probe_differences(judge: Judge, probes: Sequence[NegativeProbe]) -> dict[str, list[float]]:
    """Return kind → (score of the author's answer − score of the probe) for each probe."""
    pairs = [probe.judged_pair() for probe in probes]
    scores = judge.score_all([answer for pair in pairs for answer in pair])
    differences_by_kind: dict[str, list[float]] = {}
    for index, probe in enumerate(probes):
        differences_by_kind.setdefault(probe.kind, []).append(
            scores[2 * index] - scores[2 * index + 1]
        )
    return differences_by_kind


def _certify_judges(
    tables: Tables,
    author: str,
    judges: Mapping[str, Judge],
    probes: Sequence[NegativeProbe],
    margin: float,
) -> tuple[PanelJudge, ...]:
    """Return each judge with its probes and its certificate, computed once per revision.

    Certificates are stored because every score of the general judge costs money. Later batches
    check each judge on its probes again.
    """
    members = [
        (
            judges[kind.claim],
            kind,
            tuple(probe for probe in probes if probe.kind in kind.probe_kinds),
        )
        for kind in JUDGES
        if kind.claim in judges
    ]

    def create_certificate_task(
        judge: Judge, kind: JudgeKind[Any], judge_probes: Sequence[NegativeProbe]
    ) -> stored_results.JudgeTask:
        def compute_certificate() -> Mapping[str, Any]:
            scores = {probe_kind: [] for probe_kind in kind.probe_kinds} | probe_differences(
                judge, judge_probes
            )
            return asdict(
                judge_certification.certify(judge_id(judge), kind.claim, scores, margin=margin)
            )

        size_bucket = stored_results.doubling_bucket(len(judge_probes))
        return stored_results.JudgeTask(
            digest(PANEL_VERSION, judge_id(judge), margin, size_bucket), compute_certificate
        )

    tasks = {member[1].claim: create_certificate_task(*member) for member in members}
    certificates = stored_results.load_or_compute(
        tables, stored_results.CERTIFICATES, author=author, tasks=tasks
    )
    return tuple(
        PanelJudge(judge, JudgeCertificate(**certificates[kind.claim]), judge_probes)
        for judge, kind, judge_probes in members
    )
