"""The judges of an author, each with its certificate: who may decide a release, and who reports.

Belongs here: which judges there are, certifying each on the plants of its own claim.
Does not belong here: the measures, making plants, the statistics of a certificate
(`statistics/judges.py`), reading the author's tables
(`twin_assets/evaluation/judged/judge_material.py`).
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from twin_resources.quality.judges import stored
from twin_resources.quality.judges.asking import JudgeUsage
from twin_resources.quality.judges.judge import Embed, Judge, JudgedAnswer, digest, identity
from twin_resources.quality.judges.language_model import LanguageModelJudge
from twin_resources.quality.judges.negative_probes import AuthorAnswer, NegativeProbe, plant
from twin_resources.quality.judges.support import SupportJudge
from twin_resources.quality.judges.terms import FREE, JudgeTerms
from twin_resources.quality.judges.texts import OtherTexts
from twin_resources.quality.judges.topic import TopicJudge, TopicPair
from twin_resources.quality.judges.voice import VoiceJudge, WriterTexts
from twin_resources.statistics import judges as certification
from twin_resources.statistics.baseline import MARGIN
from twin_resources.statistics.judges import JudgeCertificate

if TYPE_CHECKING:
    from twin_resources.storage.tables.tables import Tables

PANEL_VERSION = "panel-1"
MOST_PROMPTS = 120  # held-out prompts that certify; 80 are enough for a difference of .3 and ε .1
BASE_MODEL = "base model"
# Decide together or not at all: on topic alone another author's model, or the base, is promoted
# every time.
DECIDING = ("topic", "voice")
# Reported by default: its own answers rest on more than the passages that were found.
VETOING = ("support",)


@dataclass(frozen=True)
class JudgeMaterial:
    """What an author's judges are made of and tested with.

    Attributes:
        pairs: training split, in drawn order.
        prompts: held-out, in drawn order, with the author's own answers.
        others: other people's texts.
        base_answers: of the untuned base model to training questions; empty: voice is trained
            against people alone, and tells the base apart worse.
        base: revision of that base model.
    """

    author: str
    pairs: Sequence[TopicPair] = field(repr=False)
    prompts: Sequence[AuthorAnswer] = field(repr=False)
    others: OtherTexts = field(repr=False)
    base_answers: Sequence[str] = field(default=(), repr=False)
    base: str = ""


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
        return tuple(claim for claim in certified if claim in VETOING)

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
        found = [
            member.judge.spent
            for member in self.members
            if isinstance(member.judge, LanguageModelJudge)
        ]
        return JudgeUsage(
            sum(one.calls for one in found),
            sum(one.unreadable for one in found),
            sum(one.usd for one in found),
        )


def deciding(certified: Sequence[str]) -> tuple[str, ...]:
    """Which of the certified claims decide a release together; empty: none may.

    A certified general judge decides alone: it was certified on every kind of plant.
    """
    if "general" in certified:
        return ("general",)
    return DECIDING if set(DECIDING) <= set(certified) else ()


def assemble_panel(
    material: JudgeMaterial,
    *,
    tables: Tables,
    embed: Embed,
    embedder: str,
    judge_model: str = "",
    terms: JudgeTerms = FREE,
    margin: float = MARGIN,
) -> Panel:
    """Make an author's judges and certify them; what was computed before is taken as it is.

    Args:
        embedder: its revision.
        judge_model: a LiteLLM model name; empty: no general judge.
        terms: of that model; one that may not be asked is told in the notes.
        margin: ε; the demo uses .2, and prints that.

    Raises:
        OverLimit: the account has not the money to certify the general judge.
        TwinError: too little text to calibrate on, or the judge's model does not answer.
    """
    author = material.author
    topic = stored.topic_calibration(tables, author, material.pairs, embed=embed, embedder=embedder)
    judges: list[Judge] = [TopicJudge(topic, embed)]
    notes: list[str] = []
    if material.others.training or material.base_answers:
        own = WriterTexts(author, tuple((pair.document_id, pair.answer) for pair in material.pairs))
        sides = [WriterTexts(hand.name, hand.passages) for hand in material.others.training]
        if material.base_answers:
            numbered = tuple((str(n), text) for n, text in enumerate(material.base_answers))
            sides.append(WriterTexts(BASE_MODEL, numbered))
        judges.append(
            VoiceJudge(stored.voice_calibration(tables, author, own, sides, base=material.base))
        )
    else:
        notes.append("no voice judge: there is nobody else's text to tell this voice from")
    if not material.others.unseen and material.others.planted:
        notes.append(
            "voice is certified on other documents of authors that it was trained against, "
            "because there are only one or two of them: an unknown author may pass"
        )
    judges.append(SupportJudge(embed, embedder=embedder))
    if judge_model and terms.why_not:
        notes.append(f"no general judge: {terms.why_not}; {terms.next_step}")
    elif judge_model:
        judges.append(LanguageModelJudge(judge_model, terms=terms))
    prompts = list(material.prompts[:MOST_PROMPTS])
    plants = plant(
        prompts,
        training=[(pair.document_id, pair.answer) for pair in material.pairs],
        others=[text for hand in material.others.planted for _, text in hand.passages],
    )
    members = _certified(tables, author, judges, plants, margin)
    return Panel(members, material.others.unseen, tuple(notes))


def differences(judge: Judge, plants: Sequence[NegativeProbe]) -> dict[str, list[float]]:
    """Kind of plant → score of the own answer − score of the plant, one a plant."""
    pairs = [one.pair() for one in plants]
    scores = judge.score_all([answered for pair in pairs for answered in pair])
    found: dict[str, list[float]] = {}
    for number, one in enumerate(plants):
        found.setdefault(one.kind, []).append(scores[2 * number] - scores[2 * number + 1])
    return found


def _certified(
    tables: Tables,
    author: str,
    judges: Sequence[Judge],
    plants: Sequence[NegativeProbe],
    margin: float,
) -> tuple[PanelJudge, ...]:
    """Certificates by judge, computed once for a revision: a general judge is paid for each score,
    and the plants in every later batch watch over it."""
    of_claim = {
        judge.claim: tuple(one for one in plants if one.kind in certification.PLANTS[judge.claim])
        for judge in judges
    }
    tasks = {
        judge.claim: stored.JudgeTask(
            digest(
                PANEL_VERSION,
                identity(judge),
                margin,
                stored.doublings(len(of_claim[judge.claim])),
            ),
            lambda judge=judge: asdict(
                certification.certify(
                    identity(judge),
                    judge.claim,
                    differences(judge, of_claim[judge.claim]),
                    margin=margin,
                )
            ),
        )
        for judge in judges
    }
    known: Mapping[str, dict[str, object]] = stored.once(
        tables, stored.CERTIFICATE_TABLE, author=author, tasks=tasks
    )
    return tuple(
        PanelJudge(judge, JudgeCertificate(**known[judge.claim]), of_claim[judge.claim])  # pyright: ignore[reportArgumentType]
        for judge in judges
    )
