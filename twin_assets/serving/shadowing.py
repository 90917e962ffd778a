"""Replay prompts: candidate and incumbent answer each of them, and the judges score them blind.

Scope: the loop over batches, answering and storing a batch, deciding when to stop.
Out of scope: choosing prompts (`shadow_prompts.py`), the judges, the test
(`statistics/promotion.py`), acting on its verdict (the registry).

Replays run off the request path. The two versions answer a batch in turn, each on as many servers
as the cores allow. The servers share the base model's memory. Decoding is greedy, so a batch lost
with its process is reproduced exactly. A batch is committed as a whole, and a stored answer is
never requested again.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from twin_assets.serving.judged_batches import append_rows, ask_version
from twin_assets.serving.shadow_prompts import (
    ShadowPrompt,
    index_by_id,
    render_prompt,
    shuffle_by_trial,
)
from twin_resources.authors import FREQUENCY_PENALTY
from twin_resources.quality.judges import pairs
from twin_resources.quality.judges.judge import JudgedAnswer, digest, judge_id
from twin_resources.quality.judges.pairs import PROBE, TABLE, JudgedComparison
from twin_resources.quality.judges.panel import Panel
from twin_resources.quality.release.trial import margin_for_incumbent
from twin_resources.statistics import promotion
from twin_resources.statistics.promotion import PairEvidence

if TYPE_CHECKING:
    from twin_resources.authors import Author
    from twin_resources.models.serving.running_server import RunningServer
    from twin_resources.quality.release.trial_rows import ComparedVersions
    from twin_resources.registry.moves import ModelVersion
    from twin_resources.storage.tables.tables import Tables

SHADOW_VERSION = "shadow-1"
BATCH_SIZE = 10  # pairs, which take a minute on two cores with the embedded model
MAX_TOKENS = 80  # per answer; 60 words suffice to judge topic and voice

ServeVersion = Callable[["ModelVersion"], "AbstractContextManager[RunningServer]"]


@dataclass(frozen=True)
class ReplayResult:
    """The result of a replay and the state of the test.

    Attributes:
        evidence: evidence from all stored pairs of this trial.
        withdrawn_claims: claims whose judge no longer detects negative probes and therefore does
            not decide.
        is_exhausted: whether every prompt has been used without a decision.
        new_pair_count, new_probe_count: numbers of new pairs and of new negative probes.
    """

    trial: str
    evidence: PairEvidence
    withdrawn_claims: tuple[str, ...]
    is_exhausted: bool
    new_pair_count: int
    new_probe_count: int
    data_version: str


def replay(
    author: Author,
    versions: ComparedVersions,
    prompts: Sequence[ShadowPrompt],
    panel: Panel,
    *,
    tables: Tables,
    serve: ServeVersion,
    margin: float,
    max_pairs: int,
    is_incumbent_ungated: bool = False,
    max_duration_s: float = math.inf,
    log: Callable[[str], object],
) -> ReplayResult:
    """Answer and score prompts until the test decides or no prompts or pairs are left.

    Args:
        margin: ε of the judges' certificates and the trial (`margin_for_incumbent`).
        max_pairs: maximum number of new pairs.
        is_incumbent_ungated: whether the incumbent has not passed the gate (`promotion.py`).
        max_duration_s: seconds after which no further batch starts.

    Raises:
        TwinError: no judge is certified, a version cannot be served, or a judge does not answer.
    """
    start_time = time.monotonic()
    trial = _build_comparison(author, versions, panel)
    replayer = _BatchReplayer(author, versions, index_by_id(prompts), panel, trial, serve)
    stored_pairs = _read_stored_pairs(tables, author.slug)

    def current_evidence() -> PairEvidence:
        return compute_evidence(
            stored_pairs,
            trial.id,
            panel,
            is_incumbent_ungated=is_incumbent_ungated,
            margin=margin_for_incumbent(versions.incumbent, margin),
        )

    evidence = current_evidence()
    replayed_ids = set(stored_pairs.filter(pl.col("trial") == trial.id)["prompt_id"].to_list())
    pending_prompts = shuffle_by_trial(
        [prompt for prompt in prompts if prompt.prompt_id not in replayed_ids], trial.id
    )
    new_pair_count = new_probe_count = 0
    while (
        pending_prompts
        and evidence.verdict == "undecided"
        and new_pair_count < max_pairs
        and time.monotonic() - start_time < max_duration_s
    ):
        batch = pending_prompts[: min(BATCH_SIZE, max_pairs - new_pair_count)]
        pending_prompts = pending_prompts[len(batch) :]
        new_probe_count += replayer.store(batch, stored_pairs, tables)
        new_pair_count += len(batch)
        stored_pairs = _read_stored_pairs(tables, author.slug)
        evidence = current_evidence()
        log(f"{evidence.pairs} pairs, {new_probe_count} new negative probes: {evidence.verdict}")
    return ReplayResult(
        trial=trial.id,
        evidence=evidence,
        withdrawn_claims=pairs.withdrawn_claims(
            pairs.probe_rows(stored_pairs, trial=trial.id),
            (*panel.claims, *panel.vetoes),
            margin=margin,
        ),
        is_exhausted=not pending_prompts and evidence.verdict == "undecided",
        new_pair_count=new_pair_count,
        new_probe_count=new_probe_count,
        data_version=tables.data_version(TABLE, author.slug) or "",
    )


def _build_comparison(author: Author, versions: ComparedVersions, panel: Panel) -> JudgedComparison:
    """Return the trial's identity: versions, judges and sampling settings of the answers."""
    sampling = [FREQUENCY_PENALTY, min(MAX_TOKENS, author.max_tokens)]
    return JudgedComparison(
        candidate=versions.candidate.checkpoint,
        incumbent=versions.incumbent.checkpoint,
        judges=tuple(judge_id(member.judge) for member in panel.members),
        answers=digest(SHADOW_VERSION, sampling, author.name, "", ()),
    )


def compute_evidence(
    rows: pl.DataFrame,
    trial_id: str,
    panel: Panel,
    *,
    margin: float,
    is_incumbent_ungated: bool = False,
) -> PairEvidence:
    """Run the test over all stored pairs of a trial, and return its evidence."""
    claims, vetoes = panel.claims, panel.vetoes
    evidence = promotion.start_test(
        claims=claims, vetoes=vetoes, is_incumbent_ungated=is_incumbent_ungated, margin=margin
    )
    for pair in pairs.trial_pairs(rows, trial_id, [*claims, *vetoes]):
        evidence = promotion.add_pair(evidence, pair)
    return evidence


def _read_stored_pairs(tables: Tables, author: str) -> pl.DataFrame:
    if not tables.exists(TABLE, author):
        return pl.DataFrame(schema=dict(pairs.COLUMNS))
    return tables.read(TABLE, author).select(list(pairs.COLUMNS))


@dataclass(frozen=True)
class _BatchReplayer:
    """Answers, scores and stores the prompts of a batch."""

    author: Author
    versions: ComparedVersions
    prompts: Mapping[str, ShadowPrompt]
    panel: Panel
    trial: JudgedComparison
    serve: ServeVersion

    def store(
        self, batch: Sequence[ShadowPrompt], stored_rows: pl.DataFrame, tables: Tables
    ) -> int:
        """Commit a batch's answers and scores; return the number of negative probes among them."""
        return append_rows(
            tables,
            TABLE,
            self.author.slug,
            self.trial,
            batch,
            stored_rows=stored_rows,
            probes=self.panel.probes,
            score=self.score,
            identity_columns=pairs.IDENTITY_COLUMNS,
            columns=pairs.COLUMNS,
        )

    def score(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Answer and score new rows; each judge gets all texts of the batch in one call."""
        prompt_rows = rows.filter(pl.col("source") != PROBE)
        prompts = [self.prompts[prompt_id] for prompt_id in prompt_rows["prompt_id"]]
        versions = (self.versions.candidate, self.versions.incumbent)
        answers = {
            version.checkpoint: self._collect_answers(version, prompts) for version in versions
        }
        answer_groups: list[tuple[JudgedAnswer, ...]] = []
        index = 0
        for row in rows.iter_rows(named=True):
            if row["source"] == PROBE:
                answer_groups.append(
                    self.panel.probes[row["prompt_id"], row["plant"]].judged_pair()
                )
                continue
            prompt = prompts[index]
            texts = tuple(passage.text for passage in prompt.passages)
            answer_groups.append(
                tuple(
                    JudgedAnswer(prompt.question, answers[version.checkpoint][index], texts)
                    for version in versions
                )
            )
            index += 1
        scores: list[list[dict[str, object]]] = [[] for _ in answer_groups]
        judged_answers = [answer for group in answer_groups for answer in group]
        for member in self.panel.members:
            scores_in_order = iter(member.judge.score_all(judged_answers))
            for group_scores in scores:
                score: dict[str, object] = {
                    "claim": member.judge.claim,
                    "judge": judge_id(member.judge),
                }
                sides = ("candidate", "incumbent")
                group_scores.append(score | {side: next(scores_in_order) for side in sides})
        return rows.with_columns(pl.Series("scores", scores, dtype=pl.List(pairs.SCORE_TYPE)))

    def _collect_answers(self, version: ModelVersion, prompts: Sequence[ShadowPrompt]) -> list[str]:
        messages = [render_prompt(prompt, self.author, version.template) for prompt in prompts]
        return ask_version(
            lambda: self.serve(version),
            messages,
            self.author,
            max_tokens=MAX_TOKENS,
            texts_only=True,  # an answer model's server may not report log-probabilities
        )
