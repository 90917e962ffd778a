"""The batch endpoint of the simulated provider: OpenAI's files and batches, at half the price.

Belongs here: what it stores, when a batch ends and how, what is charged for it.
Does not belong here: HTTP (`paid_provider.py`), the words and the bill (`provider_answers.py`).

A batch ends after a time drawn from the seed; it is computed and charged then, once. A row fails
that says `(429)` or `(500)` in its question, as a single request does. A row that says `(expired)`
is not come to: the batch ends `expired`, with an error for it and the answers of the others. One
that says `(refused)` makes the whole batch `failed` before anything is computed. `(lost line)` is
computed, charged, and stands in neither file. Errors cost nothing.
API: https://platform.openai.com/docs/api-reference/batch
"""
# pyright: strict

from __future__ import annotations

import email
import email.policy
import itertools
import json
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from twin_cli.commands.demo.provider_answers import ProviderAnswers, completion, failure_of

EXPIRED, REFUSED, LOST = "(expired)", "(refused)", "(lost line)"
_ENDED = {"completed", "failed", "expired", "cancelled"}


@dataclass
class _Batch:
    """One batch; `ends` is when, seconds of the monotonic clock."""

    id: str
    input: str
    metadata: Mapping[str, str]
    ends: float
    status: str = "in_progress"
    files: dict[str, str] = field(default_factory=dict[str, str])
    errors: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    counts: dict[str, int] = field(
        default_factory=lambda: {"total": 0, "completed": 0, "failed": 0}
    )

    def document(self) -> dict[str, Any]:
        """As the API tells it."""
        return {
            "id": self.id,
            "object": "batch",
            "endpoint": "/v1/chat/completions",
            "input_file_id": self.input,
            "completion_window": "24h",
            "created_at": 0,
            "status": self.status,
            "metadata": dict(self.metadata),
            "request_counts": self.counts,
            "output_file_id": self.files.get("output"),
            "error_file_id": self.files.get("error"),
            "errors": {"object": "list", "data": self.errors} if self.errors else None,
        }


class PaidBatches:
    """Files and batches of a provider, in memory."""

    def __init__(self, provider: ProviderAnswers) -> None:
        self._provider = provider
        self.files: dict[str, bytes] = {}
        self.batches: dict[str, _Batch] = {}
        self._numbers = itertools.count()
        self._lock = threading.Lock()

    def respond(
        self, method: str, path: str, sent: bytes, kind: str
    ) -> Mapping[str, Any] | bytes | None:
        """What a request gets: a JSON object, a file's content, or None: no such thing.

        Args:
            kind: the content type of what was sent.
        """
        _, _, of, *rest = path.partition("?")[0].split("/")
        with self._lock:
            match (method, of, rest):
                case "POST", "files", []:
                    return self._upload(sent, kind)
                case "GET", "files", [name, "content"]:
                    return self.files.get(name)
                case "DELETE", "files", [name]:
                    gone = self.files.pop(name, None) is not None
                    return {"id": name, "object": "file", "deleted": True} if gone else None
                case "POST", "batches", []:
                    return self._make(json.loads(sent))
                case "POST", "batches", [name, "cancel"]:
                    return self._cancel(name)
                case "GET", "batches", []:
                    documents = [self._now(one).document() for one in self.batches.values()]
                    return {"object": "list", "data": documents, "has_more": False}
                case "GET", "batches", [name]:
                    batch = self.batches.get(name)
                    return self._now(batch).document() if batch else None
                case _:
                    return None

    def _upload(self, sent: bytes, kind: str) -> Mapping[str, Any]:
        head = f"Content-Type: {kind}\r\n\r\n".encode()
        form = email.message_from_bytes(head + sent, policy=email.policy.HTTP)
        [content] = [
            part.get_payload(decode=True)
            for part in form.iter_parts()  # pyright: ignore[reportAttributeAccessIssue]
            if part.get_filename()
        ]
        return self._file(bytes(content))

    def _file(self, content: bytes) -> dict[str, Any]:
        name = f"file-{next(self._numbers)}"
        self.files[name] = content
        return {
            "id": name,
            "object": "file",
            "bytes": len(content),
            "created_at": 0,
            "filename": f"{name}.jsonl",
            "purpose": "batch",
            "status": "processed",
        }

    def _make(self, request: Mapping[str, Any]) -> Mapping[str, Any] | None:
        if request["input_file_id"] not in self.files:
            return None
        mean = self._provider.behaviour.batch_s
        draw = self._provider.draw()
        takes = draw.expovariate(1 / mean) if mean else 0.0
        batch = _Batch(
            f"batch_{next(self._numbers)}",
            request["input_file_id"],
            request.get("metadata") or {},
            time.monotonic() + takes,
        )
        batch.counts["total"] = len(self.files[batch.input].splitlines())
        self.batches[batch.id] = batch
        return batch.document()

    def _cancel(self, name: str) -> Mapping[str, Any] | None:
        batch = self.batches.get(name)
        if batch is None:
            return None
        if batch.status not in _ENDED:
            batch.status = "cancelled"
        return batch.document()

    def _now(self, batch: _Batch) -> _Batch:
        """The batch as it stands; computed at its end."""
        if batch.status in _ENDED or time.monotonic() < batch.ends:
            return batch
        lines: list[dict[str, Any]] = [
            json.loads(line) for line in self.files[batch.input].splitlines()
        ]
        questions = [str(line["body"]["messages"][-1]["content"]) for line in lines]
        if any(REFUSED in one for one in questions):
            batch.status = "failed"
            batch.errors = [{"code": "invalid_request", "message": "a line of it is refused"}]
            return batch
        outputs, errors = list[dict[str, Any]](), list[dict[str, Any]]()
        for line, question in zip(lines, questions, strict=True):
            if EXPIRED in question:
                error = {"code": "batch_expired", "message": "This request could not be executed."}
                errors.append({"custom_id": line["custom_id"], "response": None, "error": error})
                continue
            answered = self._answer(line["body"], question)
            if LOST not in question:
                target = outputs if answered["status_code"] == 200 else errors
                target.append({"custom_id": line["custom_id"], "response": answered, "error": None})
        for name, written in (("output", outputs), ("error", errors)):
            if written:
                content = "".join(json.dumps(one) + "\n" for one in written).encode()
                batch.files[name] = self._file(content)["id"]
        batch.counts |= {"completed": len(outputs), "failed": len(errors)}
        batch.status = "expired" if any(EXPIRED in one for one in questions) else "completed"
        return batch

    def _answer(self, body: Mapping[str, Any], question: str) -> dict[str, Any]:
        provider, draw = self._provider, self._provider.draw()
        behaviour = provider.behaviour
        fails = failure_of(question, {}, draw)
        if fails in {"429", "500"}:
            error = {"error": {"code": None, "message": "try again later"}}
            return {"status_code": int(fails), "request_id": "r", "body": error}
        words, length, finish = provider.write(body, fails, draw)
        prompt = provider.tokens(body["messages"])
        half = replace(
            behaviour,
            prompt_nano=behaviour.prompt_nano // 2,
            answer_nano=behaviour.answer_nano // 2,
        )
        provider.bill.charge(half, "batch", prompt=prompt, answer=length)
        used = (prompt, length) if fails != "no usage" else None
        answer = completion("".join(words), finish, used)
        return {"status_code": 200, "request_id": "r", "body": answer}
