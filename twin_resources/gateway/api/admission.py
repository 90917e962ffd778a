"""Limit the concurrent requests of each key and to each model server; refuse further requests.

Scope: the counts of this home and the refusal.
Out of scope: the rate limit of a key (`key_limits.py`) and its budget (`access/`), and the model
server's own queue.

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
    """A counter of the concurrent requests to a home's gateway.

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
        """Count a key's request from its first byte to the end of its answer.

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
        destination = f"to the model server {server_key!r}"
        with self._count_request(f"server {server_key}", self.max_per_server, destination):
            yield

    @contextmanager
    def _count_request(self, counter_name: str, limit: int, description: str) -> Generator[None]:
        with self.counts.lock_table() as table:
            count = int(table.get(counter_name, {}).get("under_way", 0))
            if count < limit:
                table[counter_name] = {"under_way": count + 1}
        if count >= limit:
            message = (
                f"{count} requests {description} are in progress, which is the limit; try again in "
                f"{RETRY_AFTER_S} s."
            )
            raise RefusedError(429, "too_many_waiting", message, retry_after_s=RETRY_AFTER_S)
        try:
            yield
        finally:
            with self.counts.lock_table() as table:
                table[counter_name]["under_way"] -= 1
                if not table[counter_name]["under_way"]:
                    del table[counter_name]  # a process runs for months and sees many keys
