"""Assembles and certifies an author's judges: those that may decide a release, and the others.

Scope: the list of judges, assembling them (also for the gate), certifying each on the plants
of its own claim.
Out of scope: the measures, creating plants, the statistics of a certificate
(`statistics/judges.py`), reading the author's tables
(`twin_assets/evaluation/judged/judge_material.py`).
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, cast

from twin_resources.quality.judges import stored
from twin_resources.quality.judges.asking import JudgeUsage
from twin_resources.quality.judges.judge import Judge, JudgedAnswer, digest, identity
from twin_resources.quality.judges.judge_kind import (
    JudgeKind,
    JudgeMaterial,
    JudgeMissing,
    JudgeNeeds,
    JudgeRole,
    JudgeT,
)
from twin_resources.quality.judges.language_model import GENERAL, LanguageModelJudge
from twin_resources.quality.judges.negative_probes import NegativeProbe, plant
from twin_resources.quality.judges.support import SUPPORT
from twin_resources.quality.judges.topic import TOPIC
from twin_resources.quality.judges.voice import VOICE
from twin_resources.statistics import judges as certification
from twin_resources.statistics.baseline import MARGIN
from twin_resources.statistics.judges import JudgeCertificate

if TYPE_CHECKING:
    from twin_resources.storage.tables.tables import Tables

PANEL_VERSION = "panel-1"
MAX_PROMPTS = 120  # held-out prompts per certificate; 80 suffice for a difference of .3 and ε .1
# To add a judge, add its file and list it here.
JUDGES: tuple[JudgeKind[Any], ...] = (TOPIC, VOICE, SUPPORT, GENERAL)
# These tables derive from the author's text, so erasing the author's text erases them too.
STORED_TABLES = (*(name for kind in JUDGES for name in kind.tables), stored.CERTIFICATE_TABLE)


@dataclass(frozen=True)
class AssembledJudges:
    """An author's judges, and the reasons for missing ones.

    Attributes:
        judges: claim → judge.
        missing: claim → reason. A judge that nobody requested is in neither mapping.
    """

    judges: Mapping[str, Judge]
    missing: Mapping[str, JudgeMissing]

    def of(self, kind: JudgeKind[JudgeT]) -> JudgeT | None:
        """Return the judge of a kind, or None if there is none."""
        return cast("JudgeT | None", self.judges.get(kind.claim))

    def why_not(self, kind: JudgeKind[Any]) -> str:
        """Return why a kind is missing and what to do, or "" if it is not in `missing`."""
        error = self.missing.get(kind.claim)
        return f"{error.found}: {error.next_step}" if error else ""


def assemble(
    material: JudgeMaterial, needs: JudgeNeeds, *, kinds: Sequence[JudgeKind[Any]] | None = None
) -> AssembledJudges:
    """Assemble an author's judges, for the gate or a trial, and reuse stored calibrations.

    Args:
        kinds: the kinds of judges, or None for all.

    Raises:
        TwinError: a stored calibration does not match this code.
    """
    judges: dict[str, Judge] = {}
    missing: dict[str, JudgeMissing] = {}
    for kind in JUDGES if kinds is None else kinds:
        try:
            judge = kind.make(material, needs)
        except JudgeMissing as error:
            missing[kind.claim] = error
        else:
            if judge is not None:
                judges[kind.claim] = judge
    return AssembledJudges(judges, missing)


@dataclass(frozen=True)
class PanelJudge:
    """A judge with its certificate.

    Attributes:
        plants: the plants of its claim, for the checks in later batches.
    """

    judge: Judge
    certificate: JudgeCertificate
    plants: tuple[NegativeProbe, ...] = field(repr=False)

    @property
    def certified(self) -> bool:
        return self.certificate.certified


@dataclass(frozen=True)
class Panel:
    """All judges of an author.

    Attributes:
        unseen: whether the voice score was trained without texts by the writers of foreign plants.
        notes: notes for a person, one sentence each.
    """

    members: tuple[PanelJudge, ...]
    unseen: bool
    notes: tuple[str, ...]

    @property
    def claims(self) -> tuple[str, ...]:
        """Claims that must all be won for a promotion; empty if no judge may decide."""
        return deciding([member.judge.claim for member in self.members if member.certified])

    @property
    def vetoes(self) -> tuple[str, ...]:
        """Claims of certified judges that may only roll back."""
        certified = (member.judge.claim for member in self.members if member.certified)
        return tuple(claim for claim in certified if claim in vetoing())

    def judges_cost(self, answered: Sequence[JudgedAnswer]) -> tuple[float, float | None]:
        """Return the most that scoring can cost and the account's balance, in US dollars.

        The balance is None if there is no limit.
        """
        paid = [
            member.judge
            for member in self.members
            if member.certified and isinstance(member.judge, LanguageModelJudge)
        ]
        lefts = [left for judge in paid if (left := judge.usd_left) is not None]
        return sum(judge.most_usd(answered) for judge in paid), min(lefts, default=None)

    def spent(self) -> JudgeUsage:
        """Return the total usage of the language models among the judges."""
        usages = [
            member.judge.spent
            for member in self.members
            if isinstance(member.judge, LanguageModelJudge)
        ]
        return JudgeUsage(
            sum(usage.calls for usage in usages),
            sum(usage.unreadable for usage in usages),
            sum(usage.usd for usage in usages),
        )


def deciding(certified: Sequence[str]) -> tuple[str, ...]:
    """Return the certified claims that decide a release together; empty if none may.

    The topic judge alone would promote another author's model, or the base model, every time.
    """
    alone = [claim for claim in _claims("decides alone") if claim in certified]
    together = _claims("decides with others")
    return tuple(alone[:1]) or (together if set(together) <= set(certified) else ())


def vetoing() -> tuple[str, ...]:
    """Return the claims of judges that may only roll back."""
    return _claims("vetoes")


def _claims(role: JudgeRole) -> tuple[str, ...]:
    return tuple(kind.claim for kind in JUDGES if kind.role == role)


def assemble_panel(material: JudgeMaterial, needs: JudgeNeeds, *, margin: float = MARGIN) -> Panel:
    """Assemble an author's judges for a trial with their certificates, and reuse stored results.

    Args:
        margin: ε; the demo uses .2, and prints that.

    Raises:
        OverLimit: the account has too little money to certify the general judge.
        TwinError: a judge that decides with others is missing, or a judge's model fails.
    """
    panel = assemble(material, needs)
    for claim in _claims("decides with others"):
        if claim in panel.missing:
            raise panel.missing[claim]  # the others cannot decide without it
    notes: list[str] = []
    if not material.others.unseen and material.others.planted:
        notes.append(
            "voice is certified on other documents of authors that it was trained against, "
            "because there are only one or two of them: an unknown author may pass"
        )
    notes += [
        f"no {claim} judge: {error.found}; {error.next_step}"
        for claim, error in panel.missing.items()
    ]
    probes = plant(
        list(material.prompts[:MAX_PROMPTS]),
        training=[(pair.document_id, pair.answer) for pair in material.pairs],
        others=[text for one in material.others.planted for _, text in one.passages],
    )
    members = _certified(needs.tables, material.author, panel.judges, probes, margin)
    return Panel(members, material.others.unseen, tuple(notes))


def differences(judge: Judge, plants: Sequence[NegativeProbe]) -> dict[str, list[float]]:
    """Return kind of plant → (score of the own answer − score of the plant) for each plant."""
    pairs = [one.pair() for one in plants]
    scores = judge.score_all([answered for pair in pairs for answered in pair])
    by_claim: dict[str, list[float]] = {}
    for number, one in enumerate(plants):
        by_claim.setdefault(one.kind, []).append(scores[2 * number] - scores[2 * number + 1])
    return by_claim


def _certified(
    tables: Tables,
    author: str,
    judges: Mapping[str, Judge],
    probes: Sequence[NegativeProbe],
    margin: float,
) -> tuple[PanelJudge, ...]:
    """Return each judge with its plants and its certificate, computed once per revision.

    Each score of a general judge costs money, and the plants in later batches check it again.
    """
    members = [
        (judges[kind.claim], kind, tuple(probe for probe in probes if probe.kind in kind.probes))
        for kind in JUDGES
        if kind.claim in judges
    ]

    def task(
        judge: Judge, kind: JudgeKind[Any], shown: Sequence[NegativeProbe]
    ) -> stored.JudgeTask:
        def computed() -> Mapping[str, Any]:
            scores = {name: [] for name in kind.probes} | differences(judge, shown)
            return asdict(certification.certify(identity(judge), kind.claim, scores, margin=margin))

        count = stored.doublings(len(shown))
        return stored.JudgeTask(digest(PANEL_VERSION, identity(judge), margin, count), computed)

    tasks = {member[1].claim: task(*member) for member in members}
    known = stored.once(tables, stored.CERTIFICATE_TABLE, author=author, tasks=tasks)
    return tuple(
        PanelJudge(judge, JudgeCertificate(**known[kind.claim]), shown)
        for judge, kind, shown in members
    )
