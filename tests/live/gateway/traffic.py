"""Ask the gateway without a pause from several threads, and record every response.

Scope: asking and reading whole and streamed answers. Out of scope: the failures meanwhile, and
assertions.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.live.gateway.stack import Stack, parse_events


@dataclass(frozen=True)
class TimedResponse:
    """A response as a reader received it; times are monotonic seconds."""

    started_s: float
    ended_s: float
    status: int
    twin: dict[str, Any]
    text: str

    @property
    def version(self) -> str:
        return str(self.twin.get("version", ""))


@dataclass
class Traffic:
    """Readers, one for each of `keys`, who ask without a pause; every second reader streams."""

    stack: Stack
    keys: list[str]
    body: dict[str, Any]
    responses: list[TimedResponse] = field(default_factory=list[TimedResponse])
    exceptions: list[str] = field(default_factory=list[str])

    @contextmanager
    def run_readers(self) -> Iterator[None]:
        stop = threading.Event()
        threads = [
            threading.Thread(target=self._read, args=(key, number % 2 == 1, stop))
            for number, key in enumerate(self.keys)
        ]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            stop.set()
            for thread in threads:
                thread.join(300)

    def _read(self, key: str, stream: bool, stop: threading.Event) -> None:
        with httpx.Client(trust_env=False, timeout=300) as client:
            while not stop.is_set():
                started_s = time.monotonic()
                try:
                    answer = client.post(
                        f"{self.stack.url}/v1/chat/completions",
                        json=self.body | {"stream": stream},
                        headers={"Authorization": f"Bearer {key}"},
                    )
                    twin, text = _read_answer(answer, stream)
                except (httpx.HTTPError, KeyError, IndexError, ValueError) as error:
                    self.exceptions.append(f"{type(error).__name__}: {error}")
                    continue
                self.responses.append(
                    TimedResponse(started_s, time.monotonic(), answer.status_code, twin, text)
                )

    def find_failures(self) -> list[str]:
        """Return failed requests, error responses and empty responses."""
        failures = [
            f"{response.status}: {response.text}"
            for response in self.responses
            if response.status != 200 or not response.text
        ]
        return failures + self.exceptions


def _read_answer(answer: httpx.Response, stream: bool) -> tuple[dict[str, Any], str]:
    if answer.status_code != 200:
        return {}, answer.text[:300]
    if not stream:
        document = answer.json()
        return document["twin"], document["choices"][0]["message"]["content"]
    if not answer.text.rstrip().endswith("data: [DONE]"):
        raise ValueError(f"the stream ended with {answer.text[-200:]}")
    chunks = parse_events(answer.text)
    return [chunk["twin"] for chunk in chunks if "twin" in chunk][-1], join_deltas(chunks)


def join_deltas(chunks: list[dict[str, Any]]) -> str:
    """Return the text of a streamed answer."""
    return "".join(
        choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"]
    )
