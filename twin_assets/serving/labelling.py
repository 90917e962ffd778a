"""Buying labels: own and paid model answer the same prompts, certified judges score both blind.

Scope: the loop over batches, what a batch asks and stores, when it ends.
Out of scope: which prompts (`shadow_prompts.py`), the judges, the router, the account.

As `shadowing.py` replays versions: off the request path, a batch is committed whole, what is stored
is never bought again, plants among the batches watch over the judges. It ends with the prompts, the
number asked for, the sum, or a limit of the account.

A paid answer is bought once: for labels of the next version the own model alone is asked again, and
the judges' scores of the paid answer are taken from the earlier row (`label_rows.kept_answers`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from twin_assets.knowledge.chunking import indexed_text
from twin_assets.serving.shadow_prompts import ShadowPrompt, by_id, rendered
from twin_resources.authors import FREQUENCY_PENALTY
from twin_resources.gateway.costs.paid_answers import PaidAnswer, PaidAnswers
from twin_resources.gateway.request.prompt_classes import classify
from twin_resources.models.serving import served_model
from twin_resources.models.serving.model_server_process import servers_at_once
from twin_resources.privacy import redact
from twin_resources.prompt.templates import DEFAULT_TEMPLATE
from twin_resources.quality.judges import label_rows
from twin_resources.quality.judges.judge import Embed, JudgedAnswer, digest, identity
from twin_resources.quality.judges.label_rows import OF_MODELS, TABLE, KeptAnswer, LabelPurchase
from twin_resources.quality.judges.negative_probes import NegativeProbe, drawn_for_batch
from twin_resources.quality.judges.pairs import PLANT, lost_claims, planted, plants_of
from twin_resources.quality.judges.panel import Panel
from twin_resources.statistics import judges as certification

if TYPE_CHECKING:
    from twin_resources.authors import Author
    from twin_resources.registry.moves import ModelVersion
    from twin_resources.storage.tables.tables import Tables

BATCH = 10
MAX_TOKENS = 200  # of an answer: what a reader would be charged for

Paid = PaidAnswer | KeptAnswer
AskOwn = Callable[[Sequence[Sequence[Mapping[str, str]]]], Sequence[str]]


@dataclass(frozen=True)
class LabelSources:
    """Who answers and what is known besides.

    Attributes:
        ask_own: answers of the stable version to rendered prompts.
        paid: answers of the paid model.
        embed: vectors of questions and passages.
        readers: trace id → reader of the recorded prompts.
    """

    ask_own: AskOwn
    paid: PaidAnswers
    embed: Embed
    readers: Mapping[str, str]


@dataclass(frozen=True)
class PurchaseResult:
    """What one purchase did.

    Attributes:
        labels, plants: of the purchase, all that are stored.
        new_labels, usd: of this run, and what they cost.
        stopped: why it ended, one clause.
        withdrawn: claims whose judge no longer tells plants apart: nothing is routed by them.
    """

    purchase: str
    labels: int
    plants: int
    new_labels: int
    usd: float
    stopped: str
    withdrawn: tuple[str, ...]
    data_version: str


def purchase_of(
    author: Author, version: ModelVersion, panel: Panel, *, paid: str, embedder: str
) -> LabelPurchase:
    """What labels of this version are about."""
    sampling = [FREQUENCY_PENALTY, min(MAX_TOKENS, author.max_tokens)]
    return LabelPurchase(
        own=version.checkpoint,
        paid=paid,
        embedder=embedder,
        judges=tuple(identity(member.judge) for member in panel.members),
        answers=digest(sampling, author.name, "", ()),
    )


def buy(
    author: Author,
    version: ModelVersion,
    prompts: Sequence[ShadowPrompt],
    panel: Panel,
    purchase: LabelPurchase,
    *,
    tables: Tables,
    sources: LabelSources,
    most_labels: int,
    most_usd: float,
    margin: float,
    log: Callable[[str], object],
) -> PurchaseResult:
    """Buy labels until they are enough, the money is, or the prompts are used up.

    Args:
        most_labels: of the purchase, old ones included.
        most_usd: of this run.
        margin: ε of the judges' plants.

    Raises:
        TwinError: a model or a judge does not answer.
    """
    stored = stored_labels(tables, author.slug)
    certified = [member.judge.claim for member in panel.members if member.certified]
    kept = label_rows.kept_answers(stored, purchase, certified)
    work = _Work(author, version, by_id(prompts), panel, purchase, sources, kept)
    known, count = _of(stored, purchase)
    waiting = [prompt for prompt in prompts if prompt.prompt_id not in known]
    waiting.sort(key=lambda prompt: prompt.prompt_id not in kept)  # what costs nothing comes first
    before, usd, stopped = count, 0.0, ""
    while not stopped:
        batch = waiting[: min(BATCH, most_labels - count)]
        if count >= most_labels:
            stopped = f"{count} labels, as many as were asked for"
        elif not batch:
            stopped = "every prompt has been used"
        elif usd + sum(work.most_usd(prompt) for prompt in batch) > most_usd:
            stopped = f"the sum of ${most_usd:g} allows no further batch"
        elif lost := work.lost_claims(stored, margin=margin):
            stopped = f"the judge of {', '.join(lost)} no longer tells plants apart"
        elif work.is_past_judging(batch):
            stopped = "a limit of the account leaves the judge too little for a further batch"
        if stopped:
            break
        waiting = waiting[len(batch) :]
        answers = work.answers(batch)
        if len(answers) < len(batch):
            stopped = "a limit of the account is used up"
        if not answers:
            break
        work.store([one for one in batch if one.prompt_id in answers], answers, stored, tables)
        stored = stored_labels(tables, author.slug)
        _, count = _of(stored, purchase)
        usd += sum(paid.usd for _, paid in answers.values() if isinstance(paid, PaidAnswer))
        log(f"{count} labels, ${usd:.4f} in this run")
    mine = stored.filter(pl.col("purchase") == purchase.id)
    return PurchaseResult(
        purchase=purchase.id,
        labels=count,
        plants=len(mine) - count,
        new_labels=count - before,
        usd=usd,
        stopped=stopped,
        withdrawn=work.lost_claims(stored, margin=margin),
        data_version=tables.data_version(TABLE, author.slug) or "none",
    )


def stored_labels(tables: Tables, author: str) -> pl.DataFrame:
    """The rows of the table, none where it is missing."""
    if not tables.exists(TABLE, author):
        return label_rows.no_rows()
    return tables.read(TABLE, author).select(list(label_rows.COLUMNS))


def _of(stored: pl.DataFrame, purchase: LabelPurchase) -> tuple[set[str], int]:
    mine = stored.filter((pl.col("purchase") == purchase.id) & (pl.col("source") != PLANT))
    return set(mine["prompt_id"].to_list()), len(mine)


class _Work:
    """The answers of a batch and their rows."""

    def __init__(
        self,
        author: Author,
        version: ModelVersion,
        prompts: Mapping[str, ShadowPrompt],
        panel: Panel,
        purchase: LabelPurchase,
        sources: LabelSources,
        kept: Mapping[str, KeptAnswer],
    ) -> None:
        self._kept = kept
        self._author = author
        self._version = version
        self._prompts = prompts
        self._panel = panel
        self._purchase = purchase
        self._ask_own, self._paid = sources.ask_own, sources.paid
        self._embed, self._readers = sources.embed, sources.readers
        self._tokens = min(MAX_TOKENS, author.max_tokens)
        self._plants: dict[tuple[str, str], NegativeProbe] = {
            (one.own.sample_id, one.kind): one
            for member in panel.members
            if member.certified
            for one in member.plants
        }

    def lost_claims(self, stored: pl.DataFrame, *, margin: float) -> tuple[str, ...]:
        """Claims whose judge has failed on the plants of this purchase."""
        plants = plants_of(stored, purchase=self._purchase.id)
        return lost_claims(plants, self._panel.claims, margin=margin, of=OF_MODELS)

    def most_usd(self, prompt: ShadowPrompt) -> float:
        """The most that a label of this prompt can cost."""
        if prompt.prompt_id in self._kept:
            return 0.0
        return self._paid.most_usd(self._for_paid(prompt), max_tokens=self._tokens)

    def is_past_judging(self, batch: Sequence[ShadowPrompt]) -> bool:
        """Whether answers to these could be bought that no judge could then be paid to score."""
        longest = "word " * self._tokens
        expected = [
            JudgedAnswer(
                prompt.question, f"{longest}{side}", tuple(p.text for p in prompt.passages)
            )
            for prompt in batch
            for side in ("own", "paid")
        ]
        drawn = certification.plants_due(len(batch)) + 1
        planted = [one for plant in list(self._plants.values())[:drawn] for one in plant.pair()]
        most, left = self._panel.judges_cost([*expected, *planted])
        return left is not None and most > left

    def answers(self, batch: Sequence[ShadowPrompt]) -> dict[str, tuple[str, Paid]]:
        """Own and paid answer by prompt; without one that the account left no money for."""
        new = [prompt for prompt in batch if prompt.prompt_id not in self._kept]
        paid = self._paid.ask([self._for_paid(prompt) for prompt in new], max_tokens=self._tokens)
        bought: list[tuple[ShadowPrompt, Paid]] = [
            (prompt, self._kept[prompt.prompt_id])
            for prompt in batch
            if prompt.prompt_id in self._kept
        ]
        bought += [(prompt, answer) for prompt, answer in zip(new, paid, strict=True) if answer]
        own = self._ask_own(
            [rendered(prompt, self._author, self._version.template) for prompt, _ in bought]
        )
        return {
            prompt.prompt_id: (own_answer, answer)
            for (prompt, answer), own_answer in zip(bought, own, strict=True)
        }

    def store(
        self,
        batch: Sequence[ShadowPrompt],
        answers: Mapping[str, tuple[str, Paid]],
        stored: pl.DataFrame,
        tables: Tables,
    ) -> None:
        """Commit a batch's labels."""
        rows = self.rows(
            batch,
            after=int(stored["sequence"].max() or 0),  # pyright: ignore[reportArgumentType]
            planted=planted(plants_of(stored, purchase=self._purchase.id)),
        )
        tables.sync(
            pl.concat(
                [
                    stored.select(list(label_rows.IDENTITY_COLUMNS)),
                    pl.DataFrame(rows, schema=dict(label_rows.IDENTITY_COLUMNS)),
                ]
            ),
            TABLE,
            author=self._author.slug,
            key="label_id",
            function=lambda new: self.score(new, answers),
            version="1",  # what decides a label is in the purchase: old rows are never bought again
            schema=label_rows.COLUMNS,
            row_key="label_id",
        )

    def rows(
        self, batch: Sequence[ShadowPrompt], *, after: int, planted: Collection[tuple[str, str]]
    ) -> list[dict[str, object]]:
        """A row a prompt and, drawn by hash, one a plant."""
        entries = [(one.source, one.prompt_id, "") for one in batch]
        drawn = drawn_for_batch(
            list(self._plants.values()),
            count=certification.plants_due(len(batch)),
            batch=digest(self._purchase.id, after),
            planted=planted,
        )
        entries += [(PLANT, one.own.sample_id, one.kind) for one in drawn]
        return [self._purchase.row(after + n, *entry) for n, entry in enumerate(entries, start=1)]

    def score(self, rows: pl.DataFrame, answers: Mapping[str, tuple[str, Paid]]) -> pl.DataFrame:
        """Features, scores and prices of new rows; each judge sees all texts in one call."""
        shown: list[tuple[JudgedAnswer, JudgedAnswer | KeptAnswer]] = []
        questions: list[str] = []
        passages: list[tuple[str, ...]] = []
        bought: list[Paid | None] = []
        for row in rows.iter_rows(named=True):
            if row["source"] == PLANT:
                plant = self._plants[row["prompt_id"], row["plant"]]
                good, bad = plant.pair()
                shown.append((bad, good))
                questions.append(plant.own.question)
                passages.append(())
                bought.append(None)
                continue
            prompt = self._prompts[row["prompt_id"]]
            own, paid = answers[row["prompt_id"]]
            texts = tuple(passage.text for passage in prompt.passages)
            judged = (
                paid
                if isinstance(paid, KeptAnswer)
                else JudgedAnswer(prompt.question, paid.text, texts)
            )
            shown.append((JudgedAnswer(prompt.question, own, texts), judged))
            questions.append(prompt.question)
            passages.append(tuple(indexed_text(one.title, one.text) for one in prompt.passages))
            bought.append(paid)
        vectors = np.asarray(self._embed(questions), np.float32)
        return rows.with_columns(
            pl.Series("reader", [self._readers.get(name, "") for name in rows["prompt_id"]]),
            pl.Series("prompt_class", [classify(question) for question in questions]),
            pl.Series("length", [len(question) for question in questions], pl.Int64()),
            pl.Series("closeness", self._closeness(vectors, passages), pl.Float64()),
            pl.Series("vector", vectors.tolist(), pl.List(pl.Float32())),
            pl.Series("scores", self._scores(shown), pl.List(label_rows.SCORED)),
            *(
                pl.Series(name, [getattr(one, name) if one else 0 for one in bought], kind)
                for name, kind in (
                    ("prompt_tokens", pl.Int64()),
                    ("answer_tokens", pl.Int64()),
                    ("usd", pl.Float64()),
                )
            ),
        )

    def _scores(
        self,
        shown: Sequence[tuple[JudgedAnswer, JudgedAnswer | KeptAnswer]],
    ) -> list[list[dict[str, object]]]:
        scores: list[list[dict[str, object]]] = [[] for _ in shown]
        flat = [one for pair in shown for one in pair if isinstance(one, JudgedAnswer)]
        for member in self._panel.members:
            if not member.certified:
                continue
            scores_in_order = iter(member.judge.score_all(flat))
            claim = member.judge.claim
            for place, (_, paid) in zip(scores, shown, strict=True):
                own = next(scores_in_order)
                kept = isinstance(paid, KeptAnswer)
                said = paid.scores[claim] if kept else next(scores_in_order)
                place.append({"claim": claim, "own": own, "paid": said})
        return scores

    def _closeness(self, vectors: np.ndarray, passages: Sequence[Sequence[str]]) -> list[float]:
        """Cosine of each question and the best of its passages, as the retriever measures it."""
        texts = list(dict.fromkeys(text for group in passages for text in group))
        if not texts:
            return [0.0] * len(passages)
        placed = dict(zip(texts, np.asarray(self._embed(texts), np.float32), strict=True))
        return [
            max((float(np.dot(vector, placed[text])) for text in group), default=0.0)
            for vector, group in zip(vectors, passages, strict=True)
        ]

    def _for_paid(self, prompt: ShadowPrompt) -> list[dict[str, str]]:
        question = redact(prompt.question, region=self._author.language).text
        prompt = replace(prompt, question=question)
        return [dict(one) for one in rendered(prompt, self._author, DEFAULT_TEMPLATE.hash)]


def own_asker(author: Author, serve: served_model.Serve) -> AskOwn:
    """Greedy answers of the stable version, by as many servers as there are cores for."""

    def ask(messages: Sequence[Sequence[Mapping[str, str]]]) -> Sequence[str]:
        if not messages:
            return ()
        replies = served_model.ask_several(
            serve,
            messages,
            servers=servers_at_once(),
            max_tokens=min(MAX_TOKENS, author.max_tokens),
            frequency_penalty=FREQUENCY_PENALTY,
        )
        return [answer.text for answer in replies]

    return ask
