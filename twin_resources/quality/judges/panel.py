"""The judges of an author, each with its certificate: who may decide a release, and who reports.

Scope: which judges there are, putting them together (for the gate too), certifying each on
the plants of its own claim.
Out of scope: the measures, making plants, the statistics of a certificate
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
MAX_PROMPTS = 120  # held-out prompts that certify; 80 are enough for a difference of .3 and ε .1
# What people add a judge to: its file, and a line here.
JUDGES: tuple[JudgeKind[Any], ...] = (TOPIC, VOICE, SUPPORT, GENERAL)
# Each is derived from the author's text: what forgets an author forgets these.
STORED_TABLES = (*(name for kind in JUDGES for name in kind.tables), stored.CERTIFICATE_TABLE)


@dataclass(frozen=True)
class AssembledJudges:
    """The judges that an author has, and why there is no other.

    Attributes:
        judges, missing: by claim; a judge that nobody asked for is in neither.
    """

    judges: Mapping[str, Judge]
    missing: Mapping[str, JudgeMissing]

    def of(self, kind: JudgeKind[JudgeT]) -> JudgeT | None:
        """The judge of a kind."""
        return cast("JudgeT | None", self.judges.get(kind.claim))

    def why_not(self, kind: JudgeKind[Any]) -> str:
        """Why there is none of a kind, and what to do; empty: there is one."""
        error = self.missing.get(kind.claim)
        return f"{error.found}: {error.next_step}" if error else ""


def assemble(
    material: JudgeMaterial, needs: JudgeNeeds, *, kinds: Sequence[JudgeKind[Any]] | None = None
) -> AssembledJudges:
    """An author's judges, for the gate as for a trial; what was calibrated before is taken as it
    is.

    Args:
        kinds: None: all.

    Raises:
        TwinError: a calibration is of other code.
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
    """A judge and what it may decide.

    Attributes:
        plants: those of its claim, for the checks in later batches.
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
        unseen: whether the foreign plants are by people of whom the voice score has seen nothing.
        notes: what a person should know, a sentence each.
    """

    members: tuple[PanelJudge, ...]
    unseen: bool
    notes: tuple[str, ...]

    @property
    def claims(self) -> tuple[str, ...]:
        """Claims that must each be won for a promotion; empty: nobody may decide."""
        return deciding([member.judge.claim for member in self.members if member.certified])

    @property
    def vetoes(self) -> tuple[str, ...]:
        """Claims of certified judges that may only roll back."""
        certified = (member.judge.claim for member in self.members if member.certified)
        return tuple(claim for claim in certified if claim in vetoing())

    def judges_cost(self, answered: Sequence[JudgedAnswer]) -> tuple[float, float | None]:
        """The most that scoring these can cost, and what the account has for it (None: no limit),
        US dollars."""
        paid = [
            member.judge
            for member in self.members
            if member.certified and isinstance(member.judge, LanguageModelJudge)
        ]
        lefts = [left for judge in paid if (left := judge.usd_left) is not None]
        return sum(judge.most_usd(answered) for judge in paid), min(lefts, default=None)

    def spent(self) -> JudgeUsage:
        """What the language models among the judges have used."""
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
    """Which of the certified claims decide a release together; empty: none may.

    On topic alone another author's model, or the base, is promoted every time.
    """
    alone = [claim for claim in _claims("decides alone") if claim in certified]
    together = _claims("decides with others")
    return tuple(alone[:1]) or (together if set(together) <= set(certified) else ())


def vetoing() -> tuple[str, ...]:
    """Claims of judges that may only roll back."""
    return _claims("vetoes")


def _claims(role: JudgeRole) -> tuple[str, ...]:
    return tuple(kind.claim for kind in JUDGES if kind.role == role)


def assemble_panel(material: JudgeMaterial, needs: JudgeNeeds, *, margin: float = MARGIN) -> Panel:
    """An author's judges for a trial, each certified; what was computed before is taken as it is.

    Args:
        margin: ε; the demo uses .2, and prints that.

    Raises:
        OverLimit: the account has not the money to certify the general judge.
        TwinError: a judge that decides with others is missing, or a judge's model does not answer.
    """
    panel = assemble(material, needs)
    for claim in _claims("decides with others"):
        if claim in panel.missing:
            raise panel.missing[claim]  # the others could decide nothing without it
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
    """Kind of plant → score of the own answer − score of the plant, one a plant."""
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
    """Certificates by judge, computed once for a revision: a general judge is paid for each score,
    and the plants in every later batch watch over it."""
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
