"""What is computed once for an author and kept: calibrations and certificates of judges.

Belongs here: the tables they are kept in, and reading a calibration back.
Does not belong here: computing one (`topic.py`, `voice.py`, `panel.py`).

One table a kind, one row a name: (name, hash of what calls for it, document). A calibration is held
on to when posts are added, because another one is another judge, whose scores need a new baseline:
it is made again for another method, embedder or base model, when the author's texts have doubled
and still were too few, and when about twice as many other people write in the instance: of whom a
voice is told apart decides what is heard in it. After a post is forgotten its rows go too, and are
made from what is left.
"""
# pyright: strict

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from twin_resources.quality.judges.judge import Embed, digest
from twin_resources.quality.judges.topic import (
    MOST_PAIRS,
    TOPIC_VERSION,
    TopicCalibration,
    TopicPair,
    calibrate_topic,
)
from twin_resources.quality.judges.voice import (
    VOICE_VERSION,
    VoiceCalibration,
    WriterTexts,
    calibrate_voice,
)

if TYPE_CHECKING:
    from twin_resources.storage.tables.tables import Tables

TOPIC_TABLE, VOICE_TABLE = "topic_calibration", "voice_calibration"
PEOPLE_VOICE_TABLE = "voice_of_people_calibration"  # told apart from people alone
CERTIFICATE_TABLE = "judge_certificates"
# Each is derived from the author's text: what forgets an author forgets these.
STORED_TABLES = (TOPIC_TABLE, VOICE_TABLE, PEOPLE_VOICE_TABLE, CERTIFICATE_TABLE)
_SCHEMA: Mapping[str, pl.DataType] = {
    "name": pl.String(),
    "inputs": pl.String(),
    "document": pl.String(),
}


@dataclass(frozen=True)
class JudgeTask:
    """One row: `inputs` is a hash; the row is computed when it is new."""

    inputs: str
    compute: Callable[[], Mapping[str, Any]]


def once(
    tables: Tables, into: str, *, author: str, tasks: Mapping[str, JudgeTask]
) -> dict[str, Any]:
    """Documents by name: taken from the table, or computed and kept there.

    Rows of other names are deleted, so every call passes all names of a table.
    """

    def computed(rows: pl.DataFrame) -> pl.DataFrame:
        documents = [
            json.dumps(tasks[name].compute(), ensure_ascii=False) for name in rows["name"].to_list()
        ]
        return rows.with_columns(pl.Series("document", documents, dtype=pl.String))

    names = sorted(tasks)
    wanted = {"name": names, "inputs": [tasks[name].inputs for name in names]}
    tables.sync(
        pl.DataFrame(wanted, schema={"name": pl.String, "inputs": pl.String}),
        into,
        author=author,
        key="name",
        function=computed,
        version="1",
        schema=_SCHEMA,
        row_key="name",
        batch_rows=1,  # what was paid for stays when the next one fails
    )
    stored = tables.read(into, author, columns=["name", "document"])
    return {name: json.loads(document) for name, document in stored.iter_rows()}


def topic_calibration(
    tables: Tables, author: str, pairs: Sequence[TopicPair], *, embed: Embed, embedder: str
) -> TopicCalibration:
    """The author's topic scale, from the first `MOST_PAIRS` training pairs there were.

    Raises:
        TwinError: as `calibrate_topic`.
    """
    used = list(pairs[:MOST_PAIRS])
    inputs = digest(TOPIC_VERSION, embedder, doublings(len(used)))
    task = JudgeTask(inputs, lambda: asdict(calibrate_topic(used, embed=embed, embedder=embedder)))
    found = once(tables, TOPIC_TABLE, author=author, tasks={"topic": task})
    return TopicCalibration(**found["topic"])


def voice_calibration(
    tables: Tables,
    author: str,
    own: WriterTexts,
    others: Sequence[WriterTexts],
    *,
    base: str,
    into: str = VOICE_TABLE,
) -> VoiceCalibration:
    """The author's voice score, trained against others'.

    Args:
        base: revision of the model whose answers are among the others; empty: people alone.
        into: the table that keeps it, one for each kind of others.

    Raises:
        TwinError: as `calibrate_voice`.
    """
    people = len(others) - bool(base)
    inputs = digest(VOICE_VERSION, base, doublings(len(own.pieces())), doublings(people + 1))
    task = JudgeTask(inputs, lambda: asdict(calibrate_voice(own, others)))
    found = once(tables, into, author=author, tasks={"voice": task})["voice"]
    return VoiceCalibration(
        **(found | {"kept": tuple(found["kept"]), "weights": tuple(found["weights"])})
    )


def doublings(count: int) -> int:
    """How often 1 was doubled to reach a number: equal until it has about doubled."""
    return count.bit_length()
