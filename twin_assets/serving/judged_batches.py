"""Ask a version a batch of prompts, and store the batch's rows with negative probes among them.

Scope: what trials (`shadowing.py`) and purchases of labels (`labeling.py`) have in common.
Out of scope: prompts (`shadow_prompts.py`), scores, the tables (`twin_resources/quality/judges`).
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import polars as pl

from twin_resources.authors import FREQUENCY_PENALTY
from twin_resources.models.serving import served_model
from twin_resources.models.serving.model_server_process import max_concurrent_servers
from twin_resources.quality.judges.judge import digest
from twin_resources.quality.judges.negative_probes import NegativeProbe, draw_probes
from twin_resources.quality.judges.pairs import PROBE, probe_keys, probe_rows
from twin_resources.statistics import judge_certification

if TYPE_CHECKING:
    from twin_assets.serving.shadow_prompts import ShadowPrompt
    from twin_resources.authors import Author
    from twin_resources.quality.judges.label_rows import LabelPurchase
    from twin_resources.quality.judges.pairs import JudgedComparison
    from twin_resources.storage.tables.tables import Tables

Probes = Mapping[tuple[str, str], NegativeProbe]  # by sample id and kind


def ask_version(
    serve: served_model.StartServer,
    messages: Sequence[Sequence[Mapping[str, str]]],
    author: Author,
    *,
    max_tokens: int,
    texts_only: bool = False,
) -> list[str]:
    """Start servers for a version, and return its answers to the prompts, in order.

    Args:
        texts_only: whether the server may lack log-probabilities, as an answer model's does.
    """
    if not messages:
        return []
    replies = served_model.query_temporary_servers(
        serve,
        messages,
        max_servers=max_concurrent_servers(),
        max_tokens=min(max_tokens, author.max_tokens),
        frequency_penalty=FREQUENCY_PENALTY,
        texts_only=texts_only,
    )
    return [answer.text for answer in replies]


def append_rows(
    tables: Tables,
    table: str,
    author: str,
    identity: JudgedComparison | LabelPurchase,
    batch: Sequence[ShadowPrompt],
    *,
    stored_rows: pl.DataFrame,
    probes: Probes,
    score: Callable[[pl.DataFrame], pl.DataFrame],
    identity_columns: Mapping[str, pl.DataType],
    columns: Mapping[str, pl.DataType],
) -> int:
    """Commit a row for each prompt and each probe drawn by hash; return the number of probes.

    Args:
        identity: the comparison or purchase to which the rows belong.
        stored_rows: all rows of the table.
        probes: the negative probes to draw from.
        score: function that adds the remaining `columns` to new rows of `identity_columns`.
        identity_columns: columns that identify a row: the key, the sequence, the id of `identity`.
    """
    key, _, group = list(identity_columns)[:3]
    last_sequence = int(stored_rows["sequence"].max() or 0)  # pyright: ignore[reportArgumentType]
    drawn_probes = draw_probes(
        list(probes.values()),
        count=judge_certification.probe_count(len(batch)),
        batch=digest(identity.id, last_sequence),
        used_probes=probe_keys(probe_rows(stored_rows, **{group: identity.id})),
    )
    entries = [(prompt.source, prompt.prompt_id, "") for prompt in batch]
    entries += [(PROBE, probe.prompt.sample_id, probe.kind) for probe in drawn_probes]
    rows = [identity.build_row(i, *entry) for i, entry in enumerate(entries, last_sequence + 1)]
    new_rows = pl.DataFrame(rows, schema=dict(identity_columns))
    tables.sync(
        pl.concat([stored_rows.select(list(identity_columns)), new_rows]),
        table,
        author=author,
        key=key,
        function=score,
        version="1",  # the identity determines the answers, so no row is made or bought twice
        schema=columns,
        row_key=key,
    )
    return len(drawn_probes)
