"""Buy labels: the home's model and the paid model answer the same prompts, and are scored blind.

Scope: the loop over batches, answering and storing a batch, deciding when to stop.
Out of scope: choosing prompts (`shadow_prompts.py`), the judges, the router, the account.

Like the replays of `shadowing.py`, purchases are off the request path. A batch is committed as a
whole, a stored label is never bought again, and negative probes in the batches test the judges.
Buying stops when the prompts are used up, or when the requested number, the budget or a limit of
the account is reached.

A paid answer is bought once. For labels of the next version, only the home's model answers again.
The judges' scores of the paid answer are copied from the earlier row
(`label_rows.find_reusable_answers`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from twin_assets.serving.judged_batches import append_rows
from twin_assets.serving.shadow_prompts import ShadowPrompt, index_by_id, render_prompt
from twin_resources.access.paid_completion import Completion
from twin_resources.authors import FREQUENCY_PENALTY
from twin_resources.gateway.costs.paid_model_client import PaidModelClient
from twin_resources.gateway.request.prompt_classes import classify_question
from twin_resources.privacy import redact
from twin_resources.prompt.templates import DEFAULT_TEMPLATE
from twin_resources.quality.judges import label_rows
from twin_resources.quality.judges.judge import Embed, JudgedAnswer, digest, judge_id
from twin_resources.quality.judges.label_rows import (
    MODEL_COLUMNS,
    TABLE,
    LabelPurchase,
    ReusableAnswer,
)
from twin_resources.quality.judges.pairs import PROBE, probe_rows, withdrawn_claims
from twin_resources.quality.judges.panel import Panel
from twin_resources.statistics import judge_certification

if TYPE_CHECKING:
    from twin_resources.authors import Author
    from twin_resources.registry.moves import ModelVersion
    from twin_resources.storage.tables.tables import Tables

BATCH_SIZE = 10
MAX_TOKENS = 200  # per answer

PaidReply = Completion | ReusableAnswer
AskOwnModel = Callable[[Sequence[Sequence[Mapping[str, str]]]], Sequence[str]]


@dataclass(frozen=True)
class LabelSources:
    """The models and lookups that a purchase uses.

    Attributes:
        ask_own_model: function that sends rendered prompts to the stable version.
        paid: client of the paid model.
        embed: function that embeds questions and passages.
        readers: reader of each recorded prompt, by trace id.
    """

    ask_own_model: AskOwnModel
    paid: PaidModelClient
    embed: Embed
    readers: Mapping[str, str]


@dataclass(frozen=True)
class PurchaseResult:
    """The result of one run of a purchase.

    Attributes:
        label_count, probe_count: numbers of stored labels and negative probes in the purchase.
        new_label_count: number of labels that this run added.
        usd: cost of this run, in US dollars.
        stop_reason: why the run ended, as one clause.
        withdrawn_claims: claims whose judge no longer detects negative probes; routing does not
            use them.
    """

    purchase: str
    label_count: int
    probe_count: int
    new_label_count: int
    usd: float
    stop_reason: str
    withdrawn_claims: tuple[str, ...]
    data_version: str


def build_label_purchase(
    author: Author, version: ModelVersion, panel: Panel, *, paid: str, embedder: str
) -> LabelPurchase:
    """Return the identity of the label purchase for this version."""
    sampling = [FREQUENCY_PENALTY, min(MAX_TOKENS, author.max_tokens)]
    return LabelPurchase(
        own=version.checkpoint,
        paid=paid,
        embedder=embedder,
        judges=tuple(judge_id(member.judge) for member in panel.members),
        answers=digest(sampling, author.name, "", ()),
    )


def buy_labels(
    author: Author,
    version: ModelVersion,
    prompts: Sequence[ShadowPrompt],
    panel: Panel,
    purchase: LabelPurchase,
    *,
    tables: Tables,
    sources: LabelSources,
    max_labels: int,
    max_usd: float,
    margin: float,
    log: Callable[[str], object],
) -> PurchaseResult:
    """Buy labels until there are enough, or until the budget or the prompts are used up.

    Args:
        max_labels: maximum number of labels in the purchase, including old ones.
        max_usd: maximum cost of this run, in US dollars.
        margin: ε for the judges' scores of negative probes.

    Raises:
        TwinError: a model or a judge does not answer.
    """
    label_table = read_labels(tables, author.slug)
    certified_claims = [member.judge.claim for member in panel.members if member.is_certified]
    reusable_answers = label_rows.find_reusable_answers(label_table, purchase, certified_claims)
    labeler = _BatchLabeler(
        author, version, index_by_id(prompts), panel, purchase, sources, reusable_answers
    )
    labeled_ids, label_count = _find_labeled_prompts(label_table, purchase)
    pending_prompts = [prompt for prompt in prompts if prompt.prompt_id not in labeled_ids]
    # prompts with reusable answers come first, because they cost nothing
    pending_prompts.sort(key=lambda prompt: prompt.prompt_id not in reusable_answers)
    initial_count, usd, stop_reason = label_count, 0.0, ""
    while not stop_reason:
        batch = pending_prompts[: min(BATCH_SIZE, max_labels - label_count)]
        if label_count >= max_labels:
            stop_reason = f"{label_count} labels, as many as were requested"
        elif not batch:
            stop_reason = "every prompt has been used"
        elif usd + sum(labeler.max_usd(prompt) for prompt in batch) > max_usd:
            stop_reason = f"the budget of ${max_usd:g} does not suffice for another batch"
        else:
            stop_reason = labeler.explain_judge_refusal(batch, label_table, margin=margin)
        if stop_reason:
            break
        pending_prompts = pending_prompts[len(batch) :]
        answers = labeler.collect_answers(batch)
        if len(answers) < len(batch):
            stop_reason = "a limit of the account has been reached"
        if not answers:
            break
        labeler.store(batch, answers, label_table, tables)
        label_table = read_labels(tables, author.slug)
        _, label_count = _find_labeled_prompts(label_table, purchase)
        usd += sum(reply.usd for _, reply in answers.values() if isinstance(reply, Completion))
        log(f"{label_count} labels, ${usd:.4f} in this run")
    return PurchaseResult(
        purchase=purchase.id,
        label_count=label_count,
        probe_count=len(probe_rows(label_table, purchase=purchase.id)),
        new_label_count=label_count - initial_count,
        usd=usd,
        stop_reason=stop_reason,
        withdrawn_claims=labeler.withdrawn_claims(label_table, margin=margin),
        data_version=tables.data_version(TABLE, author.slug) or "none",
    )


def read_labels(tables: Tables, author: str) -> pl.DataFrame:
    """Return the rows of the label table, or no rows if it does not exist."""
    if not tables.exists(TABLE, author):
        return label_rows.create_empty_table()
    return tables.read(TABLE, author).select(list(label_rows.COLUMNS))


def _find_labeled_prompts(
    stored_rows: pl.DataFrame, purchase: LabelPurchase
) -> tuple[set[str], int]:
    labels = stored_rows.filter((pl.col("purchase") == purchase.id) & (pl.col("source") != PROBE))
    return set(labels["prompt_id"].to_list()), len(labels)


@dataclass(frozen=True)
class _BatchLabeler:
    """Answers, scores and stores the prompts of a batch."""

    author: Author
    version: ModelVersion
    prompts: Mapping[str, ShadowPrompt]
    panel: Panel
    purchase: LabelPurchase
    sources: LabelSources
    reusable_answers: Mapping[str, ReusableAnswer]

    @property
    def max_tokens(self) -> int:
        return min(MAX_TOKENS, self.author.max_tokens)

    def withdrawn_claims(self, stored_rows: pl.DataFrame, *, margin: float) -> tuple[str, ...]:
        """Return the claims whose judges have failed on the negative probes of this purchase."""
        probes = probe_rows(stored_rows, purchase=self.purchase.id)
        return withdrawn_claims(probes, self.panel.claims, margin=margin, columns=MODEL_COLUMNS)

    def max_usd(self, prompt: ShadowPrompt) -> float:
        """Return the maximum cost of a label for this prompt, in US dollars."""
        if prompt.prompt_id in self.reusable_answers:
            return 0.0
        return self.sources.paid.max_usd(
            self._render_paid_messages(prompt), max_tokens=self.max_tokens
        )

    def explain_judge_refusal(
        self, batch: Sequence[ShadowPrompt], stored_rows: pl.DataFrame, *, margin: float
    ) -> str:
        """Return why the judges cannot score this batch or be paid for it; empty if they can."""
        if failed_claims := self.withdrawn_claims(stored_rows, margin=margin):
            return f"the judge of {', '.join(failed_claims)} no longer detects negative probes"
        longest_answer = "word " * self.max_tokens
        expected_answers = [
            JudgedAnswer(
                prompt.question,
                f"{longest_answer}{side}",
                tuple(passage.text for passage in prompt.passages),
            )
            for prompt in batch
            for side in ("own", "paid")
        ]
        probe_count = judge_certification.probe_count(len(batch)) + 1
        probe_texts = [
            text
            for probe in list(self.panel.probes.values())[:probe_count]
            for text in probe.judged_pair()
        ]
        max_usd, remaining_usd = self.panel.estimate_cost_usd([*expected_answers, *probe_texts])
        if remaining_usd is not None and max_usd > remaining_usd:
            return "a limit of the account leaves too little money to judge another batch"
        return ""

    def collect_answers(self, batch: Sequence[ShadowPrompt]) -> dict[str, tuple[str, PaidReply]]:
        """Ask both models within the limits; return (home's answer, paid answer) by prompt id."""
        unanswered_prompts = [
            prompt for prompt in batch if prompt.prompt_id not in self.reusable_answers
        ]
        paid_answers = self.sources.paid.ask(
            [self._render_paid_messages(prompt) for prompt in unanswered_prompts],
            max_tokens=self.max_tokens,
        )
        paid_replies: list[tuple[ShadowPrompt, PaidReply]] = [
            (prompt, self.reusable_answers[prompt.prompt_id])
            for prompt in batch
            if prompt.prompt_id in self.reusable_answers
        ]
        paid_replies += [
            (prompt, answer)
            for prompt, answer in zip(unanswered_prompts, paid_answers, strict=True)
            if answer
        ]
        own_answers = self.sources.ask_own_model(
            [
                render_prompt(prompt, self.author, self.version.template)
                for prompt, _ in paid_replies
            ]
        )
        return {
            prompt.prompt_id: (own_answer, answer)
            for (prompt, answer), own_answer in zip(paid_replies, own_answers, strict=True)
        }

    def store(
        self,
        batch: Sequence[ShadowPrompt],
        answers: Mapping[str, tuple[str, PaidReply]],
        stored_rows: pl.DataFrame,
        tables: Tables,
    ) -> None:
        """Commit the labels of a batch's answered prompts."""
        append_rows(
            tables,
            TABLE,
            self.author.slug,
            self.purchase,
            [prompt for prompt in batch if prompt.prompt_id in answers],
            stored_rows=stored_rows,
            probes=self.panel.probes,
            score=lambda rows: self.score(rows, answers),
            identity_columns=label_rows.IDENTITY_COLUMNS,
            columns=label_rows.COLUMNS,
        )

    def score(
        self, rows: pl.DataFrame, answers: Mapping[str, tuple[str, PaidReply]]
    ) -> pl.DataFrame:
        """Compute features, scores and costs of new rows; each judge gets all texts in one call."""
        answer_pairs: list[tuple[JudgedAnswer, JudgedAnswer | ReusableAnswer]] = []
        questions: list[str] = []
        passages: list[tuple[str, ...]] = []
        paid_replies: list[PaidReply | None] = []
        for row in rows.iter_rows(named=True):
            if row["source"] == PROBE:
                probe = self.panel.probes[row["prompt_id"], row["plant"]]
                good_answer, bad_answer = probe.judged_pair()
                answer_pairs.append((bad_answer, good_answer))
                questions.append(probe.prompt.question)
                passages.append(())
                paid_replies.append(None)
                continue
            prompt = self.prompts[row["prompt_id"]]
            own_answer, reply = answers[row["prompt_id"]]
            texts = tuple(passage.text for passage in prompt.passages)
            judged_paid_answer = (
                reply
                if isinstance(reply, ReusableAnswer)
                else JudgedAnswer(prompt.question, reply.text, texts)
            )
            answer_pairs.append(
                (JudgedAnswer(prompt.question, own_answer, texts), judged_paid_answer)
            )
            questions.append(prompt.question)
            passages.append(
                tuple(f"{passage.title}\n\n{passage.text}".strip() for passage in prompt.passages)
            )
            paid_replies.append(reply)
        vectors = np.asarray(self.sources.embed(questions), np.float32)
        return rows.with_columns(
            pl.Series(
                "reader",
                [self.sources.readers.get(prompt_id, "") for prompt_id in rows["prompt_id"]],
            ),
            pl.Series("prompt_class", [classify_question(question) for question in questions]),
            pl.Series("length", [len(question) for question in questions], pl.Int64()),
            pl.Series("closeness", self._compute_max_cosines(vectors, passages), pl.Float64()),
            pl.Series("vector", vectors.tolist(), pl.List(pl.Float32())),
            pl.Series("scores", self._score_answers(answer_pairs), pl.List(label_rows.SCORE_TYPE)),
            *(
                pl.Series(
                    field, [getattr(reply, field) if reply else 0 for reply in paid_replies], dtype
                )
                for field, dtype in (
                    ("prompt_tokens", pl.Int64()),
                    ("answer_tokens", pl.Int64()),
                    ("usd", pl.Float64()),
                )
            ),
        )

    def _score_answers(
        self,
        answer_pairs: Sequence[tuple[JudgedAnswer, JudgedAnswer | ReusableAnswer]],
    ) -> list[list[dict[str, object]]]:
        scores: list[list[dict[str, object]]] = [[] for _ in answer_pairs]
        judged_answers = [
            answer for pair in answer_pairs for answer in pair if isinstance(answer, JudgedAnswer)
        ]
        for member in self.panel.members:
            if not member.is_certified:
                continue
            scores_in_order = iter(member.judge.score_all(judged_answers))
            claim = member.judge.claim
            for prompt_scores, (_, reply) in zip(scores, answer_pairs, strict=True):
                own_score = next(scores_in_order)
                is_reused = isinstance(reply, ReusableAnswer)
                paid_score = reply.scores[claim] if is_reused else next(scores_in_order)
                prompt_scores.append({"claim": claim, "own": own_score, "paid": paid_score})
        return scores

    def _compute_max_cosines(
        self, vectors: np.ndarray, passages: Sequence[Sequence[str]]
    ) -> list[float]:
        """Return each question's highest cosine with a passage, as the retriever computes it."""
        texts = list(dict.fromkeys(text for group in passages for text in group))
        if not texts:
            return [0.0] * len(passages)
        vector_by_text = dict(
            zip(texts, np.asarray(self.sources.embed(texts), np.float32), strict=True)
        )
        return [
            max((float(np.dot(vector, vector_by_text[text])) for text in group), default=0.0)
            for vector, group in zip(vectors, passages, strict=True)
        ]

    def _render_paid_messages(self, prompt: ShadowPrompt) -> list[dict[str, str]]:
        question = redact(prompt.question, region=self.author.language).text
        prompt = replace(prompt, question=question)
        messages = render_prompt(prompt, self.author, DEFAULT_TEMPLATE.hash)
        return [dict(message) for message in messages]
