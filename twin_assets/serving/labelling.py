"""Buy labels: own and paid model answer the same prompts, and certified judges score both blind.

Scope: the loop over batches, asking and storing a batch, deciding when to stop.
Out of scope: choosing prompts (`shadow_prompts.py`), the judges, the router, the account.

Labels are bought as `shadowing.py` replays versions: off the request path. A batch is committed
whole, a stored label is never bought again, and planted answers in the batches check the judges.
Buying stops when the prompts, the requested number, the sum or a limit of the account is used up.

A paid answer is bought once. For labels of the next version only the own model is asked again; the
judges' scores of the paid answer come from the earlier row (`label_rows.kept_answers`).
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
MAX_TOKENS = 200  # of an answer, as a reader would be charged for

Paid = PaidAnswer | KeptAnswer
AskOwn = Callable[[Sequence[Sequence[Mapping[str, str]]]], Sequence[str]]


@dataclass(frozen=True)
class LabelSources:
    """The models and lookups that a purchase uses.

    Attributes:
        ask_own: asks the stable version rendered prompts.
        paid: asks the paid model.
        embed: embeds questions and passages.
        readers: reader of each recorded prompt, by trace id.
    """

    ask_own: AskOwn
    paid: PaidAnswers
    embed: Embed
    readers: Mapping[str, str]


@dataclass(frozen=True)
class PurchaseResult:
    """The result of one run of a purchase.

    Attributes:
        labels, plants: numbers of stored labels and plants of the purchase.
        new_labels: labels of this run.
        usd: cost of this run, in US dollars.
        stopped: why it ended, in one clause.
        withdrawn: claims whose judge no longer separates plants; they are not used for routing.
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
    """Return the identity of the purchase of labels for this version."""
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
    """Buy labels until there are enough, or the money or the prompts are used up.

    Args:
        most_labels: largest number of labels of the purchase, old ones included.
        most_usd: largest cost of this run, in US dollars.
        margin: ε for the judges' plants.

    Raises:
        TwinError: a model or a judge does not answer.
    """
    stored = stored_labels(tables, author.slug)
    certified = [member.judge.claim for member in panel.members if member.certified]
    kept = label_rows.kept_answers(stored, purchase, certified)
    work = _Work(author, version, by_id(prompts), panel, purchase, sources, kept)
    known, count = _of(stored, purchase)
    waiting = [prompt for prompt in prompts if prompt.prompt_id not in known]
    waiting.sort(key=lambda prompt: prompt.prompt_id not in kept)  # free ones first
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
        answered = [prompt for prompt in batch if prompt.prompt_id in answers]
        work.store(answered, answers, stored, tables)
        stored = stored_labels(tables, author.slug)
        _, count = _of(stored, purchase)
        usd += sum(paid.usd for _, paid in answers.values() if isinstance(paid, PaidAnswer))
        log(f"{count} labels, ${usd:.4f} in this run")
    rows = stored.filter(pl.col("purchase") == purchase.id)
    return PurchaseResult(
        purchase=purchase.id,
        labels=count,
        plants=len(rows) - count,
        new_labels=count - before,
        usd=usd,
        stopped=stopped,
        withdrawn=work.lost_claims(stored, margin=margin),
        data_version=tables.data_version(TABLE, author.slug) or "none",
    )


def stored_labels(tables: Tables, author: str) -> pl.DataFrame:
    """Return the rows of the label table, or no rows if it does not exist."""
    if not tables.exists(TABLE, author):
        return label_rows.no_rows()
    return tables.read(TABLE, author).select(list(label_rows.COLUMNS))


def _of(stored: pl.DataFrame, purchase: LabelPurchase) -> tuple[set[str], int]:
    labels = stored.filter((pl.col("purchase") == purchase.id) & (pl.col("source") != PLANT))
    return set(labels["prompt_id"].to_list()), len(labels)


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
            (plant.own.sample_id, plant.kind): plant
            for member in panel.members
            if member.certified
            for plant in member.plants
        }

    def lost_claims(self, stored: pl.DataFrame, *, margin: float) -> tuple[str, ...]:
        """Return the claims whose judge has failed on the plants of this purchase."""
        plants = plants_of(stored, purchase=self._purchase.id)
        return lost_claims(plants, self._panel.claims, margin=margin, of=OF_MODELS)

    def most_usd(self, prompt: ShadowPrompt) -> float:
        """Return the most that a label of this prompt can cost, in US dollars."""
        if prompt.prompt_id in self._kept:
            return 0.0
        return self._paid.most_usd(self._for_paid(prompt), max_tokens=self._tokens)

    def is_past_judging(self, batch: Sequence[ShadowPrompt]) -> bool:
        """Whether the account might be unable to pay a judge for scoring this batch."""
        longest = "word " * self._tokens
        expected = [
            JudgedAnswer(
                prompt.question, f"{longest}{side}", tuple(p.text for p in prompt.passages)
            )
            for prompt in batch
            for side in ("own", "paid")
        ]
        drawn = certification.plants_due(len(batch)) + 1
        planted = [text for plant in list(self._plants.values())[:drawn] for text in plant.pair()]
        most, left = self._panel.judges_cost([*expected, *planted])
        return left is not None and most > left

    def answers(self, batch: Sequence[ShadowPrompt]) -> dict[str, tuple[str, Paid]]:
        """Return own and paid answer by prompt, without prompts that the account cannot pay for."""
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
            version="1",  # the purchase identifies a label, so old rows are never bought again
            schema=label_rows.COLUMNS,
            row_key="label_id",
        )

    def rows(
        self, batch: Sequence[ShadowPrompt], *, after: int, planted: Collection[tuple[str, str]]
    ) -> list[dict[str, object]]:
        """Return a row for each prompt and for each plant, which is drawn by hash."""
        entries = [(prompt.source, prompt.prompt_id, "") for prompt in batch]
        drawn = drawn_for_batch(
            list(self._plants.values()),
            count=certification.plants_due(len(batch)),
            batch=digest(self._purchase.id, after),
            planted=planted,
        )
        entries += [(PLANT, plant.own.sample_id, plant.kind) for plant in drawn]
        return [self._purchase.row(after + n, *entry) for n, entry in enumerate(entries, start=1)]

    def score(self, rows: pl.DataFrame, answers: Mapping[str, tuple[str, Paid]]) -> pl.DataFrame:
        """Compute features, scores and prices of new rows; a judge gets all texts in one call."""
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
            passages.append(tuple(indexed_text(p.title, p.text) for p in prompt.passages))
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
                pl.Series(name, [getattr(paid, name) if paid else 0 for paid in bought], kind)
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
        flat = [answer for pair in shown for answer in pair if isinstance(answer, JudgedAnswer)]
        for member in self._panel.members:
            if not member.certified:
                continue
            scores_in_order = iter(member.judge.score_all(flat))
            claim = member.judge.claim
            for place, (_, paid) in zip(scores, shown, strict=True):
                own = next(scores_in_order)
                kept = isinstance(paid, KeptAnswer)
                paid_score = paid.scores[claim] if kept else next(scores_in_order)
                place.append({"claim": claim, "own": own, "paid": paid_score})
        return scores

    def _closeness(self, vectors: np.ndarray, passages: Sequence[Sequence[str]]) -> list[float]:
        """Return each question's cosine with its best passage, as the retriever computes it."""
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
        messages = rendered(prompt, self._author, DEFAULT_TEMPLATE.hash)
        return [dict(message) for message in messages]


def own_asker(author: Author, serve: served_model.Serve) -> AskOwn:
    """Return a function that asks the stable version, with as many servers as the cores allow.

    Answers are greedy.
    """

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
