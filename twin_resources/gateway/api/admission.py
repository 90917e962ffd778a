"""How many requests may be under way: by key and by model server, beyond it a refusal at once.

Scope: the counts of this home and the refusal. Out of scope: what a key may send
in a minute or spend (`keys.py`), the limit of the machine (the model server's own queue).

A model server answers some requests at a time and lets the others wait without end: a reader who
is the hundredth learns that after minutes, by a timeout, and the server has computed answers that
nobody reads. So the queue has an end, and who finds it full is told when to ask again. The bound by
key keeps one program from filling the queue that all share.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field

from twin_resources.access.refusals import Refused
from twin_resources.gateway.costs.home_counts import HomeCounts

RETRY_AFTER_S = 2


@dataclass
class Admission:
    """Counts requests of a home's gateway.

    Attributes:
        most_by_key: requests of one key under way.
        most_by_server: requests for one model server under way, answered or waiting.
        counts: of all its processes.
    """

    most_by_key: int
    most_by_server: int
    counts: HomeCounts = field(default_factory=HomeCounts)

    @contextmanager
    def of_key(self, reader: str) -> Generator[None]:
        """A request of a key, from its first byte to the end of its answer.

        Raises:
            Refused: 429 the key has as many under way as it may.
        """
        with self._one(f"key {reader}", self.most_by_key, "this key"):
            yield

    @contextmanager
    def to_server(self, server_key: str) -> Generator[None]:
        """A request that a model server is to answer.

        Raises:
            Refused: 429 its queue is full.
        """
        whose = f"the model server {server_key!r}"
        with self._one(f"server {server_key}", self.most_by_server, whose):
            yield

    @contextmanager
    def _one(self, name: str, most: int, whose: str) -> Generator[None]:
        with self.counts.changing() as table:
            under_way = int(table.get(name, {}).get("under_way", 0))
            if under_way < most:
                table[name] = {"under_way": under_way + 1}
        if under_way >= most:
            raise Refused(
                429,
                "too_many_waiting",
                tried="take the request",
                found=f"{under_way} requests of {whose} under way, as many as there may be",
                next_step=f"ask again in {RETRY_AFTER_S} s, with fewer at a time",
                retry_after_s=RETRY_AFTER_S,
            )
        try:
            yield
        finally:
            with self.counts.changing() as table:
                table[name]["under_way"] -= 1
                if not table[name]["under_way"]:
                    del table[name]  # keys come and go, and a process runs for months
