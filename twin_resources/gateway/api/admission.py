"""Limit the concurrent requests of a key and of a model server, and refuse further requests.

Scope: the counts of this home and the refusal.
Out of scope: the rate limit and the budget of a key (`keys.py`), the limit of the machine (the
model server's own queue).

A model server answers a few requests at a time, and its queue has no limit. Without a limit, the
hundredth reader would wait minutes for a timeout, and the server would compute unread answers. The
queue is therefore limited, and a refusal states when to ask again. The limit per key prevents one
program from filling the shared queue.
"""
# pyright: strict

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field

from twin_resources.access.refusals import RefusedError
from twin_resources.gateway.costs.home_counts import HomeCounts

RETRY_AFTER_S = 2


@dataclass
class AdmissionControl:
    """Counter of the concurrent requests to a home's gateway.

    Attributes:
        max_per_key: limit on the concurrent requests of one key.
        max_per_server: limit on the requests to one model server, answered or waiting.
        counts: counts shared by all processes of the gateway.
    """

    max_per_key: int
    max_per_server: int
    counts: HomeCounts = field(default_factory=HomeCounts)

    @contextmanager
    def admit_for_key(self, reader: str) -> Generator[None]:
        """Count a request of a key, from its first byte to the end of its answer.

        Raises:
            RefusedError: 429 if the key has reached its limit.
        """
        with self._count_request(f"key {reader}", self.max_per_key, "with this key"):
            yield

    @contextmanager
    def admit_to_server(self, server_key: str) -> Generator[None]:
        """Count a request to a model server.

        Raises:
            RefusedError: 429 if the queue of the server is full.
        """
        owner = f"to the model server {server_key!r}"
        with self._count_request(f"server {server_key}", self.max_per_server, owner):
            yield

    @contextmanager
    def _count_request(self, name: str, limit: int, owner: str) -> Generator[None]:
        with self.counts.lock_table() as table:
            in_progress = int(table.get(name, {}).get("under_way", 0))
            if in_progress < limit:
                table[name] = {"under_way": in_progress + 1}
        if in_progress >= limit:
            raise RefusedError(
                429,
                "too_many_waiting",
                tried="accept the request",
                found=f"{in_progress} requests {owner} are in progress, which is the limit",
                next_step=f"try again in {RETRY_AFTER_S} s, with fewer concurrent requests",
                retry_after_s=RETRY_AFTER_S,
            )
        try:
            yield
        finally:
            with self.counts.lock_table() as table:
                table[name]["under_way"] -= 1
                if not table[name]["under_way"]:
                    del table[name]  # a process runs for months and sees many keys
